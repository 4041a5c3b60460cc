//! Turns every single bit of what a ledger protects, and many of its file, and counts what verification finds.
//!
//! `cargo run --release -p hwledger-ledger --example flips -- [--entries 1000] [--singles 20000]
//! [--file-samples 6000] [--seed 1] [--sweep 0] [--output FILE]`
//!
//! `--sweep 0` leaves out all but the file.
//!
//! Every bit of every hash of the tree and of every signed head is turned alone, and the whole record verified each time.
//! Bits of events are turned in all events at once, the same bit of each, because each is compared with its own hash: the
//! verification must count as many findings as there are events with such a bit, and name the first. A sample of them is
//! turned alone too. Bits of the SQLite file are turned at random places of each of the three and anywhere, and the
//! ledger opened, verified and checked as a file; what nobody notices must have changed no value of any table.

#![expect(clippy::unwrap_used, reason = "a failed step fails the run")]

#[path = "../tests/ledger/folder.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod folder;
mod machine;
#[path = "../tests/ledger/memory.rs"]
mod memory;
#[path = "../tests/ledger/crash/random.rs"]
mod random;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use folder::{Folder, draft};
use hwledger_ledger::store::sqlite::Reader;
use hwledger_ledger::store::{Ledger, LedgerPlaces};
use hwledger_ledger::verify::{VerifyOptions, fsck, verify};
use memory::Memory;
use random::Random;
use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::json;

/// For each kind of part: bits that were turned, and those that nobody noticed.
type Tally = BTreeMap<&'static str, (u64, u64)>;

fn is_sound(memory: &Memory, options: &VerifyOptions) -> bool {
    verify(memory, options).is_ok_and(|answer| answer.is_sound())
}

/// Something to do with a copy of the record: says what was turned, how many bits, and how many nobody noticed.
enum Work {
    /// Turn the same bit of every event that is long enough.
    EventBit(usize),
    /// Turn every bit of this part, one after the other.
    Part(usize),
    /// Turn one bit of one event.
    Single(usize, usize),
}

fn turn(memory: &mut Memory, part: usize, bit: usize) {
    memory.parts()[part].1[bit / 8] ^= 1 << (bit % 8);
}

impl Work {
    fn run(&self, memory: &mut Memory, options: &VerifyOptions) -> (&'static str, u64, u64) {
        match *self {
            Self::EventBit(bit) => {
                let turn_all = |memory: &mut Memory| {
                    let long_enough = memory.entries.iter_mut().filter(|bytes| bit / 8 < bytes.len());
                    long_enough.map(|bytes| bytes[bit / 8] ^= 1 << (bit % 8)).count() as u64
                };
                let turned = turn_all(memory);
                let answer = verify(memory, options).unwrap();
                turn_all(memory);
                let first = (0..).zip(&memory.entries).find(|(_, bytes)| bit / 8 < bytes.len()).map(|(index, _)| index);
                let level = &answer.levels[0];
                let is_named = level.findings.first().is_some_and(|finding| finding.entry == first);
                ("event", turned, if is_named { turned - level.findings_count } else { turned })
            }
            Self::Part(part) => {
                let (kind, bits) = (memory.parts()[part].0, memory.parts()[part].1.len() * 8);
                let missed = (0..bits).filter(|bit| {
                    turn(memory, part, *bit);
                    let is_missed = is_sound(memory, options);
                    turn(memory, part, *bit);
                    is_missed
                });
                (kind, bits as u64, missed.count() as u64)
            }
            Self::Single(part, bit) => {
                turn(memory, part, bit);
                let answer = verify(memory, options).unwrap();
                turn(memory, part, bit);
                let level = &answer.levels[0];
                let is_named = level.findings_count == 1 && level.findings[0].entry == Some(part as u64);
                ("event, alone", 1, u64::from(!is_named))
            }
        }
    }
}

/// Turns every bit of the record in memory, with as many threads as there are cores.
fn turn_all(memory: &Memory, options: &VerifyOptions, singles: u64, random: &mut Random) -> Tally {
    let mut own = memory.clone();
    let longest = own.entries.iter().map(Vec::len).max().unwrap() * 8;
    let parts = own.parts().len();
    let mut work: Vec<Work> = (own.entries.len()..parts).map(Work::Part).collect();
    work.extend((0..longest).map(Work::EventBit));
    work.extend((0..singles).map(|_| {
        let part = usize::try_from(random.below(own.entries.len() as u64)).unwrap();
        Work::Single(part, usize::try_from(random.below(own.entries[part].len() as u64 * 8)).unwrap())
    }));
    let next = AtomicUsize::new(0);
    let result = Mutex::new(Tally::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                let mut own = memory.clone();
                while let Some(work) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (kind, turned, missed) = work.run(&mut own, options);
                    let mut result = result.lock().unwrap();
                    let tally = result.entry(kind).or_default();
                    *tally = (tally.0 + turned, tally.1 + missed);
                }
                assert!(is_sound(&own, options), "everything was turned back");
            });
        }
    });
    result.into_inner().unwrap()
}

/// Where `pattern` lies in `content`: in its place, and in what is left of pages that were split.
fn find(content: &[u8], pattern: &[u8]) -> Vec<usize> {
    (0..content.len() - pattern.len()).filter(|at| content[*at..].starts_with(pattern)).collect()
}

/// By what a turned bit of the file was noticed, if it was.
fn noticed(places: &LedgerPlaces, options: &VerifyOptions) -> Option<&'static str> {
    let Ok(reader) = Reader::open(&places.database()) else { return Some("opening") };
    match verify(&reader, options) {
        Err(_) => return Some("reading"),
        Ok(answer) if !answer.is_sound() => return Some("verification"),
        Ok(_) => {}
    }
    if fsck(&reader).map_or(true, |findings| !findings.is_empty()) {
        return Some("file check");
    }
    Ledger::open(places).map_or(true, |ledger| ledger.fault().is_some()).then_some("opening for writing")
}

/// Every value of every table.
fn contents(places: &LedgerPlaces) -> Vec<Value> {
    let connection = Connection::open(places.database()).unwrap();
    let mut values = Vec::new();
    for table in ["meta", "entries", "once", "tiles", "checkpoints"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            values.extend((0..columns).map(|column| row.get::<_, Value>(column).unwrap()));
        }
    }
    values
}

/// Turns bits of the database's file: in events, tiles and heads, and anywhere.
fn turn_file(
    folder: &Folder,
    memory: &mut Memory,
    options: &VerifyOptions,
    (samples, seed): (u64, u64),
) -> (BTreeMap<String, u64>, Vec<String>) {
    let whole = std::fs::read(folder.places().database()).unwrap();
    let mut random = Random(seed);
    let original = contents(&folder.places());
    let mut tally = BTreeMap::<String, u64>::new();
    let mut missed = Vec::new();
    let scratch = Folder::new();
    folder::copy(&folder.0, &scratch.0);
    let parts: Vec<(&'static str, Vec<u8>)> =
        memory.parts().into_iter().map(|(kind, bytes)| (kind, bytes.clone())).collect();
    for sample in 0..samples {
        let kind = ["event", "hashes", "checkpoint", "file"][(sample % 4) as usize];
        let of_kind: Vec<&Vec<u8>> = parts.iter().filter(|part| part.0 == kind).map(|part| &part.1).collect();
        let places = if of_kind.is_empty() {
            vec![usize::try_from(random.below(whole.len() as u64)).unwrap()]
        } else {
            let part = of_kind[usize::try_from(random.below(of_kind.len() as u64)).unwrap()];
            // What does not fit in one page goes on elsewhere: its beginning is enough to find it.
            let known = &part[..part.len().min(200)];
            let offset = usize::try_from(random.below(known.len() as u64)).unwrap();
            find(&whole, known).into_iter().map(|start| start + offset).collect()
        };
        let mut changed = whole.clone();
        let bit = random.below(8);
        for at in &places {
            changed[*at] ^= 1 << bit;
        }
        write_anew(&scratch.places(), &changed);
        let by = noticed(&scratch.places(), options);
        // Free space, what is left of pages that were split, and counters of SQLite's own.
        let by = by.or_else(|| (contents(&scratch.places()) == original).then_some("nothing: no value is another"));
        *tally.entry(format!("{kind}: {}", by.unwrap_or("nothing"))).or_default() += 1;
        if by.is_none() {
            missed.push(format!("{kind}, bytes {places:?}"));
        }
    }
    (tally, missed)
}

fn write_anew(places: &LedgerPlaces, content: &[u8]) {
    for ending in ["sqlite-wal", "sqlite-shm"] {
        let _ = std::fs::remove_file(places.database().with_extension(ending));
    }
    std::fs::write(places.database(), content).unwrap();
}

fn main() -> ExitCode {
    let entries = machine::number("entries", 1000);
    let output = machine::option("output").map(PathBuf::from);
    let folder = Folder::new();
    let ledger = folder.ledger();
    for first in (1..entries).step_by(250) {
        let drafts: Vec<_> = (first..entries.min(first + 250)).map(draft).collect();
        assert!(ledger.append_all(&drafts).unwrap().iter().all(Result::is_ok));
        ledger.checkpoint().unwrap();
    }
    let options = VerifyOptions { keys: ledger.keys().to_vec(), ..VerifyOptions::default() };
    drop(ledger);
    let mut memory = Memory::of(&Reader::open(&folder.places().database()).unwrap());
    assert!(is_sound(&memory, &options));
    let start = Instant::now();
    let seed = machine::number("seed", 1);
    let is_sweep = machine::number("sweep", 1) > 0;
    let singles = machine::number("singles", 20_000);
    let tally = if is_sweep { turn_all(&memory, &options, singles, &mut Random(seed)) } else { Tally::new() };
    let missed: u64 = tally.values().map(|counts| counts.1).sum();
    let line = json!({
        "kind": "every_bit", "entries": memory.entries.len(), "checkpoints": memory.checkpoints.len(),
        "turned_and_missed": tally, "turned": tally.values().map(|counts| counts.0).sum::<u64>(),
        "missed": missed, "seed": seed, "seconds": start.elapsed().as_secs_f64(),
        "machine": machine::describe(&folder.0),
    });
    if is_sweep {
        machine::report(&line, output.as_deref()).unwrap();
    }
    let start = Instant::now();
    let (samples, in_file) = turn_file(&folder, &mut memory, &options, (machine::number("file-samples", 6000), seed));
    let line = json!({
        "kind": "bits_of_the_file", "seed": seed, "noticed_by": samples, "missed": in_file,
        "seconds": start.elapsed().as_secs_f64(),
    });
    machine::report(&line, output.as_deref()).unwrap();
    if missed == 0 && in_file.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
