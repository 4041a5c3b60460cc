//! Every default that a plan takes is told to whoever asked.

use std::borrow::Cow;

use serde::Serialize;

/// One thing that was taken for granted, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assumption {
    /// The setting or fact, by its name in the request.
    pub what: Cow<'static, str>,
    /// What was taken.
    pub value: String,
    /// Why it was taken.
    pub why: Cow<'static, str>,
}

/// The assumptions of one plan, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Assumptions(pub Vec<Assumption>);

impl Assumptions {
    /// Records one assumption.
    pub fn note(
        &mut self,
        what: impl Into<Cow<'static, str>>,
        value: &(impl ToString + ?Sized),
        why: impl Into<Cow<'static, str>>,
    ) {
        self.0.push(Assumption { what: what.into(), value: value.to_string(), why: why.into() });
    }

    /// `given`, or `default` with the assumption recorded.
    pub fn or<T: ToString>(&mut self, given: Option<T>, what: &'static str, default: T, why: &'static str) -> T {
        given.unwrap_or_else(|| {
            self.note(what, &default, why);
            default
        })
    }
}
