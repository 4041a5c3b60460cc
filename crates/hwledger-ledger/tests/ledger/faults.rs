//! Processes that die, disks that fill up, files that are damaged or gone: nothing acknowledged is lost, and what is wrong
//! is named.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hwledger_ledger::store::sqlite::{Appender, Reader};
use hwledger_ledger::store::{AppendError, Fault, Ledger, Receipt, StoreError};
use hwledger_ledger::verify::{VerifyOptions, verify};
use rusqlite::Connection;

use crate::crash::{Counts, Known, Random, Running, append_until_killed};
use crate::folder::{Folder, copy, draft};

/// Tells this very program, started once more, where to append until it is killed.
const FOLDER: &str = "HWLEDGER_TEST_FOLDER";
const ROUND: &str = "HWLEDGER_TEST_ROUND";

/// Callers of the process that is killed.
const THREADS: u64 = 4;

/// This program once more, to run one of its tests only.
fn this_program(test: &str, folder: &Path, round: u64) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(FOLDER, folder).env(ROUND, round.to_string());
    command
}

#[test]
fn the_process_that_is_killed() {
    // By itself this does nothing: other tests start it.
    if let (Some(folder), Ok(round)) = (std::env::var_os(FOLDER), std::env::var(ROUND)) {
        append_until_killed(Path::new(&folder), round.parse().unwrap(), THREADS);
    }
}

fn appending(folder: &Path, round: u64) -> Running {
    Running::start(&mut this_program("faults::the_process_that_is_killed", folder, round))
}

#[test]
fn killed_processes_lose_nothing() {
    let folder = Folder::new();
    let (mut known, mut counts, mut random) = (Known::default(), Counts::default(), Random(3));
    for round in 0..8 {
        let running = appending(&folder.0, round);
        running.wait_for_acknowledgements([0, 1, 30, 100][usize::try_from(random.below(4)).unwrap()]);
        known.hear(&running.kill(), &mut counts).unwrap();
        known.check(&folder.0, round, THREADS, &mut counts).unwrap();
    }
    assert!(counts.rounds == 8 && counts.entries_checked > 100, "{counts:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn power_cuts_lose_nothing() {
    let folder = Folder::new();
    let place = folder.path("it");
    let (mut known, mut counts, mut random) = (Known::default(), Counts::default(), Random(5));
    for round in 0..4 {
        let running = appending(&place, round);
        running.wait_for_acknowledgements(60);
        assert!(crate::crash::stop(running.id()));
        let mut then = known.clone();
        then.hear(&running.said(), &mut counts).unwrap();
        let copied = folder.path("copy");
        copy(&place, &copied);
        crate::crash::cut_power(&copied, then.size_min(), &mut random);
        then.check(&copied, round, THREADS, &mut counts).unwrap();
        std::fs::remove_dir_all(&copied).unwrap();
        known.hear(&running.kill(), &mut counts).unwrap();
        known.check(&place, round, THREADS, &mut counts).unwrap();
    }
    assert_eq!(counts.rounds, 8);
}

#[test]
fn two_processes_at_once_keep_one_order() {
    let folder = Folder::new();
    drop(Ledger::create(&folder.places(), "example.com/crash", None).unwrap());
    let (mut known, mut counts) = (Known::default(), Counts::default());
    let both = [appending(&folder.0, 0), appending(&folder.0, 1)];
    for running in &both {
        running.wait_for_acknowledgements(80);
    }
    for running in both {
        known.hear(&running.kill(), &mut counts).unwrap();
    }
    known.check(&folder.0, 0, THREADS, &mut counts).unwrap();
    known.check(&folder.0, 1, THREADS, &mut counts).unwrap();
    assert!(counts.acknowledged >= 160, "{counts:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_cannot_grow_ends_in_a_named_fault_and_loses_nothing() {
    let folder = Folder::new();
    let inner = this_program("faults::the_process_that_is_killed", &folder.0, 0);
    // Files of 2,000 blocks of 512 bytes at most; without the signal, writing fails with an error. An event that is
    // committed alone takes some 10 KiB of the log, so that there is room for a hundred however slow the machine.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$@\"", "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let running = Running::start(&mut command);
    running.wait_for_acknowledgements(usize::MAX);
    let said = running.kill();
    let (failed, rest): (Vec<String>, Vec<String>) = said.into_iter().partition(|line| line.starts_with("E "));
    assert!(failed.iter().any(|line| line.contains("I/O error") || line.contains("full")), "{failed:?}");
    let (mut known, mut counts) = (Known::default(), Counts::default());
    known.hear(&rest, &mut counts).unwrap();
    assert!(counts.acknowledged > 20, "{counts:?}");
    known.check(&folder.0, 0, THREADS, &mut counts).unwrap();
}

#[test]
fn the_process_with_a_small_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let places = crate::crash::places(Path::new(&folder));
    let ballast = Path::new(&folder).join("ballast");
    std::fs::write(&ballast, vec![0; 400 << 10]).unwrap();
    let ledger = Ledger::create(&places, "example.com/test", None).unwrap();
    let mut last = 0;
    let failed = loop {
        match ledger.append(&draft(last)) {
            Ok(receipt) => last = receipt.index,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(failed, AppendError::ReadOnly(Fault::DiskFull) | AppendError::Unknown(Fault::DiskFull)),
        "{failed}"
    );
    assert_eq!(ledger.append(&draft(0)), Err(AppendError::ReadOnly(Fault::DiskFull)));
    assert!(ledger.reader().unwrap().entry(last).is_ok());
    drop(ledger);
    std::fs::remove_file(&ballast).unwrap();
    let ledger = Ledger::open(&places).unwrap();
    assert_eq!(ledger.fault(), None);
    assert!(ledger.append(&draft(1)).unwrap().index > last);
    assert!(verify(&ledger.reader().unwrap(), &VerifyOptions::default()).unwrap().is_sound());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named_and_loses_nothing() {
    let folder = Folder::new();
    let inner = this_program("faults::the_process_with_a_small_disk", &folder.0, 0);
    // A disk of its own in a name space of its own, which some systems allow nobody to make.
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=1m none \"$1\" || exit 77; shift; exec \"$@\"";
    command.args(["-Urm", "sh", "-c", script, "sh"]).arg(&folder.0).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let Ok(output) = command.output() else { return };
    let errors = String::from_utf8_lossy(&output.stderr);
    let is_refused = output.status.code() == Some(77) || errors.contains("unshare");
    assert!(is_refused || output.status.success(), "{}\n{errors}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[cfg(unix)]
fn a_folder_that_cannot_be_written_is_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let ledger = folder.ledger();
    ledger.append_all(&(0..20).map(draft).collect::<Vec<_>>()).unwrap();
    drop(ledger);
    let places = folder.places();
    let permit = |mode: u32, file: u32| {
        std::fs::set_permissions(&places.ledger, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::set_permissions(places.database(), std::fs::Permissions::from_mode(file)).unwrap();
    };
    permit(0o500, 0o400);
    let is_above_permissions = std::fs::write(places.ledger.join("x"), "").is_ok();
    let ledger = Ledger::open(&places).unwrap();
    if !is_above_permissions {
        let refused = ledger.append(&draft(21)).unwrap_err();
        assert!(matches!(refused, AppendError::ReadOnly(Fault::Storage(_))), "{refused:?}");
    }
    assert_eq!(ledger.reader().unwrap().size().unwrap(), 21);
    assert!(verify(&ledger.reader().unwrap(), &VerifyOptions::default()).unwrap().is_sound());
    drop(ledger);
    permit(0o700, 0o600);
}

#[test]
fn a_corrupt_page_is_never_passed_over() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    ledger.append_all(&(0..150).map(draft).collect::<Vec<_>>()).unwrap();
    let options = VerifyOptions { keys: ledger.keys().to_vec(), ..VerifyOptions::default() };
    drop(ledger);
    let whole = std::fs::read(folder.places().database()).unwrap();
    let (mut faults, mut named) = (0, 0);
    for page in 0..whole.len() / 4096 {
        let damaged = Folder::new();
        copy(&folder.0, &damaged.0);
        let mut content = whole.clone();
        content[page * 4096..(page + 1) * 4096].fill(0xa5);
        std::fs::write(damaged.places().database(), content).unwrap();
        let Ok(ledger) = Ledger::open(&damaged.places()) else { continue };
        if ledger.fault().is_some() {
            faults += 1;
            assert!(matches!(ledger.append(&draft(1)), Err(AppendError::ReadOnly(_))));
        } else if let Ok(Receipt { index, .. }) = ledger.append(&draft(1)) {
            // What was damaged is not needed for it.
            assert_eq!(ledger.reader().unwrap().entry(index).unwrap().index, 151);
        } else {
            assert!(matches!(ledger.fault(), Some(Fault::Corrupt(_))), "page {page}: {:?}", ledger.fault());
            faults += 1;
        }
        let reader = ledger.reader().unwrap();
        let is_found = match verify(&reader, &options) {
            Ok(answer) => {
                named += usize::from(answer.levels[0].findings.iter().any(|finding| finding.entry.is_some()));
                !answer.is_sound() || !reader.file_findings().unwrap().is_empty()
            }
            Err(error) => matches!(error, StoreError::Database { .. }),
        };
        // A page may hold nothing any more: then nothing is found, and nothing is lost.
        let is_free = page > 0 && is_unused(&folder, page + 1);
        assert!(is_found || is_free, "page {page}");
    }
    assert!(faults > 3 && named > 3, "{faults} {named}");
}

/// Whether a page of the file belongs to no table.
fn is_unused(folder: &Folder, page: usize) -> bool {
    let connection = Connection::open(folder.places().database()).unwrap();
    let free: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    free > 0 || i64::try_from(page).unwrap() > pages
}

#[test]
fn a_log_that_was_deleted_is_noticed() {
    let folder = Folder::new();
    drop(folder.ledger());
    let ledger = Ledger::open(&folder.places()).unwrap();
    ledger.append(&draft(0)).unwrap();
    ledger.checkpoint().unwrap();
    // As a copy without the log, in which signed entries are missing: refused.
    let copied = Folder::new();
    copy(&folder.0, &copied.0);
    for ending in ["sqlite-wal", "sqlite-shm"] {
        std::fs::remove_file(copied.places().database().with_extension(ending)).unwrap();
    }
    let other = Ledger::open(&copied.places()).unwrap();
    assert!(matches!(other.fault(), Some(Fault::Refused(why)) if why.contains("rolled back")), "{:?}", other.fault());
    // Under the hands of the process that writes: nobody is told that an event is durable there.
    #[cfg(unix)]
    {
        std::fs::remove_file(folder.places().database().with_extension("sqlite-wal")).unwrap();
        let refused = ledger.append(&draft(1)).unwrap_err();
        assert!(matches!(&refused, AppendError::Unknown(Fault::Storage(why)) if why.contains("deleted")), "{refused}");
        assert!(matches!(ledger.append(&draft(2)), Err(AppendError::ReadOnly(_))));
    }
}

#[test]
fn a_clock_that_jumps_changes_no_order() {
    let folder = Folder::new();
    drop(folder.ledger());
    let mut appender = Appender::open(&folder.places().database()).unwrap();
    let day = 86_400_000_000_000;
    for (number, time) in (0..).zip([10 * day, 11 * day, 9 * day, 0, u64::MAX, 10 * day]) {
        let answers = appender.append(&[draft(number).seal(time).unwrap()]).unwrap();
        assert_eq!(answers[0], Ok(Receipt { index: number + 1, is_new: true }));
    }
    drop(appender);
    let ledger = Ledger::open(&folder.places()).unwrap();
    assert_eq!(ledger.append(&draft(6)).unwrap().index, 7);
    ledger.checkpoint().unwrap();
    let options = VerifyOptions { keys: ledger.keys().to_vec(), ..VerifyOptions::default() };
    assert!(verify(&ledger.reader().unwrap(), &options).unwrap().is_sound());
}

#[test]
fn what_a_killed_process_left_unsigned_is_signed() {
    let folder = Folder::new();
    drop(folder.ledger());
    let mut appender = Appender::open(&folder.places().database()).unwrap();
    appender.append(&[draft(1).seal(1).unwrap()]).unwrap();
    drop(appender);
    drop(Ledger::open(&folder.places()).unwrap());
    let reader = Reader::open(&folder.places().database()).unwrap();
    assert_eq!(reader.checkpoint(None).unwrap().unwrap().0, 2);
}

#[test]
fn without_its_signer_a_ledger_is_only_read() {
    let folder = Folder::new();
    let places = folder.places();
    drop(folder.ledger());
    let away = folder.path("away");
    let reason = |change: &dyn Fn()| {
        copy(&places.signer, &away);
        change();
        let ledger = Ledger::open(&places).unwrap();
        let refused = ledger.append(&draft(1)).unwrap_err();
        assert_eq!(ledger.reader().unwrap().size().unwrap(), 1);
        let _ = std::fs::remove_dir_all(&places.signer);
        std::fs::rename(&away, &places.signer).unwrap();
        refused.to_string()
    };
    let lost = reason(&|| std::fs::remove_dir_all(&places.signer).unwrap());
    assert!(lost.contains("read-only") && lost.contains("signer/key"), "{lost}");
    let unclear = reason(&|| std::fs::write(places.signer.join("key"), "no key").unwrap());
    assert!(unclear.contains("this is no secret key"), "{unclear}");
    let unclear = reason(&|| std::fs::write(places.signer.join("last-signed"), "no head").unwrap());
    assert!(unclear.contains("last-signed"), "{unclear}");
    let locked = reason(&|| {
        std::fs::remove_file(places.signer.join("lock")).unwrap();
        std::fs::create_dir(places.signer.join("lock")).unwrap();
    });
    assert!(locked.contains("lock"), "{locked}");
    // While it is open: what is there stays, and nothing is added that nobody can sign.
    let ledger = Ledger::open(&places).unwrap();
    ledger.append(&draft(2)).unwrap();
    std::fs::rename(&places.signer, &away).unwrap();
    assert!(ledger.checkpoint().is_err());
    let refused = ledger.append(&draft(3)).unwrap_err();
    assert!(matches!(&refused, AppendError::ReadOnly(Fault::Storage(why)) if why.contains("signer")), "{refused}");
    assert_eq!(ledger.reader().unwrap().size().unwrap(), 2);
}

#[test]
fn the_log_of_heads_is_not_needed() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let log = folder.places().ledger.join("checkpoints.log");
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    ledger.append(&draft(1)).unwrap();
    ledger.checkpoint().unwrap();
    assert_eq!(ledger.fault(), None);
    assert_eq!(ledger.reader().unwrap().checkpoints().unwrap().len(), 2);
}

#[test]
fn more_callers_than_may_wait_are_told_to_come_back() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let blocker = Connection::open(folder.places().database()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (busy, appended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // 256 in the group that is blocked, 1024 that wait, and some more.
        for number in 0..1300 {
            let (ledger, busy, appended) = (&ledger, &busy, &appended);
            let call = move || match ledger.append(&draft(number).once(number.to_string())) {
                Ok(_) => appended.fetch_add(1, Ordering::Relaxed),
                Err(AppendError::Busy) => busy.fetch_add(1, Ordering::Relaxed),
                Err(other) => panic!("{other}"),
            };
            std::thread::Builder::new().stack_size(512 << 10).spawn_scoped(scope, call).unwrap();
        }
        while busy.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        blocker.execute_batch("ROLLBACK").unwrap();
    });
    let (busy, appended) = (busy.into_inner(), appended.into_inner());
    assert!(busy >= 1 && busy + appended == 1300, "{busy} {appended}");
    assert_eq!(ledger.reader().unwrap().size().unwrap(), 1 + appended as u64);
    assert_eq!(ledger.fault(), None);
    assert!(ledger.append(&draft(1)).is_ok());
}

#[test]
fn closing_answers_those_who_wait() {
    let folder = Folder::new();
    let ledger = Arc::new(folder.ledger());
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let ledger = Arc::clone(&ledger);
            std::thread::spawn(move || (0..10).all(|number| ledger.append(&draft(caller * 10 + number)).is_ok()))
        })
        .collect();
    drop(ledger);
    assert!(callers.into_iter().all(|caller| caller.join().unwrap()));
    let reader = Reader::open(&folder.places().database()).unwrap();
    assert_eq!(reader.size().unwrap(), 81);
    assert_eq!(reader.checkpoint(None).unwrap().unwrap().0, 81, "whoever went last signed");
}

#[test]
fn a_creation_that_was_interrupted_is_finished() {
    // Whatever was there: an empty file, a file with tables only, a key that has signed nothing.
    let (whole, places) = (Folder::new(), Folder::new().places());
    drop((whole.ledger(), places));
    let interrupted: [&dyn Fn(&Folder); 4] = [
        &|folder| std::fs::write(folder.places().database(), "").unwrap(),
        &|folder| drop(Appender::create(&folder.places().database(), "example.com/test").unwrap()),
        &|folder| std::fs::remove_dir_all(folder.path("signer")).unwrap(),
        &|folder| std::fs::write(folder.path("signer/key.new"), "PRIVATE+KEY+half of a").unwrap(),
    ];
    for leave in interrupted {
        let folder = Folder::new();
        std::fs::create_dir_all(folder.path("ledger")).unwrap();
        copy(&whole.path("signer"), &folder.path("signer"));
        std::fs::remove_file(folder.path("signer/last-signed")).unwrap();
        leave(&folder);
        let refused = Ledger::open(&folder.places()).unwrap_err().to_string();
        assert!(refused.contains("interrupted") || refused.contains("there is no ledger"), "{refused}");
        let ledger = Ledger::create(&folder.places(), "example.com/test", None).unwrap();
        assert_eq!(ledger.reader().unwrap().size().unwrap(), 1);
        drop(ledger);
        assert!(Ledger::create(&folder.places(), "example.com/test", None).is_err());
        assert_eq!(Ledger::open(&folder.places()).unwrap().fault(), None);
    }
    // A key that has signed belongs to a ledger that must be somewhere.
    let folder = Folder::new();
    copy(&whole.path("signer"), &folder.path("signer"));
    let refused = Ledger::create(&folder.places(), "example.com/test", None).unwrap_err().to_string();
    assert!(refused.contains("holds a key already"), "{refused}");
}
