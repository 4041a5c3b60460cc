//! Why a model could not be found or read.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use hwledger_formats::ollama::ManifestError;

/// Why the string that a person wrote led to no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// No path, store, cache or catalogue knows the name.
    #[error("no model is known as `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Known names that look alike, the nearest first.
        suggestions: Vec<String>,
    },
    /// The reference is spelled as a path, and nothing is there.
    #[error("there is no file or directory `{path}`")]
    NoSuchPath {
        /// The path, home directory expanded.
        path: PathBuf,
    },
    /// The directory holds nothing that describes a model.
    #[error("`{path}` holds no model: looked for {looked_for}")]
    EmptyDirectory {
        /// The directory.
        path: PathBuf,
        /// The file names that would have been read.
        looked_for: &'static str,
    },
    /// The file is none of the kinds that can be read.
    #[error("`{path}` is not a model file: expected {expected}")]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// The kinds that can be read.
        expected: &'static str,
    },
    /// Several models are in one place and the reference names none of them.
    #[error("`{place}` holds several models")]
    Ambiguous {
        /// The directory or repository.
        place: String,
        /// The names to choose from.
        choices: Vec<String>,
    },
    /// A part of a split model is absent.
    #[error("`{missing}` is missing beside `{present}`")]
    MissingPart {
        /// A part that is there.
        present: String,
        /// The first part that is not.
        missing: String,
    },
    /// A file is larger than any of its kind should be.
    #[error("`{place}` is {bytes} bytes long, more than the {limit} that are read of such a file")]
    TooLarge {
        /// The file or address.
        place: String,
        /// Its size.
        bytes: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A safetensors index cannot be read.
    #[error("`{place}` is not a safetensors index")]
    Index {
        /// The file or address.
        place: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// An Ollama manifest cannot be read.
    #[error("`{place}` is not an Ollama manifest that can be read")]
    Manifest {
        /// The file or address.
        place: String,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// The file system refused.
    #[error("cannot read `{path}`")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LocateError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// The whole of it in one line: what, why, and what to do about it.
    pub fn full_message(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {source}");
            cause = source.source();
        }
        if let Some(hint) = self.hint() {
            let _ = write!(text, "; hint: {hint}");
        }
        text
    }

    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { suggestions, .. } if suggestions.is_empty() => {
                Some("give a path, a Hugging Face id (`org/name`), a URL, or a name of the catalogue".to_owned())
            }
            Self::Unknown { suggestions, .. } => Some(format!("did you mean {}?", quoted(suggestions))),
            Self::Ambiguous { choices, .. } => Some(format!("name one of {}", quoted(choices))),
            Self::MissingPart { .. } => Some("download the remaining parts into the same directory".to_owned()),
            _ => None,
        }
    }
}

/// `names` in backticks, apart by commas, cut short when there are many.
fn quoted(names: &[String]) -> String {
    const SHOWN_MAX: usize = 12;
    let mut text = String::new();
    for (index, name) in names.iter().take(SHOWN_MAX).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}`{name}`");
    }
    if names.len() > SHOWN_MAX {
        let _ = write!(text, " and {} more", names.len() - SHOWN_MAX);
    }
    text
}
