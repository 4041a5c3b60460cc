#![no_main]

use hwledger_formats::anchor::read_anchors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (anchors, _) = read_anchors(bytes);
    for anchor in anchors.language.values() {
        assert!(anchor.decode_tokens_per_s.reveal() > 0.0);
    }
    for anchor in anchors.vision.values() {
        assert!(anchor.inference_ms.reveal() > 0.0);
    }
});
