//! JSON as benchmarks write it: one object, an array, one per line, or one after the other.
//!
//! Python writes `NaN` and `Infinity`, C++ writes `nan` and `inf`; both are read as numbers so that
//! the row can be named and left out. Long lists are cut: nothing here needs the text of every reply.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::RECORDS_MAX;
use super::error::MeasurementError;
use super::record::{Object, Record, TEXT_MAX, Value};
use super::run::MeasuredRun;

/// Most plain values that are kept of a list.
const LIST_MAX: usize = 4096;
/// Most keys of one object.
const KEYS_MAX: usize = 1024;

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
                Ok(Value::Flag(flag))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.chars().take(TEXT_MAX).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut kept = Vec::new();
                while let Some(value) = list.next_element()? {
                    if kept.len() < LIST_MAX || matches!(value, Value::Object(_)) {
                        kept.push(value);
                    }
                }
                Ok(Value::List(kept))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut kept = Object::new();
                while let Some(key) = map.next_key::<String>()? {
                    if kept.len() < KEYS_MAX {
                        kept.insert(key, map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Value::Object(kept))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// Puts quotation marks around the words for what is not a finite number, outside of texts.
fn quoted(text: &str) -> String {
    const WORDS: [&str; 8] = ["-Infinity", "Infinity", "-inf", "inf", "-nan", "NaN", "nan", "-NaN"];
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    let (mut is_text, mut is_escaped) = (false, false);
    while let Some(letter) = rest.chars().next() {
        let may_be_word = !is_text && matches!(letter, '-' | 'I' | 'i' | 'N' | 'n');
        let word = WORDS.into_iter().find(|word| may_be_word && rest.starts_with(word));
        if let Some(word) = word {
            out.push('"');
            out.push_str(word);
            out.push('"');
            rest = &rest[word.len()..];
            continue;
        }
        is_text ^= letter == '"' && !is_escaped;
        is_escaped = is_text && letter == '\\' && !is_escaped;
        out.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    out
}

/// A line number kept up with an offset that only grows.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the first thing that is no space at or behind `offset`.
    fn of(&mut self, offset: usize) -> u64 {
        let bytes = self.text.as_bytes();
        let mut end = offset.min(bytes.len());
        while end < bytes.len() && (bytes[end].is_ascii_whitespace() || bytes[end] == b',') {
            end += 1;
        }
        if end > self.at {
            self.line += self.text[self.at..end].matches('\n').count() as u64;
            self.at = end;
        }
        self.line
    }
}

/// Where JSON begins: programs print their devices before it when both streams go to one file.
pub(super) fn start(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let is_array =
            trimmed.strip_prefix('[').is_some_and(|rest| rest.is_empty() || rest.trim_start().starts_with('{'));
        if is_array || trimmed.starts_with('{') {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// Reads every object of `text` with `read`; an array gives its elements.
pub(super) fn each(
    text: &str,
    mut read: impl FnMut(Record<'_>) -> Result<MeasuredRun, MeasurementError>,
) -> Result<Vec<MeasuredRun>, MeasurementError> {
    let (before, text) = text.split_at(start(text).unwrap_or(0));
    let lines_before = before.matches('\n').count();
    let text = &quoted(text);
    let mut runs = Vec::new();
    let mut lines = Lines { text, at: 0, line: 1 + lines_before as u64 };
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    loop {
        let line = lines.of(values.byte_offset());
        let value = match values.next() {
            None => return Ok(runs),
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                let line = if error.line() == 0 { line } else { (lines_before + error.line()) as u64 };
                return Err(MeasurementError::Json { line, source: error });
            }
        };
        let records = match value {
            Value::List(records) => records,
            record => vec![record],
        };
        for value in records {
            let record = runs.len() as u64 + 1;
            let Value::Object(values) = value else {
                return Err(MeasurementError::NotAnObject { line, record });
            };
            if runs.len() >= RECORDS_MAX {
                return Err(MeasurementError::TooMany { line, what: "records", limit: RECORDS_MAX });
            }
            runs.push(read(Record { values: &values, line, number: record })?);
        }
    }
}

/// The keys of the first object in `text`, as far as its first `limit` bytes show them.
pub(super) fn first_keys(text: &str, limit: usize) -> Vec<String> {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut keys = Vec::new();
    let (mut depth, mut start, mut is_escaped) = (0_usize, None, false);
    let bytes = text.as_bytes();
    let offset = usize::from(text.trim_start().starts_with('['));
    for (at, &byte) in bytes.iter().enumerate().take(end) {
        match (start, byte) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), b'\\') => is_escaped = true,
            (Some(begin), b'"') => {
                start = None;
                let is_key = bytes[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                if depth == 1 + offset && is_key {
                    keys.push(text[begin..at].to_owned());
                }
            }
            (None, b'"') => start = Some(at + 1),
            (None, b'{' | b'[') => depth += 1,
            (None, b'}' | b']') => {
                depth = depth.saturating_sub(1);
                if depth == offset {
                    return keys;
                }
            }
            _ => {}
        }
    }
    keys
}
