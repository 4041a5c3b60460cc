//! What is asked of the engine, and what it tells.

use std::time::Duration;

use crate::error::RunError;
use crate::sampling::{Choice, ConstraintError, ResponseFormat, SamplingError, SamplingSettings};

/// A reply that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The prompt as tokens, at least one.
    pub prompt: Vec<u32>,
    /// The most tokens of the reply; none for as many as the context holds.
    pub tokens_max: Option<usize>,
    /// How tokens are chosen.
    pub sampling: SamplingSettings,
    /// What the reply must look like.
    pub format: ResponseFormat,
    /// Texts that end the reply; they are not part of it.
    pub stops: Vec<String>,
    /// Whether the model's own end tokens are passed over (for measuring).
    pub ignores_end: bool,
}

/// A request that the engine has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

impl std::fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// Nothing to go on from.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// A token that the vocabulary does not have.
    #[error("there is no token {token} in a vocabulary of {vocabulary}")]
    Token {
        /// The token.
        token: u32,
        /// How many tokens there are.
        vocabulary: usize,
    },
    /// The prompt leaves no room for a reply.
    #[error("a prompt of {prompt} tokens leaves no room for a reply in a context of {context}")]
    TooLong {
        /// Its tokens.
        prompt: usize,
        /// The context's.
        context: usize,
    },
    /// Prompt and reply could never be in the cache, alone.
    #[error("{tokens} tokens do not fit the cache, which holds {cache}")]
    Cache {
        /// Tokens of prompt and reply.
        tokens: usize,
        /// Tokens that the cache holds.
        cache: usize,
    },
    /// Too many requests wait.
    #[error("{waiting} requests are waiting, and no more are taken")]
    Full {
        /// How many.
        waiting: usize,
    },
    /// A setting is out of its range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The reply cannot be made to look as asked.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// A reply that must look in some way, where tokens have no text.
    #[error("without a tokenizer no reply can be made to follow a grammar")]
    NoTokenizer,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended it, or a stop text came.
    Stop,
    /// It has as many tokens as were asked for, or as the context holds.
    Length,
    /// It was cancelled.
    Cancelled,
}

impl FinishReason {
    /// Its name: `stop`, `length`, `cancelled`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a request took, measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the reply, the ending one included.
    pub reply_tokens: usize,
    /// From submission to the first step.
    pub waited: Duration,
    /// From the first step to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

impl Usage {
    /// From submission to the first token.
    pub fn time_to_first_token(&self) -> Duration {
        self.waited + self.prefill
    }

    /// Mean seconds from one token to the next; none for a single token.
    pub fn time_per_token(&self) -> Option<f64> {
        (self.reply_tokens > 1).then(|| self.decode.as_secs_f64() / (self.reply_tokens - 1) as f64)
    }
}

/// What happened to a request.
#[derive(Debug)]
pub enum Event {
    /// A token was chosen.
    Token {
        /// Whose.
        request: RequestId,
        /// The token.
        choice: Choice,
        /// Text that is certain now: may be empty, may hold that of earlier tokens.
        text: String,
    },
    /// The reply ended.
    Finished {
        /// Whose.
        request: RequestId,
        /// Why.
        reason: FinishReason,
        /// Text that was held back until now.
        text: String,
        /// What it took.
        usage: Usage,
    },
    /// The reply cannot go on.
    Failed {
        /// Whose.
        request: RequestId,
        /// Why.
        error: ReplyError,
    },
}

/// Why a reply cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The step failed for this sequence.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No token could be chosen.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
}
