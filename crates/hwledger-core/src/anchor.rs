//! Values that somebody measured in confidence: they correct predictions and are never printed.

use std::collections::BTreeMap;
use std::fmt;

/// A number that must not be shown: it has no `Display`, no serialised form, and its `Debug` says
/// only that it is there.
#[derive(Clone, Copy, PartialEq)]
pub struct Secret(f64);

impl Secret {
    /// Keeps a number.
    pub const fn new(value: f64) -> Self {
        Self(value)
    }

    /// The number, for arithmetic. Whoever calls this answers for not showing it.
    pub const fn reveal(self) -> f64 {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("withheld")
    }
}

/// How an anchor came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnchorSource {
    /// Measured on the silicon in question.
    Measured,
    /// Computed from such a measurement.
    DerivedFromMeasured,
    /// Stated by the vendor.
    VendorSpec,
    /// Projected.
    Projected,
    /// Any other word.
    Other(String),
}

impl AnchorSource {
    /// The source behind a file's word.
    pub fn named(word: &str) -> Self {
        match word {
            "measured" => Self::Measured,
            "derived_from_measured" => Self::DerivedFromMeasured,
            "vendor_spec" => Self::VendorSpec,
            "projected" => Self::Projected,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Where an anchor applies: a row of `[<table>.<tier>_<precision>.<model>]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnchorKey {
    /// Tier of the silicon and the precision it ran at, as the file spells them: `mid_int8`.
    pub cell: String,
    /// The model or network.
    pub subject: String,
}

impl fmt::Display for AnchorKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.cell, self.subject)
    }
}

/// What every anchor carries beside its figures.
#[derive(Clone, Debug, PartialEq)]
pub struct AnchorOrigin {
    /// How it came about.
    pub source: AnchorSource,
    /// The day of the measurement, as written.
    pub measured_date: Option<String>,
    /// Peak memory bandwidth of the silicon in GB/s.
    pub peak_bandwidth_gb_s: Option<Secret>,
    /// Share of the peak that the unit may use; 0.75 where the file does not say.
    pub bandwidth_share: Secret,
    /// Share of that which it reaches; 0.70 where the file does not say.
    pub bandwidth_efficiency: Secret,
}

impl AnchorOrigin {
    /// Bandwidth reached, in GB/s, with another share of the peak where one is given.
    ///
    /// **Formula** `peak · share · efficiency`. Nothing where the file does not say the peak.
    pub fn achieved_bandwidth_gb_s(&self, share: Option<f64>) -> Option<Secret> {
        let peak = self.peak_bandwidth_gb_s?.reveal();
        let share = share.unwrap_or(self.bandwidth_share.reveal());
        Some(Secret(peak * share * self.bandwidth_efficiency.reveal()))
    }
}

/// A language model measured on a tier of silicon.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageAnchor {
    /// Decoded tokens per second; positive.
    pub decode_tokens_per_s: Secret,
    /// Prompt tokens per second.
    pub prefill_tokens_per_s: Option<Secret>,
    /// Memory in GB.
    pub memory_gb: Option<Secret>,
    /// Length of the sequence.
    pub sequence_tokens: Option<u64>,
    /// What every anchor carries.
    pub origin: AnchorOrigin,
}

impl LanguageAnchor {
    /// Bytes moved per decoded token: achieved bandwidth over the rate.
    pub fn bytes_per_token(&self, share: Option<f64>) -> Option<Secret> {
        let achieved = self.origin.achieved_bandwidth_gb_s(share)?.reveal();
        Some(Secret(achieved * 1e9 / self.decode_tokens_per_s.reveal()))
    }
}

/// A vision network measured on a tier of silicon.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionAnchor {
    /// Milliseconds per inference; positive.
    pub inference_ms: Secret,
    /// Frames per second; from the time where the file does not say.
    pub frames_per_s: Secret,
    /// Memory in MB.
    pub memory_mb: Option<Secret>,
    /// Input resolution, as written.
    pub input_resolution: Option<String>,
    /// What every anchor carries.
    pub origin: AnchorOrigin,
}

/// The anchors of one file. Its `Debug` shows keys, sources and dates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchors {
    /// Language models.
    pub language: BTreeMap<AnchorKey, LanguageAnchor>,
    /// Vision networks.
    pub vision: BTreeMap<AnchorKey, VisionAnchor>,
}

impl Anchors {
    /// The anchor of a language model at a tier and precision (`mid`, `int8`).
    pub fn language(&self, tier: &str, precision: &str, model: &str) -> Option<&LanguageAnchor> {
        self.language.get(&AnchorKey { cell: format!("{tier}_{precision}"), subject: model.to_owned() })
    }

    /// The anchor of a vision network at a tier and precision.
    pub fn vision(&self, tier: &str, precision: &str, network: &str) -> Option<&VisionAnchor> {
        self.vision.get(&AnchorKey { cell: format!("{tier}_{precision}"), subject: network.to_owned() })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.language.is_empty() && self.vision.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor() -> LanguageAnchor {
        LanguageAnchor {
            decode_tokens_per_s: Secret::new(37.125),
            prefill_tokens_per_s: Some(Secret::new(1234.5)),
            memory_gb: None,
            sequence_tokens: Some(4096),
            origin: AnchorOrigin {
                source: AnchorSource::Measured,
                measured_date: Some("2026-01-02".to_owned()),
                peak_bandwidth_gb_s: Some(Secret::new(100.0)),
                bandwidth_share: Secret::new(0.75),
                bandwidth_efficiency: Secret::new(0.70),
            },
        }
    }

    #[test]
    fn values_are_never_written() {
        let text = format!("{:?} {:#?}", anchor(), Secret::new(37.125));
        assert!(text.contains("withheld") && text.contains("2026-01-02"));
        for value in ["37.125", "1234.5", "0.75", "100"] {
            assert!(!text.contains(value), "{text}");
        }
    }

    #[test]
    fn bandwidth_and_bytes_follow_from_the_anchor() {
        let close = |secret: Option<Secret>, expected: f64| (secret.unwrap().reveal() - expected).abs() < 1e-6;
        assert!(close(anchor().origin.achieved_bandwidth_gb_s(None), 52.5));
        assert!(close(anchor().origin.achieved_bandwidth_gb_s(Some(1.0)), 70.0));
        assert!(close(anchor().bytes_per_token(None), 52.5e9 / 37.125));
    }
}
