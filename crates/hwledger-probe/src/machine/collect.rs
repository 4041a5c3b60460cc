//! Gathering readings of one moment.

use super::metric::Metric;
use crate::{Outcome, Reading};

/// Why there is no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Nobody offers it.
    Absent(String),
    /// It is offered, and reading it failed.
    Failed(String),
}

impl Missing {
    pub(crate) fn absent(reason: &str) -> Self {
        Self::Absent(reason.to_owned())
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Absent(reason) => Outcome::Unsupported { reason },
            Self::Failed(reason) => Outcome::Error { reason },
        }
    }
}

/// Labels before they are owned.
pub(crate) type Labels<'text> = &'text [(&'text str, &'text str)];

/// Readings of one moment.
#[derive(Debug)]
pub(crate) struct Collector {
    at_ns: u64,
    readings: Vec<Reading>,
}

impl Collector {
    pub(crate) const fn new(at_ns: u64) -> Self {
        Self { at_ns, readings: Vec::new() }
    }

    pub(crate) const fn at_ns(&self) -> u64 {
        self.at_ns
    }

    pub(crate) fn finish(self) -> Vec<Reading> {
        self.readings
    }

    /// A number as the source said it, or why there is none.
    pub(crate) fn measured(&mut self, metric: Metric, labels: Labels, source: &str, found: Result<f64, Missing>) {
        self.push(metric, labels, source, self.at_ns, found.map(|value| Outcome::Measured { value }));
    }

    /// A number computed from what sources said, or why there is none.
    pub(crate) fn derived(&mut self, metric: Metric, labels: Labels, source: &str, found: Result<f64, Missing>) {
        self.push(metric, labels, source, self.at_ns, found.map(|value| Outcome::Derived { value }));
    }

    /// A number computed earlier that still stands.
    pub(crate) fn held(&mut self, metric: Metric, labels: Labels, source: &str, found: Result<(f64, u64), Missing>) {
        let at_ns = found.as_ref().map_or(self.at_ns, |&(_, at_ns)| at_ns);
        self.push(metric, labels, source, at_ns, found.map(|(value, _)| Outcome::Derived { value }));
    }

    /// The first number of this metric so far, whatever its labels.
    pub(crate) fn value(&self, metric: Metric) -> Option<f64> {
        self.readings.iter().filter(|reading| reading.metric == metric.name).find_map(|reading| reading.outcome.value())
    }

    fn push(
        &mut self,
        metric: Metric,
        labels: Labels,
        source: &str,
        taken_at_ns: u64,
        found: Result<Outcome, Missing>,
    ) {
        // What is not a number cannot be written down, and says that something is wrong.
        let outcome = match found {
            Ok(outcome) if outcome.value().is_some_and(f64::is_finite) => outcome,
            Ok(_) => Outcome::Error { reason: "it is not a number".to_owned() },
            Err(missing) => missing.outcome(),
        };
        self.readings.push(Reading {
            metric: metric.name.to_owned(),
            labels: labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            unit: metric.unit,
            source: source.to_owned(),
            taken_at_ns,
            outcome,
        });
    }
}
