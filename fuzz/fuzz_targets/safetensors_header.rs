#![no_main]

use hwledger_formats::safetensors::read_header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first byte decides whether the size of the file is known.
    let Some((known, bytes)) = bytes.split_first() else { return };
    let size = (known % 2 == 1).then_some(bytes.len() as u64);
    if let Ok(header) = read_header(bytes, size) {
        let _ = header.tensor_bytes();
    }
});
