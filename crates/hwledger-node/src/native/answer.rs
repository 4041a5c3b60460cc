//! A reply as a JSON object.

use serde::Serialize;

use super::{FinishReason, MemoryReport, Reply, ReplyToken, Session};

/// A reply and what it took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplyAnswer {
    /// The model's name.
    pub model: String,
    /// The reply.
    pub text: String,
    /// Why it ended: `stop`, `length` or `cancelled`.
    pub finish_reason: &'static str,
    /// Its tokens with their probabilities, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Logprobs>,
    /// What it took.
    pub usage: ReplyUsage,
    /// What the engine has taken from the system.
    pub memory: MemoryAnswer,
}

/// Probabilities, in the place where OpenAI has them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Logprobs {
    /// One for each token of the reply.
    pub content: Vec<ReplyToken>,
}

/// Tokens and seconds of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReplyUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the reply, the ending one included.
    pub reply_tokens: usize,
    /// Until the first token.
    pub time_to_first_token_seconds: f64,
    /// From one token to the next, on average; none for a single token.
    pub time_per_token_seconds: Option<f64>,
}

/// Bytes that the engine has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryAnswer {
    /// Repacked weights.
    pub weights: usize,
    /// Pages of the cache.
    pub cache: usize,
    /// Buffers of activations and logits.
    pub activations: usize,
    /// What the process holds beside these, measured: its resident set less them. None where the system does not say.
    pub overhead: Option<usize>,
}

impl From<MemoryReport> for MemoryAnswer {
    fn from(report: MemoryReport) -> Self {
        let MemoryReport { weights, cache, activations } = report;
        Self { weights, cache, activations, overhead: report.overhead() }
    }
}

impl ReplyAnswer {
    /// The answer that a session gave. `has_logprobs` says whether probabilities were asked for.
    pub fn new(session: &Session, reply: Reply, has_logprobs: bool) -> Self {
        let Reply { text, tokens, reason, usage } = reply;
        Self {
            model: session.name.clone(),
            text,
            finish_reason: FinishReason::name(reason),
            logprobs: has_logprobs.then_some(Logprobs { content: tokens }),
            usage: ReplyUsage {
                prompt_tokens: usage.prompt_tokens,
                reply_tokens: usage.reply_tokens,
                time_to_first_token_seconds: usage.time_to_first_token().as_secs_f64(),
                time_per_token_seconds: usage.time_per_token(),
            },
            memory: session.memory().into(),
        }
    }
}
