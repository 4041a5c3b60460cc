//! One value of one metric, with everything needed to trust it or not.

use serde::{Deserialize, Serialize};

/// What a value counts. Always a base unit: bytes and not megabytes, watts and not milliwatts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// A share from 0 to 1.
    Ratio,
    /// Watts.
    Watts,
    /// Joules.
    Joules,
    /// Degrees Celsius.
    Celsius,
    /// Cycles per second.
    Hertz,
    /// Seconds.
    Seconds,
    /// Tokens.
    Tokens,
    /// Tokens per second.
    TokensPerSecond,
    /// A plain count: requests, errors, revolutions per minute where the metric's name says so.
    Count,
    /// Yes (1) or no (0).
    Flag,
}

/// What came of reading a metric. Only the first two hold a number, so that nothing missing is ever taken for zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "quality", rename_all = "snake_case")]
pub enum Outcome {
    /// The source said this number.
    Measured {
        /// The number, in the reading's unit.
        value: f64,
    },
    /// Computed from what sources said, for example a rate from two counters.
    Derived {
        /// The number, in the reading's unit.
        value: f64,
    },
    /// The device, driver or engine does not offer it.
    Unsupported {
        /// Why, for people.
        reason: String,
    },
    /// It is offered, and reading it failed this time.
    Error {
        /// Why, for people.
        reason: String,
    },
}

/// One value of one metric at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Canonical name, such as `hwl_device_power_watts`.
    pub metric: String,
    /// What tells apart several values of one metric, such as `("sensor", "memory")`. Never what names the device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// What the number counts.
    pub unit: Unit,
    /// Where it was read: a file, a library call, an address.
    pub source: String,
    /// When it was taken, in nanoseconds since 1970 by this machine's clock. A face prints the age from it.
    pub taken_at_ns: u64,
    /// The number, or why there is none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Outcome {
    /// The number, where there is one.
    pub const fn value(&self) -> Option<f64> {
        match self {
            Self::Measured { value } | Self::Derived { value } => Some(*value),
            Self::Unsupported { .. } | Self::Error { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Reading, Unit};

    #[test]
    fn a_missing_number_is_never_zero() {
        let reading = Reading {
            metric: "hwl_device_power_watts".to_owned(),
            labels: Vec::new(),
            unit: Unit::Watts,
            source: "/sys/class/hwmon/hwmon0/power1_average".to_owned(),
            taken_at_ns: 1,
            outcome: Outcome::Unsupported { reason: "no such file".to_owned() },
        };
        assert_eq!(reading.outcome.value(), None);
        let line = serde_json::to_string(&reading).expect("a reading is plain data");
        assert!(line.contains(r#""quality":"unsupported""#) && !line.contains("value"), "{line}");
        assert_eq!(serde_json::from_str::<Reading>(&line).expect("it reads back"), reading);
    }
}
