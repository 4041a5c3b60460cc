//! The tensors of a GGUF model, read from its files as they are asked for.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use hwledger_core::ElementType;
use hwledger_formats::gguf::{Header, PartName, TensorInfo, merge_parts, read_header};
use hwledger_kernels::{PackedWeight, Pool, Shape, dequantise};

use crate::error::LoadError;

/// Most elements of a tensor that is read as plain numbers: norms, biases, factors.
const VECTOR_ELEMENTS_MAX: u64 = 1 << 24;

/// The files of a model with their merged header.
#[derive(Debug)]
pub struct Tensors {
    /// The header of the whole model.
    pub header: Header,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    data_offset: u64,
    /// Index of its first tensor in the merged header.
    first: usize,
}

impl Tensors {
    /// Opens a model: one file, or all parts of a split one, of which `path` is any.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let names: Vec<PathBuf> = match PartName::parse(&name) {
            Some(part) => part.parts().map(|name| path.with_file_name(name)).collect(),
            None => vec![path.to_owned()],
        };
        let mut headers = Vec::new();
        let mut parts = Vec::new();
        let mut first = 0;
        for path in names {
            let failed = |source| LoadError::Read { path: path.clone(), source };
            let file = File::open(&path).map_err(failed)?;
            let size = file.metadata().map_err(failed)?.len();
            let header = read_header(BufReader::new(&file), Some(size))
                .map_err(|source| LoadError::Header { path: path.clone(), source })?;
            parts.push(Part { path, file, data_offset: header.data_offset, first });
            first += header.tensors.len();
            headers.push(header);
        }
        Ok(Self { header: merge_parts(headers)?, parts })
    }

    /// The tokenizer and templates in the first part.
    pub fn first_file(&self) -> (&Path, &File) {
        (&self.parts[0].path, &self.parts[0].file)
    }

    fn find(&self, name: &str) -> Option<(usize, &TensorInfo)> {
        self.header.tensors.iter().enumerate().find(|(_, tensor)| &*tensor.name == name)
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn read(&self, index: usize, tensor: &TensorInfo) -> Result<Vec<u8>, LoadError> {
        let part = self.parts.iter().rev().find(|part| part.first <= index).unwrap_or(&self.parts[0]);
        let failed = |source| LoadError::Read { path: part.path.clone(), source };
        // The header was checked against the file: the tensor is no longer than the file.
        let length = usize::try_from(tensor.bytes()).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        let mut file = &part.file;
        file.seek(SeekFrom::Start(part.data_offset + tensor.offset)).map_err(failed)?;
        file.take(length as u64).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() != length {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    /// A tensor as plain numbers, if it is there.
    pub fn vector(&self, name: &str, expected: Option<u64>) -> Result<Option<Vec<f32>>, LoadError> {
        let Some((index, tensor)) = self.find(name) else { return Ok(None) };
        let elements = tensor.elements();
        if expected.is_some_and(|expected| expected != elements) || elements > VECTOR_ELEMENTS_MAX {
            return Err(LoadError::Shape {
                name: name.to_owned(),
                found: tensor.dimensions.to_vec(),
                expected: expected.into_iter().collect(),
            });
        }
        let bytes = self.read(index, tensor)?;
        let mut values = vec![0.0; usize::try_from(elements).unwrap_or(0)];
        let kind = tensor.element_type;
        dequantise(kind, &bytes, &mut values)
            .ok_or_else(|| LoadError::Unsupported(format!("tensors of the type {kind} (`{name}`)")))?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(row) => {
                Err(LoadError::Pack { name: name.to_owned(), source: hwledger_kernels::PackError::NotFinite { row } })
            }
            None => Ok(Some(values)),
        }
    }

    /// A repacked matrix of the given columns and rows (and stacked copies), which must be there.
    pub fn matrix(&self, name: &str, shape: Shape, pool: &Pool) -> Result<PackedWeight, LoadError> {
        let (index, tensor) = self.find(name).ok_or_else(|| LoadError::MissingTensor(name.to_owned()))?;
        let expected = [shape.columns as u64, shape.rows as u64, shape.copies as u64, 1];
        if tensor.dimensions != expected {
            return Err(LoadError::Shape {
                name: name.to_owned(),
                found: tensor.dimensions.to_vec(),
                expected: expected.to_vec(),
            });
        }
        let bytes = self.read(index, tensor)?;
        PackedWeight::pack(tensor.element_type, shape, &bytes, pool)
            .map_err(|source| LoadError::Pack { name: name.to_owned(), source })
    }

    /// The element type of a tensor, if it is there.
    pub fn element_type(&self, name: &str) -> Option<ElementType> {
        self.find(name).map(|(_, tensor)| tensor.element_type)
    }

    /// Rows of a matrix, if it is there.
    pub fn rows(&self, name: &str) -> Option<u64> {
        self.find(name).map(|(_, tensor)| tensor.dimensions[1])
    }
}
