//! The key that signs is changed while several processes write: whoever knows one key learns the other.

use std::sync::atomic::{AtomicBool, Ordering};

use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::event::{Draft, KeyRotated, Sealing};
use hwledger_ledger::note::{PublicKey, SecretKey};
use hwledger_ledger::signer::{SignError, Signer};
use hwledger_ledger::store::postgres::PostgresLedger;
use hwledger_ledger::store::{AppendError, StoreError};
use hwledger_ledger::verify::{Outcome, Verification, VerifyOptions, verify};

use crate::place::{ORIGIN, Place, draft};

fn answer(place: &Place, key: &PublicKey) -> Verification {
    let options = VerifyOptions { keys: vec![key.clone()], ..VerifyOptions::default() };
    place.reader().at_one_moment(|reader| verify(reader, &options)).unwrap()
}

#[track_caller]
fn check(place: &Place, keys: &[&PublicKey]) {
    for key in keys {
        let answer = answer(place, key);
        assert!(answer.is_sound() && answer.is_signed(), "{key}: {answer:#?}");
    }
}

/// Whether a head bears valid signatures by exactly these keys.
fn is_signed_by(note: &str, keys: &[&PublicKey]) -> bool {
    let lines = note.lines().filter(|line| line.starts_with('\u{2014}')).count();
    let valid = keys.iter().all(|key| Checkpoint::verify(note, std::slice::from_ref(*key)).is_ok());
    valid && lines == keys.len()
}

fn rotations(place: &Place) -> Vec<u64> {
    let stream = place.reader().stream("ledger", 99).unwrap();
    stream.into_iter().filter(|entry| entry.kind == "KeyRotated").map(|entry| entry.index).collect()
}

fn rotated(old: &PublicKey, new: &PublicKey) -> Draft {
    let reason = "behind the ledger's back".to_owned();
    Draft::new("hwledger/ledger", "ledger", KeyRotated { old: old.to_string(), new: new.to_string(), reason })
}

/// Puts an event into the inbox that no ledger would append, as anyone can who has the role of programs.
fn insert(place: &Place, sealing: &Sealing) {
    let statement = "INSERT INTO hwledger.inbox (key, content, bytes, kind, subject) VALUES ($1, $2, $3, $4, $5)";
    let Sealing { once, content, bytes, kind, subject, .. } = sealing;
    let row = place
        .client("hwledger program")
        .execute(statement, &[&once.0.as_slice(), &content.0.as_slice(), bytes, kind, subject]);
    assert_eq!(row.unwrap(), 1);
}

#[test]
fn either_key_suffices_whoever_is_the_sequencer() {
    let Some(place) = Place::new() else { return };
    let mut ledger = place.ledger();
    let old = ledger.keys()[0].clone();
    // This one keeps the keys that it was opened with in mind, and is the sequencer once the first is gone.
    let other = PostgresLedger::open(&place.places()).unwrap();
    let stranger = PostgresLedger::open(&place.places_without_signer()).unwrap();
    ledger.append(&draft(1)).unwrap();
    let early = ledger.checkpoint().unwrap();
    assert!(is_signed_by(&early, &[&old]));
    let new = ledger.rotate("on a whim").unwrap();
    assert_eq!(ledger.keys(), [old.clone(), new.clone()]);
    drop(ledger);
    stranger.append(&draft(2)).unwrap();
    assert!(is_signed_by(&other.checkpoint().unwrap(), &[&old, &new]), "the other process signs with both");
    check(&place, &[&old, &new]);

    let mut other = other;
    assert_eq!(other.finish_rotation().unwrap(), new);
    assert_eq!(other.keys(), std::slice::from_ref(&new));
    stranger.append(&draft(3)).unwrap();
    let last = stranger.checkpoint().unwrap();
    assert!(is_signed_by(&last, &[&new]));
    check(&place, &[&old, &new]);
    let index = rotations(&place)[0];
    let told = format!("; entry {index}, signed by {:08x}, introduces {:08x}", old.id(), new.id());
    let by_old = answer(&place, &old);
    assert!(by_old.levels[2].detail.ends_with(&told), "{}", by_old.levels[2].detail);
    // Held elsewhere: a head from before, with the new key; one from after, with the old key.
    for (key, note) in [(&new, early), (&old, last)] {
        let held = vec![("held".to_owned(), note)];
        let options = VerifyOptions { keys: vec![key.clone()], held, ..VerifyOptions::default() };
        assert_eq!(verify(&place.reader(), &options).unwrap().levels[3].outcome, Outcome::Holds);
    }
    drop(other);
    let again = PostgresLedger::open(&place.places()).unwrap();
    assert_eq!((again.fault(), again.keys()), (None, std::slice::from_ref(&new)));
}

#[test]
fn keys_change_while_others_write() {
    let Some(place) = Place::new() else { return };
    let mut ledger = place.ledger();
    let mut keys = ledger.keys().to_vec();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u64)
            .map(|writer| {
                let (place, is_over) = (&place, &is_over);
                scope.spawn(move || {
                    let mut written = 0;
                    while !is_over.load(Ordering::Acquire) {
                        // Opened again and again: turns of the sequencer change hands too.
                        let ledger = PostgresLedger::open(&place.places()).unwrap();
                        for _ in 0..20 {
                            ledger.append(&draft(written).once(format!("{writer} {written}"))).unwrap();
                            written += 1;
                        }
                    }
                    written
                })
            })
            .collect();
        for _ in 0..3 {
            keys.push(ledger.rotate("again").unwrap());
            ledger.finish_rotation().unwrap();
        }
        is_over.store(true, Ordering::Release);
        for writer in writers {
            assert!(writer.join().unwrap() > 0);
        }
    });
    ledger.append(&draft(0)).unwrap();
    assert!(is_signed_by(&ledger.checkpoint().unwrap(), &[&keys[3]]));
    assert_eq!(rotations(&place).len(), 3);
    check(&place, &keys.iter().collect::<Vec<_>>());
}

#[test]
fn a_crash_at_any_step_leaves_a_ledger_that_goes_on() {
    let Some(place) = Place::new() else { return };
    let mut ledger = place.ledger();
    let old = ledger.keys()[0].clone();
    let none = ledger.finish_rotation().unwrap_err();
    assert!(matches!(none, StoreError::Sign(SignError::NotRotating(_))), "{none}");
    drop(ledger);

    // After step 1: two keys, and no entry.
    let signer = Signer::open(&place.signer(), ORIGIN).unwrap();
    let (_, new) = signer.lock().unwrap().begin_rotation().unwrap();
    let ledger = PostgresLedger::open(&place.places()).unwrap();
    ledger.append(&draft(2)).unwrap();
    assert!(is_signed_by(&ledger.checkpoint().unwrap(), &[&old, &new]));
    drop(ledger);
    check(&place, &[&old]);
    assert!(rotations(&place).is_empty());

    // After step 2: the entry, and no head that covers it.
    insert(&place, &rotated(&old, &new).once(format!("rotated {new}")).seal(1).unwrap());
    let mut ledger = PostgresLedger::open(&place.places()).unwrap();
    assert_eq!(ledger.rotate("another reason").unwrap(), new, "the one that was begun");
    assert_eq!(ledger.rotate("another reason").unwrap(), new, "as often as one likes");
    assert_eq!(rotations(&place).len(), 1);
    assert_eq!(ledger.finish_rotation().unwrap(), new);
    assert!(ledger.finish_rotation().is_err());
    check(&place, &[&old, &new]);
}

#[test]
fn a_process_without_the_signer_changes_no_key() {
    let Some(place) = Place::new() else { return };
    let ledger = place.ledger();
    let mut stranger = PostgresLedger::open(&place.places_without_signer()).unwrap();
    let refused = stranger.rotate("mine").unwrap_err().to_string();
    assert!(refused.contains("no folder of a signer"), "{refused}");
    assert!(stranger.finish_rotation().is_err());
    let own = SecretKey::generate(ORIGIN).unwrap().public();
    let forged = rotated(&ledger.keys()[0], &own);
    assert_eq!(stranger.append(&forged), Err(AppendError::Reserved));
    assert_eq!(stranger.accept(&forged), Err(AppendError::Reserved));
    assert!(rotations(&place).is_empty() && ledger.fault().is_none());
}

#[test]
fn no_head_vouches_for_a_key_that_is_not_the_signers() {
    let Some(place) = Place::new() else { return };
    let ledger = place.ledger();
    let old = ledger.keys()[0].clone();
    let thief = SecretKey::generate(ORIGIN).unwrap().public();
    insert(&place, &rotated(&old, &thief).once("mine").seal(1).unwrap());
    // It has its place: whoever writes to the tables can put in what is wrong.
    let reader = place.reader();
    while reader.size().unwrap() < 2 {
        std::thread::yield_now();
    }
    assert!(ledger.checkpoint().is_err());
    let fault = ledger.fault().unwrap().to_string();
    assert!(fault.contains("entry 1 changes the ledger's key for one that its signer does not have"), "{fault}");
    drop(ledger);
    assert_eq!(reader.checkpoint(None).unwrap().unwrap().0, 1);
    assert!(!answer(&place, &old).levels[2].detail.contains("introduces"));
}
