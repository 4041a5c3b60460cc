//! Why a model cannot be loaded or run.

use std::io;
use std::path::PathBuf;

use hwledger_formats::gguf::{GgufError, SpecError, SplitError};
use hwledger_formats::huggingface::ConfigError;
use hwledger_formats::safetensors::{IndexError, SafetensorsError};
use hwledger_kernels::PackError;

use crate::text::TextError;

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A header is wrong.
    #[error("`{}` is no GGUF file that can be run", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: GgufError,
    },
    /// Parts do not belong together.
    #[error("the parts of the model do not belong together")]
    Split(#[from] SplitError),
    /// The header describes no model.
    #[error("the file does not describe a model")]
    Spec(#[from] SpecError),
    /// A safetensors header is wrong.
    #[error("`{}` is no safetensors file that can be run", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SafetensorsError,
    },
    /// The index of shards is wrong.
    #[error("the index of the model's files cannot be used")]
    Index(#[from] IndexError),
    /// The configuration describes no model.
    #[error("the model's configuration cannot be used")]
    Config(#[from] ConfigError),
    /// A tensor lies in two files.
    #[error("the tensor `{name}` is in two files, and there is no index that says which counts")]
    TwoFiles {
        /// Its name.
        name: String,
    },
    /// Something that the engine does not compute.
    #[error("the native engine does not run {0}")]
    Unsupported(String),
    /// A tensor is missing.
    #[error("the tensor `{0}` is missing")]
    MissingTensor(String),
    /// A tensor has another shape than the model asks for.
    #[error("the tensor `{name}` has the shape {found:?} where the model asks for {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Its extents, the contiguous one first.
        found: Vec<u64>,
        /// What the model asks for.
        expected: Vec<u64>,
    },
    /// A tensor could not be repacked.
    #[error("the tensor `{name}` cannot be used")]
    Pack {
        /// Its name.
        name: String,
        /// Why.
        source: PackError,
    },
    /// A setting has a value that cannot be.
    #[error("the key `{key}` is {found}, which cannot be; {hint}")]
    Setting {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What would be right.
        hint: &'static str,
    },
    /// The tokenizer cannot be used.
    #[error("the model's tokenizer cannot be used")]
    Text(#[from] TextError),
    /// The tokenizer has more tokens than the model has rows for.
    #[error("the tokenizer has {tokens} tokens, but the model only {rows} embeddings: it is another model's")]
    Vocabulary {
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// The context asked for is longer than the model knows.
    #[error("a context of {asked} tokens is beyond the model's {known}")]
    Context {
        /// Asked for.
        asked: usize,
        /// What the model was trained for.
        known: usize,
    },
    /// A model made to write, of which no embedding was asked for by its name.
    #[error("the model's files do not say which states make an embedding")]
    NoPooling,
    /// Vectors longer than the model's, or of no length.
    #[error("vectors of {asked} elements cannot be cut from the model's {width}")]
    Dimensions {
        /// Asked for.
        asked: usize,
        /// What the model has.
        width: usize,
    },
    /// No memory.
    #[error("no memory for {what}")]
    Memory {
        /// What for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a step could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A token that the vocabulary does not have.
    #[error("there is no token {token} in a vocabulary of {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// How many tokens there are.
        vocabulary: usize,
    },
    /// A text without tokens.
    #[error("a text without tokens has no embedding")]
    NoTokens,
    /// More tokens than a sequence may have.
    #[error("{tokens} tokens do not fit a context of {context}")]
    Context {
        /// Tokens asked for.
        tokens: usize,
        /// The most that there may be.
        context: usize,
    },
    /// The cache is full.
    #[error("the cache has no room: {needed} more pages are needed, {free} are free of {pages}")]
    Cache {
        /// Pages needed.
        needed: usize,
        /// Pages free.
        free: usize,
        /// Pages in all.
        pages: usize,
    },
    /// The model computed something that is no number.
    #[error("the model computed values that are not numbers; its weights or its input are broken")]
    NotANumber,
    /// No memory.
    #[error("no memory for {what}")]
    Memory {
        /// What for.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
