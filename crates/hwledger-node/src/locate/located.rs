//! What was found: bytes that describe a model, and where they came from.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LocateError;
use super::network::{RemoteFile, RemoteReader};

/// A model that was found, not yet parsed.
#[derive(Debug)]
pub struct Located {
    /// A short name for people.
    pub name: String,
    /// Where it was found.
    pub origin: Origin,
    /// The commit or tag that was read, where the place keeps several.
    pub revision: Option<String>,
    /// The content of `config.json`, where there is one.
    pub config: Option<Vec<u8>>,
    /// The files that hold the weights, where there are any.
    pub tensors: Tensors,
    /// Vision or audio projectors kept in files of their own (GGUF `mmproj`).
    pub projectors: Vec<Source>,
    /// Adapters (`LoRA`) kept beside the weights.
    pub adapters: Vec<Source>,
    /// The engine settings kept with the model: an Ollama parameters layer, JSON.
    pub parameters: Option<Vec<u8>>,
    /// What the reader should know about how it was found.
    pub notes: Vec<String>,
}

impl Located {
    pub(crate) fn new(name: impl Into<String>, origin: Origin) -> Self {
        Self {
            name: name.into(),
            origin,
            revision: None,
            config: None,
            tensors: Tensors::None,
            projectors: Vec::new(),
            adapters: Vec::new(),
            parameters: None,
            notes: Vec::new(),
        }
    }

    /// Bytes of all weight files together, where all of them are there.
    pub fn weight_file_bytes(&self) -> Option<u64> {
        match &self.tensors {
            Tensors::None | Tensors::Safetensors { is_complete: false, .. } => None,
            Tensors::Gguf(files) | Tensors::Safetensors { files, .. } => {
                Some(files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.bytes)))
            }
        }
    }
}

/// Where a model was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file or directory that was named.
    Path(PathBuf),
    /// Ollama's local store.
    Ollama {
        /// The model's name in the store.
        name: String,
    },
    /// The cache that Hugging Face's libraries keep.
    HubCache {
        /// The repository.
        id: String,
    },
    /// LM Studio's models folder.
    LmStudio {
        /// The repository that the model was downloaded from.
        id: String,
    },
    /// llama.cpp's download cache.
    LlamaCache {
        /// The repository that the model was downloaded from.
        id: String,
    },
    /// A repository on a Hugging Face hub.
    Hub {
        /// The repository.
        id: String,
        /// The hub's host.
        host: String,
    },
    /// Ollama's registry.
    OllamaRegistry {
        /// The model's name.
        name: String,
    },
    /// A file on a server.
    Url {
        /// The URL without its query.
        address: String,
    },
    /// The built-in catalogue.
    Catalogue {
        /// The public model id.
        id: &'static str,
    },
}

/// The files that hold a model's weights.
#[derive(Debug)]
pub enum Tensors {
    /// No weight file was found: only the configuration is known.
    None,
    /// A GGUF file, or all parts of a split one in order.
    Gguf(Vec<Source>),
    /// A safetensors file or all shards of one model.
    Safetensors {
        /// The content of `model.safetensors.index.json`, where there is one.
        index: Option<Vec<u8>>,
        /// The files in order of name.
        files: Vec<Source>,
        /// Whether every shard that the index names is there.
        is_complete: bool,
    },
}

/// A file whose header can be read, here or elsewhere.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file's name.
    pub name: String,
    /// The file's size.
    pub bytes: u64,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Remote(Arc<RemoteFile>),
}

impl Source {
    /// A file of this machine; anything but a regular file (a pipe, a device) is refused.
    pub(crate) fn from_file(path: &Path) -> Result<Self, LocateError> {
        let metadata = path.metadata().map_err(LocateError::io(path))?;
        if !metadata.is_file() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(LocateError::Io { path: path.to_path_buf(), source });
        }
        Ok(Self { name: file_name(path), bytes: metadata.len(), place: Place::File(path.to_path_buf()) })
    }

    /// A file elsewhere.
    pub(crate) fn from_remote(name: String, bytes: u64, file: Arc<RemoteFile>) -> Self {
        Self { name, bytes, place: Place::Remote(file) }
    }

    /// The file's path, where it is on this machine.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Remote(_) => None,
        }
    }

    /// A reader at the file's first byte.
    pub fn open(&self) -> Result<Box<dyn Read + Send>, LocateError> {
        match &self.place {
            Place::File(path) => {
                let file = File::open(path).map_err(LocateError::io(path))?;
                Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
            }
            Place::Remote(file) => Ok(Box::new(BufReader::new(RemoteReader::new(Arc::clone(file))))),
        }
    }
}

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
