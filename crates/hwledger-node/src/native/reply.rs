//! One reply.

use hwledger_engine::sampling::{Choice, ResponseFormat, SamplingSettings};
use hwledger_engine::scheduler::{Event, FinishReason, Request, Usage};
use hwledger_engine::text::{Message, TemplateOptions, Tokenizer};
use serde::Serialize;

use super::{NativeError, Session};

/// A reply that is asked for.
#[derive(Clone, Debug, Default)]
pub struct ReplyRequest {
    /// Roles and texts of a conversation; the last is answered.
    pub messages: Vec<(String, String)>,
    /// Whether the texts are completed as they are, without the model's template.
    pub is_raw: bool,
    /// The most tokens of the reply.
    pub tokens_max: Option<usize>,
    /// How tokens are chosen.
    pub sampling: SamplingSettings,
    /// What the reply must look like.
    pub format: ResponseFormat,
    /// Texts that end the reply.
    pub stops: Vec<String>,
}

/// A token, and the logarithm of its probability as the model gave it; by OpenAI's names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenLogprob {
    /// Its text; a part of a character is shown as U+FFFD.
    pub token: String,
    /// Natural logarithm.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl TokenLogprob {
    fn new(tokenizer: &Tokenizer, token: u32, logprob: f32) -> Self {
        let bytes = tokenizer.token_bytes(token);
        Self { token: String::from_utf8_lossy(&bytes).into_owned(), logprob, bytes }
    }
}

/// A token of a reply, and those that the model found likeliest in its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplyToken {
    /// The token.
    #[serde(flatten)]
    pub chosen: TokenLogprob,
    /// The likeliest, the likeliest first.
    pub top_logprobs: Vec<TokenLogprob>,
}

impl ReplyToken {
    /// None where no probabilities were asked for.
    fn new(tokenizer: &Tokenizer, choice: &Choice) -> Option<Self> {
        let chosen = TokenLogprob::new(tokenizer, choice.token, choice.logprob?);
        let top_logprobs =
            choice.top.iter().map(|&(token, logprob)| TokenLogprob::new(tokenizer, token, logprob)).collect();
        Some(Self { chosen, top_logprobs })
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Its text.
    pub text: String,
    /// The tokens that it is made of, where their probabilities were asked for.
    pub tokens: Vec<ReplyToken>,
    /// Why it ended.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
}

impl Session {
    /// The tokens of a conversation.
    pub fn prompt(&self, request: &ReplyRequest) -> Result<Vec<u32>, NativeError> {
        let tokenizer = &self.engine.tokenizer;
        if request.is_raw {
            let text: Vec<&str> = request.messages.iter().map(|(_, text)| text.as_str()).collect();
            return Ok(tokenizer.encode_prompt(&text.concat(), true)?);
        }
        let template = match &self.engine.template {
            None => return Err(NativeError::NoTemplate),
            Some(Err(error)) => return Err(NativeError::BadTemplate(crate::planner::with_causes(error))),
            Some(Ok(template)) => template,
        };
        let messages: Vec<Message> =
            request.messages.iter().map(|(role, content)| Message::new(role, content)).collect();
        let options = TemplateOptions { add_generation_prompt: true, ..TemplateOptions::default() };
        let text = template.render(&messages, &options)?;
        let mut tokens = tokenizer.encode(&text, true)?;
        // Templates write the first token themselves or leave it to the tokenizer.
        if let Some(bos) = tokenizer.bos()
            && tokens.first() != Some(&bos)
            && tokenizer.encode_prompt("", true)?.first() == Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// Answers; `tell` gets the text as it comes, and may end the reply by returning false.
    pub fn reply(&mut self, request: &ReplyRequest, mut tell: impl FnMut(&str) -> bool) -> Result<Reply, NativeError> {
        let prompt = self.prompt(request)?;
        let tokenizer = self.engine.tokenizer.clone();
        let scheduler = &mut self.engine.scheduler;
        let id = scheduler.submit(Request {
            prompt,
            tokens_max: request.tokens_max,
            sampling: request.sampling.clone(),
            format: request.format.clone(),
            stops: request.stops.clone(),
            ignores_end: false,
        })?;
        let (mut text, mut tokens) = (String::new(), Vec::new());
        loop {
            for event in scheduler.step() {
                match event {
                    Event::Token { choice, text: part, .. } => {
                        text += &part;
                        // An end is no part of the text.
                        if !tokenizer.is_end(choice.token) {
                            tokens.extend(ReplyToken::new(&tokenizer, &choice));
                        }
                        if !part.is_empty() && !tell(&part) {
                            scheduler.cancel(id);
                        }
                    }
                    Event::Finished { text: part, reason, usage, .. } => {
                        text += &part;
                        if !part.is_empty() {
                            tell(&part);
                        }
                        self.telemetry.record(&usage);
                        return Ok(Reply { text, tokens, reason, usage });
                    }
                    Event::Failed { error, .. } => return Err(error.into()),
                }
            }
        }
    }
}
