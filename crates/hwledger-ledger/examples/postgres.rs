//! How fast several processes append to one ledger on a PostgreSQL server, and what is left after sequencers were killed.
//!
//! `.ci/postgres cargo run --release -p hwledger-ledger --features postgres --example postgres -- --seconds 60`
//!
//! Starts `--writers` processes with `--callers` threads each, which append one event after the other and wait for its
//! place; kills whoever is the sequencer every `--kill-every` milliseconds (0: nobody) and starts it anew; then stops, and
//! compares every acknowledged event with the ledger, the order with one without gaps, and the root with one computed
//! from the entries. Prints one line of JSON and appends it to `--out`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a program for a terminal")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the measurement")]

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hwledger_ledger::event::{AgentLost, Count, Draft, Event};
use hwledger_ledger::hash::Hash;
use hwledger_ledger::merkle::Edge;
use hwledger_ledger::note::PublicKey;
use hwledger_ledger::store::postgres::{Address, PostgresLedger, PostgresPlaces, Reader, Transport, migrate};
use hwledger_ledger::store::{AppendError, StoreError, clock_ns};
use hwledger_ledger::verify::{VerifyOptions, verify};
use postgres::{Client, NoTls};
use serde_json::json;

/// Names the server, as `key=value` pairs.
const SERVER: &str = "HWLEDGER_POSTGRES";

struct Options {
    writers: u64,
    callers: u64,
    seconds: u64,
    kill_every_ms: u64,
    out: Option<PathBuf>,
}

fn options(arguments: &[String]) -> Options {
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(at + 1).unwrap_or_else(|| panic!("`{name}` needs a value")).clone())
    };
    let number = |name: &str, default| {
        value(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} {text}")))
    };
    Options {
        writers: number("--writers", 4),
        callers: number("--callers", 16),
        seconds: number("--seconds", 30),
        kill_every_ms: number("--kill-every", 2000),
        out: value("--out").map(PathBuf::from),
    }
}

fn places(text: &str, folder: &Path) -> PostgresPlaces {
    let address = Address::parse(text, Transport::Verified).unwrap();
    PostgresPlaces { address, signer: Some(folder.join("signer")) }
}

/// An acknowledged event: where it is, and how long it took.
struct Acknowledged {
    index: u64,
    microseconds: u64,
}

/// What a writer was acknowledged, by the number of the event. A line that a kill cut off does not count.
fn acknowledged(path: &Path) -> BTreeMap<u64, Acknowledged> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let read = |line: &str| {
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let (number, index, microseconds) = (next()?, next()?, next()?);
        Some((number, Acknowledged { index, microseconds }))
    };
    whole.lines().filter_map(read).collect()
}

/// A writer's process: appends until the file `stop` is there. What the one before was not acknowledged comes again under
/// the same key.
fn write(arguments: &[String]) {
    let [folder, name, callers] = arguments else { panic!("a writer's arguments") };
    let folder = Path::new(folder);
    // Not as an argument, which every user of the machine can read.
    let text = std::env::var(SERVER).unwrap();
    let ledger = PostgresLedger::open(&places(&text, folder)).unwrap();
    let path = folder.join(name);
    let done = acknowledged(&path);
    let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    // The last line may have been cut off by a kill.
    file.write_all(b"\n").unwrap();
    let (file, next, stop) = (Mutex::new(file), AtomicU64::new(0), folder.join("stop"));
    std::thread::scope(|scope| {
        for _ in 0..callers.parse::<u64>().unwrap() {
            scope.spawn(|| {
                while !stop.exists() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if done.contains_key(&number) {
                        continue;
                    }
                    let agent = format!("agent-{}", number % 50);
                    let data = AgentLost { agent: agent.clone(), last_seen_at_ns: Count(number) };
                    let draft = Draft::new("bench", &format!("agent/{agent}"), data).once(format!("{name}-{number}"));
                    let began = Instant::now();
                    let receipt = loop {
                        match ledger.append(&draft) {
                            Ok(receipt) => break receipt,
                            Err(AppendError::Busy | AppendError::Unknown(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                    };
                    let line = format!("{number} {} {}\n", receipt.index, began.elapsed().as_micros());
                    file.lock().unwrap().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

fn start(folder: &Path, name: &str, callers: u64, text: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.arg("--writer").arg(folder).args([name, &callers.to_string()]).env(SERVER, text).spawn().unwrap()
}

/// What a run had done to it.
#[derive(Default)]
struct Kills {
    count: u64,
    /// From each kill until somebody else had the next turn, in milliseconds.
    takeovers_ms: Vec<u64>,
}

/// Lets the writers run, killing sequencers.
fn run(options: &Options, text: &str, folder: &Path, reader: &Reader) -> (Kills, Duration, u64) {
    let name = |number: u64| format!("writer-{number}");
    let start = |number| start(folder, &name(number), options.callers, text);
    let mut children: Vec<Child> = (0..options.writers).map(start).collect();
    // Measured from when the first event came through, so that starting processes does not count.
    while reader.size().unwrap() < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (began, size) = (Instant::now(), reader.size().unwrap());
    let mut kills = Kills::default();
    let end = Duration::from_secs(options.seconds);
    while began.elapsed() < end {
        let pause = if options.kill_every_ms == 0 { end } else { Duration::from_millis(options.kill_every_ms) };
        std::thread::sleep(pause.min(end.saturating_sub(began.elapsed())));
        let (epoch, holder) = reader.sequencer().unwrap();
        let target = children.iter().position(|child| holder == format!("process {}", child.id()));
        let Some(target) = target.filter(|_| began.elapsed() < end && options.kill_every_ms > 0) else { continue };
        let killed = Instant::now();
        children[target].kill().unwrap();
        children[target].wait().unwrap();
        kills.count += 1;
        children[target] = start(target as u64);
        while reader.sequencer().unwrap().0 == epoch {
            std::thread::sleep(Duration::from_millis(2));
        }
        kills.takeovers_ms.push(u64::try_from(killed.elapsed().as_millis()).unwrap());
    }
    let (took, appended) = (began.elapsed(), reader.size().unwrap() - size);
    std::fs::write(folder.join("stop"), "").unwrap();
    for mut child in children {
        assert!(child.wait().unwrap().success(), "a writer failed");
    }
    (kills, took, appended)
}

/// Compares the ledger with what was acknowledged; gives the time of each append, sorted.
fn check(options: &Options, folder: &Path, reader: &Reader, keys: &[PublicKey]) -> Vec<u64> {
    let size = reader.size().unwrap();
    let (mut found, mut edge) = (HashMap::new(), Edge::default());
    reader
        .entries(0, size, |entry| {
            assert_eq!(entry.index, edge.size(), "a gap");
            let bytes = entry.bytes.unwrap();
            edge.push(Hash::of_leaf(&bytes), |_, _| ());
            let key = Event::parse(&bytes).unwrap().idempotency_key.unwrap().into_owned();
            assert_eq!(found.insert(key.clone(), entry.index), None, "{key} is there twice");
            Ok::<_, StoreError>(true)
        })
        .unwrap();
    assert_eq!(edge.size(), size, "the end is missing");
    let mut times = Vec::new();
    for writer in 0..options.writers {
        let name = format!("writer-{writer}");
        for (number, event) in acknowledged(&folder.join(&name)) {
            assert_eq!(found.get(&format!("{name}-{number}")), Some(&event.index), "an acknowledged event is lost");
            times.push(event.microseconds);
        }
    }
    assert_eq!(reader.root_at(size).unwrap(), edge.root(), "the root is another");
    let verification = VerifyOptions { keys: keys.to_vec(), ..VerifyOptions::default() };
    let answer = reader.at_one_moment(|reader| verify(reader, &verification)).unwrap();
    assert!(answer.is_sound() && answer.is_signed(), "{answer:#?}");
    times.sort_unstable();
    times
}

fn quantile(sorted: &[u64], per_mille: usize) -> Option<u64> {
    sorted.get((sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1))).copied()
}

/// The machine in words, without its name.
fn machine() -> serde_json::Value {
    let field = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).map(str::to_owned);
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "processor": field("/proc/cpuinfo", "model name"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
        "system": std::env::consts::OS,
        "load_1_min_before": load.split(' ').next(),
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--writer") {
        write(&arguments[1..]);
        return;
    }
    let options = options(&arguments);
    let machine = machine();
    let server = std::env::var(SERVER).expect("HWLEDGER_POSTGRES names a server (`key=value` pairs)");
    let name = format!("hwledger_bench_{}", std::process::id());
    let folder = std::env::temp_dir().join(&name);
    std::fs::create_dir_all(&folder).unwrap();
    let mut client = Client::connect(&server, NoTls).unwrap();
    let version: String = client.query_one("SHOW server_version", &[]).unwrap().get(0);
    let role = "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hwledger_bench') THEN
                    CREATE ROLE hwledger_bench LOGIN; END IF; END $$";
    client.batch_execute(role).unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).unwrap();
    migrate(&Address::parse(&format!("{server} dbname={name}"), Transport::Verified).unwrap(), "hwledger_bench")
        .unwrap();
    let text = format!("{server} user=hwledger_bench dbname={name}");
    let ledger = PostgresLedger::create(&places(&text, &folder), "example.com/bench", None).unwrap();
    let keys = ledger.keys().to_vec();
    drop(ledger);
    let reader = Reader::open(&places(&text, &folder).address).unwrap();
    let (kills, took, appended) = run(&options, &text, &folder, &reader);
    PostgresLedger::open(&places(&text, &folder)).unwrap().checkpoint().unwrap();
    let times = check(&options, &folder, &reader, &keys);
    let (epoch, _) = reader.sequencer().unwrap();
    let seconds = took.as_secs_f64();
    let mut takeovers = kills.takeovers_ms;
    takeovers.sort_unstable();
    let line = json!({
        "schema": "hwledger.bench.ledger-postgres/1",
        "at_ns": clock_ns().to_string(),
        "command": format!("postgres {}", arguments.join(" ")),
        "server": format!("PostgreSQL {version}"),
        "machine": machine,
        "writers": options.writers,
        "callers_per_writer": options.callers,
        "seconds": seconds,
        "events": appended,
        "events_per_second": appended as f64 / seconds,
        "append_us": { "p50": quantile(&times, 500), "p99": quantile(&times, 990), "max": times.last() },
        "sequencers_killed": kills.count,
        "turns": epoch,
        "takeover_ms": { "p50": quantile(&takeovers, 500), "max": takeovers.last() },
        "acknowledged": times.len(),
        "entries": reader.size().unwrap(),
        "checked": "every acknowledged event once at its place, no gap, root as recomputed, verification sound",
    });
    println!("{line}");
    if let Some(path) = &options.out {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
    drop(reader);
    if let Err(error) = client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")) {
        eprintln!("the database stays: {error}");
    }
    let _ = std::fs::remove_dir_all(&folder);
}
