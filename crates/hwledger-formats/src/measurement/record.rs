//! One record of a file: values by key, each error with its place.

use std::collections::BTreeMap;

use super::error::MeasurementError;
use super::run::{MeasuredRun, Place};

/// A value as far as measurements need it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Object(Object),
}

pub(super) type Object = BTreeMap<String, Value>;

/// Longest text that is kept of a value.
pub(super) const TEXT_MAX: usize = 1024;

/// A record and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) values: &'a Object,
    pub(super) line: u64,
    pub(super) number: u64,
}

impl<'a> Record<'a> {
    /// A run with the record's place and nothing else.
    pub(super) fn run(&self) -> MeasuredRun {
        let place = Place { file: String::new(), line: self.line, record: self.number };
        MeasuredRun { place, ..MeasuredRun::default() }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.values.get(key).filter(|value| match value {
            Value::Null => false,
            Value::Text(text) => !text.trim().is_empty(),
            _ => true,
        })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn wrong(
        &self,
        key: &str,
        found: &(impl ToString + ?Sized),
        expected: &'static str,
    ) -> MeasurementError {
        let found = found.to_string().chars().take(60).collect();
        MeasurementError::Value { line: self.line, record: self.number, key: key.to_owned(), found, expected }
    }

    fn mismatch(&self, key: &str, value: &Value, expected: &'static str) -> MeasurementError {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Flag(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            Value::List(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
        };
        self.wrong(key, &found, expected)
    }

    /// A number; `NaN` and infinities are numbers too and judged later.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, MeasurementError> {
        let expected = "a number";
        match self.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(*number)),
            Some(value @ Value::Text(text)) => {
                text.trim().parse().map(Some).map_err(|_| self.mismatch(key, value, expected))
            }
            Some(value) => Err(self.mismatch(key, value, expected)),
        }
    }

    pub(super) fn required(&self, key: &'static str) -> Result<f64, MeasurementError> {
        self.number(key)?.ok_or(MeasurementError::Missing { line: self.line, record: self.number, key })
    }

    /// A whole number of any sign.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, MeasurementError> {
        match self.number(key)? {
            None => Ok(None),
            Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => Ok(Some(number as i64)),
            Some(number) => Err(self.wrong(key, &number, "a whole number")),
        }
    }

    /// A whole number from zero.
    pub(super) fn count(&self, key: &str) -> Result<Option<u64>, MeasurementError> {
        self.integer(key)?
            .map(|number| u64::try_from(number).map_err(|_| self.wrong(key, &number, "a whole number from 0")))
            .transpose()
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, MeasurementError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.trim().to_owned())),
            Some(value) => Err(self.mismatch(key, value, "a text")),
        }
    }

    /// The first of `keys` that is a text; values of other types are somebody else's.
    pub(super) fn any_text(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|key| self.text(key).ok().flatten())
    }

    /// The first of `keys` that is a whole number from zero.
    pub(super) fn any_count(&self, keys: &[&str]) -> Option<u64> {
        keys.iter().find_map(|key| self.count(key).ok().flatten())
    }

    /// Yes or no, as JSON, SQL and CSV write it.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, MeasurementError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(value) => match self.number(key) {
                Ok(Some(number)) => Ok(Some(number != 0.0)),
                _ => Err(self.mismatch(key, value, "true or false")),
            },
        }
    }

    pub(super) fn list(&self, key: &str) -> Option<&'a [Value]> {
        match self.get(key) {
            Some(Value::List(list)) => Some(list),
            _ => None,
        }
    }

    /// A record inside this one.
    pub(super) fn object(&self, key: &str) -> Result<Option<Self>, MeasurementError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(values)) => Ok(Some(Self { values, ..*self })),
            Some(value) => Err(self.mismatch(key, value, "an object")),
        }
    }
}
