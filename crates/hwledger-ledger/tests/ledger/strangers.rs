//! What others make of our notes, proofs and tiles, and we of theirs.

use std::path::Path;

use hwledger_ledger::bundle::{Bundle, export};
use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::note::{Note, NoteError, PublicKey, SecretKey};
use hwledger_ledger::proof_file::{ConsistencyFile, InclusionFile};
use hwledger_ledger::verify::{Outcome, VerifyOptions, verify};
use signed_note::{StandardSigner, StandardVerifier, VerifierList};

use crate::folder::{Folder, draft};

#[test]
fn the_notes_of_the_specifications_are_read() {
    // The note of golang.org/x/mod/sumdb/note's documentation, with its key: the origin of the format.
    let key = PublicKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let note = format!(
        "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    );
    assert_eq!(Note::parse(&note).unwrap().verify(std::slice::from_ref(&key)).unwrap().0, text);
    let changed = note.replacen("think", "thank", 1);
    let refused = Note::parse(&changed).unwrap().verify(&[key]).unwrap_err();
    assert_eq!(refused, NoteError::WrongSignature("PeterNeumann".to_owned()));
}

#[test]
fn notes_go_both_ways() {
    let ours = SecretKey::from_seed("example.com/ours", &[7; 32]).unwrap();
    let text = "example.com/ours\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let note = Note::sign(text, &[&ours]);
    let verifier = StandardVerifier::new(&ours.public().to_string()).unwrap();
    let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    let (known, unknown) = theirs.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((known.len(), unknown.len(), theirs.text()), (1, 0, text.as_bytes()));

    let signer = StandardSigner::new(ours.to_text().trim_end()).unwrap();
    let mut theirs = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    let bytes = String::from_utf8(theirs.to_bytes()).unwrap();
    assert_eq!(bytes, note, "Ed25519 has one signature per text and key");
    assert_eq!(Checkpoint::verify(&bytes, &[ours.public()]).unwrap().size, 5);
    let parsed = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).unwrap();
    assert_eq!((parsed.origin(), parsed.size()), ("example.com/ours", 5));
    assert_eq!(parsed.to_bytes(), Checkpoint::parse_text(text).unwrap().to_string().as_bytes());
}

#[test]
fn keys_survive_their_text_and_nothing_else() {
    let key = SecretKey::generate("example.com/a").unwrap();
    assert_eq!(SecretKey::parse(&key.to_text()).unwrap().public(), key.public());
    let text = key.public().to_string();
    assert_eq!(PublicKey::parse(&text).unwrap(), key.public());
    for position in 0..text.len() {
        let mut wrong = text.clone().into_bytes();
        wrong[position] ^= 1;
        if let Ok(wrong) = String::from_utf8(wrong) {
            assert!(PublicKey::parse(&wrong).is_err(), "{wrong}");
        }
    }
    for name in ["", "two words", "a+b", "line\n", "nbsp\u{a0}x"] {
        assert!(matches!(SecretKey::generate(name), Err(NoteError::Name(_))), "{name:?}");
    }
    assert!(!format!("{key:?}").contains(&key.to_text()[30..40]));
    // Points of small order, for which some signatures fit every text.
    for bytes in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        assert!(PublicKey::new("example.com/weak", bytes).is_err());
    }
}

/// Serves tiles to the other implementation from an exported folder.
struct Served<'a>(&'a Path);

impl tlog_tiles::TileReader for Served<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &tlog_tiles::Tile| {
            // Theirs names the height too, as sumdb does: `tile/8/0/000`; tlog-tiles fixes it at 8.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            Ok(std::fs::read(self.0.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}")))
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

#[test]
fn exported_tiles_prove_our_entries_to_another_implementation() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let drafts: Vec<_> = (0..700).map(draft).collect();
    assert!(ledger.append_all(&drafts).unwrap().iter().all(Result::is_ok));
    ledger.checkpoint().unwrap();
    let reader = ledger.reader().unwrap();
    let bundle = folder.path("bundle");
    let head = export(&reader, ledger.keys(), &bundle).unwrap();
    assert_eq!(head.size, 701);
    let served = Served(&bundle);
    let hashes = tlog_tiles::TileHashReader::new(head.size, tlog_tiles::Hash(head.root.0), &served);
    for index in [0, 1, 255, 256, 511, 512, 700] {
        let bytes = reader.entry(index).unwrap().bytes.unwrap();
        let proof = tlog_tiles::prove_record(head.size, index, &hashes).unwrap();
        let leaf = tlog_tiles::record_hash(&bytes);
        tlog_tiles::check_record(&proof, head.size, tlog_tiles::Hash(head.root.0), index, leaf).unwrap();
        // Ours is the same, hash by hash.
        let ours = reader.prove(index).unwrap().unwrap();
        let flat: Vec<[u8; 32]> = ours.hashes.iter().map(|hash| hash.0).collect();
        assert_eq!(flat, proof.iter().map(|hash| hash.0).collect::<Vec<_>>());
    }
    for size in [1, 2, 256, 300, 512, 700] {
        let proof = tlog_tiles::prove_tree(head.size, size, &hashes).unwrap();
        let ours = reader.prove_consistency(size).unwrap().unwrap();
        let flat: Vec<[u8; 32]> = ours.hashes.iter().map(|hash| hash.0).collect();
        assert_eq!(flat, proof.iter().map(|hash| hash.0).collect::<Vec<_>>(), "{size}");
        let root = reader.root_at(size).unwrap();
        let (new, old) = (tlog_tiles::Hash(head.root.0), tlog_tiles::Hash(root.0));
        tlog_tiles::check_tree(&proof, head.size, new, size, old).unwrap();
    }
}

#[test]
fn proofs_need_nothing_but_a_key() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let early = ledger.checkpoint().unwrap();
    let indices: Vec<u64> = (0..90).map(|number| ledger.append(&draft(number)).unwrap().index).collect();
    let index = indices[40];
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.prove(index).unwrap(), None, "nothing is signed that has it");
    ledger.checkpoint().unwrap();
    let keys = ledger.keys().to_vec();
    let text = reader.prove(index).unwrap().unwrap().to_text();
    let bytes = reader.entry(index).unwrap().bytes.unwrap();
    let file = InclusionFile::parse(&text).unwrap();
    assert_eq!(file.verify(&bytes, &keys).unwrap().size, 91);
    let with_extra = text.replacen("\nindex", "\nextra aGk=\nindex", 1);
    assert_eq!(
        InclusionFile::parse(&with_extra).unwrap(),
        InclusionFile { entry: Some(b"hi".to_vec()), ..file.clone() }
    );
    assert_eq!(InclusionFile::parse(&with_extra).unwrap().to_text(), with_extra);
    assert!(file.verify(&reader.entry(index + 1).unwrap().bytes.unwrap(), &keys).is_err());
    let stranger = SecretKey::generate("example.com/test").unwrap();
    assert!(file.verify(&bytes, &[stranger.public()]).is_err());

    let old = Checkpoint::verify(&early, &keys).unwrap();
    let text = reader.prove_consistency(old.size).unwrap().unwrap().to_text();
    let file = ConsistencyFile::parse(&text).unwrap();
    assert_eq!(file.verify(&old, &keys).unwrap().size, 91);
    let forked = Checkpoint { root: hwledger_ledger::hash::Hash::of(b"other"), ..old };
    assert!(file.verify(&forked, &keys).is_err());
}

#[test]
fn a_bundle_and_a_key_are_enough() {
    let folder = Folder::new();
    let ledger = folder.ledger();
    let bundle = folder.path("bundle");
    for number in 0..20 {
        ledger.append(&draft(number)).unwrap();
    }
    let held = ledger.checkpoint().unwrap();
    export(&ledger.reader().unwrap(), ledger.keys(), &bundle).unwrap();
    let drafts: Vec<_> = (20..600).map(draft).collect();
    ledger.append_all(&drafts).unwrap();
    ledger.checkpoint().unwrap();
    // Again into the same folder.
    export(&ledger.reader().unwrap(), ledger.keys(), &bundle).unwrap();
    let options = VerifyOptions {
        keys: ledger.keys().to_vec(),
        held: vec![("the checkpoint in my drawer".to_owned(), held)],
        ..VerifyOptions::default()
    };
    drop((ledger, std::fs::remove_dir_all(folder.path("ledger")), std::fs::remove_dir_all(folder.path("signer"))));
    let answer = verify(&Bundle::open(&bundle).unwrap(), &options).unwrap();
    let outcomes: Vec<_> = answer.levels.iter().map(|level| level.outcome).collect();
    assert!(outcomes[..4].iter().all(|outcome| *outcome == Outcome::Holds), "{answer:#?}");
    assert!(outcomes[4..].iter().all(|outcome| *outcome == Outcome::NotChecked), "{answer:#?}");
    assert_eq!(answer.size, 601);
}
