#![no_main]

use hwledger_formats::anchors::private_anchors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = private_anchors(text);
    }
});
