//! Units as types: only physically valid operations exist.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

mod quantity;

pub use quantity::{BytesPerSecond, Flops, FlopsPerByte, FlopsPerSecond, Joules, Money, Seconds, Watts};

/// One mebibyte in bytes.
pub const MEBIBYTE: u64 = 1 << 20;
/// One gibibyte in bytes.
pub const GIBIBYTE: u64 = 1 << 30;

/// A number of bytes. Addition saturates: a hostile header may claim any size,
/// and "more than exists" must stay more than exists instead of wrapping to little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// No bytes at all.
    pub const ZERO: Self = Self(0);

    /// A whole number of mebibytes.
    pub const fn from_mebibytes(count: u64) -> Self {
        Self(count.saturating_mul(MEBIBYTE))
    }

    /// A fractional number of gibibytes, rounded down; negative and NaN give zero.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float-to-integer cast saturates, which is what a size needs"
    )]
    pub fn from_gibibytes(count: f64) -> Self {
        Self((count * GIBIBYTE as f64) as u64)
    }

    /// The same size times a count.
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// What is left after taking `other` away; nothing if it is larger.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The size scaled by a factor, rounded to the nearest byte.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float-to-integer cast saturates, which is what a size needs"
    )]
    pub fn scaled(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor).round() as u64)
    }

    /// Rounded up to the next multiple of `unit` bytes.
    pub const fn round_up(self, unit: u64) -> Self {
        Self(round_up(self.0, unit))
    }

    /// In mebibytes.
    pub fn mebibytes(self) -> f64 {
        self.0 as f64 / MEBIBYTE as f64
    }

    /// In gibibytes.
    pub fn gibibytes(self) -> f64 {
        self.0 as f64 / GIBIBYTE as f64
    }
}

impl Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= GIBIBYTE {
            write!(formatter, "{:.2} GiB", self.gibibytes())
        } else if self.0 >= MEBIBYTE {
            write!(formatter, "{:.2} MiB", self.mebibytes())
        } else if self.0 >= 1024 {
            write!(formatter, "{:.2} KiB", self.0 as f64 / 1024.0)
        } else {
            write!(formatter, "{} B", self.0)
        }
    }
}

/// `value` rounded up to the next multiple of `unit` (saturating); a unit of zero changes nothing.
pub const fn round_up(value: u64, unit: u64) -> u64 {
    if unit == 0 {
        return value;
    }
    match value % unit {
        0 => value,
        rest => value.saturating_add(unit - rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_up_reaches_the_next_multiple() {
        assert_eq!(round_up(5000, 256), 5120);
        assert_eq!(round_up(5120, 256), 5120);
        assert_eq!(round_up(0, 256), 0);
        assert_eq!(round_up(7, 0), 7);
    }

    #[test]
    fn sums_saturate_instead_of_wrapping() {
        assert_eq!(Bytes(u64::MAX) + Bytes(1), Bytes(u64::MAX));
        assert_eq!(Bytes(u64::MAX).times(3), Bytes(u64::MAX));
    }

    #[test]
    fn printing_picks_the_unit() {
        assert_eq!(Bytes(4 * GIBIBYTE).to_string(), "4.00 GiB");
        assert_eq!(Bytes(560 * MEBIBYTE).to_string(), "560.00 MiB");
        assert_eq!(Bytes(12).to_string(), "12 B");
    }
}
