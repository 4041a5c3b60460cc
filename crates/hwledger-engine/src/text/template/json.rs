//! JSON as templates see it, and as Python writes it.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use serde::Deserialize as _;

use super::TemplateError;

/// Deepest nesting that is written.
const DEPTH_MAX: usize = 128;

/// A JSON value that keeps the order of its keys, as templates that print it need.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(transparent)]
pub struct Json(pub(super) Value);

impl Json {
    /// Reads JSON.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        serde_json::from_str(text).map_err(TemplateError::Json)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<bool> for Json {
    fn from(truth: bool) -> Self {
        Self(truth.into())
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Self(number.into())
    }
}

impl From<&serde_json::Value> for Json {
    fn from(value: &serde_json::Value) -> Self {
        Self(Value::deserialize(value).expect("every JSON value is a template's value"))
    }
}

/// How JSON is written.
struct Style {
    indent: Option<String>,
    between: String,
    after_key: String,
    is_ascii: bool,
    sorts_keys: bool,
}

/// The filter `tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`,
/// which is Python's `json.dumps`: nothing is escaped for HTML.
#[expect(clippy::needless_pass_by_value, reason = "the library hands arguments over by value")]
pub(super) fn filter(value: &Value, arguments: Kwargs) -> Result<Value, Error> {
    let indent: Option<Value> = arguments.get("indent")?;
    let indent = match indent {
        Some(indent) if !indent.is_none() => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(indent)?.min(64)),
        }),
        _ => None,
    };
    let separators: Option<Vec<String>> = arguments.get("separators")?;
    let (between, after_key) = match separators.as_deref() {
        Some([between, after_key]) => (between.clone(), after_key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators must be two texts")),
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let style = Style {
        indent,
        between,
        after_key,
        is_ascii: arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sorts_keys: arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    arguments.assert_all_used()?;
    let mut text = String::new();
    style.write(value, 0, &mut text)?;
    Ok(Value::from(text))
}

impl Style {
    fn write(&self, value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::new(ErrorKind::InvalidOperation, "JSON is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => text.push_str("null"),
            ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => write_number(value, text),
            ValueKind::String => self.write_text(value.as_str().unwrap_or_default(), text),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.write_list(&items, ('[', ']'), depth, text, |item, text| self.write(item, depth + 1, text))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorts_keys {
                    keys.sort();
                }
                self.write_list(&keys, ('{', '}'), depth, text, |key, text| {
                    match key.as_str() {
                        Some(key) => self.write_text(key, text),
                        None => self.write_text(&key.to_string(), text),
                    }
                    text.push_str(&self.after_key);
                    self.write(&value.get_item(key)?, depth + 1, text)
                })?;
            }
            other => {
                let message = format!("a value of the kind `{other}` is not JSON serializable");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn write_list(
        &self,
        items: &[Value],
        (open, close): (char, char),
        depth: usize,
        text: &mut String,
        mut write: impl FnMut(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        text.push(open);
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                text.push_str(&self.between);
            }
            self.break_line(depth + 1, text);
            write(item, text)?;
        }
        if !items.is_empty() {
            self.break_line(depth, text);
        }
        text.push(close);
        Ok(())
    }

    fn break_line(&self, depth: usize, text: &mut String) {
        if let Some(indent) = &self.indent {
            text.push('\n');
            text.push_str(&indent.repeat(depth));
        }
    }

    fn write_text(&self, value: &str, text: &mut String) {
        text.push('"');
        for letter in value.chars() {
            match letter {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                '\0'..='\u{1f}' => _ = write!(text, "\\u{:04x}", u32::from(letter)),
                '\u{7f}'.. if self.is_ascii && letter != '\u{7f}' => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        _ = write!(text, "\\u{unit:04x}");
                    }
                }
                other => text.push(other),
            }
        }
        text.push('"');
    }
}

/// Numbers as Python prints them: whole floats keep `.0`, very large and small ones have an exponent.
fn write_number(value: &Value, text: &mut String) {
    if value.is_integer() {
        _ = write!(text, "{value}");
        return;
    }
    let number = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    let size = number.abs();
    if number.is_nan() {
        text.push_str("NaN");
    } else if number.is_infinite() {
        text.push_str(if number > 0.0 { "Infinity" } else { "-Infinity" });
    } else if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let short = format!("{number:e}");
        let (digits, exponent) = short.split_once('e').unwrap_or((&short, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        _ = write!(text, "{digits}e{sign}{exponent:0>2}");
    } else {
        _ = write!(text, "{number:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, style: &Style, expected: &str) {
        let mut text = String::new();
        style.write(&Json::parse(json).unwrap().0, 0, &mut text).unwrap();
        assert_eq!(text, expected);
    }

    fn plain() -> Style {
        Style { indent: None, between: ", ".into(), after_key: ": ".into(), is_ascii: false, sorts_keys: false }
    }

    #[test]
    fn json_is_written_as_python_does() {
        let json = r#"{"b":[1,2.0,-0.5,1e20,1e-7,12345678901234567890],"a":{},"c":[],"é":"<&>'\u0001\u007f😀\n"}"#;
        check(
            json,
            &plain(),
            "{\"b\": [1, 2.0, -0.5, 1e+20, 1e-07, 12345678901234567890], \"a\": {}, \"c\": [], \"é\": \"<&>'\\u0001\u{7f}😀\\n\"}",
        );
        check("[\"é😀\"]", &Style { is_ascii: true, ..plain() }, r#"["\u00e9\ud83d\ude00"]"#);
        let indented = Style { indent: Some("  ".into()), between: ",".into(), sorts_keys: true, ..plain() };
        check(r#"{"b":[1,{}],"a":null}"#, &indented, "{\n  \"a\": null,\n  \"b\": [\n    1,\n    {}\n  ]\n}");
    }
}
