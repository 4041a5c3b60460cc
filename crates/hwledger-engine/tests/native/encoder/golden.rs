//! States that are not ours: those of transformers in double precision (`bench/native/oracle.py`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hwledger_engine::InstructionSet;
use hwledger_engine::Pool;
use hwledger_engine::model::{Directory, LoadOptions, ModelFile, Tensors, load_encoder};
use hwledger_kernels::f16_from_f32;
use serde_json::Value;

use super::states::{compare, encoder};

/// Single against double precision, as a part of the states' standard deviation. GELU's tanh form is 6e-4 away.
const TOLERANCE: f64 = 5e-5;

/// `zlib.crc32`.
fn checksum(text: &str) -> u32 {
    !text.bytes().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}

/// The weights that `oracle.py` makes of a tensor's name.
fn weights(name: &str, elements: usize, base: f32, exponent: i32) -> Vec<u8> {
    let start = u64::from(checksum(name)) << 32;
    (0..elements as u64)
        .flat_map(|index| {
            let mut bits = start.wrapping_add(index).wrapping_add(0x9e37_79b9_7f4a_7c15);
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bits ^= bits >> 31;
            let value = i8::from_le_bytes([bits.to_be_bytes()[0]]);
            f16_from_f32(base + f32::from(value) * 2.0_f32.powi(exponent)).to_le_bytes()
        })
        .collect()
}

/// The file of all tensors of a golden model.
fn safetensors(tensors: &Value) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for tensor in tensors.as_array().unwrap() {
        let name = tensor[0].as_str().unwrap();
        let shape: Vec<u64> = tensor[1].as_array().unwrap().iter().map(|extent| extent.as_u64().unwrap()).collect();
        let elements = usize::try_from(shape.iter().product::<u64>()).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "zero or one")]
        let base = tensor[2].as_f64().unwrap() as f32;
        let exponent = i32::try_from(tensor[3].as_i64().unwrap()).unwrap();
        let start = data.len();
        data.extend(weights(name, elements, base, exponent));
        let entry = serde_json::json!({"dtype": "F16", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.to_owned(), entry);
    }
    let header = serde_json::to_string(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// The numbers of an array that numpy wrote, in order.
fn array(path: &Path) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let numbers = bytes[start..].chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
    numbers.map(f64::from).collect()
}

#[test]
fn states_are_those_of_transformers() {
    assert_eq!(checksum("123456789"), 0xcbf4_3926);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bench/native/golden");
    for name in ["bert", "bert-tanh", "xlm-roberta", "nomic-bert"] {
        let about: Value =
            serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
        let file = ModelFile::embedded("model.safetensors", safetensors(&about["tensors"]).leak());
        let config = serde_json::to_vec(&about["config"]).unwrap();
        let directory = Directory { folder: PathBuf::new(), config, index: None, files: vec![file] };
        let tensors = Tensors::of_directory(directory).unwrap();
        assert_eq!(tensors.context(), Some(80), "{name}");
        let options = LoadOptions { context: 80, packed_directory: None };
        let model = Arc::new(load_encoder(&tensors, &options, &Pool::new(1).unwrap()).unwrap());
        let texts: Vec<Vec<u32>> = serde_json::from_value(about["texts"].clone()).unwrap();
        let slices: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let mut encoder = encoder(&model, InstructionSet::detect(), 1);
        let expected = array(&folder.join(format!("{name}.npy")));
        compare(name, encoder.states(&slices).unwrap(), &expected, TOLERANCE);
    }
}
