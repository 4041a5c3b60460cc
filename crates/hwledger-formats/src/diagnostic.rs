//! What a reader noticed without failing.

use std::borrow::Cow;
use std::fmt;

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; the figures stand.
    Note,
    /// The figures rest on a guess, or two sources disagree.
    Warning,
}

/// One thing that a reader noticed in a model's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// The key, tensor or file that it is about.
    pub place: Cow<'static, str>,
    /// What was noticed and what was done about it.
    pub message: String,
}

impl Diagnostic {
    /// Something worth knowing.
    pub fn note(place: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, place: place.into(), message: message.into() }
    }

    /// A guess or a disagreement.
    pub fn warning(place: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`: {}", self.place, self.message)
    }
}
