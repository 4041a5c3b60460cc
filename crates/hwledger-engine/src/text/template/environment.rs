//! Jinja as `transformers` sets it up.
//!
//! **Source** `_compile_jinja_template` of `transformers/utils/chat_template_utils.py`, version 5.24.

use std::error::Error as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

use super::{json, methods};

/// Steps that a rendering may take: a hundred times what long conversations need.
const STEPS_MAX: u64 = 10_000_000;

/// What `raise_exception` was given.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

/// An environment without templates.
pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are Jinja's own"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(STEPS_MAX));
    environment.set_unknown_method_callback(methods::call);
    environment.add_filter("tojson", json::filter);
    environment.add_test("iterable", is_iterable);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Refusal(message)))
    });
    environment
}

/// Whether Python's `iter` takes the value; the library itself takes `none` for an empty list.
fn is_iterable(value: &Value) -> bool {
    use ValueKind::{Iterable, Map, Seq, String, Undefined};
    matches!(value.kind(), Iterable | Map | Seq | String | Undefined)
}

/// The message with which a template gave up by itself.
pub(super) fn refusal(error: &Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(Refusal(message)) = inner.downcast_ref() {
            return Some(message.clone());
        }
        cause = inner.source();
    }
    None
}

/// The source as the library reads it like Jinja2: line ends are `\n`, and
/// the tag `generation` is a condition that holds: it marks
/// what a model is trained on and changes no text.
pub(super) fn prepared(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut written = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(place) = rest.find("{%") {
        let (before, tag) = rest.split_at(place + 2);
        written.push_str(before);
        let trimmed = tag.trim_start_matches(['-', '+']).trim_start();
        let lead = tag.len() - trimmed.len();
        written.push_str(&tag[..lead]);
        let word_bytes = trimmed.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let (word, after) = trimmed.split_at(word_bytes);
        written.push_str(match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            other => other,
        });
        rest = after;
    }
    written.push_str(rest);
    written
}
