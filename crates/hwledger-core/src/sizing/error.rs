//! What a sizing question can get wrong.

use crate::nearest::nearest;

/// A question that has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SizingError {
    /// A name that is not known.
    #[error("`{given}` is no {what}")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// The name as given.
        given: String,
        /// The nearest known names.
        near: Vec<String>,
        /// All known names.
        known: Vec<String>,
    },
    /// A value out of its range.
    #[error("`{what}` cannot be `{given}`")]
    BadValue {
        /// The quantity.
        what: &'static str,
        /// Its value.
        given: String,
        /// What would do.
        hint: &'static str,
    },
    /// A width that is no whole number of LPDDR6 channels.
    #[error("LPDDR6 has channels of 24 bits, and {bus_bits} bits are no whole number of them")]
    PartialChannel {
        /// The width as given.
        bus_bits: u32,
    },
    /// A dotted path that the profile does not hold, or that leads through a value.
    #[error("the profile has no number at `{0}`")]
    NoSuchPath(String),
}

impl SizingError {
    /// A name that is none of `known`.
    pub(crate) fn unknown<'a>(what: &'static str, given: &str, known: impl Iterator<Item = &'a str> + Clone) -> Self {
        Self::Unknown {
            what,
            given: given.to_owned(),
            near: nearest(given, known.clone()).into_iter().map(str::to_owned).collect(),
            known: known.map(str::to_owned).collect(),
        }
    }

    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } if known.is_empty() => None,
            Self::Unknown { near, known, .. } => {
                let all = format!("known are {}", known.join(", "));
                Some(match near.first() {
                    Some(nearest) => format!("did you mean `{nearest}`? {all}"),
                    None => all,
                })
            }
            Self::BadValue { hint, .. } => Some((*hint).to_owned()),
            Self::PartialChannel { bus_bits } => {
                let below = bus_bits / 24 * 24;
                let above = below.saturating_add(24);
                Some(match below {
                    0 => format!("the narrowest is {above} bits"),
                    _ => format!("use {below} or {above} bits"),
                })
            }
            Self::NoSuchPath(_) => Some("a path is written with dots, as in `memory.bandwidth_gb_s`".to_owned()),
        }
    }
}

/// `value` where it is finite and above zero.
pub(crate) fn positive(what: &'static str, value: f64) -> Result<f64, SizingError> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(SizingError::BadValue { what, given: value.to_string(), hint: "a number above 0" })
}

/// `value` where it is finite and at least zero.
pub(crate) fn not_negative(what: &'static str, value: f64) -> Result<f64, SizingError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(value);
    }
    Err(SizingError::BadValue { what, given: value.to_string(), hint: "a number, 0 or more" })
}

/// `value` where it is above zero and at most one.
pub(crate) fn share(what: &'static str, value: f64) -> Result<f64, SizingError> {
    if value > 0.0 && value <= 1.0 {
        return Ok(value);
    }
    Err(SizingError::BadValue { what, given: value.to_string(), hint: "a share above 0 and at most 1" })
}
