//! Proofs, verification and exports from a server: the same as from a file.

use hwledger_ledger::bundle::{Bundle, export};
use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::merkle::Edge;
use hwledger_ledger::store::postgres::PostgresLedger;
use hwledger_ledger::store::{AppendError, Fault, StoreError};
use hwledger_ledger::verify::{Outcome, VerifyOptions, verify};

use crate::place::{Place, draft};

#[test]
fn proofs_need_nothing_but_a_key() {
    let Some(place) = Place::new() else { return };
    let ledger = place.ledger();
    let early = ledger.checkpoint().unwrap();
    ledger.append_all(&(0..600).map(draft).collect::<Vec<_>>()).unwrap();
    ledger.checkpoint().unwrap();
    let (reader, keys) = (place.reader(), ledger.keys().to_vec());
    for index in [0, 1, 255, 256, 511, 512, 600] {
        let file = reader.prove(index).unwrap().unwrap();
        let bytes = reader.entry(index).unwrap().bytes.unwrap();
        assert_eq!(file.verify(&bytes, &keys).unwrap().size, 601);
        assert!(file.verify(b"another", &keys).is_err());
    }
    let old = Checkpoint::verify(&early, &keys).unwrap();
    assert_eq!(reader.prove_consistency(old.size).unwrap().unwrap().verify(&old, &keys).unwrap().size, 601);
    assert!(reader.prove(601).is_err());
}

#[test]
fn verification_and_exports_are_the_same_as_from_a_file() {
    let Some(place) = Place::new() else { return };
    let ledger = place.ledger();
    ledger.append_all(&(0..700).map(draft).collect::<Vec<_>>()).unwrap();
    let held = ledger.checkpoint().unwrap();
    let options = VerifyOptions {
        keys: ledger.keys().to_vec(),
        held: vec![("the checkpoint in my drawer".to_owned(), held)],
        ..VerifyOptions::default()
    };
    let reader = place.reader();
    let answer = verify(&reader, &options).unwrap();
    assert!(answer.levels[..4].iter().all(|level| level.outcome == Outcome::Holds), "{answer:#?}");
    let mut edge = Edge::default();
    reader
        .entries(0, 701, |entry| {
            edge.push(hwledger_ledger::hash::Hash::of_leaf(&entry.bytes.unwrap()), |_, _| ());
            Ok::<_, StoreError>(true)
        })
        .unwrap();
    assert_eq!((answer.root, reader.root_at(701).unwrap()), (edge.root(), edge.root()));

    let bundle = place.folder.join("bundle");
    assert_eq!(export(&reader, ledger.keys(), &bundle).unwrap().size, 701);
    let exported = verify(&Bundle::open(&bundle).unwrap(), &options).unwrap();
    assert_eq!(exported, verify(&reader, &options).unwrap());

    // Changed behind the ledger's back, by somebody who may.
    let mut owner = place.client("hwledger_owner");
    owner
        .batch_execute(
            "ALTER TABLE hwledger.entries DISABLE TRIGGER USER;
             UPDATE hwledger.entries SET bytes = overlay(bytes PLACING 'X' FROM 20) WHERE position = 300;
             DELETE FROM hwledger.entries WHERE position = 400;",
        )
        .unwrap();
    let answer = verify(&reader, &options).unwrap();
    let found: Vec<_> = answer.levels[0].findings.iter().map(|finding| finding.entry).collect();
    assert_eq!((answer.levels[0].outcome, found), (Outcome::Fails, vec![Some(300), Some(400)]), "{answer:#?}");
}

#[test]
fn a_moment_is_one_moment_while_others_write() {
    let Some(place) = Place::new() else { return };
    let ledger = place.ledger();
    let options = VerifyOptions { keys: ledger.keys().to_vec(), ..VerifyOptions::default() };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for hundred in 0..12 {
                let drafts: Vec<_> = (hundred * 100..(hundred + 1) * 100).map(draft).collect();
                assert!(ledger.append_all(&drafts).unwrap().iter().all(Result::is_ok));
                ledger.checkpoint().unwrap();
            }
        });
        let reader = place.reader();
        let mut before = 0;
        while !writer.is_finished() {
            let answer = reader.at_one_moment(|reader| verify(reader, &options)).unwrap();
            assert!(answer.is_sound() && answer.size >= before, "{answer:#?}");
            before = answer.size;
        }
    });
}

#[test]
fn a_database_restored_from_a_backup_is_only_read() {
    let Some(place) = Place::new() else { return };
    drop(place.ledger());
    let (name, old) = (&place.database, format!("{}_old", place.database));
    place.on_server(&format!("CREATE DATABASE {old} OWNER hwledger_owner TEMPLATE {name}"));
    let ledger = PostgresLedger::open(&place.places()).unwrap();
    ledger.append_all(&(0..5).map(draft).collect::<Vec<_>>()).unwrap();
    drop(ledger);
    place.on_server(&format!("DROP DATABASE {name} WITH (FORCE)"));
    place.on_server(&format!("ALTER DATABASE {old} RENAME TO {name}"));
    let ledger = PostgresLedger::open(&place.places()).unwrap();
    let refused = ledger.append(&draft(9)).unwrap_err();
    assert!(matches!(&refused, AppendError::ReadOnly(Fault::Refused(why)) if why.contains("rolled back")), "{refused}");
    assert!(matches!(ledger.checkpoint(), Err(StoreError::ReadOnly(_))));
    assert_eq!(ledger.reader().unwrap().size().unwrap(), 1);
}
