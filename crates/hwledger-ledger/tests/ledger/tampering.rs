//! What is done to a ledger behind its back is found and named.

use std::path::Path;

use hwledger_ledger::bundle::{Bundle, export};
use hwledger_ledger::event::{AgentEnrolled, Count, Draft, RetentionApplied};
use hwledger_ledger::note::SecretKey;
use hwledger_ledger::store::sqlite::Reader;
use hwledger_ledger::store::{AppendError, Fault, Ledger};
use hwledger_ledger::verify::{Level, Outcome, Verification, VerifyOptions, fsck, verify};
use rusqlite::Connection;

use crate::folder::{Folder, copy, draft};
use crate::memory::Memory;

/// A ledger of 301 entries with heads at 1, 101, 201 and 301.
fn ledger_of_301(folder: &Folder) -> (VerifyOptions, String) {
    let ledger = folder.ledger();
    let mut last = String::new();
    for hundred in 0..3 {
        let drafts: Vec<_> = (hundred * 100..(hundred + 1) * 100).map(draft).collect();
        assert!(ledger.append_all(&drafts).unwrap().iter().all(Result::is_ok));
        last = ledger.checkpoint().unwrap();
    }
    let held = vec![("held.note".to_owned(), last.clone())];
    (VerifyOptions { keys: ledger.keys().to_vec(), held, ..VerifyOptions::default() }, last)
}

/// Changes a ledger's database as somebody would who may write the file.
fn change(folder: &Folder, statements: &str) {
    let connection = Connection::open(folder.places().database()).unwrap();
    let triggers = ["entries_stay", "entries_do_not_change", "checkpoints_stay", "checkpoints_do_not_change"];
    for trigger in triggers {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    connection.execute_batch(statements).unwrap();
}

fn answer(folder: &Folder, options: &VerifyOptions) -> Verification {
    verify(&Reader::open(&folder.places().database()).unwrap(), options).unwrap()
}

fn failing(answer: &Verification) -> Vec<&Level> {
    answer.levels.iter().filter(|level| level.outcome == Outcome::Fails).collect()
}

#[test]
fn an_untouched_ledger_is_sound() {
    let folder = Folder::new();
    let (options, _) = ledger_of_301(&folder);
    let answer = answer(&folder, &options);
    assert!(answer.is_sound() && answer.is_signed(), "{answer:#?}");
    assert_eq!(answer.levels[2].detail, "4 checkpoints, the last one of all entries");
}

#[test]
fn an_altered_entry_is_named() {
    let folder = Folder::new();
    let (options, _) = ledger_of_301(&folder);
    change(
        &folder,
        "UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), 'agent-3', 'agent-4') AS BLOB) WHERE position = 144",
    );
    let answer = answer(&folder, &options);
    let levels = failing(&answer);
    assert_eq!((levels.len(), levels[0].number, levels[0].findings_count), (1, 1, 1), "{answer:#?}");
    assert_eq!(levels[0].findings[0].entry, Some(144));
}

#[test]
fn an_altered_entry_with_a_new_hash_is_narrowed_down() {
    let folder = Folder::new();
    let (options, _) = ledger_of_301(&folder);
    let reader = Reader::open(&folder.places().database()).unwrap();
    let bytes = String::from_utf8(reader.entry(144).unwrap().bytes.unwrap()).unwrap().replace("agent-3", "agent-4");
    let leaf = hwledger_ledger::hash::Hash::of_leaf(bytes.as_bytes());
    let mut tile: Vec<u8> = reader
        .tile(hwledger_ledger::merkle::TileName { level: 0, index: 0 })
        .unwrap()
        .unwrap()
        .iter()
        .flat_map(|hash| hash.0)
        .collect();
    tile[144 * 32..145 * 32].copy_from_slice(&leaf.0);
    drop(reader);
    let hexadecimal = tile.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    change(
        &folder,
        &format!(
            "UPDATE entries SET bytes = CAST('{bytes}' AS BLOB) WHERE position = 144;
             UPDATE tiles SET hashes = x'{hexadecimal}' WHERE level = 0 AND position = 0;"
        ),
    );
    let answer = answer(&folder, &options);
    let signed = &answer.levels[2];
    assert_eq!(signed.findings[0].entry, Some(101), "{answer:#?}");
    assert!(signed.findings[0].what.contains("entries 101 to 200"), "{signed:#?}");
    assert_eq!(answer.levels[3].outcome, Outcome::Fails);
}

#[test]
fn missing_and_swapped_entries_are_named() {
    for (statements, entries) in [
        ("DELETE FROM entries WHERE position = 7", vec![7]),
        ("DELETE FROM entries WHERE position >= 250", vec![250]),
        (
            "UPDATE entries SET position = -1 WHERE position = 20; UPDATE entries SET position = 20 WHERE position = 31;
             UPDATE entries SET position = 31 WHERE position = -1;",
            vec![20, 31],
        ),
        ("UPDATE entries SET bytes = NULL WHERE position = 9", vec![9]),
    ] {
        let folder = Folder::new();
        let (options, _) = ledger_of_301(&folder);
        change(&folder, statements);
        let answer = answer(&folder, &options);
        let found: Vec<_> =
            failing(&answer).iter().flat_map(|level| &level.findings).filter_map(|finding| finding.entry).collect();
        for entry in &entries {
            assert!(found.contains(entry), "{statements}: {answer:#?}");
        }
        assert!(!answer.is_sound());
    }
}

#[test]
fn dropped_data_are_told_and_break_no_proof() {
    let folder = Folder::new();
    let (options, _) = ledger_of_301(&folder);
    let ledger = Ledger::open(&folder.places()).unwrap();
    let reader = ledger.reader().unwrap();
    let root_before = reader.root_at(301).unwrap();
    let proof = reader.prove(12).unwrap().unwrap();
    let bytes = reader.entry(12).unwrap().bytes.unwrap();
    let (start, end) = (Count(0), Count(256));
    let policy = "older than a day".to_owned();
    ledger.append(&Draft::new("test", "ledger", RetentionApplied { start, end, policy, root_before })).unwrap();
    ledger.prune(256).unwrap();
    ledger.checkpoint().unwrap();
    assert_eq!(reader.entry(12).unwrap().bytes, None);
    assert!(proof.verify(&bytes, ledger.keys()).is_ok());
    assert!(reader.prove(12).unwrap().unwrap().verify(&bytes, ledger.keys()).is_ok());
    let answer = answer(&folder, &options);
    assert!(answer.is_sound(), "{answer:#?}");
    // All but the first, which is of the ledger itself: with it keys are found.
    assert!(answer.levels[0].detail.contains("the data of 255 were dropped"));
    assert!(reader.entry(0).unwrap().bytes.is_some());
    let bundle = folder.path("bundle");
    export(&reader, ledger.keys(), &bundle).unwrap();
    let answer = verify(&Bundle::open(&bundle).unwrap(), &options).unwrap();
    assert!(answer.is_sound() && answer.levels[0].detail.starts_with("47 of 302"), "{answer:#?}");
}

#[test]
fn a_shortened_ledger_is_found_by_its_own_heads_or_by_those_held() {
    let folder = Folder::new();
    let (options, _) = ledger_of_301(&folder);
    // Entries, tree and heads cut back to an earlier state that was sound: only who remembers can tell.
    change(&folder, "DELETE FROM entries WHERE position >= 101; DELETE FROM checkpoints WHERE size > 101;");
    let answer = answer(&folder, &options);
    let numbers: Vec<u8> = failing(&answer).iter().map(|level| level.number).collect();
    assert!(numbers.contains(&4), "{answer:#?}");
    assert!(answer.levels[3].findings[0].what.contains("rolled back"));
    let ledger = Ledger::open(&folder.places()).unwrap();
    assert!(matches!(ledger.append(&draft(1)), Err(AppendError::ReadOnly(Fault::Inconsistent(_) | Fault::Refused(_)))));
}

#[test]
fn another_ledger_in_its_place_is_found() {
    let folder = Folder::new();
    let (options, _) = ledger_of_301(&folder);
    // Everything replaced, and signed with the same key: the signer's own memory wiped.
    std::fs::remove_dir_all(folder.path("ledger")).unwrap();
    std::fs::remove_file(folder.places().signer.join("last-signed")).unwrap();
    std::fs::create_dir_all(folder.path("ledger")).unwrap();
    let places = folder.places();
    let mut appender =
        hwledger_ledger::store::sqlite::Appender::create(&places.database(), "example.com/test").unwrap();
    appender.append(&[draft(999).seal(1).unwrap()]).unwrap();
    drop(appender);
    let ledger = Ledger::open(&places).unwrap();
    let drafts: Vec<_> = (1000..1400).map(draft).collect();
    ledger.append_all(&drafts).unwrap();
    ledger.checkpoint().unwrap();
    let answer = answer(&folder, &options);
    assert_eq!(failing(&answer).iter().map(|level| level.number).collect::<Vec<_>>(), [4], "{answer:#?}");
    assert!(answer.levels[3].findings[0].what.contains("another history"));
}

#[test]
fn every_turned_bit_is_found() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    ledger.append_all(&(0..3).map(draft).collect::<Vec<_>>()).unwrap();
    ledger.checkpoint().unwrap();
    let options = VerifyOptions { keys: ledger.keys().to_vec(), ..VerifyOptions::default() };
    let mut memory = Memory::of(&ledger.reader().unwrap());
    let is_sound = |memory: &Memory| verify(memory, &options).unwrap().is_sound();
    assert!(is_sound(&memory));
    let mut turned = 0;
    for part in 0..memory.parts().len() {
        for bit in 0..memory.parts()[part].1.len() * 8 {
            let turn = |memory: &mut Memory| memory.parts()[part].1[bit / 8] ^= 1 << (bit % 8);
            turn(&mut memory);
            assert!(!is_sound(&memory), "bit {bit} of the {} {part}", memory.parts()[part].0);
            turn(&mut memory);
            turned += 1;
        }
    }
    assert!(turned > 4 * 300 * 8, "{turned}");
    assert!(is_sound(&memory));
}

#[test]
fn columns_that_contradict_their_events_are_found() {
    let folder = Folder::new();
    let _ = ledger_of_301(&folder);
    let findings = || fsck(&Reader::open(&folder.places().database()).unwrap()).unwrap();
    assert_eq!(findings(), []);
    change(
        &folder,
        "UPDATE entries SET kind = 'AgentSeen' WHERE position = 5;
         UPDATE entries SET version = 1000 WHERE position = 9;
         UPDATE entries SET bytes = CAST(' ' || CAST(bytes AS TEXT) AS BLOB) WHERE position = 11;",
    );
    let found: Vec<_> = findings().iter().filter_map(|finding| finding.entry).collect();
    for entry in [5, 9, 11] {
        assert!(found.contains(&entry), "{:#?}", findings());
    }
}

#[test]
fn machines_that_sign_notice_what_is_left_out() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let key = SecretKey::from_seed("agent-1", &[3; 32]).unwrap();
    let enrolled = |key: &SecretKey| {
        let (agent, key) = (key.public().name().to_owned(), key.public().to_string());
        Draft::new("server", "agent/agent-1", AgentEnrolled { agent, key, token: None, host: None })
    };
    ledger.append(&enrolled(&key)).unwrap();
    for sequence in [0, 1, 2, 4] {
        ledger.append(&draft(sequence).signed_by(&key, sequence).unwrap()).unwrap();
    }
    let stranger = SecretKey::from_seed("agent-2", &[4; 32]).unwrap();
    ledger.append(&draft(9).signed_by(&stranger, 0).unwrap()).unwrap();
    let mut forged = draft(10).signed_by(&key, 5).unwrap();
    forged.payload = draft(11).payload;
    ledger.append(&forged).unwrap();
    let answer = verify(&ledger.reader().unwrap(), &VerifyOptions::default()).unwrap();
    let level = &answer.levels[5];
    let found: Vec<_> = level.findings.iter().map(|finding| finding.entry).collect();
    assert_eq!(found, [Some(5), Some(6), Some(7)], "{level:#?}");
    assert!(level.findings[0].what.contains("numbers this event 4, where 3 is next"));
}

#[test]
fn a_bundle_that_was_changed_is_found() {
    let folder = Folder::new();
    let (options, _) = ledger_of_301(&folder);
    let reader = Reader::open(&folder.places().database()).unwrap();
    let sound = folder.path("bundle");
    export(&reader, &options.keys, &sound).unwrap();
    let check = |change: &dyn Fn(&Path)| {
        let changed = Folder::new();
        copy(&sound, &changed.0);
        change(&changed.0);
        Bundle::open(&changed.0).and_then(|bundle| verify(&bundle, &options)).map(|answer| answer.is_sound())
    };
    assert!(check(&|_| ()).unwrap());
    let cut = |path: &Path, bytes: usize| {
        let content = std::fs::read(path).unwrap();
        std::fs::write(path, &content[..content.len() - bytes]).unwrap();
    };
    assert!(!check(&|folder| cut(&folder.join("tile/entries/001.p/45"), 1)).unwrap());
    assert!(!check(&|folder| cut(&folder.join("tile/0/000"), 32)).unwrap());
    assert!(!check(&|folder| std::fs::remove_file(folder.join("tile/entries/000")).unwrap()).unwrap());
    let without_beginning = |folder: &Path| {
        std::fs::remove_file(folder.join("tile/entries/000")).unwrap();
        std::fs::write(folder.join("minimum-index"), "256\n").unwrap();
    };
    assert!(!check(&without_beginning).unwrap());
    assert!(check(&|folder| cut(&folder.join("checkpoint"), 1)).is_err());
    assert!(check(&|folder| std::fs::write(folder.join("checkpoint"), "x".repeat(300 << 10)).unwrap()).is_err());
    assert!(
        check(&|folder| std::fs::write(folder.join("checkpoint"), "a\n99999999999999999999\n\n").unwrap()).is_err()
    );
    assert!(check(&|folder| std::fs::write(folder.join("minimum-index"), "-1").unwrap()).is_err());
}

#[test]
fn keys_that_are_not_those_of_the_entries_are_found() {
    for (statements, finding) in [
        ("UPDATE once SET content = zeroblob(32) WHERE position = 7", "the key of entry 7"),
        ("DELETE FROM once WHERE position = 8", "the key of entry 8"),
        ("INSERT INTO once VALUES (x'00', x'00', 12)", "302 keys are kept for 301 entries"),
    ] {
        let folder = Folder::new();
        let (options, _) = ledger_of_301(&folder);
        let reader = Reader::open(&folder.places().database()).unwrap();
        assert_eq!(reader.file_findings().unwrap(), [""; 0]);
        change(&folder, statements);
        let findings = fsck(&reader).unwrap();
        assert!(findings.iter().any(|found| found.what.contains(finding)), "{statements}: {findings:#?}");
        // No proof rests on them.
        assert!(answer(&folder, &options).is_sound());
    }
}

#[test]
fn a_key_without_its_entry_acknowledges_nothing() {
    let folder = Folder::new();
    let (_, _) = ledger_of_301(&folder);
    let sealing = draft(5).once("k").seal(1).unwrap();
    let blob = |hash: hwledger_ledger::hash::Hash| format!("x'{hash}'");
    change(&folder, &format!("INSERT INTO once VALUES ({}, {}, 700)", blob(sealing.once), blob(sealing.content)));
    let ledger = Ledger::open(&folder.places()).unwrap();
    let refused = ledger.append(&draft(5).once("k")).unwrap_err();
    assert!(matches!(&refused, AppendError::ReadOnly(Fault::Corrupt(why)) if why.contains("entry 700")), "{refused}");
}

#[test]
fn a_stream_without_a_next_version_is_not_gone_on_with() {
    for version in [-1, i64::MIN, i64::MAX] {
        let folder = Folder::new();
        let (_, _) = ledger_of_301(&folder);
        let subject = Reader::open(&folder.places().database()).unwrap().entry(5).unwrap().subject;
        // A single entry of its stream is left, so that its version is the last.
        let statements = format!(
            "UPDATE entries SET subject = 'elsewhere/' || position WHERE subject = '{subject}' AND position <> 5;
             UPDATE entries SET version = {version} WHERE position = 5"
        );
        change(&folder, &statements);
        let ledger = Ledger::open(&folder.places()).unwrap();
        let mut next = draft(1000);
        next.subject = subject;
        let refused = ledger.append(&next).unwrap_err();
        let why = format!("version {version}");
        assert!(matches!(&refused, AppendError::ReadOnly(Fault::Corrupt(text)) if text.ends_with(&why)), "{refused}");
    }
}
