//! The tensors of a GGUF model, read from its files as they are asked for.

use std::io::BufReader;

use hwledger_core::ElementType;
use hwledger_formats::gguf::{Header, TensorInfo, Vocabulary, merge_parts, read_header, read_vocabulary};
use hwledger_kernels::{PackedWeight, Pool, Shape};

use crate::error::LoadError;

use super::tensors::{ModelFile, plain_numbers};

/// Matrices whose products are multiplied by a tensor beside them, `NAME.scale`: one number, or one for each expert.
/// Converters write it for NVFP4. Source: `create_tensor(tn(.., "scale", i), ..)` in llama.cpp's `llama-model.cpp`; biases
/// are added afterwards (`build_lora_mm` in `llama-graph.cpp`).
const SCALED: [&str; 15] = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_qkv",
    "attn_output",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "ffn_gate_shexp",
    "ffn_up_shexp",
    "ffn_down_shexp",
    "ffn_gate_exps",
    "ffn_up_exps",
    "ffn_down_exps",
    "output",
];

/// The files of a model with their merged header.
#[derive(Debug)]
pub struct GgufTensors {
    /// The header of the whole model.
    pub header: Header,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    file: ModelFile,
    data_offset: u64,
    /// Index of its first tensor in the merged header.
    first: usize,
}

impl GgufTensors {
    /// Reads the headers of a model: of one file, or of all parts of a split one in order.
    pub fn new(files: Vec<ModelFile>) -> Result<Self, LoadError> {
        let mut headers = Vec::new();
        let mut parts = Vec::new();
        let mut first = 0;
        for file in files {
            let failed = |source| LoadError::Read { path: file.path.clone(), source };
            let size = file.size().map_err(failed)?;
            let reader = BufReader::new(file.reader(0).map_err(failed)?);
            let header = read_header(reader, Some(size))
                .map_err(|source| LoadError::Header { path: file.path.clone(), source })?;
            parts.push(Part { data_offset: header.data_offset, first, file });
            first += header.tensors.len();
            headers.push(header);
        }
        Ok(Self { header: merge_parts(headers)?, parts })
    }

    /// The tokenizer and templates, which are in the first part.
    pub fn vocabulary(&self) -> Result<Vocabulary, LoadError> {
        let file = &self.parts[0].file;
        let failed = |source| LoadError::Read { path: file.path.clone(), source };
        let size = file.size().map_err(failed)?;
        read_vocabulary(BufReader::new(file.reader(0).map_err(failed)?), Some(size))
            .map_err(|source| LoadError::Header { path: file.path.clone(), source })
    }

    /// The files in order.
    pub(super) fn files(&self) -> impl Iterator<Item = &ModelFile> {
        self.parts.iter().map(|part| &part.file)
    }

    fn find(&self, name: &str) -> Option<(usize, &TensorInfo)> {
        self.header.tensors.iter().enumerate().find(|(_, tensor)| &*tensor.name == name)
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Refuses a file that has a scale beside a matrix which no engine multiplies by one.
    pub(super) fn check_scales(&self) -> Result<(), LoadError> {
        let is_beside = |name: &&str| {
            name.strip_suffix(".scale").is_some_and(|base| {
                let part = base.rsplit_once('.').map_or(base, |(_, part)| part);
                self.has(&format!("{base}.weight")) && !SCALED.contains(&part)
            })
        };
        match self.header.tensors.iter().map(|tensor| &*tensor.name).find(is_beside) {
            Some(name) => Err(LoadError::Unsupported(format!("a scale beside this matrix (`{name}`)"))),
            None => Ok(()),
        }
    }

    /// What products with each copy of a matrix are multiplied by, one number for each, where the file says so.
    pub(super) fn scales(&self, matrix: &str, copies: usize) -> Result<Option<Vec<f32>>, LoadError> {
        match matrix.strip_suffix(".weight") {
            Some(base) => self.vector(&format!("{base}.scale"), Some(copies as u64)),
            None => Ok(None),
        }
    }

    fn read(&self, index: usize, tensor: &TensorInfo) -> Result<Vec<u8>, LoadError> {
        let part = self.parts.iter().rev().find(|part| part.first <= index).unwrap_or(&self.parts[0]);
        part.file.read(part.data_offset + tensor.offset, tensor.bytes())
    }

    /// A tensor as plain numbers, if it is there.
    pub fn vector(&self, name: &str, expected: Option<u64>) -> Result<Option<Vec<f32>>, LoadError> {
        let Some((index, tensor)) = self.find(name) else { return Ok(None) };
        let shape = tensor.dimensions.as_slice();
        plain_numbers(name, tensor.element_type, shape, expected, || self.read(index, tensor)).map(Some)
    }

    /// The element type of a tensor, if it is there.
    pub(super) fn element_type(&self, name: &str) -> Option<ElementType> {
        self.find(name).map(|(_, tensor)| tensor.element_type)
    }

    /// A repacked matrix of the given columns and rows (and stacked copies), which must be there.
    pub fn matrix(&self, name: &str, shape: Shape, pool: &Pool) -> Result<PackedWeight, LoadError> {
        let (element_type, bytes) = self.stored(name, shape)?;
        PackedWeight::pack(element_type, shape, &bytes, pool)
            .map_err(|source| LoadError::Pack { name: name.to_owned(), source })
    }

    /// Such a matrix as the file holds it.
    pub(super) fn stored(&self, name: &str, shape: Shape) -> Result<(ElementType, Vec<u8>), LoadError> {
        let (index, tensor) = self.find(name).ok_or_else(|| LoadError::MissingTensor(name.to_owned()))?;
        let expected = [shape.columns as u64, shape.rows as u64, shape.copies as u64, 1];
        if tensor.dimensions != expected {
            return Err(LoadError::Shape {
                name: name.to_owned(),
                found: tensor.dimensions.to_vec(),
                expected: expected.to_vec(),
            });
        }
        Ok((tensor.element_type, self.read(index, tensor)?))
    }

    /// Rows of a matrix, if it is there.
    pub fn rows(&self, name: &str) -> Option<u64> {
        self.find(name).map(|(_, tensor)| tensor.dimensions[1])
    }
}
