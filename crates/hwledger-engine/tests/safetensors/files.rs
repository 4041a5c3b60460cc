//! Writes small models as safetensors and as GGUF files, and runs them.

use std::fmt::Write as _;
use std::sync::Arc;

use hwledger_engine::graph::{Decoder, Machine, Outputs, Slice};
use hwledger_engine::model::{Directory, LoadOptions, ModelFile, Tensors, load};
use hwledger_engine::{CacheFormat, InstructionSet, LoadError, Pool};

/// Numbers that look random and are always the same (`SplitMix64`, Steele, Lea and Flood 2014).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Between minus and plus `size`.
    pub(crate) fn value(&mut self, size: f32) -> f32 {
        ((self.bits() >> 40) as f32 / 8_388_608.0 - 1.0) * size
    }

    pub(crate) fn values(&mut self, count: usize, size: f32) -> Vec<f32> {
        (0..count).map(|_| self.value(size)).collect()
    }
}

pub(crate) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A safetensors file under construction.
#[derive(Default)]
pub(crate) struct Safetensors {
    header: String,
    data: Vec<u8>,
}

impl Safetensors {
    pub(crate) fn put(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) {
        let start = self.data.len();
        self.data.extend(bytes);
        let comma = if self.header.is_empty() { "" } else { "," };
        let end = self.data.len();
        let entry =
            format!(r#"{comma}"{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#);
        self.header.write_str(&entry).unwrap();
    }

    pub(crate) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.put(name, "F32", shape, &f32_bytes(values));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let header = format!("{{{}}}", self.header);
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &self.data].concat()
    }

    pub(crate) fn file(&self, name: &str) -> ModelFile {
        ModelFile::embedded(name, self.bytes().leak())
    }
}

/// A GGUF file of single-precision tensors under construction.
#[derive(Default)]
pub(crate) struct Gguf {
    entries: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

impl Gguf {
    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.entries.push([&text(key)[..], &kind.to_le_bytes(), value].concat());
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.entry(key, 8, &text(value));
    }

    pub(crate) fn count(&mut self, key: &str, value: u32) {
        self.entry(key, 4, &value.to_le_bytes());
    }

    pub(crate) fn number(&mut self, key: &str, value: f32) {
        self.entry(key, 6, &value.to_le_bytes());
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        self.entry(key, 7, &[u8::from(value)]);
    }

    /// A tensor with its contiguous extent last, as safetensors has it.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        self.tensors.push((name.to_owned(), shape.iter().rev().copied().collect(), values));
    }

    pub(crate) fn file(&self) -> ModelFile {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        bytes.extend(self.entries.concat());
        let mut data = Vec::new();
        for (name, dimensions, values) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend(u32::try_from(dimensions.len()).unwrap().to_le_bytes());
            for &extent in dimensions {
                bytes.extend((extent as u64).to_le_bytes());
            }
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(f32_bytes(values));
            data.resize(data.len().next_multiple_of(32), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        ModelFile::embedded("model.gguf", bytes.leak())
    }
}

/// A directory of these files.
pub(crate) fn directory(config: &str, index: Option<&str>, files: Vec<ModelFile>) -> Result<Tensors, LoadError> {
    Tensors::of_directory(Directory {
        folder: "nowhere".into(),
        config: config.as_bytes().to_vec(),
        index: index.map(|index| index.as_bytes().to_vec()),
        files,
    })
}

pub(crate) const TOKENS: [u32; 12] = [3, 17, 4, 4, 29, 0, 31, 8, 15, 22, 1, 30];

/// The logits after each of [`TOKENS`].
pub(crate) fn logits(tensors: &Tensors) -> Result<Vec<f32>, LoadError> {
    let pool = Pool::new(1).unwrap();
    let model = load(tensors, &LoadOptions { context: TOKENS.len(), packed_directory: None }, &pool)?;
    let machine = Machine { pool, set: InstructionSet::detect() };
    let mut decoder = Decoder::new(Arc::new(model), CacheFormat::F16, 4, machine).unwrap();
    let sequence = decoder.cache_mut().create();
    let found = decoder.step(&[Slice { sequence, tokens: &TOKENS, outputs: Outputs::All }]);
    found.map(|logits| logits.to_vec()).map_err(|error| LoadError::Unsupported(error.to_string()))
}

/// The largest difference, as a share of the typical size.
pub(crate) fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let size = (expected.iter().map(|value| value * value).sum::<f32>() / expected.len() as f32).sqrt();
    assert!(size > 0.0);
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max) / size
}

/// Rows of heads whose halves turn together, reordered so that neighbours do (`LlamaModel.permute` of llama.cpp).
pub(crate) fn neighbours(values: &[f32], heads: usize, columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    let half = rows / heads / 2;
    let source = |row: usize| {
        let (head, within) = (row / (2 * half), row % (2 * half));
        head * 2 * half + within % 2 * half + within / 2
    };
    (0..rows).flat_map(|row| values[source(row) * columns..][..columns].to_vec()).collect()
}
