#![no_main]

use hwledger_formats::huggingface::read_config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((spec, _)) = read_config(bytes) {
        let _ = spec.parameters();
        let _ = spec.stored_bytes();
    }
});
