#![no_main]

use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::note::{Note, PublicKey, SecretKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let key = SecretKey::from_seed("example.com/fuzz", &[1; 32]).expect("the name is fit").public();
    if let Ok(note) = Note::parse(text) {
        let _ = note.verify(std::slice::from_ref(&key));
    }
    let _ = Checkpoint::verify(text, &[key]);
    let _ = Checkpoint::parse_text(text);
    if let Ok(key) = PublicKey::parse(text) {
        assert_eq!(key.to_string(), text.trim_end_matches('\n'));
    }
    let _ = SecretKey::parse(text);
});
