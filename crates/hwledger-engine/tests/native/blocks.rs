//! Blocks of every type that ggml has for weights against decoders that are not ours: those of the Python package `gguf`
//! (`bench/native/blocks.py`).

use std::path::PathBuf;

use hwledger_core::ElementType;
use hwledger_kernels::dequantise;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::noise::Noise;

/// The bytes that a text of hexadecimal digits stands for.
fn bytes(text: &Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The numbers of some blocks, as the bytes of single precision.
fn numbers(element_type: ElementType, blocks: &[u8]) -> Vec<u8> {
    let (elements, size) = element_type.block();
    let mut values = vec![0.0; blocks.len() / usize::try_from(size).unwrap() * usize::try_from(elements).unwrap()];
    dequantise(element_type, blocks, &mut values).unwrap();
    values.iter().flat_map(|value: &f32| value.to_le_bytes()).collect()
}

#[test]
fn blocks_are_the_numbers_of_other_decoders() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bench/native/blocks.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let hashed = usize::try_from(golden["blocks_hashed"].as_u64().unwrap()).unwrap();
    let types = golden["types"].as_object().unwrap();
    assert_eq!(types.len(), 25);
    for (name, entry) in types {
        let element_type: ElementType = name.parse().unwrap();
        let size = usize::try_from(element_type.block().1).unwrap();
        let blocks = bytes(&entry["blocks"]);
        let (found, expected) = (numbers(element_type, &blocks), bytes(&entry["values"]));
        for (index, (found, expected)) in found.chunks(4).zip(expected.chunks(4)).enumerate() {
            assert_eq!(found, expected, "{name}, number {index}");
        }
        assert_eq!(found.len(), expected.len(), "{name}");

        // The written blocks again, then those of which there is a hash.
        let mut noise = Noise(entry["seed"].as_u64().unwrap());
        let mut made: Vec<u8> = (0..blocks.len() + hashed * size).map(|_| noise.next().to_le_bytes()[0]).collect();
        for block in made.chunks_exact_mut(size) {
            for at in entry["high_bytes"].as_array().unwrap() {
                block[usize::try_from(at.as_u64().unwrap()).unwrap()] &= 0xbf;
            }
        }
        assert!(made.starts_with(&blocks), "{name}: the generators differ");
        let hash = Sha256::digest(numbers(element_type, &made[blocks.len()..]));
        assert_eq!(hash.as_slice(), bytes(&entry["sha256"]), "{name}: further blocks");
    }
}
