//! Why readings cannot be taken, served or sent.

use std::net::SocketAddr;

use hwledger_probe::engine::{ExpositionError, MappingError};

use crate::locate::LocateError;

/// Why an engine cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] LocateError),
    /// Nobody answers.
    #[error("`{address}` cannot be reached")]
    Unreachable {
        /// The address.
        address: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// What answers is no engine that is known.
    #[error("`{address}` answers, but like no engine that is known{}", metrics.as_ref().map(|why| format!(" (`/metrics`: {why})")).unwrap_or_default())]
    Unknown {
        /// The address.
        address: String,
        /// Why there are no metrics.
        metrics: Option<String>,
    },
    /// A name that is no engine's.
    #[error("`{0}` is no engine that is known")]
    Name(String),
    /// The metrics do not follow the format.
    #[error("`{address}/metrics` cannot be read")]
    Metrics {
        /// The address.
        address: String,
        /// Where and why.
        source: ExpositionError,
    },
    /// The mapping file cannot be read.
    #[error("`{path}` cannot be read: {reason}")]
    MappingFile {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The mapping file holds something else.
    #[error("`{path}` is no mapping")]
    Mapping {
        /// The file.
        path: String,
        /// Where and why.
        source: MappingError,
    },
    /// The file with a reply of the engine cannot be used.
    #[error("the reply in `{path}` cannot be read: {reason}")]
    Reply {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl AttachError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Address(error) => error.hint(),
            Self::Unreachable { .. } => Some("is the engine running, and is this its address and port?".to_owned()),
            Self::Unknown { .. } => {
                Some("vLLM, TGI and mistral.rs tell metrics by themselves; SGLang with `--enable-metrics`, llama.cpp's server with `--metrics`; `--engine-name NAME` says what it is".to_owned())
            }
            Self::Name(_) => Some(format!("there are {}", super::engine_names().join(", "))),
            Self::Mapping { .. } => Some("docs/engine-telemetry.md shows the columns".to_owned()),
            Self::Metrics { .. } | Self::MappingFile { .. } | Self::Reply { .. } => None,
        }
    }
}

/// Why readings cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others than this machine could read them.
    #[error("`{0}` can be reached from other machines, and no token guards it")]
    NeedsToken(SocketAddr),
    /// A token that is easily guessed.
    #[error("the token has {0} characters; at least 16 are needed")]
    ShortToken(usize),
    /// The address is taken, or not this machine's.
    #[error("`{address}` cannot be listened on")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server ended.
    #[error("the server cannot go on")]
    Run(#[source] std::io::Error),
}

impl ServeError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NeedsToken(_) => Some(
                "`--token-env NAME` takes a token from a variable; `--listen 127.0.0.1:9464` needs none".to_owned(),
            ),
            Self::ShortToken(_) => Some("32 random letters and digits are a good token".to_owned()),
            Self::Listen { .. } => Some("`--listen ADDRESS:PORT` takes another".to_owned()),
            Self::Run(_) => None,
        }
    }
}

/// Why readings cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] LocateError),
    /// Nobody answers.
    #[error("`{address}` cannot be reached")]
    Unreachable {
        /// The address.
        address: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The collector says no.
    #[error("`{address}` answers with status {status}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Refused {
        /// The address.
        address: String,
        /// The status.
        status: u16,
        /// What it says about it.
        message: String,
    },
    /// The collector took only a part.
    #[error("`{address}` rejected {rejected} values{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Partial {
        /// The address.
        address: String,
        /// How many values.
        rejected: i64,
        /// What it says about it.
        message: String,
    },
    /// There is nothing to send.
    #[error("there is no number to send")]
    Nothing,
}

impl PushError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Address(error) => error.hint(),
            Self::Unreachable { .. } => Some("OTLP over HTTP is usually at port 4318".to_owned()),
            Self::Refused { status: 404, .. } => Some("the path is usually `/v1/metrics`".to_owned()),
            Self::Refused { status: 401 | 403, .. } => {
                Some("`--otlp-token-env NAME` sends a token from a variable".to_owned())
            }
            _ => None,
        }
    }
}
