#![no_main]

use hwledger_formats::gguf::{merge_parts, model_spec, read_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first byte decides whether the size of the file is known.
    let Some((known, bytes)) = bytes.split_first() else { return };
    let size = (known % 2 == 1).then_some(bytes.len() as u64);
    let Ok(header) = read_header(bytes, size) else { return };
    let stated = header.tensor_bytes();
    if let Ok((spec, _)) = model_spec(&header) {
        assert_eq!(spec.file_bytes, Some(stated));
        let _ = spec.stored_bytes();
        let _ = spec.parameters();
    }
    let _ = merge_parts(vec![header.clone(), header]);
});
