#![no_main]

use hwledger_formats::gguf::read_vocabulary;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first byte decides whether the size of the file is known.
    let Some((known, bytes)) = bytes.split_first() else { return };
    let size = (known % 2 == 1).then_some(bytes.len() as u64);
    let Ok(found) = read_vocabulary(bytes, size) else { return };
    for length in [found.scores.len(), found.token_kinds.len()] {
        assert!(length == 0 || length == found.tokens.len());
    }
    assert!(found.tokens.len() + found.merges.len() <= bytes.len());
});
