//! Why a model cannot be run.

use hwledger_engine::LoadError;
use hwledger_engine::scheduler::{ReplyError, SubmitError};
use hwledger_engine::text::{TemplateError, TextError};

use crate::locate::LocateError;

/// Why a model cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// Nothing by that name, or it cannot be opened.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// Only its description is here.
    #[error("`{0}` has no weights on this machine")]
    NoWeights(String),
    /// Its weights are on a server.
    #[error("the weights of `{0}` are not on this machine")]
    Elsewhere(String),
    /// Some of its files are missing.
    #[error("some of the files that hold the weights of `{0}` are missing")]
    Incomplete(String),
    /// Nothing says what its tensors are.
    #[error("there is no `config.json` with the weights of `{0}`")]
    NoConfiguration(String),
    /// It cannot be loaded.
    #[error("the model cannot be loaded")]
    Load(#[from] LoadError),
    /// A name that is no set of instructions.
    #[error("`{0}` is no set of instructions")]
    Instructions(String),
    /// The text cannot be turned into tokens.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The conversation cannot be rendered.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The model has no chat template.
    #[error("the model has no chat template")]
    NoTemplate,
    /// The model's chat template cannot be read.
    #[error("the model's chat template cannot be used: {0}")]
    BadTemplate(String),
    /// The request was not taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The reply could not go on.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// A measurement failed.
    #[error("the model could not be measured")]
    Run(#[from] hwledger_engine::RunError),
    /// No text to embed.
    #[error("there is no text to embed")]
    NoTexts,
    /// A text of no tokens, of a model that puts none about it.
    #[error("text {number} has no tokens, and so no embedding")]
    EmptyText {
        /// Its place among the texts, from 1.
        number: usize,
    },
    /// A text longer than the model takes.
    #[error("text {number} has {tokens} tokens, which do not fit a context of {context}")]
    LongText {
        /// Its place among the texts, from 1.
        number: usize,
        /// Its tokens.
        tokens: usize,
        /// The context.
        context: usize,
    },
    /// A bench that asks for more than the context holds.
    #[error("{tokens} tokens do not fit a context of {context}")]
    BenchContext {
        /// Tokens of its longest row.
        tokens: usize,
        /// The context.
        context: usize,
    },
}

impl NativeError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Locate(error) => error.hint(),
            Self::NoWeights(_) | Self::Elsewhere(_) => {
                Some("name a file or directory with weights, or a model of a local store".to_owned())
            }
            Self::Incomplete(_) => Some("the download may be incomplete".to_owned()),
            Self::NoConfiguration(_) => Some("name the directory that holds both".to_owned()),
            Self::Instructions(_) => {
                let names: Vec<&str> = hwledger_engine::InstructionSet::ALL.iter().map(|set| set.name()).collect();
                Some(format!("there are {}", names.join(", ")))
            }
            Self::NoTemplate | Self::BadTemplate(_) => Some("`--raw` completes the text as it is".to_owned()),
            Self::NoTexts => Some("name texts after the model, or pipe in one per line".to_owned()),
            Self::LongText { .. } => Some("`--truncate` cuts the end off such texts".to_owned()),
            Self::Load(LoadError::NoPooling) => {
                Some("`--pooling last` takes the state of the last token, `--pooling mean` the mean".to_owned())
            }
            Self::BenchContext { .. } => Some("ask for a longer `--context`".to_owned()),
            _ => None,
        }
    }
}
