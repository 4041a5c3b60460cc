//! Typed, bounded access to the keys of a configuration; every error names its key.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::LAYERS_MAX;
use super::reference::Class;
use crate::Diagnostic;

/// Why a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// More bytes than any configuration has.
    #[error("the configuration is {bytes} bytes long; at most {most} are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// Not JSON.
    #[error("the configuration is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but no object.
    #[error("the configuration is not a JSON object")]
    NotAnObject,
    /// A key that cannot be done without.
    #[error("the configuration has no `{key}`")]
    Missing {
        /// The key with its path.
        key: String,
    },
    /// A key of the wrong type.
    #[error("`{key}` should be {expected}, but is `{found}`")]
    WrongType {
        /// The key with its path.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is, shortened.
        found: String,
    },
    /// A count that no model has.
    #[error("`{key}` is {value}; at most {most} is believed")]
    Absurd {
        /// The key with its path.
        key: String,
        /// Its value.
        value: u64,
        /// The limit.
        most: u64,
    },
    /// Keys that contradict each other.
    #[error("`{key}` {problem}")]
    Contradiction {
        /// The key with its path.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

/// Most of anything that is counted by an integer key: dimensions, heads, vocabulary.
/// Three such counts multiplied still fit 64 bits.
pub(crate) const COUNT_MAX: u64 = 1 << 21;
/// Most positions.
const POSITIONS_MAX: u64 = 1 << 40;

/// What a family takes for counts (and, as 0 and 1, truth values) that a file leaves out.
///
/// A key that is there but `null` is not left out: it stays without a value, as in the reference.
pub(crate) type Defaults = &'static [(&'static str, u64)];

/// The object that stands for a nested configuration that a file leaves out as a whole.
static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// One object of a configuration, knowing its path.
#[derive(Clone, Debug)]
pub(crate) struct Config<'a> {
    object: &'a Map<String, Value>,
    path: String,
    /// The family's own defaults, asked first.
    defaults: Defaults,
    /// The reference's configuration class, asked next.
    class: Option<Class>,
    /// Remarks on defaults that were taken, shared by all parts of one file.
    remarks: Rc<RefCell<Vec<Diagnostic>>>,
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl<'a> Config<'a> {
    pub(crate) fn root(object: &'a Map<String, Value>) -> Self {
        let class = object.get("model_type").and_then(Value::as_str).and_then(Class::named);
        Self { object, path: String::new(), defaults: &[], class, remarks: Rc::default() }
    }

    /// The same object, read as the reference reads the one nested under `key`.
    pub(crate) fn as_part(&self, key: &str) -> Self {
        Self { class: self.class.and_then(|class| class.part(key)), ..self.clone() }
    }

    /// The model type: as the file says, or else of the class it is read as.
    pub(crate) fn model_type(&self) -> Result<Option<&'a str>, ConfigError> {
        Ok(self.text("model_type")?.filter(|name| !name.is_empty()).or(self.class.map(|class| class.model_type)))
    }

    /// Whether this is a part of the file.
    pub(crate) fn is_nested(&self) -> bool {
        !self.path.is_empty()
    }

    /// Whether the reference has a class for it.
    pub(crate) fn is_known(&self) -> bool {
        self.class.is_some()
    }

    /// The family's default of a truth value.
    pub(crate) fn default_flag(&self, key: &str) -> Option<bool> {
        self.absent(key).map(|value| value != 0)
    }

    /// The same object, read with a family's defaults.
    pub(crate) fn with_defaults(&self, defaults: Defaults) -> Self {
        Self { defaults, ..self.clone() }
    }

    /// The remarks on defaults taken so far, each key once.
    pub(crate) fn take_remarks(&self) -> Vec<Diagnostic> {
        self.remarks.take()
    }

    /// What an absent `key` stands for.
    fn absent(&self, key: &str) -> Option<u64> {
        if self.object.contains_key(key) {
            return None;
        }
        let class = self.class.map_or::<Defaults, _>(&[], |class| class.defaults);
        self.defaults.iter().chain(class).find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// The default of a count that the file leaves out, remarked upon.
    fn default(&self, key: &str) -> Option<u64> {
        let value = self.absent(key)?;
        let place = self.place(key);
        let mut remarks = self.remarks.borrow_mut();
        if !remarks.iter().any(|remark| remark.place == place) {
            remarks.push(Diagnostic::new(place, format!("is absent; the family's default {value} was taken")));
        }
        Some(value)
    }

    pub(crate) fn place(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The raw value; JSON `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether the file names `key`, be it as `null`.
    pub(crate) fn names(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// Its keys in alphabetic order: two files that say the same are read the same.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        let mut keys: Vec<&str> = self.object.keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys.into_iter()
    }

    /// The nested object under `key`.
    pub(crate) fn nested(&self, key: &str) -> Option<Config<'a>> {
        self.get(key)?.as_object().map(|object| self.part(key, object))
    }

    /// The nested object under `key`; an empty one, which leaves every key to its default, where there is none.
    pub(crate) fn nested_or_empty(&self, key: &str) -> Config<'a> {
        self.nested(key).unwrap_or_else(|| self.part(key, &EMPTY))
    }

    /// Whether the reference's class nests a configuration under `key`.
    pub(crate) fn has_part(&self, key: &str) -> bool {
        self.class.and_then(|class| class.part(key)).is_some()
    }

    fn part(&self, key: &str, object: &'a Map<String, Value>) -> Config<'a> {
        let named = object.get("model_type").and_then(Value::as_str);
        // Some files repeat the outer model type inside.
        let own = named.filter(|name| self.class.is_none_or(|class| class.model_type != *name)).and_then(Class::named);
        let class = own.or_else(|| self.class?.part(key));
        Config { object, path: self.place(key), defaults: &[], class, remarks: Rc::clone(&self.remarks) }
    }

    pub(crate) fn missing(&self, key: &str) -> ConfigError {
        ConfigError::Missing { key: self.place(key) }
    }

    pub(crate) fn contradiction(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Contradiction { key: self.place(key), problem: problem.into() }
    }

    fn wrong(&self, key: &str, expected: &'static str, value: &Value) -> ConfigError {
        ConfigError::WrongType { key: self.place(key), expected, found: shown(value) }
    }

    fn bounded(&self, key: &str, value: &Value, most: u64) -> Result<u64, ConfigError> {
        let number = whole_number(value).ok_or_else(|| self.wrong(key, "a whole number", value))?;
        if number > most {
            return Err(ConfigError::Absurd { key: self.place(key), value: number, most });
        }
        Ok(number)
    }

    /// A count, if the key is there.
    pub(crate) fn count(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        match self.get(key) {
            Some(value) => self.bounded(key, value, COUNT_MAX).map(Some),
            None => Ok(self.default(key)),
        }
    }

    /// The first of several spellings that is there.
    pub(crate) fn count_of(&self, keys: &[&str]) -> Result<Option<u64>, ConfigError> {
        if let Some(key) = keys.iter().find(|key| self.has(key)) {
            return self.count(key);
        }
        for key in keys {
            if let Some(value) = self.count(key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// A count that cannot be done without and cannot be zero.
    pub(crate) fn required(&self, key: &str) -> Result<u64, ConfigError> {
        match self.count(key)?.ok_or_else(|| self.missing(key))? {
            0 => Err(self.contradiction(key, "is zero")),
            value => Ok(value),
        }
    }

    /// The first of several spellings, one of which must be there; the first is named if none is.
    pub(crate) fn required_of(&self, keys: &[&str]) -> Result<u64, ConfigError> {
        let is_default = |key: &&&str| self.absent(key).is_some();
        let found = keys.iter().find(|key| self.has(key)).or_else(|| keys.iter().find(is_default));
        self.required(found.unwrap_or(&keys[0]))
    }

    /// A bounded number of layers, under one of `keys`.
    pub(crate) fn layers(&self, keys: &[&str]) -> Result<u64, ConfigError> {
        let count = self.required_of(keys)?;
        if count > LAYERS_MAX {
            return Err(self.contradiction(keys[0], format!("is {count}; at most {LAYERS_MAX} layers are believed")));
        }
        Ok(count)
    }

    /// A number of positions.
    pub(crate) fn positions(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        match self.get(key) {
            Some(value) => self.bounded(key, value, POSITIONS_MAX).map(Some),
            None => Ok(self.default(key)),
        }
    }

    /// A truth value; the family's default if absent, and else `default`.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(self.absent(key).map_or(default, |value| value != 0)),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value)),
        }
    }

    /// A string, if there.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        self.get(key).map(|value| value.as_str().ok_or_else(|| self.wrong(key, "a string", value))).transpose()
    }

    /// A number with a fraction, if there.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        self.get(key).map(|value| value.as_f64().ok_or_else(|| self.wrong(key, "a number", value))).transpose()
    }

    /// A list of counts, if there. A single number is a list of one.
    pub(crate) fn counts(&self, key: &str) -> Result<Option<Vec<u64>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(list) = value.as_array() else {
            return Ok(Some(vec![self.bounded(key, value, COUNT_MAX)?]));
        };
        list.iter()
            .map(|entry| match entry {
                Value::Null => Ok(0),
                entry => self.bounded(key, entry, COUNT_MAX),
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A list of strings, if there.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| self.wrong(key, "a list of strings", value))?;
        list.iter()
            .map(|entry| entry.as_str().ok_or_else(|| self.wrong(key, "a list of strings", entry)))
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

/// A non-negative whole number, also when written as `4096.0`.
fn whole_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::float_cmp,
            reason = "range and wholeness are checked"
        )]
        ((0.0..9.0e15).contains(&number) && number.trunc() == number).then_some(number as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(text: &str, check: impl FnOnce(Config<'_>) -> T) -> T {
        let value: Value = serde_json::from_str(text).unwrap();
        check(Config::root(value.as_object().unwrap()))
    }

    #[test]
    fn errors_name_the_key_and_its_path() {
        with(r#"{"text_config": {"hidden_size": "wide", "heads": 99999999999}}"#, |config| {
            let text = config.nested("text_config").unwrap();
            assert_eq!(
                text.required("hidden_size").unwrap_err().to_string(),
                "`text_config.hidden_size` should be a whole number, but is `\"wide\"`"
            );
            assert_eq!(
                text.required("heads").unwrap_err().to_string(),
                "`text_config.heads` is 99999999999; at most 2097152 is believed"
            );
            assert_eq!(
                text.required("layers").unwrap_err().to_string(),
                "the configuration has no `text_config.layers`"
            );
        });
    }

    #[test]
    fn defaults_fill_absent_keys_and_say_so() {
        with(r#"{"window": null, "heads": 4}"#, |config| {
            let config = config.with_defaults(&[("window", 4096), ("heads", 8), ("layers", 12)]);
            assert_eq!(config.count("window").unwrap(), None, "`null` is a value of its own");
            assert_eq!(config.required("heads").unwrap(), 4);
            assert_eq!(config.required("layers").unwrap(), 12);
            assert_eq!(config.required("layers").unwrap(), 12);
            let remarks = config.take_remarks();
            assert_eq!(remarks.len(), 1);
            assert_eq!(remarks[0].to_string(), "`layers`: is absent; the family's default 12 was taken");
        });
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        with(r#"{"a": 4096.0, "b": 0.5, "c": -1}"#, |config| {
            assert_eq!(config.required("a").unwrap(), 4096);
            assert!(config.count("b").is_err());
            assert!(config.count("c").is_err());
        });
    }
}
