//! Key-value metadata. What planning can use is kept; vocabularies, scores,
//! merges and templates are walked over and only counted.

use std::collections::BTreeMap;

use super::error::GgufErrorKind;
use super::source::Source;

/// Longest key (the format's own limit).
const KEY_BYTES_MAX: u64 = 65_535;
/// Longest text that is kept.
const TEXT_BYTES_MAX: u64 = 4096;
/// Longest integer array that is kept: four times llama.cpp's limit of 512 layers.
const INTEGERS_MAX: u64 = 2048;
/// Bytes of keys and values that are kept in all.
const KEPT_BYTES_MAX: u64 = 8 << 20;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer that is not negative.
    Unsigned(u64),
    /// A negative integer.
    Negative(i64),
    /// A floating-point number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// An array of integers or truth values (as 0 and 1).
    Integers(Vec<i64>),
    /// A text or array that was walked over; only its length is known.
    Skipped {
        /// Bytes of a text, elements of an array.
        length: u64,
    },
}

/// The metadata of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: BTreeMap<String, Value>,
}

impl Metadata {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// The value of `key` if it is an integer that is not negative, or a number without fraction.
    pub fn unsigned(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Unsigned(value) => Some(*value),
            Value::Bool(value) => Some(u64::from(*value)),
            _ => None,
        }
    }

    /// The value of `key` if it is a truth value (or 0 or 1).
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(value) => Some(*value),
            Value::Unsigned(value) => Some(*value != 0),
            _ => None,
        }
    }

    /// The value of `key` if it is a text that was kept.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of `key` if it is an array of integers that was kept.
    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.get(key)? {
            Value::Integers(values) => Some(values),
            _ => None,
        }
    }

    /// The number of elements of the array `key`.
    pub fn array_length(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Integers(values) => Some(values.len() as u64),
            Value::Skipped { length } => Some(*length),
            _ => None,
        }
    }

    /// All entries in the order of their keys.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds an entry; fails on a key that is there already.
    pub(super) fn insert(&mut self, key: String, value: Value) -> Result<(), GgufErrorKind> {
        if self.entries.contains_key(&key) {
            return Err(GgufErrorKind::DuplicateKey);
        }
        self.entries.insert(key, value);
        Ok(())
    }
}

/// The format's number of a value type, with the bytes of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer { bytes: u8, is_signed: bool },
    Float { bytes: u8 },
    Bool,
    Text,
    Array,
}

impl Kind {
    /// Numbers of the GGUF specification.
    pub(super) const fn from_id(id: u32) -> Result<Self, GgufErrorKind> {
        Ok(match id {
            0 => Self::Integer { bytes: 1, is_signed: false },
            1 => Self::Integer { bytes: 1, is_signed: true },
            2 => Self::Integer { bytes: 2, is_signed: false },
            3 => Self::Integer { bytes: 2, is_signed: true },
            4 => Self::Integer { bytes: 4, is_signed: false },
            5 => Self::Integer { bytes: 4, is_signed: true },
            6 => Self::Float { bytes: 4 },
            7 => Self::Bool,
            8 => Self::Text,
            9 => Self::Array,
            10 => Self::Integer { bytes: 8, is_signed: false },
            11 => Self::Integer { bytes: 8, is_signed: true },
            12 => Self::Float { bytes: 8 },
            other => return Err(GgufErrorKind::ValueType(other)),
        })
    }

    /// Bytes of one element in the file; the least, for texts.
    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::Integer { bytes, .. } | Self::Float { bytes } => bytes as u64,
            Self::Bool => 1,
            Self::Text | Self::Array => 8,
        }
    }
}

/// Reads one key; the caller learns it before the value so that errors can name it.
pub(super) fn read_key(source: &mut Source<'_>) -> Result<String, GgufErrorKind> {
    let length = source.u64()?;
    source.text("the length of a key", length, KEY_BYTES_MAX)
}

/// Reads one value; `kept` counts the bytes kept so far.
pub(super) fn read_value(source: &mut Source<'_>, key: &str, kept: &mut u64) -> Result<Value, GgufErrorKind> {
    let kind = Kind::from_id(source.u32()?)?;
    let value = match kind {
        Kind::Text => read_text(source)?,
        Kind::Array => read_array(source)?,
        Kind::Bool => Value::Bool(source.array::<1>()?[0] != 0),
        Kind::Float { bytes } => Value::Float(read_float(source, bytes)?),
        Kind::Integer { bytes, is_signed } => read_integer(source, bytes, is_signed)?,
    };
    let size = match &value {
        Value::Text(text) => text.len(),
        Value::Integers(values) => values.len() * 8,
        _ => 8,
    };
    *kept = kept.saturating_add((size + key.len()) as u64);
    if *kept > KEPT_BYTES_MAX {
        return Err(GgufErrorKind::TooMany { what: "the size of the metadata", found: *kept, limit: KEPT_BYTES_MAX });
    }
    Ok(value)
}

fn read_text(source: &mut Source<'_>) -> Result<Value, GgufErrorKind> {
    let length = source.u64()?;
    if length > TEXT_BYTES_MAX {
        source.expect("the length of a text", length)?;
        source.skip(length)?;
        return Ok(Value::Skipped { length });
    }
    source.text("a text", length, TEXT_BYTES_MAX).map(Value::Text)
}

fn read_array(source: &mut Source<'_>) -> Result<Value, GgufErrorKind> {
    let kind = Kind::from_id(source.u32()?)?;
    let length = source.u64()?;
    source.expect("the length of an array", length.saturating_mul(kind.bytes()))?;
    match kind {
        Kind::Array => Err(GgufErrorKind::NestedArray),
        Kind::Text => {
            for _ in 0..length {
                let bytes = source.u64()?;
                source.skip(bytes)?;
            }
            Ok(Value::Skipped { length })
        }
        Kind::Integer { bytes, is_signed } if length <= INTEGERS_MAX => {
            let mut values = Vec::new();
            for _ in 0..length {
                values.push(match read_integer(source, bytes, is_signed)? {
                    Value::Negative(value) => value,
                    Value::Unsigned(value) => i64::try_from(value).unwrap_or(i64::MAX),
                    _ => 0,
                });
            }
            Ok(Value::Integers(values))
        }
        Kind::Bool if length <= INTEGERS_MAX => {
            let mut values = Vec::new();
            for _ in 0..length {
                values.push(i64::from(source.array::<1>()?[0] != 0));
            }
            Ok(Value::Integers(values))
        }
        Kind::Integer { .. } | Kind::Bool | Kind::Float { .. } => {
            source.skip(length.saturating_mul(kind.bytes()))?;
            Ok(Value::Skipped { length })
        }
    }
}

pub(super) fn read_float(source: &mut Source<'_>, bytes: u8) -> Result<f64, GgufErrorKind> {
    match bytes {
        4 => Ok(f64::from(f32::from_le_bytes(source.array()?))),
        _ => Ok(f64::from_le_bytes(source.array()?)),
    }
}

pub(super) fn read_integer(source: &mut Source<'_>, bytes: u8, is_signed: bool) -> Result<Value, GgufErrorKind> {
    let value: i128 = match (bytes, is_signed) {
        (1, false) => source.array::<1>()?[0].into(),
        (1, true) => i8::from_le_bytes(source.array()?).into(),
        (2, false) => u16::from_le_bytes(source.array()?).into(),
        (2, true) => i16::from_le_bytes(source.array()?).into(),
        (4, false) => u32::from_le_bytes(source.array()?).into(),
        (4, true) => i32::from_le_bytes(source.array()?).into(),
        (_, false) => u64::from_le_bytes(source.array()?).into(),
        (_, true) => i64::from_le_bytes(source.array()?).into(),
    };
    Ok(match u64::try_from(value) {
        Ok(value) => Value::Unsigned(value),
        Err(_) => Value::Negative(i64::try_from(value).unwrap_or(i64::MIN)),
    })
}
