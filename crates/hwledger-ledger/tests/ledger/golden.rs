//! What earlier versions and other programs wrote: it stays readable, byte for byte.

use std::path::PathBuf;

use hwledger_ledger::bundle::Bundle;
use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::event::{Draft, Event, KINDS};
use hwledger_ledger::note::PublicKey;
use hwledger_ledger::proof_file::{ConsistencyFile, InclusionFile};
use hwledger_ledger::store::Ledger;
use hwledger_ledger::verify::{Outcome, VerifyOptions, verify};

use crate::examples_of_kinds::examples;
use crate::folder::{Folder, copy, draft};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn text(name: &str) -> String {
    let path = golden(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_kind_of_event_reads_as_it_was_written() {
    let lines = text("events.jsonl");
    let mut known = Vec::new();
    for line in lines.lines() {
        let event = Event::parse(line.as_bytes()).unwrap();
        let payload = event.payload().unwrap_or_else(|error| panic!("{error}: {line}"));
        let payload = payload.unwrap_or_else(|| panic!("a kind or version that is not known any more: {line}"));
        known.push((event.kind.to_string(), event.schema_version));
        let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let draft = Draft {
            actor: event.actor.clone(),
            idempotency_key: owned(&event.idempotency_key),
            observed_at_ns: event.observed_at_ns.map(|time| time.0),
            clock_offset_ns: event.clock_offset_ns.map(|offset| offset.0),
            causation_id: owned(&event.causation_id),
            correlation_id: owned(&event.correlation_id),
            agent: event.agent.clone(),
            ..Draft::new(&event.source, &event.subject, payload)
        };
        let again = draft.seal(event.recorded_at_ns.0).unwrap();
        let bytes = String::from_utf8(again.bytes).unwrap().replace(&again.id, &event.id);
        assert_eq!(bytes, line);
    }
    for kind in KINDS {
        let is_known = known.contains(&(kind.name.to_owned(), kind.version));
        assert!(is_known, "tests/golden/events.jsonl has no {} of version {}", kind.name, kind.version);
    }
    // Whoever changes a kind's fields gives it a new version, and adds lines here instead of changing them.
    for example in examples() {
        let is_there = lines.lines().any(|line| line == example);
        assert!(is_there, "the fields of a kind have changed: this is not in tests/golden/events.jsonl\n{example}");
    }
}

#[test]
fn an_exported_ledger_of_this_version_stays_verifiable() {
    let keys: Vec<PublicKey> = text("bundle/keys").lines().map(|line| PublicKey::parse(line).unwrap()).collect();
    let held = vec![("held-101".to_owned(), text("held-101"))];
    let options = VerifyOptions { keys: keys.clone(), held, ..VerifyOptions::default() };
    let answer = verify(&Bundle::open(&golden("bundle")).unwrap(), &options).unwrap();
    assert!(answer.levels[..4].iter().all(|level| level.outcome == Outcome::Holds), "{answer:#?}");
    assert_eq!(answer.size, 300);
    let proof = InclusionFile::parse(&text("entry-123.tlog-proof")).unwrap();
    assert_eq!(proof.verify(text("entry-123").as_bytes(), &keys).unwrap().size, 300);
    let old = Checkpoint::verify(&text("held-101"), &keys).unwrap();
    let proof = ConsistencyFile::parse(&text("consistency-101")).unwrap();
    assert_eq!(proof.verify(&old, &keys).unwrap().size, 300);
}

#[test]
fn a_database_of_this_version_stays_usable() {
    let folder = Folder::new();
    copy(&golden("database-1"), &folder.0);
    let ledger = Ledger::open(&folder.places()).unwrap();
    assert_eq!(ledger.fault(), None);
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.size().unwrap(), 21);
    assert_eq!(reader.file_findings().unwrap(), [""; 0]);
    assert_eq!(ledger.append(&draft(21)).unwrap().index, 21);
    ledger.checkpoint().unwrap();
    let held = vec![("held-21".to_owned(), text("held-21"))];
    let options = VerifyOptions { keys: ledger.keys().to_vec(), held, ..VerifyOptions::default() };
    let answer = verify(&reader, &options).unwrap();
    assert!(answer.is_sound() && answer.levels[3].outcome == Outcome::Holds, "{answer:#?}");
}

#[test]
fn proofs_made_in_another_language_hold() {
    let keys = [PublicKey::parse(&text("made-elsewhere/key")).unwrap()];
    let entry = text("made-elsewhere/entry-555");
    let proof = InclusionFile::parse(&text("made-elsewhere/entry-555.tlog-proof")).unwrap();
    assert_eq!(proof.verify(entry.as_bytes(), &keys).unwrap().size, 700);
    assert!(proof.verify(entry.replace("555", "556").as_bytes(), &keys).is_err());
    let old = Checkpoint::verify(&text("made-elsewhere/checkpoint-300"), &keys).unwrap();
    let proof = ConsistencyFile::parse(&text("made-elsewhere/consistency-300")).unwrap();
    let new = proof.verify(&old, &keys).unwrap();
    assert_eq!(new, Checkpoint::verify(&text("made-elsewhere/checkpoint"), &keys).unwrap());
    assert!(proof.verify(&new, &keys).is_err());
}
