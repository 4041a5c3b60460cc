//! One prediction beside one measurement.

use serde::{Deserialize, Serialize};

use super::key::Key;

/// Exactly what was run: a figure predicted for the same subject has been measured, not inferred.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The model, by the reference that plans it.
    pub model: String,
    /// Everything else that moves the figure: lengths, requests in flight, settings.
    pub workload: String,
}

/// What a formula said, and what a run gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What the pair is about, as specific as is known.
    #[serde(flatten)]
    pub key: Key,
    /// Exactly what was run.
    pub subject: Subject,
    /// Whether it ran on the machine that the calibration is for.
    pub is_own: bool,
    /// What the formula said.
    pub predicted: f64,
    /// What was measured, in the same unit.
    pub measured: f64,
    /// Standard deviation of the measurement over its value, where repetitions tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// How much it counts; 1 for an ordinary run.
    #[serde(default = "one")]
    pub weight: f64,
    /// Share of the processors' time that others left to the run; all of it where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_left: Option<f64>,
    /// Where it was read (`file:line`).
    #[serde(default)]
    pub place: String,
}

const fn one() -> f64 {
    1.0
}

impl Sample {
    /// Whether both figures are positive and finite, and the sample counts for something.
    pub fn is_sound(&self) -> bool {
        let is_figure = |value: f64| value.is_finite() && value > 0.0;
        is_figure(self.predicted)
            && is_figure(self.measured)
            && is_figure(self.measured / self.predicted)
            && is_figure(self.weight)
            && self.share_left.is_none_or(|share| share > 0.0 && share <= 1.0)
            && self.spread.is_none_or(|spread| spread.is_finite() && spread >= 0.0)
    }

    /// The logarithm of what would have been measured had nobody else used the machine.
    pub(super) fn quiet_log(&self) -> f64 {
        self.measured.ln() - self.key.figure.load_exponent() * self.share_left.unwrap_or(1.0).ln()
    }

    /// `ln(measured / predicted)` on a machine that nobody else uses.
    pub(super) fn log_ratio(&self) -> f64 {
        self.quiet_log() - self.predicted.ln()
    }

    /// How much it counts: of a run that had half of the processors, half is known of the machine by itself.
    pub(super) fn counts(&self) -> f64 {
        let is_moved = self.key.figure.load_exponent() != 0.0;
        self.weight * if is_moved { self.share_left.unwrap_or(1.0) } else { 1.0 }
    }
}
