//! The key that signs is changed: whoever knows one key learns the other, and nobody else's.

use hwledger_ledger::bundle::{Bundle, export};
use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::event::{Draft, Event, KeyRotated};
use hwledger_ledger::note::{Note, PublicKey, SecretKey};
use hwledger_ledger::signer::{SignError, Signer};
use hwledger_ledger::store::sqlite::{Appender, Reader};
use hwledger_ledger::store::{AppendError, Ledger, LedgerPlaces, StoreError};
use hwledger_ledger::verify::{Outcome, Verification, VerifyOptions, verify};
use rusqlite::Connection;

use crate::folder::{Folder, draft};

fn answer(places: &LedgerPlaces, key: &PublicKey) -> Verification {
    let options = VerifyOptions { keys: vec![key.clone()], ..VerifyOptions::default() };
    verify(&Reader::open(&places.database()).unwrap(), &options).unwrap()
}

/// Whether a head bears valid signatures by exactly these keys.
fn is_signed_by(note: &str, keys: &[&PublicKey]) -> bool {
    let lines = note.lines().filter(|line| line.starts_with('\u{2014}')).count();
    let valid = keys.iter().all(|key| Checkpoint::verify(note, std::slice::from_ref(*key)).is_ok());
    valid && lines == keys.len()
}

/// The secret keys that a signer has now.
fn secrets(places: &LedgerPlaces) -> Vec<SecretKey> {
    let text = std::fs::read_to_string(places.signer.join("key")).unwrap();
    text.lines().map(|line| SecretKey::parse(line).unwrap()).collect()
}

fn rotations(places: &LedgerPlaces) -> Vec<u64> {
    let reader = Reader::open(&places.database()).unwrap();
    let stream = reader.stream("ledger", 99).unwrap();
    stream.into_iter().filter(|entry| entry.kind == "KeyRotated").map(|entry| entry.index).collect()
}

/// Puts a head signed by `keys` for all entries into the database, as somebody would who may write it.
fn sign_behind_the_back(places: &LedgerPlaces, keys: &[&SecretKey]) {
    let reader = Reader::open(&places.database()).unwrap();
    let size = reader.size().unwrap();
    let head = Checkpoint { origin: reader.origin().unwrap(), size, root: reader.root_at(size).unwrap() };
    let connection = Connection::open(places.database()).unwrap();
    let row = (size.cast_signed(), head.sign(keys));
    connection.execute("INSERT INTO checkpoints (size, note) VALUES (?1, ?2)", row).unwrap();
}

fn rotated(source: &str, old: &PublicKey, new: &PublicKey) -> Draft {
    let reason = "forged".to_owned();
    Draft::new(source, "ledger", KeyRotated { old: old.to_string(), new: new.to_string(), reason })
}

#[test]
fn either_key_suffices_before_and_after_the_change() {
    let folder = Folder::new();
    let places = folder.places();
    let mut ledger = folder.ledger();
    let old = ledger.keys()[0].clone();
    ledger.append(&draft(1)).unwrap();
    let early = ledger.checkpoint().unwrap();
    assert!(is_signed_by(&early, &[&old]));
    let new = ledger.rotate("on a whim").unwrap();
    assert_eq!(ledger.keys(), [old.clone(), new.clone()]);
    assert!(new.name() == old.name() && new.id() != old.id());
    ledger.append(&draft(2)).unwrap();
    assert!(is_signed_by(&ledger.checkpoint().unwrap(), &[&old, &new]));
    let both = answer(&places, &old);
    assert!(both.is_sound() && both.is_signed(), "{both:#?}");

    assert_eq!(ledger.finish_rotation().unwrap(), new);
    assert_eq!(ledger.keys(), std::slice::from_ref(&new));
    ledger.append(&draft(3)).unwrap();
    let last = ledger.checkpoint().unwrap();
    assert!(is_signed_by(&last, &[&new]));
    drop(ledger);
    let ledger = Ledger::open(&places).unwrap();
    assert_eq!((ledger.fault(), ledger.keys()), (None, std::slice::from_ref(&new)));

    let index = rotations(&places)[0];
    let by_old = answer(&places, &old);
    assert!(by_old.is_sound() && by_old.is_signed(), "{by_old:#?}");
    let told = format!("; entry {index}, signed by {:08x}, introduces {:08x}", old.id(), new.id());
    assert!(by_old.levels[2].detail.ends_with(&told), "{}", by_old.levels[2].detail);
    let by_new = answer(&places, &new);
    assert!(by_new.is_sound() && by_new.is_signed(), "{by_new:#?}");
    assert!(by_new.levels[2].detail.contains(&format!("introduces {:08x} for heads of at most", old.id())));

    // Held elsewhere: a head from before, with the new key; one from after, with the old key.
    for (key, note) in [(&new, &early), (&old, &last)] {
        let held = vec![("held".to_owned(), note.clone())];
        let options = VerifyOptions { keys: vec![key.clone()], held, ..VerifyOptions::default() };
        let answer = verify(&ledger.reader().unwrap(), &options).unwrap();
        assert_eq!(answer.levels[3].outcome, Outcome::Holds, "{answer:#?}");
        let strict = VerifyOptions { follow_rotations: false, ..options };
        let answer = verify(&ledger.reader().unwrap(), &strict).unwrap();
        assert_eq!([answer.levels[2].outcome, answer.levels[3].outcome], [Outcome::Fails; 2], "{answer:#?}");
    }
}

#[test]
fn an_export_goes_on_over_a_change() {
    let folder = Folder::new();
    let mut ledger = folder.ledger();
    let old = ledger.keys()[0].clone();
    let bundle = folder.path("bundle");
    export(&ledger.reader().unwrap(), ledger.keys(), &bundle).unwrap();
    ledger.rotate("yearly").unwrap();
    let new = ledger.finish_rotation().unwrap();
    ledger.append(&draft(1)).unwrap();
    ledger.checkpoint().unwrap();
    export(&ledger.reader().unwrap(), ledger.keys(), &bundle).unwrap();
    for key in [old, new] {
        let options = VerifyOptions { keys: vec![key], ..VerifyOptions::default() };
        let answer = verify(&Bundle::open(&bundle).unwrap(), &options).unwrap();
        assert!(answer.is_sound() && answer.is_signed(), "{answer:#?}");
    }
}

#[test]
fn the_first_and_the_last_of_many_keys_suffice() {
    let folder = Folder::new();
    let mut ledger = folder.ledger();
    let mut keys = ledger.keys().to_vec();
    for number in 0..3 {
        keys.push(ledger.rotate("again").unwrap());
        ledger.finish_rotation().unwrap();
        ledger.append(&draft(number)).unwrap();
        ledger.checkpoint().unwrap();
    }
    assert_eq!(rotations(&folder.places()).len(), 3);
    for key in &keys {
        let answer = answer(&folder.places(), key);
        assert!(answer.is_sound() && answer.is_signed(), "{answer:#?}");
        assert_eq!(answer.levels[2].detail.matches("introduces").count(), 3);
    }
}

#[test]
fn the_old_secret_is_kept_nowhere() {
    let folder = Folder::new();
    let places = folder.places();
    let mut ledger = folder.ledger();
    let [old] = secrets(&places).try_into().unwrap();
    let text = old.to_text();
    // What is in base64 may hold a plus itself.
    let secret = text.splitn(5, '+').last().unwrap().trim_end();
    ledger.rotate("test").unwrap();
    assert_eq!(secrets(&places).len(), 2);
    assert!(std::fs::read_to_string(places.signer.join("key")).unwrap().contains(secret));
    ledger.finish_rotation().unwrap();
    drop(ledger);
    for folder in [&places.signer, &places.ledger] {
        for file in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()));
        }
    }
    assert!(!places.signer.join("key.new").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(places.signer.join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_crash_at_any_step_leaves_a_ledger_that_goes_on() {
    // Before step 1 is over: the file beside is not the key.
    let folder = Folder::new();
    let places = folder.places();
    drop(folder.ledger());
    std::fs::write(places.signer.join("key.new"), "PRIVATE+KEY+half").unwrap();
    let mut ledger = Ledger::open(&places).unwrap();
    let old = ledger.keys()[0].clone();
    ledger.append(&draft(1)).unwrap();
    assert!(is_signed_by(&ledger.checkpoint().unwrap(), &[&old]));
    let none = ledger.finish_rotation().unwrap_err();
    assert!(matches!(none, StoreError::Sign(SignError::NotRotating(_))), "{none}");
    drop(ledger);

    // After step 1: two keys, and no entry.
    let signer = Signer::open(&places.signer, "example.com/test").unwrap();
    let (found, new) = signer.lock().unwrap().begin_rotation().unwrap();
    assert_eq!(found, old);
    assert_eq!(signer.lock().unwrap().begin_rotation().unwrap(), (old.clone(), new.clone()), "not a third key");
    let ledger = Ledger::open(&places).unwrap();
    ledger.append(&draft(2)).unwrap();
    assert!(is_signed_by(&ledger.checkpoint().unwrap(), &[&old, &new]));
    drop(ledger);
    assert!(answer(&places, &old).is_sound() && rotations(&places).is_empty());

    // After step 2: the entry, and no head that covers it.
    let entry = rotated("hwledger/ledger", &old, &new).once(format!("rotated {new}"));
    Appender::open(&places.database()).unwrap().append(&[entry.seal(1).unwrap()]).unwrap();
    assert!(answer(&places, &old).is_sound());
    let mut ledger = Ledger::open(&places).unwrap();
    assert_eq!(ledger.rotate("another reason").unwrap(), new, "the one that was begun");
    assert_eq!(ledger.rotate("another reason").unwrap(), new, "as often as one likes");
    assert_eq!(rotations(&places).len(), 1);
    assert!(is_signed_by(&ledger.checkpoint().unwrap(), &[&old, &new]));

    // In step 4, and after it.
    std::fs::write(places.signer.join("key.new"), new.to_string()).unwrap();
    assert_eq!(ledger.finish_rotation().unwrap(), new);
    assert!(ledger.finish_rotation().is_err());
    drop(ledger);
    assert!(answer(&places, &old).is_sound() && answer(&places, &new).is_sound());
}

#[test]
fn finishing_records_what_an_interrupted_change_did_not() {
    let folder = Folder::new();
    let places = folder.places();
    let mut ledger = folder.ledger();
    let old = ledger.keys()[0].clone();
    let signer = Signer::open(&places.signer, "example.com/test").unwrap();
    signer.lock().unwrap().begin_rotation().unwrap();
    ledger.finish_rotation().unwrap();
    ledger.append(&draft(1)).unwrap();
    ledger.checkpoint().unwrap();
    assert_eq!(rotations(&places).len(), 1);
    assert!(answer(&places, &old).is_sound());
}

#[test]
fn a_folder_that_cannot_be_written_changes_nothing() {
    let folder = Folder::new();
    let places = folder.places();
    let mut ledger = folder.ledger();
    let old = ledger.keys()[0].clone();
    std::fs::create_dir(places.signer.join("key.new")).unwrap();
    assert!(ledger.rotate("test").is_err());
    ledger.append(&draft(1)).unwrap();
    assert!(is_signed_by(&ledger.checkpoint().unwrap(), &[&old]));
    assert!(ledger.keys() == [old] && ledger.fault().is_none() && rotations(&places).is_empty());
    std::fs::remove_dir(places.signer.join("key.new")).unwrap();
    let new = ledger.rotate("test").unwrap();
    std::fs::create_dir(places.signer.join("key.new")).unwrap();
    assert!(ledger.finish_rotation().is_err());
    ledger.append(&draft(2)).unwrap();
    assert!(is_signed_by(&ledger.checkpoint().unwrap(), &[&ledger.keys()[0], &new]));
}

#[test]
fn others_that_have_the_ledger_open_follow() {
    let folder = Folder::new();
    let mut ledger = folder.ledger();
    let other = Ledger::open(&folder.places()).unwrap();
    let old = ledger.keys()[0].clone();
    let new = ledger.rotate("test").unwrap();
    other.append(&draft(1)).unwrap();
    assert!(is_signed_by(&other.checkpoint().unwrap(), &[&old, &new]));
    ledger.finish_rotation().unwrap();
    other.append(&draft(2)).unwrap();
    assert!(is_signed_by(&other.checkpoint().unwrap(), &[&new]));
    drop((ledger, other));
    assert!(answer(&folder.places(), &old).is_sound());
}

#[test]
fn callers_cannot_name_the_next_key() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let evil = SecretKey::generate("example.com/test").unwrap();
    let forged = rotated("hwledger/ledger", &ledger.keys()[0], &evil.public());
    assert_eq!(ledger.append(&forged), Err(AppendError::Reserved));
    assert_eq!(ledger.append_all(&[draft(1), forged]), Err(AppendError::Reserved));
    assert_eq!(ledger.reader().unwrap().size().unwrap(), 1);
}

/// Checks that a record whose entries name the key `evil`, with a head that it alone signed, is not believed.
fn check_is_not_believed(places: &LedgerPlaces, known: &PublicKey, evil: &SecretKey) {
    sign_behind_the_back(places, &[evil]);
    let answer = answer(places, known);
    assert_eq!(answer.levels[2].outcome, Outcome::Fails, "{answer:#?}");
    assert!(answer.levels[2].findings.iter().any(|finding| finding.what.contains("by a key that is known")));
    assert!(!answer.levels[2].detail.contains("introduces"), "{}", answer.levels[2].detail);
}

#[test]
fn a_change_that_the_old_key_has_not_signed_introduces_nobody() {
    let folder = Folder::new();
    let places = folder.places();
    let ledger = folder.ledger();
    ledger.append(&draft(1)).unwrap();
    let old = ledger.keys()[0].clone();
    drop(ledger);
    let evil = SecretKey::generate("example.com/test").unwrap();
    let mut appender = Appender::open(&places.database()).unwrap();
    appender.append(&[rotated("hwledger/ledger", &old, &evil.public()).seal(1).unwrap()]).unwrap();
    check_is_not_believed(&places, &old, &evil);
    // Nor do its own signatures under further heads, or a signature of the old key that was copied from another head.
    appender.append(&[draft(2).seal(2).unwrap()]).unwrap();
    check_is_not_believed(&places, &old, &evil);
    let reader = Reader::open(&places.database()).unwrap();
    let heads = reader.checkpoints().unwrap();
    let copied = heads[1].1.lines().last().unwrap();
    let (size, last) = heads.last().unwrap();
    let connection = Connection::open(places.database()).unwrap();
    connection.execute_batch("DROP TRIGGER checkpoints_do_not_change").unwrap();
    let row = (format!("{last}{copied}\n"), size.cast_signed());
    connection.execute("UPDATE checkpoints SET note = ?1 WHERE size = ?2", row).unwrap();
    let answer = answer(&places, &old);
    assert_eq!(answer.levels[2].outcome, Outcome::Fails);
    assert!(!answer.levels[2].detail.contains("introduces"), "{}", answer.levels[2].detail);
}

#[test]
fn a_head_of_another_history_covers_nothing() {
    let folder = Folder::new();
    let places = folder.places();
    drop(folder.ledger());
    let [old] = secrets(&places).try_into().unwrap();
    let evil = SecretKey::generate("example.com/test").unwrap();
    let forged = rotated("hwledger/ledger", &old.public(), &evil.public()).seal(1).unwrap();
    Appender::open(&places.database()).unwrap().append(&[forged, draft(1).seal(2).unwrap()]).unwrap();
    // The old key did sign a head of this size, of other entries: whoever has it puts it here.
    let root = hwledger_ledger::hash::Hash::of(b"other entries");
    let note = Checkpoint { origin: "example.com/test".to_owned(), size: 2, root }.sign(&[&old]);
    let connection = Connection::open(places.database()).unwrap();
    connection.execute("INSERT INTO checkpoints (size, note) VALUES (2, ?1)", [note]).unwrap();
    check_is_not_believed(&places, &old.public(), &evil);
}

#[test]
fn a_change_that_was_altered_or_that_others_report_introduces_nobody() {
    let folder = Folder::new();
    let places = folder.places();
    let mut ledger = folder.ledger();
    let old = ledger.keys()[0].clone();
    let new = ledger.rotate("test").unwrap();
    drop(ledger);
    let evil = SecretKey::generate("example.com/test").unwrap();
    let other = rotated("somebody", &old, &evil.public()).seal(1).unwrap();
    Appender::open(&places.database()).unwrap().append(&[other]).unwrap();
    let by_both = secrets(&places);
    sign_behind_the_back(&places, &by_both.iter().collect::<Vec<_>>());
    Appender::open(&places.database()).unwrap().append(&[draft(1).seal(2).unwrap()]).unwrap();
    let index = rotations(&places)[0];
    let connection = Connection::open(places.database()).unwrap();
    connection.execute_batch("DROP TRIGGER entries_do_not_change").unwrap();
    let bytes = Reader::open(&places.database()).unwrap().entry(index).unwrap().bytes.unwrap();
    let text = String::from_utf8(bytes).unwrap().replace(&new.to_string(), &evil.public().to_string());
    assert!(Event::parse(text.as_bytes()).unwrap().payload().unwrap().is_some());
    let row = (text.as_bytes(), index.cast_signed());
    connection.execute("UPDATE entries SET bytes = ?1 WHERE position = ?2", row).unwrap();
    drop(connection);
    check_is_not_believed(&places, &old, &evil);
}

#[test]
fn an_old_key_says_nothing_beyond_what_the_new_one_has_signed() {
    let folder = Folder::new();
    let places = folder.places();
    let mut ledger = folder.ledger();
    let [old] = secrets(&places).try_into().unwrap();
    ledger.rotate("it was stolen").unwrap();
    let new = ledger.finish_rotation().unwrap();
    drop(ledger);
    assert!(answer(&places, &new).is_sound());
    Appender::open(&places.database()).unwrap().append(&[draft(1).seal(1).unwrap()]).unwrap();
    sign_behind_the_back(&places, &[&old]);
    let answer = answer(&places, &new);
    assert_eq!(answer.levels[2].outcome, Outcome::Fails, "{answer:#?}");
    let last = Reader::open(&places.database()).unwrap().checkpoint(None).unwrap().unwrap().1;
    assert!(Note::parse(&last).unwrap().verify(&[old.public()]).is_ok(), "its signature is a valid one");
}
