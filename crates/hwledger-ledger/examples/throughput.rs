//! How fast a ledger takes events and answers questions about them, beside committing each event alone.
//!
//! `cargo run --release -p hwledger-ledger --example throughput -- [--seconds 4] [--rounds 3] [--entries 1000000]
//! [--folder FOLDER] [--output FILE]`
//!
//! The comparison is a table of the same bytes in a SQLite database with the same settings, one transaction per event.

#![expect(clippy::unwrap_used, reason = "a failed step fails the run")]

mod machine;
#[path = "../tests/ledger/crash/random.rs"]
mod random;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hwledger_ledger::bundle::{Bundle, export};
use hwledger_ledger::event::{Count, Decimal, Draft, TelemetryWindowRecorded};
use hwledger_ledger::hash::Hash;
use hwledger_ledger::store::{Ledger, LedgerPlaces, clock_ns};
use hwledger_ledger::verify::{VerifyOptions, verify};
use random::Random;
use rusqlite::Connection;
use serde_json::{Value, json};

/// What agents send most: a window of one metric.
fn draft(number: u64) -> Draft {
    let decimal = |value: f64| Decimal::new(value);
    let mean = 200.0 + (number % 977) as f64 / 7.0;
    let data = TelemetryWindowRecorded {
        device: format!("gpu-{}", number % 32),
        metric: "power".to_owned(),
        unit: "W".to_owned(),
        start_ns: Count(1_700_000_000_000_000_000 + number * 1_000_000_000),
        end_ns: Count(1_700_000_000_000_000_000 + (number + 900) * 1_000_000_000),
        samples: Count(900),
        minimum: decimal(mean - 20.5),
        mean: decimal(mean),
        percentile_95: decimal(mean + 31.25),
        maximum: decimal(mean + 40.0),
        joules: decimal(mean * 900.0),
        raw: Some(Hash::of(&number.to_be_bytes())),
    };
    Draft::new("hwledger/agent", &format!("device/gpu-{}", number % 32), data)
}

/// Calls `append` from several threads for a while: events a second and how long each call took.
fn load(callers: u64, time: Duration, append: impl Fn(u64) + Sync) -> Value {
    let (is_over, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let waits = Mutex::new(Vec::new());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                let mut own = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let called = Instant::now();
                    append(next.fetch_add(1, Ordering::Relaxed));
                    own.push(called.elapsed());
                }
                waits.lock().unwrap().extend(own);
            });
        }
        std::thread::sleep(time);
        is_over.store(true, Ordering::Relaxed);
    });
    let seconds = start.elapsed().as_secs_f64();
    let waits = waits.into_inner().unwrap();
    let events = waits.len();
    json!({ "callers": callers, "events": events, "events_per_second": events as f64 / seconds, "latency": spread(waits) })
}

/// Milliseconds at which the given share of the times lies.
fn spread(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |share: usize| times.get(((times.len() * share) / 1000).min(times.len().saturating_sub(1)));
    let milliseconds = |share| at(share).map(|time| time.as_secs_f64() * 1e3);
    json!({ "p50_ms": milliseconds(500), "p95_ms": milliseconds(950), "p99_ms": milliseconds(990), "max_ms": milliseconds(1000) })
}

fn places(folder: &Path) -> LedgerPlaces {
    LedgerPlaces { ledger: folder.join("ledger"), signer: folder.join("signer") }
}

/// The same bytes, each in a transaction of its own, under the settings of the ledger.
fn plain(path: &Path) -> Mutex<Connection> {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA busy_timeout = 5000; PRAGMA mmap_size = 0; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE entries (position INTEGER PRIMARY KEY, bytes BLOB) STRICT;",
        )
        .unwrap();
    Mutex::new(connection)
}

fn appending(folder: &Path, seconds: u64, rounds: u64, output: Option<&Path>) {
    let time = Duration::from_secs(seconds);
    for round in 0..rounds {
        for callers in [64, 8, 1] {
            let place = folder.join(format!("{round}-{callers}"));
            std::fs::create_dir_all(&place).unwrap();
            let ledger = Ledger::create(&places(&place), "example.com/speed", None).unwrap();
            let ours = load(callers, time, |number| {
                ledger.append(&draft(number)).unwrap();
            });
            drop(ledger);
            let database = plain(&place.join("plain.sqlite"));
            let theirs = load(callers, time, |number| {
                let sealing = draft(number).seal(clock_ns()).unwrap();
                let connection = database.lock().unwrap();
                let mut insert = connection.prepare_cached("INSERT INTO entries (bytes) VALUES (?1)").unwrap();
                insert.execute([&sealing.bytes]).unwrap();
            });
            drop(database);
            let (ours_speed, theirs_speed) = (&ours["events_per_second"], &theirs["events_per_second"]);
            let ratio = ours_speed.as_f64().unwrap() / theirs_speed.as_f64().unwrap();
            let line = json!({ "kind": "append", "round": round, "callers": callers, "ledger": ours, "one_commit_per_event": theirs,
                               "ratio": ratio, "event_bytes": draft(1).seal(clock_ns()).unwrap().bytes.len() });
            machine::report(&line, output).unwrap();
            std::fs::remove_dir_all(&place).unwrap();
        }
    }
    let place = folder.join("idle");
    let ledger = Ledger::create(&places(&place), "example.com/speed", None).unwrap();
    let idle = (0..200).map(|number| {
        std::thread::sleep(Duration::from_millis(20));
        let called = Instant::now();
        ledger.append(&draft(number)).unwrap();
        called.elapsed()
    });
    let line = json!({ "kind": "append_idle", "events": 200, "latency": spread(idle.collect()) });
    machine::report(&line, output).unwrap();
    drop(ledger);
    std::fs::remove_dir_all(&place).unwrap();
}

/// What a call took, and what it gave.
fn timed<T>(call: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = call();
    (start.elapsed().as_secs_f64(), result)
}

fn reading(folder: &Path, entries: u64, output: Option<&Path>) {
    let place = folder.join("million");
    std::fs::create_dir_all(&place).unwrap();
    let places = places(&place);
    let ledger = Ledger::create(&places, "example.com/speed", None).unwrap();
    let (append_seconds, ()) = timed(|| {
        for first in (1..entries).step_by(10_000) {
            let drafts: Vec<Draft> = (first..entries.min(first + 10_000)).map(draft).collect();
            assert!(ledger.append_all(&drafts).unwrap().iter().all(Result::is_ok));
        }
    });
    let held = ledger.checkpoint().unwrap();
    drop(ledger);
    let (open_seconds, ledger) = timed(|| Ledger::open(&places).unwrap());
    assert_eq!(ledger.fault(), None);
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.size().unwrap(), entries);
    let options = VerifyOptions {
        keys: ledger.keys().to_vec(),
        held: vec![("before".to_owned(), held)],
        ..VerifyOptions::default()
    };
    let mut verify_seconds = Vec::new();
    for _ in 0..3 {
        let (seconds, answer) = timed(|| verify(&reader, &options).unwrap());
        assert!(answer.is_sound() && answer.size == entries, "{answer:?}");
        verify_seconds.push(seconds);
    }
    let mut random = Random(7);
    let mut proofs = |is_cold: bool| -> (Vec<Duration>, Vec<Duration>) {
        let reader = ledger.reader().unwrap();
        (0..2000)
            .map(|_| {
                let index = random.below(entries);
                let fresh = is_cold.then(|| ledger.reader().unwrap());
                let reader = fresh.as_ref().unwrap_or(&reader);
                let start = Instant::now();
                let proof = reader.prove(index).unwrap().unwrap();
                let inclusion = start.elapsed();
                let start = Instant::now();
                assert!(reader.prove_consistency(index + 1).unwrap().is_some());
                let consistency = start.elapsed();
                assert!(proof.verify(&reader.entry(index).unwrap().bytes.unwrap(), ledger.keys()).is_ok());
                (inclusion, consistency)
            })
            .unzip()
    };
    let ((warm_in, warm_con), (cold_in, cold_con)) = (proofs(false), proofs(true));
    let bundle = place.join("bundle");
    let (export_seconds, _) = timed(|| export(&reader, ledger.keys(), &bundle).unwrap());
    let (bundle_seconds, answer) = timed(|| verify(&Bundle::open(&bundle).unwrap(), &options).unwrap());
    assert!(answer.is_sound(), "{answer:?}");
    let file_bytes = std::fs::metadata(places.database()).unwrap().len();
    let line = json!({
        "kind": "reading", "entries": entries, "file_bytes": file_bytes, "append_all_seconds": append_seconds,
        "open_seconds": open_seconds, "verify_seconds": verify_seconds,
        "inclusion_proof": { "same_connection": spread(warm_in), "new_connection": spread(cold_in) },
        "consistency_proof": { "same_connection": spread(warm_con), "new_connection": spread(cold_con) },
        "export_seconds": export_seconds, "verify_bundle_seconds": bundle_seconds,
    });
    machine::report(&line, output).unwrap();
    drop(ledger);
    std::fs::remove_dir_all(&place).unwrap();
}

fn main() {
    let base = machine::option("folder").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = base.join(format!("hwledger-throughput-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let output = machine::option("output").map(PathBuf::from);
    let output = output.as_deref();
    machine::report(&json!({ "kind": "machine", "machine": machine::describe(&folder) }), output).unwrap();
    let rounds = machine::number("rounds", 3);
    if rounds > 0 {
        appending(&folder, machine::number("seconds", 4), rounds, output);
    }
    let entries = machine::number("entries", 1_000_000);
    if entries > 0 {
        reading(&folder, entries, output);
    }
    machine::report(&json!({ "kind": "machine", "machine": machine::describe(&folder) }), output).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
