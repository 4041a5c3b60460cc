//! The one spelling of an event (RFC 8785), narrowed so that it means the same to every reader: no fractions, and no
//! integer that a double cannot hold. Such quantities are decimal strings ([`crate::event::Count`],
//! [`crate::event::Decimal`]).

use serde::Serialize;
use serde_json::Value;

/// The largest integer that every JSON reader holds exactly.
const INTEGER_MAX: u64 = 1 << 53;

/// Why bytes are not canonical.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// Not JSON.
    #[error("this is no JSON: {0}")]
    Json(String),
    /// A number that readers may take for another.
    #[error("`{0}` is not an integer below 2^53; write it as a string")]
    Number(String),
    /// The same value in another spelling.
    #[error("byte {0} is not what the canonical spelling of the same value has")]
    Spelling(usize),
}

fn check_numbers(value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            match magnitude {
                Some(magnitude) if magnitude < INTEGER_MAX => Ok(()),
                _ => Err(CanonicalError::Number(number.to_string())),
            }
        }
        Value::Array(values) => values.iter().try_for_each(check_numbers),
        Value::Object(values) => values.values().try_for_each(check_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

/// The canonical bytes of `value`.
///
/// # Errors
///
/// It holds a number that is no integer below 2^53, or cannot be JSON.
pub fn to_canonical(value: &impl Serialize) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value).map_err(|error| CanonicalError::Json(error.to_string()))?;
    check_numbers(&value)?;
    serde_json_canonicalizer::to_vec(&value).map_err(|error| CanonicalError::Json(error.to_string()))
}

/// Checks that `bytes` are canonical: the one spelling of the value that they hold.
///
/// # Errors
///
/// They are not; the message says where.
pub fn check_canonical(bytes: &[u8]) -> Result<(), CanonicalError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| CanonicalError::Json(error.to_string()))?;
    let canonical = to_canonical(&value)?;
    if canonical == bytes {
        return Ok(());
    }
    let common = canonical.iter().zip(bytes).take_while(|(ours, theirs)| ours == theirs).count();
    Err(CanonicalError::Spelling(common))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CanonicalError, check_canonical, to_canonical};

    #[test]
    fn the_example_of_the_specification_comes_out() {
        // RFC 8785, section 3.2.3: keys sorted by UTF-16 units.
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh", "1": "One",
            "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis"
        });
        let text = String::from_utf8(to_canonical(&value).unwrap()).unwrap();
        let order = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"].map(|word| text.find(word));
        assert!(order.is_sorted() && order[0].is_some(), "{text}");
        // Section 3.2.2.2: escapes.
        let strings = to_canonical(&json!("\u{20ac}$\u{f}\nA'\u{42}\"\\\\\"/")).unwrap();
        assert_eq!(strings, "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"".as_bytes());
    }

    #[test]
    fn other_spellings_are_refused_with_their_place() {
        assert_eq!(check_canonical(br#"{"a":1,"b":[true,null,"x"]}"#), Ok(()));
        assert_eq!(check_canonical(br#"{"a":1, "b":2}"#), Err(CanonicalError::Spelling(7)));
        assert_eq!(check_canonical(br#"{"b":1,"a":2}"#), Err(CanonicalError::Spelling(2)));
        assert_eq!(check_canonical(br#"{"a":1,"a":2}"#), Err(CanonicalError::Spelling(5)));
        assert_eq!(check_canonical(br#""\u0041""#), Err(CanonicalError::Spelling(1)));
        assert!(matches!(check_canonical(b"1.5"), Err(CanonicalError::Number(_))));
        assert!(matches!(check_canonical(b"9007199254740992"), Err(CanonicalError::Number(_))));
        assert!(matches!(check_canonical(b"{"), Err(CanonicalError::Json(_))));
    }
}
