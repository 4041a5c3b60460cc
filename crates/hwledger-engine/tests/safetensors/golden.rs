//! Logits that are not ours: those of transformers in double precision, made by `bench/native/oracle.py`.
//!
//! Weights are functions of their names and indices, so that they need no files.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use hwledger_engine::graph::{Decoder, Machine, Outputs, Slice};
use hwledger_engine::model::{LoadOptions, load};
use hwledger_engine::{CacheFormat, InstructionSet, Pool};
use serde_json::Value;

use crate::files::{Noise, Safetensors, directory};

/// Single-precision sums, and keys and values (here latents) in half precision: the largest difference of any logit, as
/// a part of the logits' standard deviation. The largest seen is 5.7e-3.
const TOLERANCE: f64 = 1e-2;
/// The same of four layers whose attention is sharp and whose experts are gated beyond one; 1.13e-2 was seen.
const TOLERANCE_GPT_OSS: f64 = 2e-2;
/// Models that there are.
const MODELS: usize = 37;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bench/native/golden")
}

/// The checksum of zip files (ISO 3309), by its definition.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |rest: u32, _| if rest & 1 == 1 { rest >> 1 ^ 0xedb8_8320 } else { rest >> 1 };
    !bytes.iter().fold(!0, |rest, &byte| (0..8).fold(rest ^ u32::from(byte), step))
}

/// The weights of a tensor, exact in half precision.
fn weights(name: &str, elements: u64, base: f64, exponent: i32) -> Vec<u8> {
    let start = u64::from(crc32(name.as_bytes())) << 32;
    let unit = 2.0_f64.powi(exponent);
    (0..elements)
        .flat_map(|index| {
            // The output for a state, which the generator adds its increment to first.
            let value = (Noise(start + index).bits() >> 56) as u8;
            #[expect(clippy::cast_possible_truncation, reason = "exact in half precision")]
            let value = (base + f64::from(value.cast_signed()) * unit) as f32;
            hwledger_kernels::f16_from_f32(value).to_le_bytes()
        })
        .collect()
}

fn file(name: &str, kind: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.{kind}"))).unwrap()
}

/// What a model is made of.
fn about(name: &str) -> Value {
    serde_json::from_slice(&file(name, "json")).unwrap()
}

fn check(name: &str) {
    let about = about(name);
    let mut tensors = Safetensors::default();
    for tensor in about["tensors"].as_array().unwrap() {
        let name = tensor[0].as_str().unwrap();
        let shape: Vec<usize> = serde_json::from_value(tensor[1].clone()).unwrap();
        let exponent = i32::try_from(tensor[3].as_i64().unwrap()).unwrap();
        let elements = shape.iter().product::<usize>() as u64;
        tensors.put(name, "F16", &shape, &weights(name, elements, tensor[2].as_f64().unwrap(), exponent));
    }
    let model = directory(&about["config"].to_string(), None, vec![tensors.file("model.safetensors")]).unwrap();
    let tokens: Vec<u32> = serde_json::from_value(about["tokens"].clone()).unwrap();
    let pool = Pool::new(1).unwrap();
    let model = load(&model, &LoadOptions { context: tokens.len(), packed_directory: None }, &pool).unwrap();
    let machine = Machine { pool, set: InstructionSet::detect() };
    let mut decoder = Decoder::new(Arc::new(model), CacheFormat::F16, 4, machine).unwrap();
    let sequence = decoder.cache_mut().create();
    let found = decoder.step(&[Slice { sequence, tokens: &tokens, outputs: Outputs::All }]).unwrap();

    // The header of these files is 128 bytes long; numbers are little-endian.
    let expected: Vec<f32> =
        file(name, "npy")[128..].chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(found.len(), expected.len());
    let deviation = about["logits_deviation"].as_f64().unwrap();
    let error = |(&found, &expected): (&f32, &f32)| (f64::from(found) - f64::from(expected)).abs() / deviation;
    let worst = found.iter().zip(&expected).map(error).fold(0.0, f64::max);
    println!("{name}: at most {worst:.6}");
    let tolerance = if name.starts_with("gpt-oss") { TOLERANCE_GPT_OSS } else { TOLERANCE };
    assert!(worst < tolerance, "{name}: {worst}");
}

#[test]
fn every_model_computes_the_logits_of_the_reference() {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        // Encoders have states instead, which `tests/native/encoder/golden.rs` compares.
        .filter(|name| about(name).get("states_deviation").is_none())
        .collect();
    names.sort();
    assert_eq!(names.len(), MODELS);
    let is_wrong = |name: &String| std::panic::catch_unwind(|| check(name)).is_err();
    let wrong: Vec<&String> = names.iter().filter(|name| is_wrong(name)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
