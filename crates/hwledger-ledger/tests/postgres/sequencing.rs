//! One sequencer at a time, and none that was passed over commits.

use hwledger_ledger::signer::Signer;
use hwledger_ledger::store::StoreError;
use hwledger_ledger::store::postgres::{Candidate, Elected, PostgresLedger, Sequencer};

use crate::place::{ORIGIN, Place, draft};

fn candidate(place: &Place, name: &str) -> Candidate {
    Candidate::connect(&place.program(), name).unwrap()
}

fn elected(candidate: Candidate) -> Sequencer {
    match candidate.elect().unwrap() {
        Elected::Yes(sequencer) => sequencer,
        Elected::No(candidate) => panic!("{candidate:?} was not elected"),
    }
}

#[test]
fn there_is_one_and_the_next_has_the_next_turn() {
    let Some(place) = Place::new() else { return };
    drop(place.ledger());
    let first = elected(candidate(&place, "first"));
    let epoch = first.epoch();
    let Elected::No(second) = candidate(&place, "second").elect().unwrap() else { panic!("two at once") };
    assert_eq!(place.reader().sequencer().unwrap(), (epoch, "first".to_owned()));
    drop(first);
    // The server notices on its own time that the connection was closed.
    let mut second = second;
    let second = loop {
        match second.elect().unwrap() {
            Elected::Yes(sequencer) => break sequencer,
            Elected::No(again) => second = again,
        }
    };
    assert_eq!((second.epoch(), place.reader().sequencer().unwrap().1), (epoch + 1, "second".to_owned()));
}

#[test]
fn one_that_was_passed_over_commits_nothing() {
    let Some(place) = Place::new() else { return };
    drop(place.ledger());
    let ledger = PostgresLedger::open(&place.places_without_signer()).unwrap();
    let signer = Signer::open(&place.signer(), ORIGIN).unwrap();
    let mut late = elected(candidate(&place, "late"));
    ledger.accept(&draft(1)).unwrap();
    assert_eq!(late.step().unwrap(), 1);
    ledger.accept(&draft(2)).unwrap();
    // As if its lock had been lost without its connection: somebody else has the next turn.
    place.client("hwledger_owner").batch_execute("UPDATE hwledger.sequencer SET epoch = epoch + 1").unwrap();
    assert!(matches!(late.step(), Err(StoreError::Fenced { epoch }) if epoch == late.epoch()));
    assert!(matches!(late.sign(&signer), Err(StoreError::Fenced { .. })));
    let reader = place.reader();
    assert_eq!((reader.size().unwrap(), reader.waiting().unwrap()), (2, 1));
    assert_eq!(reader.checkpoint(None).unwrap().unwrap().0, 1);
    drop(late);
    let mut waiting = candidate(&place, "next");
    let mut next = loop {
        match waiting.elect().unwrap() {
            Elected::Yes(sequencer) => break sequencer,
            Elected::No(again) => waiting = again,
        }
    };
    assert_eq!(next.step().unwrap(), 1);
    assert_eq!(next.sign(&signer).unwrap().unwrap().0, 3);
    // While another process signs, there is no waiting for it.
    let other = signer.lock().unwrap();
    assert_eq!(next.sign(&signer).unwrap(), None);
    drop(other);
}

#[test]
fn a_turn_that_is_held_is_not_taken_before_it_commits() {
    let Some(place) = Place::new() else { return };
    drop(place.ledger());
    let epoch = place.reader().sequencer().unwrap().0.cast_signed();
    let mut holder = place.client("hwledger program");
    holder.batch_execute("BEGIN").unwrap();
    assert!(holder.query_one("SELECT hwledger.hold_sequencer($1)", &[&epoch]).unwrap().get::<_, bool>(0));
    let mut taker = place.client("hwledger program");
    taker.batch_execute("SELECT pg_advisory_lock(1752656999, 1); SET lock_timeout = '200ms'").unwrap();
    let refused = taker.batch_execute("SELECT hwledger.take_sequencer('taker')").unwrap_err();
    assert_eq!(refused.code(), Some(&postgres::error::SqlState::LOCK_NOT_AVAILABLE));
    holder.batch_execute("COMMIT").unwrap();
    taker.batch_execute("SELECT hwledger.take_sequencer('taker')").unwrap();
    holder.batch_execute("BEGIN").unwrap();
    assert!(!holder.query_one("SELECT hwledger.hold_sequencer($1)", &[&epoch]).unwrap().get::<_, bool>(0));
}

#[test]
fn one_that_stands_still_while_signing_holds_up_heads_only() {
    let Some(place) = Place::new() else { return };
    drop(place.ledger());
    let signer = Signer::open(&place.signer(), ORIGIN).unwrap();
    let standing = signer.lock().unwrap();
    let ledger = PostgresLedger::open(&place.places()).unwrap();
    for number in 0..20 {
        assert_eq!(ledger.append(&draft(number)).unwrap().index, number + 1);
    }
    assert_eq!(place.reader().checkpoint(None).unwrap().unwrap().0, 1);
    drop(standing);
    ledger.checkpoint().unwrap();
    assert_eq!(place.reader().checkpoint(None).unwrap().unwrap().0, 21);
}
