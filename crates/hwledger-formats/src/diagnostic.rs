//! What a reader noticed without having to give up.

use std::fmt;

/// A remark on something read, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The key, tensor or file it is about.
    pub place: String,
    /// What is odd, and what was taken instead.
    pub message: String,
}

impl Diagnostic {
    /// A remark on `place`.
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`: {}", self.place, self.message)
    }
}
