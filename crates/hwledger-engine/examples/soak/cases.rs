//! What is asked of the engine, and what each request gets alone.

use std::sync::Arc;

use hwledger_engine::sampling::{Choice, Dry, Random, ResponseFormat, SamplingSettings};
use hwledger_engine::scheduler::{Event, FinishReason, Request, Scheduler, SubmitError};
use hwledger_engine::text::Tokenizer;

/// Words of prompts.
const WORDS: [&str; 32] = [
    "the",
    "a",
    "old",
    "house",
    "stood",
    "near",
    "river",
    "and",
    "nobody",
    "knew",
    "who",
    "had",
    "built",
    "it",
    "Elizabeth",
    "walked",
    "slowly",
    "through",
    "garden",
    "while",
    "rain",
    "fell",
    "upon",
    "grass",
    ",",
    ".",
    "said",
    "Alice",
    "to",
    "herself",
    "again",
    "?",
];

/// What some replies must follow.
const SCHEMA: &str = r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 20},
    "size": {"type": "integer", "minimum": 0, "maximum": 99}, "list": {"type": "array", "items": {"type": "boolean"},
    "maxItems": 4}}, "required": ["name", "size", "list"], "additionalProperties": false}"#;

/// A reply as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reply {
    /// Tokens with their probabilities.
    pub(crate) choices: Vec<Choice>,
    pub(crate) text: String,
    /// Why it ended, or why it failed.
    pub(crate) end: Option<Result<FinishReason, String>>,
}

impl Reply {
    /// Takes what happened; events of one request only.
    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::Token { choice, text, .. } => {
                self.choices.push(choice);
                self.text += &text;
            }
            Event::Finished { reason, text, .. } => {
                self.text += &text;
                self.end = Some(Ok(reason));
            }
            Event::Failed { error, .. } => self.end = Some(Err(error.to_string())),
        }
    }
}

/// A request with the reply that it gets alone.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) request: Request,
    pub(crate) single: Reply,
    /// The text that it would have without stop texts: what a cancelled reply shows is the start of it.
    pub(crate) whole: String,
}

/// When a request is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancellation {
    Never,
    /// Before the engine has looked at it.
    AtOnce,
    /// After so many steps: while it waits, within its prompt or later.
    AfterSteps(u64),
    /// When it has so many tokens.
    AtToken(usize),
}

/// Draws requests.
#[derive(Debug)]
pub(crate) struct Mix {
    random: Random,
    context: usize,
    tokenizer: Arc<Tokenizer>,
}

impl Mix {
    pub(crate) fn new(seed: u64, context: usize, tokenizer: Arc<Tokenizer>) -> Self {
        Self { random: Random::new(seed), context, tokenizer }
    }

    /// A number below `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.random.bits() % (count.max(1) as u64)).unwrap()
    }

    /// Whether something happens that happens once in `count` times.
    pub(crate) fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// A number from `first` to `last`.
    fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last.max(first) + 1 - first)
    }

    /// The tokens of some text.
    fn prompt(&mut self, tokens: usize) -> Vec<u32> {
        let mut text = String::new();
        loop {
            for _ in 0..tokens {
                let word = WORDS[self.below(WORDS.len())];
                text = text + " " + word;
            }
            let mut found = self.tokenizer.encode_prompt(&text, false).unwrap();
            if found.len() >= tokens {
                found.truncate(tokens);
                return found;
            }
        }
    }

    fn settings(&mut self) -> SamplingSettings {
        let greedy = SamplingSettings { seed: self.random.bits(), ..SamplingSettings::default() };
        let seeded = SamplingSettings { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, ..greedy.clone() };
        match self.below(6) {
            0 => greedy,
            1 => SamplingSettings { logprobs: Some(4), repetition_penalty: 1.1, ..greedy },
            2 => SamplingSettings { temperature: 1.5, ..greedy },
            3 => SamplingSettings { presence_penalty: 0.4, frequency_penalty: 0.2, typical_p: 0.9, ..seeded },
            4 => SamplingSettings { dry: Dry { multiplier: 0.8, ..Dry::default() }, logprobs: Some(0), ..seeded },
            _ => seeded,
        }
    }

    fn request(&mut self) -> Request {
        let context = self.context;
        let (prompt, tokens_max) = match self.below(40) {
            // Mostly a page or two.
            0..32 => (self.between(1, 16), Some(self.between(1, 32))),
            32..36 => (self.between(17, context / 8), Some(self.between(1, context / 8))),
            // Prompts of many chunks, to the last one that the context takes.
            36 | 37 => (self.between(context / 2, context - 1), Some(self.between(1, 32))),
            38 => (context - self.between(1, 40), None),
            // Replies up to the end of the context.
            _ => (self.between(1, 16), None),
        };
        let mut request = Request {
            prompt: self.prompt(prompt),
            tokens_max,
            sampling: self.settings(),
            format: ResponseFormat::Text,
            stops: Vec::new(),
            ignores_end: self.once_in(4),
        };
        match self.below(40) {
            // These are taken, and fail at the first token, or when they start.
            0 => request.sampling.logit_bias = vec![(u32::MAX, 1.0)],
            1 => request.stops = vec![String::new()],
            2 => request.stops = vec!["\u{1}never".to_owned()],
            3 | 4 => request.format = ResponseFormat::JsonSchema(SCHEMA.to_owned()),
            5 => request.format = ResponseFormat::Regex("[a-c]{2,9}( [0-9]{1,3})?".to_owned()),
            _ => {}
        }
        request
    }

    /// A request and what it gets alone; one of eight stops within what it would have said.
    pub(crate) fn case(&mut self, scheduler: &mut Scheduler) -> Case {
        let mut request = self.request();
        let mut single = alone(scheduler, &request);
        let whole = single.text.clone();
        let letters: Vec<char> = whole.chars().collect();
        if self.once_in(8) && request.stops.is_empty() && letters.len() > 4 {
            let start = self.below(letters.len() - 3);
            request.stops = vec!["\u{1}never".to_owned(), letters[start..start + 3].iter().collect()];
            single = alone(scheduler, &request);
            assert!(single.text.len() < whole.len(), "a text that is there is found");
        }
        Case { request, single, whole }
    }

    /// Half of all requests go on to their end.
    pub(crate) fn cancellation(&mut self) -> Cancellation {
        match self.below(16) {
            0 => Cancellation::AtOnce,
            1..3 => Cancellation::AfterSteps(self.between(1, 12) as u64),
            3 => Cancellation::AtToken(1),
            4..6 => Cancellation::AtToken(self.between(2, 24)),
            _ => Cancellation::Never,
        }
    }

    /// A request that must be refused, the name of the refusal, and whether an error is that refusal.
    pub(crate) fn wrong(&mut self) -> (Request, &'static str, fn(&SubmitError) -> bool) {
        let request = Request { tokens_max: Some(4), stops: Vec::new(), ..self.request() };
        match self.below(5) {
            0 => {
                let request = Request { prompt: Vec::new(), ..request };
                (request, "refused_empty", |error| matches!(error, SubmitError::EmptyPrompt))
            }
            1 => {
                let tokens = self.context + self.below(200);
                let request = Request { prompt: self.prompt(tokens), ..request };
                (request, "refused_beyond_context", |error| matches!(error, SubmitError::TooLong { .. }))
            }
            2 => {
                let request = Request { prompt: vec![u32::MAX], ..request };
                (request, "refused_unknown_token", |error| matches!(error, SubmitError::Token { .. }))
            }
            3 => {
                let request = Request { prompt: vec![0; 4 * self.context], tokens_max: None, ..request };
                (request, "refused_beyond_context", |error| matches!(error, SubmitError::TooLong { .. }))
            }
            _ => {
                let sampling = SamplingSettings { top_p: 0.0, ..request.sampling };
                let request = Request { sampling, ..request };
                (request, "refused_setting", |error| matches!(error, SubmitError::Sampling(_)))
            }
        }
    }
}

/// The reply to a request that nothing runs beside.
fn alone(scheduler: &mut Scheduler, request: &Request) -> Reply {
    assert!(scheduler.is_idle(), "nothing runs beside");
    scheduler.submit(request.clone()).unwrap();
    let mut reply = Reply::default();
    scheduler.run(|event| reply.take(event));
    assert_eq!(scheduler.decoder().cache().pages_used(), 0, "it leaves nothing behind");
    reply
}
