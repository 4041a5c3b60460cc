//! Text to tokens and back, and conversations to text.
//!
//! [`Tokenizer`] is built from a model's `tokenizer.json` or from the
//! vocabulary of a GGUF file, [`Detokenizer`] turns a stream of tokens into
//! text that is UTF-8 at every step, and [`ChatTemplate`] renders a
//! conversation as the model was trained to see it.

mod build;
mod detokenizer;
mod error;
mod from_gguf;
mod from_json;
mod pipeline;
mod sentencepiece;
mod spelling;
mod split_rule;
mod template;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use error::TextError;
pub use template::{ChatTemplate, Date, Json, Message, TemplateError, TemplateOptions};
pub use tokenizer::Tokenizer;
