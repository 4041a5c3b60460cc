//! Real processes: this test's own program, started again as a writer, killed and stopped at random moments.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hwledger_ledger::event::Event;
use hwledger_ledger::hash::Hash;
use hwledger_ledger::merkle::Edge;
use hwledger_ledger::note::PublicKey;
use hwledger_ledger::store::postgres::{Address, PostgresLedger, PostgresPlaces, Reader, Transport};
use hwledger_ledger::store::{AppendError, StoreError};
use hwledger_ledger::verify::{VerifyOptions, verify};

use crate::place::{Place, draft};

/// Names the folder of a writer's instructions; only then is this program a writer.
const INSTRUCTIONS: &str = "HWLEDGER_TEST_WRITER";

/// Callers of a writer.
const CALLERS: u64 = 4;

/// What a writer was acknowledged: the number of each event and its place. A line that a kill cut off does not count.
fn acknowledged(path: &Path) -> BTreeMap<u64, u64> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let pair = |line: &str| {
        let (number, index) = line.split_once(' ')?;
        Some((number.parse().ok()?, index.parse().ok()?))
    };
    whole.lines().filter_map(pair).collect()
}

/// The writer: appends every event that was not acknowledged yet, each until it is.
#[test]
fn writer() {
    let Ok(folder) = std::env::var(INSTRUCTIONS) else { return };
    let folder = PathBuf::from(folder);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (name, count): (String, u64) = (read("name"), read("count").parse().unwrap());
    let address = Address::parse(&read("address"), Transport::Verified).unwrap();
    let ledger = PostgresLedger::open(&PostgresPlaces { address, signer: Some(read("signer").into()) }).unwrap();
    let path = folder.join("acknowledged");
    let done = acknowledged(&path);
    // After a kill the file may end in half a line, which the next line must not continue.
    let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    file.write_all(b"\n").unwrap();
    let (file, next) = (Mutex::new(file), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    if done.contains_key(&number) {
                        continue;
                    }
                    let draft = draft(number).once(format!("{name}-{number}"));
                    let receipt = loop {
                        match ledger.append(&draft) {
                            Ok(receipt) => break receipt,
                            Err(AppendError::Unknown(_) | AppendError::Busy) => {}
                            Err(error) => panic!("{name}-{number}: {error}"),
                        }
                    };
                    file.lock().unwrap().write_all(format!("{number} {}\n", receipt.index).as_bytes()).unwrap();
                }
            });
        }
    });
}

struct Writer {
    folder: PathBuf,
    name: String,
    child: Child,
}

fn spawn(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::writer", "--nocapture", "--test-threads=1"])
        .env(INSTRUCTIONS, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

impl Writer {
    fn start(place: &Place, number: usize, count: u64) -> Self {
        let name = format!("writer-{number}");
        let folder = place.folder.join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        let write = |file: &str, text: &str| std::fs::write(folder.join(file), text).unwrap();
        write("name", &name);
        write("count", &count.to_string());
        write("address", &place.program_text());
        write("signer", place.signer().to_str().unwrap());
        let child = spawn(&folder);
        Self { folder, name, child }
    }

    fn acknowledged(&self) -> BTreeMap<u64, u64> {
        acknowledged(&self.folder.join("acknowledged"))
    }

    fn is_running(&mut self) -> bool {
        match self.child.try_wait().unwrap() {
            None => true,
            Some(status) => {
                assert!(status.success(), "{}: {status}", self.name);
                false
            }
        }
    }

    /// Kills it as a power cut would, and starts it anew.
    fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.folder);
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn finish(&mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{}: {status}", self.name);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn random_pause(milliseconds_max: u64) {
    let random = RandomState::new().hash_one(0);
    std::thread::sleep(Duration::from_millis(random % milliseconds_max));
}

/// Reads on and on while others write: what one reader has seen, every later one sees at the same places.
fn watch(place: &Place, is_over: &AtomicBool) {
    let mut seen: Option<(u64, Hash)> = None;
    while !is_over.load(Ordering::Relaxed) {
        let reader = place.reader();
        let now = reader.at_one_moment(|reader| {
            let size = reader.size()?;
            let from = seen.map_or(0, |(size, _)| size);
            let mut next = from;
            reader.entries(from, size, |entry| {
                assert_eq!(entry.index, next, "a gap");
                next += 1;
                Ok::<_, StoreError>(true)
            })?;
            assert_eq!(next, size);
            if let Some((before, root)) = seen {
                assert!(size >= before);
                assert_eq!(reader.root_at(before)?, root, "the first {before} entries changed");
            }
            Ok((size, reader.root_at(size)?))
        });
        seen = Some(now.unwrap());
    }
}

/// That every event is there once, where it was acknowledged to be, in a tree that is the one of these bytes.
fn check(place: &Place, reader: &Reader, keys: &[PublicKey], writers: &[Writer], count: u64) {
    let mut found: HashMap<String, u64> = HashMap::new();
    let mut edge = Edge::default();
    let size = reader.size().unwrap();
    reader
        .entries(0, size, |entry| {
            assert_eq!(entry.index, edge.size(), "a gap");
            let bytes = entry.bytes.unwrap();
            edge.push(Hash::of_leaf(&bytes), |_, _| ());
            let event = Event::parse(&bytes).unwrap();
            let key = event.idempotency_key.unwrap().into_owned();
            assert_eq!(found.insert(key.clone(), entry.index), None, "{key} is there twice");
            Ok::<_, StoreError>(true)
        })
        .unwrap();
    assert_eq!(size, 1 + count * writers.len() as u64);
    for writer in writers {
        let acknowledged = writer.acknowledged();
        assert_eq!(acknowledged.len() as u64, count, "{}", writer.name);
        for (number, index) in acknowledged {
            assert_eq!(found.get(&format!("{}-{number}", writer.name)), Some(&index), "an acknowledged event is lost");
        }
    }
    assert_eq!(reader.root_at(size).unwrap(), edge.root());
    let options = VerifyOptions { keys: keys.to_vec(), ..VerifyOptions::default() };
    let answer = verify(reader, &options).unwrap();
    assert!(answer.is_sound() && answer.is_signed(), "{answer:#?}");
    assert_eq!((answer.root, place.reader().waiting().unwrap()), (edge.root(), 0));
}

#[test]
fn kills_at_random_moments_lose_nothing_and_leave_no_gap() {
    let Some(place) = Place::new() else { return };
    let (count, kills) = (1500, 40);
    let keys = place.ledger().keys().to_vec();
    let mut writers: Vec<Writer> = (0..4).map(|number| Writer::start(&place, number, count)).collect();
    let is_over = AtomicBool::new(false);
    let mut killed_sequencers = 0;
    std::thread::scope(|scope| {
        let watchers: Vec<_> = (0..2).map(|_| scope.spawn(|| watch(&place, &is_over))).collect();
        let reader = place.reader();
        let mut last_epoch = 0;
        for kill in 0..kills {
            random_pause(200);
            let (epoch, holder) = reader.sequencer().unwrap();
            assert!(epoch >= last_epoch);
            last_epoch = epoch;
            // Mostly the sequencer, sometimes any.
            let is_sequencer = |writer: &Writer| holder == format!("process {}", writer.child.id());
            let target = if kill % 5 == 4 { None } else { writers.iter().position(is_sequencer) };
            killed_sequencers += u32::from(target.is_some());
            writers[target.unwrap_or(kill % 4)].kill_and_restart();
        }
        writers.iter_mut().for_each(Writer::finish);
        is_over.store(true, Ordering::Relaxed);
        for watcher in watchers {
            watcher.join().unwrap();
        }
    });
    assert!(killed_sequencers > 0, "no sequencer was hit");
    // The last to go signs; where that was somebody who was not the sequencer, the next one does.
    let ledger = PostgresLedger::open(&place.places()).unwrap();
    ledger.checkpoint().unwrap();
    check(&place, &place.reader(), &keys, &writers, count);
}

#[test]
fn a_sequencer_that_stood_still_finds_that_others_went_on() {
    let Some(place) = Place::new() else { return };
    let count = 3000;
    let keys = place.ledger().keys().to_vec();
    let mut writers: Vec<Writer> = (0..3).map(|number| Writer::start(&place, number, count)).collect();
    let reader = place.reader();
    for _ in 0..3 {
        let (epoch, stopped) = loop {
            let (epoch, holder) = reader.sequencer().unwrap();
            let holds = |writer: &Writer| holder == format!("process {}", writer.child.id());
            if let Some(holder) = writers.iter().position(holds) {
                break (epoch, holder);
            }
            assert!(writers.iter_mut().any(Writer::is_running), "they were done before one was stopped");
        };
        random_pause(100);
        writers[stopped].signal("-STOP");
        // Somebody else takes over without its help, and the ledger grows.
        while reader.sequencer().unwrap().0 == epoch {
            random_pause(50);
        }
        let size = reader.size().unwrap();
        while reader.size().unwrap() == size && reader.waiting().unwrap() > 0 {
            random_pause(50);
        }
        writers[stopped].signal("-CONT");
    }
    writers.iter_mut().for_each(Writer::finish);
    PostgresLedger::open(&place.places()).unwrap().checkpoint().unwrap();
    check(&place, &place.reader(), &keys, &writers, count);
}
