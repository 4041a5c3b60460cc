//! Continuous batching: every step is one batch of all replies under way and a chunk of a prompt.
//!
//! A reply is admitted when all the tokens that it may come to have room beside those promised to
//! others, so that none is ever put aside for want of pages; pages themselves are taken as it grows.

mod pace;
mod request;
mod running;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::PAGE_TOKENS;
use crate::cache::SequenceId;
use crate::error::RunError;
use crate::graph::{Decoder, Outputs, Slice};
use crate::sampling::{Constraint, ConstraintFactory, ResponseFormat, Sampler};
use crate::text::Tokenizer;

use pace::Pace;
pub use request::{Event, FinishReason, ReplyError, Request, RequestId, SubmitError, Usage};
use running::{Running, Waiting};

/// Bounds of a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// The longest sequence, prompt and reply together.
    pub context: usize,
    /// The most replies under way at once.
    pub sequences_max: usize,
    /// The most requests that wait.
    pub waiting_max: usize,
    /// The most prompt tokens of one step.
    pub chunk_max: usize,
    /// How long a step should take while replies are under way.
    pub step_target: Duration,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            context: 4096,
            sequences_max: 16,
            waiting_max: 1024,
            chunk_max: 512,
            step_target: Duration::from_millis(250),
        }
    }
}

/// Requests and the decoder that answers them.
#[derive(Debug)]
pub struct Scheduler {
    decoder: Decoder,
    tokenizer: Option<Arc<Tokenizer>>,
    /// Made for the first request that asks for it: large vocabularies take a while.
    constraints: Option<ConstraintFactory>,
    options: SchedulerOptions,
    waiting: VecDeque<Waiting>,
    running: Vec<Running>,
    cancelled: Vec<RequestId>,
    pace: Pace,
    next: u64,
}

/// What one running reply brings to a step.
struct Part {
    running: usize,
    sequence: SequenceId,
    tokens: Vec<u32>,
    outputs: Outputs,
}

impl Scheduler {
    /// A scheduler with nothing to do. Without a tokenizer replies have tokens and no text.
    pub fn new(decoder: Decoder, tokenizer: Option<Arc<Tokenizer>>, options: SchedulerOptions) -> Self {
        // With less than one of either no request would ever end.
        let options = SchedulerOptions {
            sequences_max: options.sequences_max.max(1),
            chunk_max: options.chunk_max.max(1),
            ..options
        };
        let pace = Pace::new(options.step_target, options.chunk_max);
        Self {
            decoder,
            tokenizer,
            constraints: None,
            options,
            waiting: VecDeque::new(),
            running: Vec::new(),
            cancelled: Vec::new(),
            pace,
            next: 0,
        }
    }

    /// The decoder.
    pub const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The decoder, to measure it. Sequences of replies under way are the scheduler's.
    pub const fn decoder_mut(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    /// The tokenizer.
    pub const fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.tokenizer.as_ref()
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Replies under way.
    pub const fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a request, or says why not.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, SubmitError> {
        let prompt = request.prompt.len();
        let context = self.options.context;
        if prompt == 0 {
            return Err(SubmitError::EmptyPrompt);
        }
        if prompt >= context {
            return Err(SubmitError::TooLong { prompt, context });
        }
        let vocabulary = self.decoder.model().embedding.shape.rows;
        if let Some(&token) = request.prompt.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(SubmitError::Token { token, vocabulary });
        }
        Sampler::new(request.sampling.clone())?;
        let tokens_max = request.tokens_max.unwrap_or(usize::MAX).clamp(1, context - prompt);
        let pages = self.decoder.cache().pages_max();
        if (prompt + tokens_max).div_ceil(PAGE_TOKENS) > pages {
            return Err(SubmitError::Cache { tokens: prompt + tokens_max, cache: pages * PAGE_TOKENS });
        }
        if self.waiting.len() >= self.options.waiting_max {
            return Err(SubmitError::Full { waiting: self.waiting.len() });
        }
        let submitted = Instant::now();
        let constraint = self.constraint(&request.format)?;
        let id = RequestId(self.next);
        self.next += 1;
        self.waiting.push_back(Waiting { id, request, constraint, submitted, tokens_max });
        Ok(id)
    }

    /// What a reply of some format must follow.
    fn constraint(&mut self, format: &ResponseFormat) -> Result<Option<Constraint>, SubmitError> {
        if *format == ResponseFormat::Text {
            return Ok(None);
        }
        let factory = match self.constraints.take() {
            Some(factory) => factory,
            None => ConstraintFactory::new(self.tokenizer.as_deref().ok_or(SubmitError::NoTokenizer)?)?,
        };
        Ok(self.constraints.insert(factory).of(format)?)
    }

    /// Ends a request at the next step; one that is over already stays so.
    pub fn cancel(&mut self, request: RequestId) {
        self.cancelled.push(request);
    }

    /// Computes one step and tells what happened.
    pub fn step(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.drop_cancelled(&mut events);
        self.admit(&mut events);
        let parts = self.parts();
        if parts.is_empty() {
            return events;
        }
        let prompt_tokens: usize =
            parts.iter().filter(|part| !self.running[part.running].is_decoding()).map(|part| part.tokens.len()).sum();
        let start = Instant::now();
        let mut ended = Vec::new();
        self.compute(&parts, &mut ended, &mut events);
        self.pace.measured(prompt_tokens, start.elapsed());
        self.remove(ended);
        events
    }

    /// Steps until nothing is left to do.
    pub fn run(&mut self, mut tell: impl FnMut(Event)) {
        while !self.is_idle() {
            self.step().into_iter().for_each(&mut tell);
        }
    }

    fn drop_cancelled(&mut self, events: &mut Vec<Event>) {
        for id in std::mem::take(&mut self.cancelled) {
            if let Some(index) = self.waiting.iter().position(|waiting| waiting.id == id) {
                self.waiting.remove(index);
                let (reason, text, usage) = (FinishReason::Cancelled, String::new(), Usage::default());
                events.push(Event::Finished { request: id, reason, text, usage });
            } else if let Some(index) = self.running.iter().position(|running| running.id == id) {
                self.running[index].finish(FinishReason::Cancelled, events);
                self.remove(vec![index]);
            }
        }
    }

    fn remove(&mut self, mut indices: Vec<usize>) {
        indices.sort_unstable();
        for index in indices.into_iter().rev() {
            let running = self.running.remove(index);
            self.decoder.cache_mut().remove(running.sequence);
        }
    }

    /// Starts requests in the order in which they came, as long as all that they may need has room.
    fn admit(&mut self, events: &mut Vec<Event>) {
        let pages = self.decoder.cache().pages_max();
        let mut promised: usize =
            self.running.iter().map(|running| running.tokens_promised().div_ceil(PAGE_TOKENS)).sum();
        while self.running.len() < self.options.sequences_max
            && let Some(next) = self.waiting.front()
        {
            let needed = (next.request.prompt.len() + next.tokens_max).div_ceil(PAGE_TOKENS);
            if promised + needed > pages {
                return;
            }
            promised += needed;
            let Some(waiting) = self.waiting.pop_front() else { return };
            let (id, sequence) = (waiting.id, self.decoder.cache_mut().create());
            match Running::start(waiting, sequence, self.tokenizer.as_deref()) {
                Ok(running) => self.running.push(running),
                Err(error) => {
                    self.decoder.cache_mut().remove(sequence);
                    events.push(Event::Failed { request: id, error: ReplyError::Sampling(error) });
                }
            }
        }
    }

    /// One token of every reply under way, then prompts in order until the chunk is full.
    fn parts(&self) -> Vec<Part> {
        let decoding = self.running.iter().filter(|running| running.is_decoding()).count();
        let mut chunk = self.pace.chunk(decoding);
        let mut parts = Vec::new();
        for (index, running) in self.running.iter().enumerate() {
            if running.is_decoding() {
                let tokens = running.generated.last().copied().into_iter().collect();
                parts.push(Part { running: index, sequence: running.sequence, tokens, outputs: Outputs::Last });
            }
        }
        for (index, running) in self.running.iter().enumerate() {
            if running.is_decoding() || chunk == 0 {
                continue;
            }
            let count = chunk.min(running.prompt.len() - running.prefilled);
            chunk -= count;
            let tokens = running.prompt[running.prefilled..running.prefilled + count].to_vec();
            let is_last = running.prefilled + count == running.prompt.len();
            let outputs = if is_last { Outputs::Last } else { Outputs::None };
            parts.push(Part { running: index, sequence: running.sequence, tokens, outputs });
        }
        parts
    }

    /// Computes parts together; if that fails, each alone, so that only the one at fault ends.
    fn compute(&mut self, parts: &[Part], ended: &mut Vec<usize>, events: &mut Vec<Event>) {
        let slices: Vec<Slice<'_>> = parts
            .iter()
            .map(|part| Slice { sequence: part.sequence, tokens: &part.tokens, outputs: part.outputs })
            .collect();
        let vocabulary = self.decoder.vocabulary();
        let failed = match self.decoder.step(&slices) {
            Ok(logits) => {
                let mut rows = logits.chunks_exact_mut(vocabulary);
                for part in parts {
                    let running = &mut self.running[part.running];
                    if !running.is_decoding() {
                        running.prefilled += part.tokens.len();
                    }
                    if part.outputs == Outputs::Last
                        && let Some(row) = rows.next()
                        && running.choose(row, self.tokenizer.as_deref(), events)
                    {
                        ended.push(part.running);
                    }
                }
                return;
            }
            Err(error) => error,
        };
        if let [part] = parts {
            events.push(Event::Failed { request: self.running[part.running].id, error: failed.into() });
            ended.push(part.running);
            return;
        }
        // Out of memory for the whole batch need not be so for each alone.
        debug_assert!(!matches!(failed, RunError::Token { .. }), "tokens are checked when they are submitted");
        for part in parts {
            self.compute(std::slice::from_ref(part), ended, events);
        }
    }
}
