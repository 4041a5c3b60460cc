#![no_main]

use hwledger_formats::safetensors::{merge_shards, read_index};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(index) = read_index(bytes) {
        assert!(!index.shards.is_empty());
        assert!(merge_shards(&index, Vec::new()).is_err());
    }
});
