//! The headers of the models that the engine bench loads into llama.cpp: every
//! one is read, known and accounted for to the byte.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use hwledger_core::model::Certainty;
use hwledger_formats::gguf::{model_spec, read_header};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/engines/headers")
}

fn header_bytes(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = File::open(folder().join(format!("{name}.gguf.gz"))).unwrap();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Name, architecture, file bytes and tensors of every header.
fn index() -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(folder().join("index.json")).unwrap();
    let index: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    index.into_iter().collect()
}

#[test]
fn every_header_is_known_and_accounted_for() {
    let index = index();
    let mut architectures = BTreeSet::new();
    for (name, row) in &index {
        let bytes = header_bytes(name);
        let size = row["file_bytes"].as_u64().unwrap();
        let header = read_header(&bytes[..], Some(size)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(header.tensors.len() as u64, row["tensors"].as_u64().unwrap(), "{name}: tensors");
        assert_eq!(header.data_offset, row["header_bytes"].as_u64().unwrap(), "{name}: header length");
        assert_eq!(header.data_offset + header.padded_data_bytes(), size, "{name}: the file is header and data");
        let (spec, notes) = model_spec(&header).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(spec.certainty, Certainty::Known, "{name}: {notes:?}");
        assert_eq!(spec.stored_bytes(), Some(header.tensor_bytes()), "{name}: weights");
        assert!(!spec.decoder.is_empty(), "{name}: layers");
        for layer in spec.decoder.layers() {
            assert!(
                !layer.weights.is_empty() || ["nanbeige", "graniteswitch", "hrm_text"].contains(&&*spec.architecture),
                "{name}: a layer without tensors"
            );
        }
        architectures.insert(spec.architecture);
    }
    assert!(architectures.len() >= 30, "{} architectures", architectures.len());
    println!("{} headers of {} architectures", index.len(), architectures.len());
}
