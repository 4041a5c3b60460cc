//! The tensors of a GGUF model, read from its files as they are asked for.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use hwledger_core::ElementType;
use hwledger_formats::gguf::{Header, TensorInfo, Vocabulary, merge_parts, read_header, read_vocabulary};
use hwledger_kernels::{PackedWeight, Pool, Shape, dequantise};

use crate::error::LoadError;

/// Most elements of a tensor that is read as plain numbers: norms, biases, factors.
const VECTOR_ELEMENTS_MAX: u64 = 1 << 24;

/// A file that holds a model or a part of one.
#[derive(Debug)]
pub struct ModelFile {
    /// Its path, or its name where it has none.
    pub path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(File),
    Bytes(&'static [u8]),
}

impl ModelFile {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let file = File::open(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), content: Content::File(file) })
    }

    /// A file that is part of the program.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Self {
        Self { path: PathBuf::from(name), content: Content::Bytes(bytes) }
    }

    fn size(&self) -> io::Result<u64> {
        match &self.content {
            Content::File(file) => Ok(file.metadata()?.len()),
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// A reader from an offset on.
    fn reader(&self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        match &self.content {
            Content::File(file) => {
                let mut file = file;
                file.seek(SeekFrom::Start(offset))?;
                Ok(Box::new(file))
            }
            Content::Bytes(bytes) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(Box::new(&bytes[offset..]))
            }
        }
    }
}

/// The files of a model with their merged header.
#[derive(Debug)]
pub struct Tensors {
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

impl Tensors {
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

    fn find(&self, name: &str) -> Option<(usize, &TensorInfo)> {
        self.header.tensors.iter().enumerate().find(|(_, tensor)| &*tensor.name == name)
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn read(&self, index: usize, tensor: &TensorInfo) -> Result<Vec<u8>, LoadError> {
        let part = self.parts.iter().rev().find(|part| part.first <= index).unwrap_or(&self.parts[0]);
        let failed = |source| LoadError::Read { path: part.file.path.clone(), source };
        // The header was checked against the file: the tensor is no longer than the file.
        let length = usize::try_from(tensor.bytes()).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        let reader = part.file.reader(part.data_offset + tensor.offset).map_err(failed)?;
        reader.take(length as u64).read_to_end(&mut bytes).map_err(failed)?;
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
