#![no_main]

use hwledger_ledger::note::SecretKey;
use hwledger_ledger::proof_file::{ConsistencyFile, InclusionFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let key = SecretKey::from_seed("example.com/fuzz", &[1; 32]).expect("the name is fit").public();
    if let Ok(proof) = InclusionFile::parse(text) {
        assert_eq!(InclusionFile::parse(&proof.to_text()).as_ref(), Ok(&proof));
        let _ = proof.verify(b"an entry", &[key]);
    }
    if let Ok(proof) = ConsistencyFile::parse(text) {
        assert_eq!(ConsistencyFile::parse(&proof.to_text()).as_ref(), Ok(&proof));
    }
});
