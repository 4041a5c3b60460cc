//! What the role of programs may not do, and what even the owner of the tables does not do by mistake.

use hwledger_ledger::store::StoreError;
use hwledger_ledger::store::postgres::{PostgresLedger, Reader, migrate, prune};
use postgres::Client;
use postgres::error::SqlState;

use crate::place::{Place, draft};

fn code(client: &mut Client, statement: &str) -> SqlState {
    let error = client.batch_execute(statement).expect_err(statement);
    error.code().unwrap_or_else(|| panic!("{statement}: {error}")).clone()
}

#[test]
fn programs_insert_and_neither_change_nor_delete() {
    let Some(place) = Place::new() else { return };
    let ledger = place.ledger();
    ledger.append_all(&(0..300).map(draft).collect::<Vec<_>>()).unwrap();
    drop(ledger);
    let mut program = place.client("hwledger program");
    let columns = [
        ("meta", "value = value"),
        ("entries", "bytes = NULL"),
        ("once", "position = 0"),
        ("tiles", "hashes = ''"),
        ("checkpoints", "note = ''"),
        ("inbox", "bytes = bytes"),
        ("refused", "found = 0"),
        ("sequencer", "epoch = 0"),
        ("migrations", "version = 9"),
    ];
    for (table, column) in columns {
        for statement in [
            format!("UPDATE hwledger.{table} SET {column}"),
            format!("DELETE FROM hwledger.{table}"),
            format!("TRUNCATE hwledger.{table}"),
            format!("DROP TABLE hwledger.{table}"),
            format!("ALTER TABLE hwledger.{table} DISABLE TRIGGER ALL"),
        ] {
            assert_eq!(code(&mut program, &statement), SqlState::INSUFFICIENT_PRIVILEGE, "{statement}");
        }
    }
    for statement in [
        "INSERT INTO hwledger.tiles VALUES (7, 7, '')",
        "INSERT INTO hwledger.migrations VALUES (9)",
        "INSERT INTO hwledger.sequencer VALUES (false, 1, '')",
        "CREATE TABLE hwledger.mine ()",
        "SELECT hwledger.admit('hwledger program')",
        "SET ROLE hwledger_owner",
    ] {
        assert_eq!(code(&mut program, statement), SqlState::INSUFFICIENT_PRIVILEGE, "{statement}");
    }
}

#[test]
fn the_functions_of_programs_do_only_what_they_are_for() {
    let Some(place) = Place::new() else { return };
    let ledger = place.ledger();
    ledger.append_all(&(0..300).map(draft).collect::<Vec<_>>()).unwrap();
    drop(ledger);
    let ledger = PostgresLedger::open(&place.places_without_signer()).unwrap();
    ledger.accept(&draft(900)).unwrap();
    let mut program = place.client("hwledger program");
    for statement in [
        // A tile that is cut, one that is changed, one that is no tile.
        "SELECT hwledger.keep_tile(0, 1, substring(hashes FROM 1 FOR 32)) FROM hwledger.tiles WHERE level = 0 AND position = 1",
        "SELECT hwledger.keep_tile(0, 0, set_byte(hashes, 5, 255 - get_byte(hashes, 5))) FROM hwledger.tiles WHERE level = 0 AND position = 0",
        "SELECT hwledger.keep_tile(0, 9, 'abc')",
        // Without the lock there is no taking over.
        "SELECT hwledger.take_sequencer('me')",
    ] {
        assert_eq!(code(&mut program, statement), SqlState::RAISE_EXCEPTION, "{statement}");
    }
    program.batch_execute("SELECT hwledger.settle(array_agg(key)) FROM hwledger.inbox").unwrap();
    assert_eq!(place.reader().waiting().unwrap(), 1, "an event without a place stays in the inbox");
    let long = "INSERT INTO hwledger.inbox (key, content, bytes, kind, subject)
                VALUES (sha256('a'), sha256('a'), decode(repeat('00', 49153), 'hex'), 'k', 's')";
    assert_eq!(code(&mut program, long), SqlState::CHECK_VIOLATION);
}

#[test]
fn the_owner_drops_data_and_nothing_else() {
    let Some(place) = Place::new() else { return };
    let ledger = place.ledger();
    ledger.append_all(&(0..9).map(draft).collect::<Vec<_>>()).unwrap();
    let mut owner = place.client("hwledger_owner");
    for statement in [
        "UPDATE hwledger.entries SET bytes = 'x'",
        "UPDATE hwledger.entries SET bytes = NULL, kind = 'Other'",
        "DELETE FROM hwledger.entries",
        "TRUNCATE hwledger.entries",
        "UPDATE hwledger.checkpoints SET note = ''",
        "DELETE FROM hwledger.checkpoints",
        "TRUNCATE hwledger.checkpoints",
        "DELETE FROM hwledger.once",
        "TRUNCATE hwledger.once",
    ] {
        assert_eq!(code(&mut owner, statement), SqlState::RAISE_EXCEPTION, "{statement}");
    }
    assert!(prune(&place.program(), 4).is_err());
    // All but the first, which is of the ledger itself.
    assert_eq!(prune(&place.owner(), 4).unwrap(), 3);
    let reader = place.reader();
    assert_eq!((reader.entry(3).unwrap().bytes, reader.size().unwrap()), (None, 10));
    assert!(reader.entry(4).unwrap().bytes.is_some());
    assert!(ledger.append(&draft(10)).is_ok());
}

#[test]
fn tables_of_another_version_are_left_alone() {
    let Some(place) = Place::new() else { return };
    assert!(PostgresLedger::open(&place.places()).is_err(), "no ledger was begun");
    let ledger = place.ledger();
    ledger.append(&draft(1)).unwrap();
    assert!(PostgresLedger::create(&place.places(), "example.com/other", None).is_err());
    // Again: nothing happens.
    migrate(&place.owner(), "hwledger program").unwrap();
    assert_eq!(ledger.append(&draft(2)).unwrap().index, 2);
    assert!(migrate(&place.program(), "hwledger program").is_err());
    drop(ledger);
    place.client("hwledger_owner").batch_execute("INSERT INTO hwledger.migrations VALUES (2)").unwrap();
    for refused in [migrate(&place.owner(), "hwledger program"), Reader::open(&place.program()).map(drop)] {
        assert!(matches!(&refused, Err(StoreError::Unsuitable { what, .. }) if what.contains('2')), "{refused:?}");
    }
}
