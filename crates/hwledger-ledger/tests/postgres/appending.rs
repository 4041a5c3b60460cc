//! Appending, once-only, expectations: the same promises as on SQLite, between processes.

use std::sync::Barrier;

use hwledger_ledger::event::{Draft, Event, JobStarted};
use hwledger_ledger::store::postgres::{Candidate, Elected, PostgresLedger};
use hwledger_ledger::store::{AppendError, Receipt};

use crate::place::{Place, draft};

fn start(job: u64, agent: &str, expected: u64) -> Draft {
    let data = JobStarted { job: format!("{job}"), agent: agent.to_owned() };
    Draft { expected_version: Some(expected), ..Draft::new(agent, &format!("job/{job}"), data) }
}

/// Moves everything in the inbox, as a sequencer of this test's own.
fn sequence(place: &Place) {
    let Elected::Yes(mut sequencer) = Candidate::connect(&place.program(), "test").unwrap().elect().unwrap() else {
        panic!("another one is the sequencer");
    };
    while sequencer.step().unwrap() > 0 {}
}

#[test]
fn entries_come_back_in_order_after_a_restart() {
    let Some(place) = Place::new() else { return };
    let ledger = place.ledger();
    for number in 0..20 {
        assert_eq!(ledger.append(&draft(number)), Ok(Receipt { index: number + 1, is_new: true }));
    }
    let drafts: Vec<Draft> = (20..600).map(draft).collect();
    let answers = ledger.append_all(&drafts).unwrap();
    let indices: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().index).collect();
    assert!(indices.iter().copied().eq(21..601), "{indices:?}");
    drop(ledger);
    let ledger = PostgresLedger::open(&place.places()).unwrap();
    assert_eq!(ledger.fault(), None);
    assert_eq!(ledger.append(&draft(600)).unwrap().index, 601);
    let reader = ledger.reader().unwrap();
    assert_eq!((reader.size().unwrap(), reader.waiting().unwrap()), (602, 0));
    let entry = reader.entry(8).unwrap();
    let bytes = entry.bytes.unwrap();
    hwledger_ledger::canonical::check_canonical(&bytes).unwrap();
    let event = Event::parse(&bytes).unwrap();
    assert_eq!((event.kind.as_ref(), event.subject.as_ref(), entry.version), ("AgentLost", "agent/agent-0", 1));
    assert_eq!(event.payload().unwrap(), Some(draft(7).payload));
    assert_eq!(reader.find(&event.id).unwrap(), Some(8));
    assert_eq!(reader.stream("agent/agent-0", 1000).unwrap().len(), 86);
    assert!(reader.entry(602).is_err());
}

#[test]
fn the_same_key_appends_once_whoever_comes() {
    let Some(place) = Place::new() else { return };
    let ledgers = [place.ledger(), PostgresLedger::open(&place.places_without_signer()).unwrap()];
    let first = ledgers[0].append(&draft(1).once("a")).unwrap();
    let second = ledgers[1].append(&draft(1).once("a")).unwrap();
    assert_eq!((first.index, first.is_new, second.index, second.is_new), (1, true, 1, false));
    for ledger in &ledgers {
        assert_eq!(ledger.append(&draft(2).once("a")), Err(AppendError::Conflict { index: 1 }));
        assert_eq!(ledger.accept(&draft(2).once("a")), Err(AppendError::Conflict { index: 1 }));
    }
    let mut elsewhere = draft(2).once("a");
    elsewhere.source = "another".to_owned();
    assert!(ledgers[1].append(&elsewhere).unwrap().is_new);
    // In one group too.
    let group = [draft(5).once("b"), draft(5).once("b"), draft(6).once("b"), draft(7)];
    let answers = ledgers[1].append_all(&group).unwrap();
    assert_eq!(answers[0].as_ref().unwrap().index, answers[1].as_ref().unwrap().index);
    assert!(answers[0].as_ref().unwrap().is_new && !answers[1].as_ref().unwrap().is_new);
    assert!(matches!(answers[2], Err(AppendError::Conflict { .. })) && answers[3].as_ref().unwrap().is_new);
    // At the same time, many times over: one is new, the others are told where it is.
    for round in 0..30 {
        let barrier = Barrier::new(4);
        let receipts: Vec<Receipt> = std::thread::scope(|scope| {
            let callers = (0..4).map(|caller| {
                let (ledger, barrier) = (&ledgers[caller % 2], &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    ledger.append(&draft(round).once(format!("round {round}"))).unwrap()
                })
            });
            callers.collect::<Vec<_>>().into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        assert_eq!(receipts.iter().filter(|receipt| receipt.is_new).count(), 1, "{receipts:?}");
        assert!(receipts.iter().all(|receipt| receipt.index == receipts[0].index), "{receipts:?}");
    }
}

#[test]
fn two_dispatchers_cannot_both_start_one_job() {
    let Some(place) = Place::new() else { return };
    let ledgers = [place.ledger(), PostgresLedger::open(&place.places_without_signer()).unwrap()];
    for job in 0..40 {
        let barrier = Barrier::new(2);
        let results: Vec<_> = std::thread::scope(|scope| {
            let dispatchers = ledgers.iter().zip(["one", "two"]).map(|(ledger, name)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    ledger.append(&start(job, name, 0))
                })
            });
            dispatchers.collect::<Vec<_>>().into_iter().map(|dispatcher| dispatcher.join().unwrap()).collect()
        });
        let refused = AppendError::Version { subject: format!("job/{job}"), expected: 0, found: 1 };
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert!(results.contains(&Err(refused)), "{results:?}");
    }
    assert!(ledgers[1].append(&start(0, "two", 1)).is_ok());
    assert_eq!(ledgers[0].reader().unwrap().stream("job/0", 10).unwrap().len(), 2);
}

#[test]
fn accepted_events_get_their_places_later() {
    let Some(place) = Place::new() else { return };
    drop(place.ledger());
    // Nobody sequences from here on.
    let ledger = PostgresLedger::open(&place.places_without_signer()).unwrap();
    let tickets: Vec<_> =
        (0..5).map(|number| ledger.accept(&draft(number).once(format!("{number}"))).unwrap()).collect();
    let late = ledger.accept(&start(9, "one", 3)).unwrap();
    let reader = place.reader();
    assert_eq!((reader.size().unwrap(), reader.waiting().unwrap()), (1, 6));
    // A writer that was killed after this and comes again, in another process, has its event once.
    drop(ledger);
    let ledger = PostgresLedger::open(&place.places_without_signer()).unwrap();
    let again = ledger.accept(&draft(0).once("0")).unwrap();
    assert_ne!(again.id(), tickets[0].id());
    assert_eq!(reader.waiting().unwrap(), 6);
    sequence(&place);
    assert_eq!((reader.size().unwrap(), reader.waiting().unwrap()), (6, 0));
    assert_eq!(ledger.outcome(&again), Ok(Receipt { index: 1, is_new: false }));
    for (index, ticket) in (1..).zip(&tickets) {
        assert_eq!(ledger.outcome(ticket), Ok(Receipt { index, is_new: true }));
    }
    let refused = AppendError::Version { subject: "job/9".to_owned(), expected: 3, found: 0 };
    assert_eq!(ledger.outcome(&late), Err(refused.clone()));
    // A refusal is final, even if the stream comes to where it was expected: the caller was told.
    for version in 0..3 {
        let ticket = ledger.accept(&start(9, "one", version)).unwrap();
        sequence(&place);
        assert!(ledger.outcome(&ticket).is_ok());
    }
    assert_eq!(ledger.outcome(&late), Err(refused));
    sequence(&place);
    assert_eq!(reader.stream("job/9", 10).unwrap().len(), 3);
}

#[test]
fn a_key_that_waits_is_kept_for_its_content() {
    let Some(place) = Place::new() else { return };
    drop(place.ledger());
    let ledger = PostgresLedger::open(&place.places_without_signer()).unwrap();
    ledger.accept(&draft(1).once("a")).unwrap();
    // This one will be refused, and must not take the other, without an expectation, with it.
    let late = ledger.accept(&start(1, "one", 7).once("b")).unwrap();
    let mut any_time = start(1, "one", 7).once("b");
    any_time.expected_version = None;
    let (conflict, plain) = std::thread::scope(|scope| {
        let conflict = scope.spawn(|| ledger.accept(&draft(2).once("a")));
        let plain = scope.spawn(|| ledger.append(&any_time));
        // Until both have been answered, whatever the order in which they come to the inbox.
        while !(conflict.is_finished() && plain.is_finished()) {
            sequence(&place);
        }
        (conflict.join().unwrap(), plain.join().unwrap())
    });
    assert!(matches!(conflict, Err(AppendError::Conflict { .. })), "{conflict:?}");
    assert!(plain.as_ref().is_ok_and(|receipt| receipt.is_new), "{plain:?}");
    // The same key and content as what is there now: it leads there.
    assert_eq!(ledger.outcome(&late).map(|receipt| receipt.index), plain.map(|receipt| receipt.index));
    assert_eq!(place.reader().size().unwrap(), 3);
}
