//! Projections follow the ledger, and are made again wherever they might not.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use hwledger_ledger::event::{
    Count, Draft, EngineWindowRecorded, Estimate, Event, PredictionMade, PredictionReconciled, Sealing,
};
use hwledger_ledger::hash::Hash;
use hwledger_ledger::projection::{FILE, Projection, Projections, RUNS, Run, STREAMS};
use hwledger_ledger::store::Ledger;
use hwledger_ledger::store::sqlite::{Appender, Reader};

use crate::folder::{Folder, copy, draft};

pub(crate) fn prediction(run: &str) -> Draft {
    let made = PredictionMade {
        run: run.to_owned(),
        model: "tiny".to_owned(),
        revision: None,
        engine: "hwledger".to_owned(),
        engine_version: None,
        device: "cpu".to_owned(),
        quantisation: None,
        settings: Vec::new(),
        inputs: Hash::of(run.as_bytes()),
        program: "test".to_owned(),
        estimates: Vec::<Estimate>::new(),
        assumptions: Vec::new(),
    };
    Draft::new("test", &format!("run/{run}"), made)
}

fn window(run: Option<&str>) -> Draft {
    let recorded = EngineWindowRecorded {
        run: run.map(str::to_owned),
        engine: "hwledger".to_owned(),
        engine_version: None,
        start_ns: Count(1),
        end_ns: Count(2),
        measures: Vec::new(),
        raw: None,
    };
    Draft::new("test", &format!("run/{}", run.unwrap_or("none")), recorded)
}

fn reconciliation(run: &str, prediction: u64, measurement: u64) -> Draft {
    let (prediction, measurement) = (Count(prediction), Count(measurement));
    let (residuals, missing) = (Vec::new(), Vec::new());
    let done = PredictionReconciled { run: run.to_owned(), prediction, measurement, residuals, missing };
    Draft::new("test", &format!("run/{run}"), done)
}

/// Entries 1 to 8: three runs, one of which is reconciled, and one that nobody predicted.
fn fill(ledger: &Ledger) {
    let drafts = [
        prediction("b"),
        prediction("a"),
        window(Some("b")),
        window(Some("unpredicted")),
        window(Some("b")),
        reconciliation("b", 1, 3),
        window(None),
        prediction("a"),
    ];
    assert!(ledger.append_all(&drafts).unwrap().iter().all(Result::is_ok));
}

fn digests(projections: &Projections) -> [Hash; 2] {
    ["runs", "streams"].map(|name| projections.digest(name).unwrap())
}

/// What projections that were never there before make of the same ledger.
fn fresh_digests(reader: &Reader) -> [Hash; 2] {
    let folder = Folder::new();
    let fresh = Projections::new(&folder.0);
    fresh.catch_up(reader).unwrap();
    digests(&fresh)
}

#[test]
fn runs_and_streams_are_told() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    fill(&ledger);
    let projections = Projections::new(ledger.folder());
    let progress = projections.catch_up(&ledger.reader().unwrap()).unwrap();
    assert!(progress.projections.iter().all(|status| (status.cursor, status.lag) == (9, 0)), "{progress:?}");
    let run = |run: &str, prediction, measurements: &[u64], reconciliations: &[u64]| Run {
        run: run.to_owned(),
        prediction,
        measurements: measurements.to_vec(),
        reconciliations: reconciliations.to_vec(),
        reconciled: if reconciliations.is_empty() { Vec::new() } else { vec![3] },
    };
    let (b, a) = (run("b", Some(1), &[3, 5], &[6]), run("a", Some(2), &[], &[]));
    assert_eq!(projections.run("b").unwrap().as_ref(), Some(&b));
    assert_eq!(projections.run("c").unwrap(), None);
    assert_eq!(projections.runs(9).unwrap(), [b.clone(), a.clone(), run("unpredicted", None, &[4], &[])]);
    assert_eq!(projections.runs(1).unwrap(), std::slice::from_ref(&b));
    // Of two measurements of a run one is compared, the other not yet.
    assert_eq!(projections.runs_to_reconcile(u64::MAX).unwrap(), [b.clone(), a.clone()]);
    assert!([&a, &b].iter().all(|run| run.is_to_reconcile()));
    ledger.append(&reconciliation("b", 1, 5)).unwrap();
    projections.catch_up(&ledger.reader().unwrap()).unwrap();
    assert_eq!(projections.runs_to_reconcile(u64::MAX).unwrap(), [a]);
    assert!(!projections.run("b").unwrap().unwrap().is_to_reconcile());
    let stream = projections.stream("run/b").unwrap().unwrap();
    assert_eq!((stream.events, stream.last_entry, stream.last_kind.as_str()), (5, 9, "PredictionReconciled"));
    assert_eq!(projections.stream("run/c").unwrap(), None);
    let names: Vec<_> = projections.streams("run/", 2).unwrap().into_iter().map(|stream| stream.subject).collect();
    assert_eq!(names, ["run/a", "run/b"]);
    assert!(projections.digest("other").is_err());
}

#[test]
fn what_is_made_again_equals_what_was_caught_up_with() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let projections = Projections::new(ledger.folder());
    let reader = ledger.reader().unwrap();
    let mut seen = Vec::new();
    for round in 0..4 {
        fill(&ledger);
        ledger.append_all(&(0..300 * round).map(draft).collect::<Vec<_>>()).unwrap();
        let before = projections.lag(&reader).map(|list| list[0].lag);
        assert!(round == 0 || before.unwrap() == 8 + 300 * round);
        let progress = projections.catch_up(&reader).unwrap();
        assert_eq!(progress.rebuilt.is_some(), round == 0, "{progress:?}");
        let caught_up = digests(&projections);
        assert!(!seen.contains(&caught_up), "another cursor has another digest");
        assert_eq!(fresh_digests(&reader), caught_up);
        projections.rebuild(&reader).unwrap();
        assert_eq!(digests(&projections), caught_up);
        seen.push(caught_up);
    }
    projections.catch_up(&reader).unwrap();
    assert_eq!(seen.last(), Some(&digests(&projections)), "nothing new changes nothing");
}

#[test]
fn the_state_alone_changes_the_digest() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    fill(&ledger);
    let projections = Projections::new(ledger.folder());
    projections.catch_up(&ledger.reader().unwrap()).unwrap();
    let before = digests(&projections);
    let connection = rusqlite::Connection::open(projections.path()).unwrap();
    connection.execute_batch("UPDATE run_measurements SET entry = 7 WHERE entry = 5").unwrap();
    drop(connection);
    let after = digests(&projections);
    assert!(before[0] != after[0] && before[1] == after[1]);
}

/// The same event, in the next version of its kind.
fn newer(draft: &Draft) -> Sealing {
    let mut sealing = draft.seal(7).unwrap();
    let text = String::from_utf8(sealing.bytes).unwrap().replacen("\"schema_version\":1", "\"schema_version\":2", 1);
    sealing.bytes = text.into_bytes();
    sealing.leaf = Hash::of_leaf(&sealing.bytes);
    assert_eq!(Event::parse(&sealing.bytes).unwrap().schema_version, 2);
    sealing
}

#[test]
fn a_newer_event_stops_only_the_projection_that_reads_it() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    fill(&ledger);
    drop(ledger);
    let mut appender = Appender::open(&folder.places().database()).unwrap();
    let other = newer(&draft(1));
    appender.append(&[other, newer(&prediction("c")), prediction("d").seal(8).unwrap()]).unwrap();
    let reader = Reader::open(&folder.places().database()).unwrap();
    let projections = Projections::new(&folder.places().ledger);
    for _ in 0..2 {
        let progress = projections.catch_up(&reader).unwrap();
        let [runs, streams] = progress.projections.as_slice() else { panic!("{progress:?}") };
        assert_eq!((runs.cursor, runs.lag), (10, 2), "the newer event that it does not read is no hindrance");
        let why = runs.stopped.as_deref().unwrap();
        assert_eq!(why, "entry 10 is version 2 of `PredictionMade`, and this program knows version 1");
        assert_eq!((streams.cursor, streams.lag, &streams.stopped), (12, 0, &None));
        assert_eq!(projections.lag(&reader).unwrap(), progress.projections);
    }
    assert_eq!(projections.runs(9).unwrap().len(), 3, "nothing after it is taken");
    assert_eq!(projections.rebuild(&reader).unwrap()[0].cursor, 10);
}

const OTHER_RUNS: &[Projection] = &[Projection { version: RUNS.version + 1, ..RUNS }, STREAMS];
const MORE: &[Projection] = &[RUNS, STREAMS, Projection { name: "empty", tables: "", state: &[], ..RUNS }];

#[test]
fn other_code_makes_it_again() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    fill(&ledger);
    let reader = ledger.reader().unwrap();
    Projections::new(ledger.folder()).catch_up(&reader).unwrap();
    let before = digests(&Projections::new(ledger.folder()));
    let other = Projections::of(ledger.folder(), OTHER_RUNS);
    let progress = other.catch_up(&reader).unwrap();
    assert!(progress.rebuilt.unwrap().contains("version 2 of its code, this is version 3"));
    assert_eq!(progress.projections[0].version, 3);
    let after = digests(&other);
    assert!(before[0] != after[0] && before[1] == after[1]);
    assert_eq!(other.catch_up(&reader).unwrap().rebuilt, None);
    let rebuilt = Projections::of(ledger.folder(), &MORE[1..2]).catch_up(&reader).unwrap().rebuilt;
    assert_eq!(rebuilt, None, "one that is not asked for is left alone");
    assert!(Projections::new(ledger.folder()).catch_up(&reader).unwrap().rebuilt.is_some());
}

/// What is done to a file, by name.
type Damage<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn a_damaged_or_missing_file_is_made_again() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    fill(&ledger);
    ledger.append_all(&(0..2000).map(|number| prediction(&format!("run {number}"))).collect::<Vec<_>>()).unwrap();
    let reader = ledger.reader().unwrap();
    let projections = Projections::new(ledger.folder());
    assert!(projections.runs(1).is_err() && projections.lag(&reader).is_err());
    projections.catch_up(&reader).unwrap();
    let whole = std::fs::read(projections.path()).unwrap();
    let damage: [Damage<'_>; 7] = [
        ("missing", &|path| std::fs::remove_file(path).unwrap()),
        ("empty", &|path| std::fs::write(path, "").unwrap()),
        ("text", &|path| std::fs::write(path, "no database, and long enough to be read as one".repeat(99)).unwrap()),
        ("cut", &|path| std::fs::write(path, &whole[..whole.len() / 2]).unwrap()),
        ("foreign", &|path| {
            std::fs::remove_file(path).unwrap();
            rusqlite::Connection::open(path).unwrap().execute_batch("CREATE TABLE runs (run)").unwrap();
        }),
        ("without tables", &|path| {
            rusqlite::Connection::open(path).unwrap().execute_batch("DROP TABLE projections").unwrap();
        }),
        ("leftovers", &|path| {
            std::fs::remove_file(path).unwrap();
            std::fs::write(path.with_extension("sqlite-wal"), &whole[..4096]).unwrap();
            std::fs::write(path.with_file_name("projections-new.sqlite"), &whole[..9000]).unwrap();
        }),
    ];
    for (name, damage) in damage {
        damage(&projections.path());
        let progress = projections.catch_up(&reader).unwrap();
        assert!(progress.rebuilt.is_some(), "{name}");
        assert_eq!(digests(&projections), fresh_digests(&reader), "{name}");
        assert!(ledger.append(&draft(1)).is_ok() && ledger.fault().is_none());
        projections.catch_up(&reader).unwrap();
        assert_eq!(digests(&projections), fresh_digests(&reader), "{name}");
        std::fs::write(projections.path(), &whole).unwrap();
    }
}

#[test]
fn damage_that_only_a_query_meets_is_made_good() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    ledger.append_all(&(0..2000).map(|number| prediction(&format!("run {number}"))).collect::<Vec<_>>()).unwrap();
    let reader = ledger.reader().unwrap();
    let projections = Projections::new(ledger.folder());
    projections.catch_up(&reader).unwrap();
    let expected = digests(&projections);
    let mut bytes = std::fs::read(projections.path()).unwrap();
    let last = bytes.len() - 4096 * 3;
    bytes[last..].fill(0xee);
    std::fs::write(projections.path(), bytes).unwrap();
    assert!(projections.digest("runs").is_err() || projections.digest("streams").is_err());
    assert!(projections.catch_up(&reader).unwrap().rebuilt.is_some());
    assert_eq!(digests(&projections), expected);
}

#[test]
fn a_ledger_that_was_rolled_back_or_replaced_is_read_again() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    fill(&ledger);
    drop(ledger);
    let places = folder.places();
    copy(&places.ledger, &folder.path("backup"));
    let mut appender = Appender::open(&places.database()).unwrap();
    appender.append(&[prediction("lost").seal(1).unwrap(), draft(1).seal(2).unwrap()]).unwrap();
    drop(appender);
    let projections = Projections::new(&places.ledger);
    let catch_up = || {
        let reader = Reader::open(&places.database()).unwrap();
        let rebuilt = projections.catch_up(&reader).unwrap().rebuilt;
        assert_eq!(digests(&projections), fresh_digests(&reader));
        rebuilt
    };
    catch_up();
    assert_eq!(projections.runs(9).unwrap().len(), 4);

    let restore = || copy(&folder.path("backup"), &places.ledger);
    restore();
    let why = catch_up().unwrap();
    assert_eq!(why, "`runs` has seen 11 entries, and the ledger has 9");
    assert_eq!(projections.runs(9).unwrap().len(), 3);

    // As long as before, or longer, with other entries.
    let continued = |runs: &[&str]| {
        restore();
        let group: Vec<_> = runs.iter().map(|run| prediction(run).seal(3).unwrap()).collect();
        Appender::open(&places.database()).unwrap().append(&group).unwrap();
    };
    continued(&["x", "y"]);
    assert_eq!(catch_up(), None, "the same nine entries, and two more");
    continued(&["z", "y", "x"]);
    assert!(catch_up().unwrap().contains("the first 11 entries of the ledger are not those"));

    let other = Folder::new();
    drop(Ledger::create(&other.places(), "example.com/other", None).unwrap());
    std::fs::copy(other.places().database(), places.database()).unwrap();
    assert!(catch_up().unwrap().contains("it is of the ledger `example.com/test`, not of `example.com/other`"));
}

/// Names the folder to a process of this test.
const FOLDER: &str = "HWLEDGER_TEST_PROJECTIONS";

/// What the other processes of these tests do: catches up in small steps and says so after each.
#[test]
fn another_process_catches_up() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        let folder = Folder::new();
        drop(folder.ledger());
        step(&folder.places().ledger, 1);
        assert_eq!(Projections::new(&folder.places().ledger).stream("ledger").unwrap().unwrap().events, 1);
        return;
    };
    step(Path::new(&folder), 3);
}

fn step(folder: &Path, entries: u64) {
    let reader = Reader::open(&folder.join("ledger.sqlite")).unwrap();
    let projections = Projections::new(folder);
    loop {
        let progress = projections.advance(&reader, entries).unwrap();
        let cursors: Vec<_> = progress.projections.iter().map(|status| status.cursor).collect();
        let mut output = std::io::stdout().lock();
        // Long lines: whoever does not read them holds this process up, which so never ends before it is killed.
        writeln!(output, "\ncursors {cursors:?} {}{:4000}", progress.rebuilt.is_some(), "").unwrap();
        output.flush().unwrap();
        if progress.projections.iter().all(|status| status.lag == 0) {
            return;
        }
    }
}

fn process(folder: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "projections::another_process_catches_up", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A ledger whose projections have seen its first entry only.
fn behind(folder: &Folder, entries: u64) -> Ledger {
    let ledger = folder.ledger();
    Projections::new(ledger.folder()).catch_up(&ledger.reader().unwrap()).unwrap();
    for chunk in (0..entries).collect::<Vec<_>>().chunks(100) {
        let drafts: Vec<_> = chunk.iter().map(|number| prediction(&format!("run {}", number % 50))).collect();
        ledger.append_all(&drafts).unwrap();
    }
    ledger
}

#[test]
fn a_kill_between_batches_changes_nothing() {
    let folder = Folder::new();
    let ledger = behind(&folder, 1200);
    let reader = ledger.reader().unwrap();
    let mut reached = 1;
    for said_before in [3, 17, 40] {
        let mut child = process(ledger.folder());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.map_while(Result::ok).filter(|line| line.starts_with("cursors")).take(said_before).count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(said, said_before);
        let cursor = Projections::new(ledger.folder()).lag(&reader).unwrap()[0].cursor;
        assert!(cursor > reached && cursor < 1201, "{cursor}: it was killed on its way");
        reached = cursor;
    }
    let projections = Projections::new(ledger.folder());
    assert_eq!(projections.catch_up(&reader).unwrap().rebuilt, None, "and goes on from where it was");
    assert_eq!(digests(&projections), fresh_digests(&reader));
}

#[test]
fn processes_that_catch_up_at_once_make_one_state() {
    let folder = Folder::new();
    let ledger = behind(&folder, 300);
    let children = [0, 1, 2].map(|_| process(ledger.folder()));
    let reader = ledger.reader().unwrap();
    let projections = Projections::new(ledger.folder());
    // Others read, and make it again, meanwhile.
    for _ in 0..5 {
        projections.runs(3).unwrap();
        projections.digest("streams").unwrap();
        projections.rebuild(&reader).unwrap();
    }
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("cursors [301, 301] false"), "{said}");
    }
    assert_eq!(digests(&projections), fresh_digests(&reader));
    assert!(ledger.folder().join(FILE).is_file());
}
