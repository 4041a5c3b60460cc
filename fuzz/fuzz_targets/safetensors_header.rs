#![no_main]

use hwledger_formats::huggingface::read_config;
use hwledger_formats::safetensors::{TensorTable, infer, read_header, reconcile};
use libfuzzer_sys::fuzz_target;

/// A configuration that the corpus's tensors half agree with.
const CONFIG: &[u8] = br#"{"model_type":"llama","hidden_size":64,"num_hidden_layers":1,"num_attention_heads":4,
"num_key_value_heads":2,"intermediate_size":96,"vocab_size":100}"#;

fuzz_target!(|bytes: &[u8]| {
    // The first byte decides whether the size of the file is known.
    let Some((known, bytes)) = bytes.split_first() else { return };
    let size = (known % 2 == 1).then_some(bytes.len() as u64);
    let Ok(header) = read_header(bytes, size) else { return };
    let table = TensorTable::from(header);
    if let Some((spec, _)) = infer(&table) {
        assert_eq!(spec.file_bytes, Some(table.bytes()));
        let _ = spec.parameters();
        let _ = spec.stored_bytes();
    }
    let (mut spec, _) = read_config(CONFIG).expect("the configuration is valid");
    let _ = reconcile(&mut spec, &table);
    let _ = spec.parameters();
});
