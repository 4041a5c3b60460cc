//! A chip's profile: a tree of numbers and words, reached by dotted paths.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::sizing::error::SizingError;

/// A value of a profile, or a table of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Profile {
    /// A number.
    Number(f64),
    /// A word.
    Text(String),
    /// Values by name.
    Table(BTreeMap<String, Self>),
}

impl Default for Profile {
    fn default() -> Self {
        Self::Table(BTreeMap::new())
    }
}

impl Profile {
    /// The value at a dotted path.
    pub fn get(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |value, name| match value {
            Self::Table(table) => table.get(name),
            Self::Number(_) | Self::Text(_) => None,
        })
    }

    /// The number at a dotted path.
    pub fn number(&self, path: &str) -> Option<f64> {
        match self.get(path)? {
            Self::Number(number) => Some(*number),
            Self::Text(_) | Self::Table(_) => None,
        }
    }

    /// Puts a number at a dotted path; tables on the way are made.
    ///
    /// **Errors**: an empty name in the path, or a path that leads through a value or onto a table.
    pub fn set(&mut self, path: &str, number: f64) -> Result<(), SizingError> {
        let refused = || SizingError::NoSuchPath(path.to_owned());
        let mut place = self;
        for name in path.split('.') {
            let Self::Table(table) = place else { return Err(refused()) };
            if name.is_empty() {
                return Err(refused());
            }
            // A place that is still empty becomes a table only if the path goes on; the last is overwritten.
            place = table.entry(name.to_owned()).or_default();
        }
        if matches!(place, Self::Table(table) if !table.is_empty()) {
            return Err(refused());
        }
        *place = Self::Number(number);
        Ok(())
    }

    /// Multiplies the number at a dotted path.
    ///
    /// **Errors**: there is no number at the path.
    pub fn scale(&mut self, path: &str, factor: f64) -> Result<(), SizingError> {
        let number = self.number(path).ok_or_else(|| SizingError::NoSuchPath(path.to_owned()))?;
        self.set(path, number * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_when_set_and_must_exist_when_scaled() {
        let mut profile = Profile::default();
        profile.set("memory.bandwidth_gb_s", 100.0).expect("a sound path");
        profile.scale("memory.bandwidth_gb_s", 1.5).expect("it exists");
        assert_eq!(profile.number("memory.bandwidth_gb_s"), Some(150.0));
        assert!(profile.scale("memory.capacity_gb", 2.0).is_err());
        assert_eq!(profile.number("memory"), None);
    }

    #[test]
    fn paths_do_not_lead_through_values_or_over_tables() {
        let mut profile = Profile::default();
        profile.set("a.b", 1.0).expect("a sound path");
        for path in ["a.b.c", "a", "", "a..b"] {
            assert!(profile.set(path, 1.0).is_err(), "{path}");
        }
        assert_eq!(profile.number("a.b"), Some(1.0));
    }
}
