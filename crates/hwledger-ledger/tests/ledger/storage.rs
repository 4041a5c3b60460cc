//! Appending, order, once-only, several processes' worth of writers.

use hwledger_ledger::event::{Draft, Event, EventError, JobFailed, Payload};
use hwledger_ledger::store::{AppendError, Fault, Ledger};

use crate::folder::{Folder, draft};

#[test]
fn entries_come_back_in_order_after_a_restart() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    for number in 0..300 {
        assert_eq!(ledger.append(&draft(number)).unwrap().index, number + 1);
    }
    drop(ledger);
    let ledger = Ledger::open(&folder.places()).unwrap();
    assert_eq!(ledger.fault(), None);
    assert_eq!(ledger.append(&draft(300)).unwrap().index, 301);
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.size().unwrap(), 302);
    let entry = reader.entry(8).unwrap();
    let bytes = entry.bytes.unwrap();
    hwledger_ledger::canonical::check_canonical(&bytes).unwrap();
    let event = Event::parse(&bytes).unwrap();
    assert_eq!((event.kind.as_ref(), event.subject.as_ref(), entry.version), ("AgentLost", "agent/agent-0", 1));
    assert_eq!(event.payload().unwrap(), Some(draft(7).payload));
    assert_eq!(reader.find(&event.id).unwrap(), Some(8));
    assert_eq!(reader.stream("agent/agent-0", 1000).unwrap().len(), 43);
}

#[test]
fn the_same_key_appends_once() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let first = ledger.append(&draft(1).once("a")).unwrap();
    let second = ledger.append(&draft(1).once("a")).unwrap();
    assert_eq!((first.index, first.is_new, second.index, second.is_new), (1, true, 1, false));
    assert_eq!(ledger.append(&draft(2).once("a")), Err(AppendError::Conflict { index: 1 }));
    let mut elsewhere = draft(2).once("a");
    elsewhere.source = "another".to_owned();
    assert!(ledger.append(&elsewhere).unwrap().is_new);
    // In one group too.
    let group = [draft(5).once("b"), draft(5).once("b"), draft(6).once("b"), draft(7)];
    let answers = ledger.append_all(&group).unwrap();
    assert_eq!(answers[0].as_ref().unwrap().index, answers[1].as_ref().unwrap().index);
    assert!(answers[2].is_err() && answers[3].as_ref().unwrap().is_new);
}

#[test]
fn a_stream_that_went_on_refuses_the_late() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let start = |job: &str, expected| {
        let data = JobFailed { job: job.to_owned(), exit_status: None, reason: "none".to_owned() };
        Draft { expected_version: Some(expected), ..Draft::new("dispatcher", &format!("job/{job}"), data) }
    };
    assert!(ledger.append(&start("x", 0)).is_ok());
    let late = ledger.append(&start("x", 0));
    assert_eq!(late, Err(AppendError::Version { subject: "job/x".to_owned(), expected: 0, found: 1 }));
    assert!(ledger.append(&start("x", 1)).is_ok());
    assert!(ledger.append(&start("y", 0)).is_ok());
}

#[test]
fn unfit_events_are_refused_before_they_are_queued() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let long = JobFailed { job: "x".to_owned(), exit_status: None, reason: "r".repeat(49 << 10) };
    let refused = ledger.append(&Draft::new("test", "job/x", long));
    assert!(matches!(refused, Err(AppendError::Event(EventError::TooLong(_)))), "{refused:?}");
    let nameless = JobFailed { job: "x".to_owned(), exit_status: None, reason: String::new() };
    for subject in ["", "two\nlines", &"x".repeat(600)] {
        let refused = ledger.append(&Draft::new("test", subject, nameless.clone()));
        assert_eq!(refused, Err(AppendError::Event(EventError::Name("subject"))));
    }
    assert_eq!(ledger.reader().unwrap().size().unwrap(), 1);
}

#[test]
fn two_open_ledgers_take_turns() {
    let folder = Folder::new();
    let ledgers = [folder.ledger(), Ledger::open(&folder.places()).unwrap()];
    std::thread::scope(|scope| {
        for (place, ledger) in ledgers.iter().enumerate() {
            for caller in 0..4 {
                scope.spawn(move || {
                    for number in 0..40 {
                        let key = format!("{place} {caller} {number}");
                        ledger.append(&draft(number).once(key)).unwrap();
                        if number % 16 == caller {
                            ledger.checkpoint().unwrap();
                        }
                    }
                });
            }
        }
    });
    let reader = ledgers[0].reader().unwrap();
    assert_eq!(reader.size().unwrap(), 1 + 2 * 4 * 40);
    assert_eq!((ledgers[0].fault(), ledgers[1].fault()), (None, None));
    drop(ledgers);
    let sound = hwledger_ledger::verify::verify(&reader, &hwledger_ledger::verify::VerifyOptions::default()).unwrap();
    assert!(sound.is_sound(), "{sound:#?}");
}

#[test]
fn every_kind_reads_back_and_newer_ones_stay_raw() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let index = ledger.append(&draft(1)).unwrap().index;
    let bytes = ledger.reader().unwrap().entry(index).unwrap().bytes.unwrap();
    let newer = String::from_utf8(bytes).unwrap().replace("\"AgentLost\"", "\"AgentBored\"");
    let event = Event::parse(newer.as_bytes()).unwrap();
    assert_eq!(event.payload().unwrap(), None);
    let wrong = newer.replace("\"AgentBored\"", "\"AgentSeen\"");
    assert!(matches!(Event::parse(wrong.as_bytes()).unwrap().payload(), Err(EventError::Data { .. })));
    assert!(matches!(draft(1).payload, Payload::AgentLost(_)));
}

#[test]
fn a_ledger_restored_from_a_backup_is_only_read() {
    let folder = Folder::new();
    let places = folder.places();
    drop(folder.ledger());
    crate::folder::copy(&places.ledger, &folder.path("backup"));
    let ledger = Ledger::open(&places).unwrap();
    for number in 0..5 {
        ledger.append(&draft(number)).unwrap();
    }
    drop(ledger);
    std::fs::remove_dir_all(&places.ledger).unwrap();
    crate::folder::copy(&folder.path("backup"), &places.ledger);
    let ledger = Ledger::open(&places).unwrap();
    let refused = ledger.append(&draft(9)).unwrap_err();
    assert!(matches!(&refused, AppendError::ReadOnly(Fault::Refused(why)) if why.contains("rolled back")), "{refused}");
    assert_eq!(ledger.reader().unwrap().size().unwrap(), 1);
    // Nor does it help to append by other means until it is long enough.
    drop(ledger);
    let mut appender = hwledger_ledger::store::sqlite::Appender::open(&places.database()).unwrap();
    let group: Vec<_> = (20..40).map(|number| draft(number).seal(1).unwrap()).collect();
    appender.append(&group).unwrap();
    drop(appender);
    let ledger = Ledger::open(&places).unwrap();
    assert!(matches!(ledger.fault(), Some(Fault::Refused(why)) if why.contains("another history")));
}

#[test]
fn nothing_is_created_over_a_ledger_and_nothing_else_is_opened() {
    let folder = Folder::new();
    let places = folder.places();
    drop(folder.ledger());
    assert!(Ledger::create(&places, "example.com/test", None).is_err());
    let mut elsewhere = places.clone();
    elsewhere.ledger = folder.path("other");
    // The signer is of the first ledger.
    assert!(Ledger::create(&elsewhere, "example.com/other", None).is_err());
    std::fs::create_dir_all(&elsewhere.ledger).unwrap();
    std::fs::write(elsewhere.database(), b"not a database at all, only text").unwrap();
    assert!(Ledger::open(&elsewhere).is_err());
    assert!(
        Ledger::open(&hwledger_ledger::store::LedgerPlaces { ledger: folder.path("none"), ..places.clone() }).is_err()
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        for path in [places.database(), places.signer.join("key"), places.signer.join("last-signed")] {
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
        assert_eq!(std::fs::metadata(&places.signer).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
