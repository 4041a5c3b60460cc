//! A model's tensors, whatever its files are, by the names that GGUF gives them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use hwledger_core::{ElementType, ModelSpec};
use hwledger_formats::gguf::model_spec;
use hwledger_kernels::{AffineTensor, PackError, PackedFormat, PackedWeight, Pool, Shape, dequantise};

use crate::error::LoadError;

use super::encoder::EncoderSettings;
use super::gguf::GgufTensors;
use super::hugging_face::{Directory, HuggingFaceTensors};
use super::pooling::PoolingSettings;
use super::settings::Settings;

/// Most elements of a tensor that is read as plain numbers: norms, biases, factors.
const VECTOR_ELEMENTS_MAX: u64 = 1 << 24;

/// A file that holds a model or a part of one.
#[derive(Debug)]
pub struct ModelFile {
    /// Its path, or its name where it has none.
    pub path: PathBuf,
    content: Content,
    /// Bytes of tensors that were read from it.
    bytes_read: AtomicU64,
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
        Ok(Self { path: path.to_owned(), content: Content::File(file), bytes_read: AtomicU64::new(0) })
    }

    /// A file that is part of the program.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Self {
        Self { path: PathBuf::from(name), content: Content::Bytes(bytes), bytes_read: AtomicU64::new(0) }
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> io::Result<u64> {
        match &self.content {
            Content::File(file) => Ok(file.metadata()?.len()),
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// When it was changed last, in nanoseconds of the system's clock; none for a file that is part of the program
    /// or whose system does not say.
    pub(super) fn changed_nanoseconds(&self) -> Option<u128> {
        let Content::File(file) = &self.content else { return None };
        let changed = file.metadata().ok()?.modified().ok()?;
        Some(changed.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos())
    }

    /// A reader from an offset on.
    pub(super) fn reader(&self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
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

    /// The `length` bytes at an offset, which the caller has checked against the file's size.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, LoadError> {
        let failed = |source| LoadError::Read { path: self.path.clone(), source };
        let length = usize::try_from(length).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        self.reader(offset).and_then(|reader| reader.take(length as u64).read_to_end(&mut bytes)).map_err(failed)?;
        if bytes.len() != length {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        self.bytes_read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// The values of a small tensor, read by `read`.
pub(super) fn plain_numbers(
    name: &str,
    element_type: ElementType,
    shape: &[u64],
    expected: Option<u64>,
    read: impl FnOnce() -> Result<Vec<u8>, LoadError>,
) -> Result<Vec<f32>, LoadError> {
    let elements = shape.iter().fold(1_u64, |product, &extent| product.saturating_mul(extent));
    if expected.is_some_and(|expected| expected != elements) || elements > VECTOR_ELEMENTS_MAX {
        return Err(LoadError::Shape {
            name: name.to_owned(),
            found: shape.to_vec(),
            expected: expected.into_iter().collect(),
        });
    }
    let bytes = read()?;
    let mut values = vec![0.0; usize::try_from(elements).unwrap_or(0)];
    dequantise(element_type, &bytes, &mut values)
        .ok_or_else(|| LoadError::Unsupported(format!("tensors of the type {element_type} (`{name}`)")))?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(row) => Err(LoadError::Pack { name: name.to_owned(), source: PackError::NotFinite { row } }),
        None => Ok(values),
    }
}

/// A matrix as files hold it, rows one after the other.
#[derive(Debug)]
pub(super) enum StoredMatrix {
    /// Numbers or blocks of a type.
    Plain(ElementType, Vec<u8>),
    /// Numbers of MLX.
    Affine(AffineMatrix),
}

/// The parts of an [`AffineTensor`].
#[derive(Debug)]
pub(super) struct AffineMatrix {
    pub(super) bits: usize,
    pub(super) group: usize,
    pub(super) scale_type: ElementType,
    pub(super) numbers: Vec<u8>,
    pub(super) scales: Vec<u8>,
    pub(super) biases: Vec<u8>,
}

impl AffineMatrix {
    /// The tensor that kernels take.
    pub(super) fn tensor(&self) -> AffineTensor<'_> {
        let Self { bits, group, scale_type, numbers, scales, biases } = self;
        AffineTensor { bits: *bits, group: *group, scale_type: *scale_type, numbers, scales, biases }
    }

    /// What `keep` takes of each part.
    pub(super) fn map(&self, keep: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let [numbers, scales, biases] = [&self.numbers, &self.scales, &self.biases].map(|part| keep(part));
        Self { numbers, scales, biases, ..*self }
    }
}

/// How far the loading of a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of its files that were read; fewer than all at the end where weights were already kept repacked, or where
    /// files hold more than the model.
    pub bytes_read: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// The files of a model with their headers.
#[derive(Debug)]
pub enum Tensors {
    /// GGUF.
    Gguf(GgufTensors),
    /// safetensors with a `config.json`, from Hugging Face or MLX.
    HuggingFace(Box<HuggingFaceTensors>),
}

impl Tensors {
    /// Reads the headers of a GGUF model: of one file, or of all parts of a split one in order.
    pub fn new(files: Vec<ModelFile>) -> Result<Self, LoadError> {
        GgufTensors::new(files).map(Self::Gguf)
    }

    /// Reads the configuration and the headers of a safetensors model.
    pub fn of_directory(directory: Directory) -> Result<Self, LoadError> {
        HuggingFaceTensors::new(directory).map(|tensors| Self::HuggingFace(Box::new(tensors)))
    }

    /// How much of the files was read until now.
    pub fn progress(&self) -> LoadProgress {
        let of = |files: &mut dyn Iterator<Item = &ModelFile>| {
            files.fold(LoadProgress { bytes_read: 0, bytes: 0 }, |sum, file| LoadProgress {
                bytes_read: sum.bytes_read + file.bytes_read.load(Ordering::Relaxed),
                bytes: sum.bytes + file.size().unwrap_or(0),
            })
        };
        match self {
            Self::Gguf(tensors) => of(&mut tensors.files()),
            Self::HuggingFace(tensors) => of(&mut tensors.files()),
        }
    }

    /// The shapes of the model.
    pub fn spec(&self) -> Result<ModelSpec, LoadError> {
        match self {
            Self::Gguf(tensors) => Ok(model_spec(&tensors.header)?.0),
            Self::HuggingFace(tensors) => Ok(tensors.spec.clone()),
        }
    }

    /// The numbers of the model. `context` is the longest sequence that will be run.
    pub fn settings(&self, spec: &ModelSpec, context: usize) -> Result<Settings, LoadError> {
        match self {
            Self::Gguf(tensors) => Settings::read(&tensors.header, spec, context, &|name| tensors.vector(name, None)),
            Self::HuggingFace(tensors) => tensors.settings(context),
        }
    }

    /// The numbers of an encoder. `context` is the longest text that will be run.
    pub fn encoder_settings(&self, spec: &ModelSpec, context: usize) -> Result<EncoderSettings, LoadError> {
        match self {
            Self::Gguf(tensors) => {
                EncoderSettings::read(&tensors.header, spec, context, &|name| tensors.vector(name, None))
            }
            Self::HuggingFace(tensors) => tensors.encoder_settings(),
        }
    }

    /// How the files say that states become one vector.
    pub fn pooling(&self) -> Result<PoolingSettings, LoadError> {
        match self {
            Self::Gguf(tensors) => PoolingSettings::read(&tensors.header),
            Self::HuggingFace(tensors) => tensors.pooling(),
        }
    }

    /// The longest sequence that the model knows, where its files say so.
    pub fn context(&self) -> Option<usize> {
        match self {
            Self::Gguf(tensors) => tensors
                .header
                .architecture()
                .and_then(|name| tensors.header.metadata.unsigned(&format!("{name}.context_length")))
                .and_then(|tokens| usize::try_from(tokens).ok()),
            Self::HuggingFace(tensors) => tensors.context(),
        }
    }

    /// What is worth knowing about how the weights are held.
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::Gguf(_) => Vec::new(),
            Self::HuggingFace(tensors) => tensors.notes(),
        }
    }

    /// What products with each copy of a matrix are multiplied by, where the file says so.
    pub(super) fn scales(&self, matrix: &str, copies: usize) -> Result<Option<Vec<f32>>, LoadError> {
        match self {
            Self::Gguf(tensors) => tensors.scales(matrix, copies),
            Self::HuggingFace(_) => Ok(None),
        }
    }

    /// Refuses files whose numbers would be taken for others: those with a scale beside a matrix that takes none.
    pub(super) fn check_scales(&self) -> Result<(), LoadError> {
        match self {
            Self::Gguf(tensors) => tensors.check_scales(),
            Self::HuggingFace(_) => Ok(()),
        }
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Gguf(tensors) => tensors.has(name),
            Self::HuggingFace(tensors) => tensors.has(name),
        }
    }

    /// A tensor as plain numbers, if it is there.
    pub fn vector(&self, name: &str, expected: Option<u64>) -> Result<Option<Vec<f32>>, LoadError> {
        match self {
            Self::Gguf(tensors) => tensors.vector(name, expected),
            Self::HuggingFace(tensors) => tensors.vector(name, expected),
        }
    }

    /// A repacked matrix of the given columns and rows (and stacked copies), which must be there.
    pub fn matrix(&self, name: &str, shape: Shape, pool: &Pool) -> Result<PackedWeight, LoadError> {
        match self {
            Self::Gguf(tensors) => tensors.matrix(name, shape, pool),
            Self::HuggingFace(tensors) => tensors.matrix(name, shape, pool),
        }
    }

    /// A matrix as its file holds it, which must be there.
    pub(super) fn stored(&self, name: &str, shape: Shape) -> Result<StoredMatrix, LoadError> {
        match self {
            Self::Gguf(tensors) => {
                let (element_type, bytes) = tensors.stored(name, shape)?;
                Ok(StoredMatrix::Plain(element_type, bytes))
            }
            Self::HuggingFace(tensors) => tensors.stored_matrix(name, shape),
        }
    }

    /// How a matrix will be held, where that is known before it is read.
    pub(super) fn packed_format(&self, name: &str) -> Option<PackedFormat> {
        match self {
            Self::Gguf(tensors) => tensors.element_type(name).and_then(PackedFormat::of),
            Self::HuggingFace(_) => None,
        }
    }

    /// Rows of a matrix, if it is there.
    pub fn rows(&self, name: &str) -> Option<u64> {
        match self {
            Self::Gguf(tensors) => tensors.rows(name),
            Self::HuggingFace(tensors) => tensors.rows(name),
        }
    }
}
