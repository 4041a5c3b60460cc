//! One reply under way.

use std::time::Instant;

use crate::cache::SequenceId;
use crate::sampling::{Constraint, History, Sampler, SamplingError, StopMatcher};
use crate::text::{Detokenizer, Tokenizer};

use super::request::{Event, FinishReason, ReplyError, Request, RequestId, Usage};

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: RequestId,
    pub(super) request: Request,
    /// What the reply must follow.
    pub(super) constraint: Option<Constraint>,
    pub(super) submitted: Instant,
    /// The most tokens of the reply.
    pub(super) tokens_max: usize,
}

/// A request that has a sequence.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: RequestId,
    pub(super) sequence: SequenceId,
    pub(super) prompt: Vec<u32>,
    /// Tokens of the prompt that are in the cache.
    pub(super) prefilled: usize,
    pub(super) generated: Vec<u32>,
    pub(super) tokens_max: usize,
    ignores_end: bool,
    sampler: Sampler,
    detokenizer: Option<Detokenizer>,
    stops: StopMatcher,
    usage: Usage,
    started: Instant,
    first_token: Option<Instant>,
}

impl Running {
    pub(super) fn start(
        waiting: Waiting,
        sequence: SequenceId,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self, SamplingError> {
        let Waiting { id, request, constraint, submitted, tokens_max } = waiting;
        let started = Instant::now();
        let usage = Usage { prompt_tokens: request.prompt.len(), waited: started - submitted, ..Usage::default() };
        Ok(Self {
            id,
            sequence,
            prompt: request.prompt,
            prefilled: 0,
            generated: Vec::new(),
            tokens_max,
            ignores_end: request.ignores_end,
            sampler: Sampler::new(request.sampling)?.with_constraint(constraint),
            detokenizer: tokenizer.map(Detokenizer::continuing),
            stops: StopMatcher::new(request.stops)?,
            usage,
            started,
            first_token: None,
        })
    }

    /// Whether its prompt is in the cache, so that it waits for its next token.
    pub(super) const fn is_decoding(&self) -> bool {
        self.prefilled == self.prompt.len()
    }

    /// Tokens that its cache will hold at most.
    pub(super) const fn tokens_promised(&self) -> usize {
        self.prompt.len() + self.tokens_max
    }

    /// Chooses the next token from its logits, which are changed on the way. True if the reply ended.
    pub(super) fn choose(
        &mut self,
        logits: &mut [f32],
        tokenizer: Option<&Tokenizer>,
        events: &mut Vec<Event>,
    ) -> bool {
        let history = History { prompt: &self.prompt, generated: &self.generated };
        let choice = match self.sampler.sample(logits, history) {
            Ok(choice) => choice,
            Err(error) => {
                events.push(Event::Failed { request: self.id, error: ReplyError::Sampling(error) });
                return true;
            }
        };
        let now = Instant::now();
        let first = *self.first_token.get_or_insert(now);
        self.usage.prefill = first - self.started;
        self.usage.decode = now - first;
        let token = choice.token;
        self.generated.push(token);
        self.usage.reply_tokens = self.generated.len();
        let is_end = !self.ignores_end && tokenizer.is_some_and(|tokenizer| tokenizer.is_end(token));
        let mut text = String::new();
        if !is_end && let Some(detokenizer) = &mut self.detokenizer {
            text = self.stops.push(&detokenizer.push(token)).text;
        }
        events.push(Event::Token { request: self.id, choice, text });
        if is_end || self.stops.is_stopped() || self.sampler.is_finished() {
            self.finish(FinishReason::Stop, events);
            return true;
        }
        if self.generated.len() >= self.tokens_max {
            self.finish(FinishReason::Length, events);
            return true;
        }
        false
    }

    /// Ends the reply.
    pub(super) fn finish(&mut self, reason: FinishReason, events: &mut Vec<Event>) {
        let mut text = String::new();
        if !self.stops.is_stopped() {
            if let Some(detokenizer) = &mut self.detokenizer {
                text = self.stops.push(&detokenizer.finish()).text;
            }
            text += &self.stops.finish();
        }
        events.push(Event::Finished { request: self.id, reason, text, usage: self.usage });
    }
}
