//! Why a model could not be found or read.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use hwledger_formats::ollama::ManifestError;

/// What another library says.
type BoxedError = Box<dyn std::error::Error + Send + Sync>;

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
    /// Asking a server was forbidden, and nothing on this machine would do.
    #[error("`{what}` is not on this machine and asking for it was forbidden")]
    Offline {
        /// The name or address.
        what: String,
        /// Known names that look alike, the nearest first.
        suggestions: Vec<String>,
    },
    /// A server cannot be reached.
    #[error("cannot reach `{host}`")]
    Unreachable {
        /// The server.
        host: String,
        /// Why not.
        #[source]
        source: BoxedError,
    },
    /// A server wants to know who is asking.
    #[error("`{address}` may not be read {}", if *has_token { "with this token" } else { "without a token" })]
    Unauthorized {
        /// The address.
        address: String,
        /// Whether a token was sent.
        has_token: bool,
        /// Whether the publisher's terms must be accepted first.
        is_gated: bool,
    },
    /// A repository's terms have not been accepted.
    #[error("the publisher of `{id}` lets only those read it who have accepted its terms")]
    Gated {
        /// The repository.
        id: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The hub has no such repository, or hides it.
    #[error("the hub has no public repository `{id}`{}", at_revision(revision.as_deref()))]
    NoRepository {
        /// The repository.
        id: String,
        /// The revision that was asked for.
        revision: Option<String>,
        /// Known names that look alike, the nearest first.
        suggestions: Vec<String>,
    },
    /// The repository holds nothing that describes a model.
    #[error("the repository `{id}` holds no model: looked for {looked_for}")]
    NoModelInRepository {
        /// The repository.
        id: String,
        /// The file names that would have been read.
        looked_for: String,
    },
    /// A server has no such file.
    #[error("there is nothing at `{address}`")]
    NotFound {
        /// The address.
        address: String,
    },
    /// A server answers with another status than success.
    #[error("`{address}` was refused with HTTP status {status}")]
    Refused {
        /// The address.
        address: String,
        /// The status.
        status: u16,
    },
    /// An answer makes no sense.
    #[error("the server's answer for `{address}` cannot be used: {what}")]
    BadAnswer {
        /// The address.
        address: String,
        /// What is wrong with it.
        what: String,
    },
    /// An answer broke off or is no HTTP.
    #[error("the server's answer for `{address}` broke off")]
    BrokenAnswer {
        /// The address.
        address: String,
        /// What happened.
        #[source]
        source: BoxedError,
    },
    /// An answer is shorter than the server said.
    #[error("the server sent {bytes} of {expected} bytes of `{address}`")]
    Truncated {
        /// The address.
        address: String,
        /// Bytes that came.
        bytes: u64,
        /// Bytes that were announced.
        expected: u64,
    },
    /// A file was replaced while it was being read.
    #[error("`{address}` was replaced while it was being read")]
    Changed {
        /// The address.
        address: String,
    },
    /// A URL cannot be used.
    #[error("`{address}` cannot be fetched: {what}")]
    BadAddress {
        /// The URL without its query.
        address: String,
        /// Why not.
        what: String,
    },
    /// A repository's listing cannot be read.
    #[error("the listing at `{address}` cannot be read")]
    Listing {
        /// The address.
        address: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
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
            Self::Unknown { suggestions, .. }
            | Self::Offline { suggestions, .. }
            | Self::NoRepository { suggestions, .. }
                if !suggestions.is_empty() =>
            {
                Some(format!("did you mean {}?", quoted(suggestions)))
            }
            Self::Ambiguous { choices, .. } => Some(format!("name one of {}", quoted(choices))),
            Self::MissingPart { .. } => Some("download the remaining parts into the same directory".to_owned()),
            Self::Unknown { .. } => {
                Some("give a path, a Hugging Face id (`org/name`), a URL, or a name of the catalogue".to_owned())
            }
            Self::Offline { .. } => Some("run once without `--offline`, or give a path or a catalogue name".to_owned()),
            Self::Unreachable { .. } => Some(
                "without a network, give a path, a model that a tool on this machine keeps, or a catalogue name"
                    .to_owned(),
            ),
            Self::Unauthorized { has_token: true, .. } => {
                Some("check what the token in `HF_TOKEN` may read".to_owned())
            }
            Self::Unauthorized { .. } => Some("set `HF_TOKEN` if this server is a Hugging Face hub".to_owned()),
            Self::Gated { id, has_token: true } => {
                Some(format!("accept the terms on the page of `{id}` with the token's account"))
            }
            Self::Gated { id, .. } => Some(format!("accept the terms on the page of `{id}`, then set `HF_TOKEN`")),
            Self::NoRepository { .. } => Some(
                "check the spelling; for a private repository, set `HF_TOKEN` to a token that may read it".to_owned(),
            ),
            Self::Refused { status: 429, .. } => Some("the server asks for patience: try again later".to_owned()),
            Self::Changed { .. } | Self::Truncated { .. } | Self::BrokenAnswer { .. } => Some("try again".to_owned()),
            _ => None,
        }
    }
}

fn at_revision(revision: Option<&str>) -> String {
    revision.map(|revision| format!(" with a revision `{revision}`")).unwrap_or_default()
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
