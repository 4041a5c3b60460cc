//! One reply.

use hwledger_engine::sampling::SamplingSettings;
use hwledger_engine::scheduler::{Event, FinishReason, Request, Usage};
use hwledger_engine::text::{Message, TemplateOptions};

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
    /// Texts that end the reply.
    pub stops: Vec<String>,
}

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Its text.
    pub text: String,
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
        let scheduler = &mut self.engine.scheduler;
        let id = scheduler.submit(Request {
            prompt,
            tokens_max: request.tokens_max,
            sampling: request.sampling.clone(),
            stops: request.stops.clone(),
            ignores_end: false,
        })?;
        let mut text = String::new();
        loop {
            for event in scheduler.step() {
                match event {
                    Event::Token { text: part, .. } => {
                        text += &part;
                        if !part.is_empty() && !tell(&part) {
                            scheduler.cancel(id);
                        }
                    }
                    Event::Finished { text: part, reason, usage, .. } => {
                        text += &part;
                        if !part.is_empty() {
                            tell(&part);
                        }
                        return Ok(Reply { text, reason, usage });
                    }
                    Event::Failed { error, .. } => return Err(error.into()),
                }
            }
        }
    }
}
