//! Every reader of foreign bytes, fed with damaged ones: it says no, or takes what it can, and never does anything else.

use hwledger_ledger::bundle::Bundle;
use hwledger_ledger::canonical::check_canonical;
use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::event::Event;
use hwledger_ledger::note::{Note, PublicKey, SecretKey};
use hwledger_ledger::proof_file::{ConsistencyFile, InclusionFile};
use hwledger_ledger::verify::{VerifyOptions, verify};

use crate::crash::Random;
use crate::examples_of_kinds::examples;
use crate::folder::Folder;

/// Changes bytes: turned bits, runs that are cut out, doubled or put in, and pieces that mean something to a reader.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    const PIECES: &[&[u8]] = &[
        b"\n\n",
        b"\n",
        b"\xe2\x80\x94 ",
        b"99999999999999999999",
        b"\"",
        b"{",
        b"[",
        b"\\u0000",
        b"\xff\xff",
        b"-1",
        b"=",
    ];
    for _ in 0..=random.below(3) {
        let mut below = |end: usize| usize::try_from(random.below(end.max(1) as u64)).unwrap();
        let at = below(bytes.len());
        let run = (at + below(40)).min(bytes.len());
        match below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 => drop(bytes.drain(at..run)),
            2 => {
                let copied = bytes[at..run].to_vec();
                bytes.splice(at..at, copied);
            }
            3 => bytes.truncate(at),
            _ => drop(bytes.splice(at..at, PIECES[below(PIECES.len())].iter().copied())),
        }
    }
}

/// Calls `read` with many damaged versions of each text.
fn feed(texts: &[String], seed: u64, read: impl Fn(&[u8])) {
    let mut random = Random(seed);
    for round in 0..4000 {
        let mut bytes = texts[round % texts.len()].clone().into_bytes();
        damage(&mut bytes, &mut random);
        read(&bytes);
    }
}

fn key() -> SecretKey {
    SecretKey::from_seed("example.com/damage", &[9; 32]).unwrap()
}

fn head(size: u64) -> String {
    Checkpoint { origin: "example.com/damage".to_owned(), size, root: hwledger_ledger::hash::Hash::of(b"x") }
        .sign(&[&key()])
}

#[test]
fn damaged_notes_and_keys_are_never_believed() {
    let keys = [key().public()];
    let note = head(700);
    let text = Note::parse(&note).unwrap().unverified_text().to_owned();
    feed(&[note, keys[0].to_string(), key().to_text().to_string()], 1, |bytes| {
        let Ok(given) = std::str::from_utf8(bytes) else { return };
        if let Ok(note) = Note::parse(given)
            && let Ok((found, _)) = note.verify(&keys)
        {
            assert_eq!(found, text, "another text passes for the signed one");
        }
        let _ = (Checkpoint::verify(given, &keys), Checkpoint::parse_text(given));
        if let Ok(key) = PublicKey::parse(given) {
            assert_eq!(key.to_string(), given.trim_end_matches('\n'));
        }
        let _ = SecretKey::parse(given);
    });
}

#[test]
fn damaged_proofs_are_never_believed() {
    let keys = [key().public()];
    let hashes: String = (0..9_u8).map(|number| hwledger_ledger::hash::Hash([number; 32]).to_base64() + "\n").collect();
    let inclusion = format!("c2sp.org/tlog-proof@v1\nindex 5\n{hashes}\n{}", head(700));
    let consistency = format!("old 300\n{hashes}\n{}", head(700));
    let old = Checkpoint::verify(&head(300), &keys).unwrap();
    feed(&[inclusion, consistency], 2, |bytes| {
        let Ok(given) = std::str::from_utf8(bytes) else { return };
        if let Ok(proof) = InclusionFile::parse(given) {
            assert!(proof.hashes.len() <= 64 && proof.verify(b"an entry", &keys).is_err());
            assert_eq!(InclusionFile::parse(&proof.to_text()).as_ref(), Ok(&proof));
        }
        if let Ok(proof) = ConsistencyFile::parse(given) {
            let is_nothing = proof.hashes.is_empty() && proof.old_size == 300;
            assert!(is_nothing || proof.verify(&old, &keys).is_err());
            assert_eq!(ConsistencyFile::parse(&proof.to_text()).as_ref(), Ok(&proof));
        }
    });
}

#[test]
fn damaged_events_are_read_or_refused() {
    feed(&examples(), 3, |bytes| {
        let is_canonical = check_canonical(bytes).is_ok();
        if let Ok(event) = Event::parse(bytes) {
            let _ = event.payload();
            assert!(is_canonical || !event.id.is_empty() || event.data.get().len() <= bytes.len());
        }
    });
}

#[test]
fn damaged_bundles_are_read_or_refused() {
    let sound = Folder::new();
    let ledger = sound.ledger();
    ledger.append_all(&(0..8).map(crate::folder::draft).collect::<Vec<_>>()).unwrap();
    ledger.checkpoint().unwrap();
    let options = VerifyOptions { keys: ledger.keys().to_vec(), ..VerifyOptions::default() };
    let bundle = sound.path("bundle");
    hwledger_ledger::bundle::export(&ledger.reader().unwrap(), ledger.keys(), &bundle).unwrap();
    let mut random = Random(4);
    let files = ["checkpoint", "checkpoints.log", "tile/0/000.p/9", "tile/entries/000.p/9", "minimum-index"];
    for round in 0..400 {
        let path = bundle.join(files[round % files.len()]);
        let whole = std::fs::read(&path).ok();
        let mut changed = whole.clone().unwrap_or_else(|| b"0\n".to_vec());
        damage(&mut changed, &mut random);
        std::fs::write(&path, &changed).unwrap();
        if let Ok(opened) = Bundle::open(&bundle)
            && let Ok(answer) = verify(&opened, &options)
        {
            let is_same = whole.as_ref().is_some_and(|whole| *whole == changed) || whole.is_none();
            let is_shorter = path.ends_with("checkpoints.log");
            assert!(is_same || is_shorter || !answer.is_sound(), "{} {changed:?}", path.display());
        }
        match whole {
            Some(whole) => std::fs::write(&path, whole).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }
}

#[test]
fn enormous_claims_end_soon() {
    let folder = Folder::new();
    let key = key();
    let options = VerifyOptions { keys: vec![key.public()], ..VerifyOptions::default() };
    for size in [1 << 40, u64::MAX >> 1, u64::MAX] {
        std::fs::write(folder.path("checkpoint"), head(size)).unwrap();
        for minimum in ["0\n", "1099511627776\n"] {
            std::fs::write(folder.path("minimum-index"), minimum).unwrap();
            let answer = Bundle::open(&folder.0).and_then(|bundle| verify(&bundle, &options));
            assert!(answer.is_err() || answer.is_ok_and(|answer| !answer.is_sound()), "{size}");
        }
    }
}
