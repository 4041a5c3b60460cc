//! Where a figure comes from and how far it can be trusted.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::Basis;

/// How a figure was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Taken on the hardware itself.
    Measured,
    /// Computed from a measurement of something else.
    DerivedFromMeasured,
    /// Between two measurements.
    Interpolated,
    /// Stated by the vendor.
    VendorSpec,
    /// A formula's result.
    Projected,
    /// Nobody knows; a usual value was taken.
    Default,
}

/// How far a figure can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// A guess.
    Low,
    /// Read somewhere, not checked.
    Medium,
    /// Checked.
    High,
}

/// The provenance of a figure or of a record's figures together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// How it was obtained.
    pub method: Method,
    /// How far it can be trusted; a default is never above [`Confidence::Low`].
    pub confidence: Confidence,
    /// The source, in words.
    pub reference: Cow<'static, str>,
}

impl Calibration {
    /// A provenance. A default is of low confidence, whatever was claimed.
    pub fn new(method: Method, confidence: Confidence, reference: impl Into<Cow<'static, str>>) -> Self {
        let confidence = if method == Method::Default { Confidence::Low } else { confidence };
        Self { method, confidence, reference: reference.into() }
    }

    /// Whether the invariant holds: a default is of low confidence.
    pub fn is_consistent(&self) -> bool {
        self.method != Method::Default || self.confidence == Confidence::Low
    }

    /// What an estimate that takes the figure as it is rests on.
    pub const fn basis(&self) -> Basis {
        match self.method {
            Method::Measured => Basis::Measured,
            Method::DerivedFromMeasured | Method::Interpolated => Basis::Calibrated,
            Method::VendorSpec | Method::Projected | Method::Default => Basis::Formula,
        }
    }
}

macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),* $(,)?) => {
        impl $type {
            /// The value's word in data files and answers.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// The value that a word of a data file stands for.
            pub fn of_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

words! { Method:
    Measured = "measured", DerivedFromMeasured = "derived_from_measured", Interpolated = "interpolated",
    VendorSpec = "vendor_spec", Projected = "projected", Default = "default",
}
words! { Confidence: Low = "low", Medium = "medium", High = "high" }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_never_trusted() {
        let claimed = Calibration::new(Method::Default, Confidence::High, "somebody's guess");
        assert_eq!(claimed.confidence, Confidence::Low);
        assert!(claimed.is_consistent());
        assert!(!Calibration { confidence: Confidence::Medium, ..claimed }.is_consistent());
    }

    #[test]
    fn words_and_values_go_both_ways() {
        for method in [Method::Measured, Method::DerivedFromMeasured, Method::VendorSpec, Method::Default] {
            assert_eq!(Method::of_word(method.word()), Some(method));
        }
        assert_eq!(Confidence::of_word("certain"), None);
    }
}
