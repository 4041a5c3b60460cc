//! What is derived from the entries of a server, and what does not fit in its tables.

use hwledger_ledger::projection::Projections;
use hwledger_ledger::store::{AnyReader, Ledger, LedgerPlaces};
use hwledger_ledger::verify::fsck;

use crate::place::{ORIGIN, Place, draft};

#[test]
fn the_same_entries_give_the_same_state_as_in_a_file() {
    let Some(place) = Place::new() else { return };
    let server = place.ledger();
    let path = |name: &str| place.folder.join(name);
    let file =
        Ledger::create(&LedgerPlaces { ledger: path("file"), signer: path("file signer") }, ORIGIN, None).unwrap();
    std::fs::create_dir(path("server")).unwrap();
    let projections = [Projections::new(&path("server")), Projections::new(file.folder())];
    for number in 0..3 {
        let drafts: Vec<_> = (number * 700..(number + 1) * 700).map(draft).collect();
        server.append_all(&drafts).unwrap();
        file.append_all(&drafts).unwrap();
        let readers = [AnyReader::from(place.reader()), AnyReader::from(file.reader().unwrap())];
        for (projections, reader) in projections.iter().zip(&readers) {
            let progress = projections.catch_up(reader).unwrap();
            assert!(progress.rebuilt.is_some() == (number == 0), "{progress:?}");
            assert!(progress.projections.iter().all(|status| status.cursor == (number + 1) * 700 + 1), "{progress:?}");
        }
        for name in ["runs", "streams"] {
            assert_eq!(projections[0].digest(name).unwrap(), projections[1].digest(name).unwrap());
        }
    }
}

#[test]
fn keys_and_columns_that_were_changed_are_named() {
    let Some(place) = Place::new() else { return };
    let ledger = place.ledger();
    ledger.append_all(&(0..1500).map(draft).collect::<Vec<_>>()).unwrap();
    let reader = AnyReader::from(place.reader());
    assert_eq!(reader.at_one_moment(fsck).unwrap(), []);
    let mut owner = place.client("hwledger_owner");
    let told = |what: &str| {
        let findings = reader.at_one_moment(fsck).unwrap();
        assert!(findings.iter().any(|finding| finding.what.contains(what)), "{findings:?}");
    };
    owner
        .batch_execute(
            "ALTER TABLE hwledger.once DISABLE TRIGGER USER; ALTER TABLE hwledger.entries DISABLE TRIGGER USER;
             UPDATE hwledger.once SET content = sha256('other') WHERE position = 1200;
             UPDATE hwledger.entries SET kind = 'AgentSeen' WHERE position = 7;",
        )
        .unwrap();
    told("the key of entry 1200 is not kept, or for other content");
    told("entry 7 is kept under the kind `AgentSeen`, and says `AgentLost`");
    owner.batch_execute("DELETE FROM hwledger.once WHERE position = 1200").unwrap();
    told("the key of entry 1200 is not kept");
}
