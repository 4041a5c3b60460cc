//! Money that is summed or kept: whole millionths of a dollar, so that no sum depends on its order.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

use crate::units::Money;

/// An amount of United States dollars in millionths. Sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroDollars(pub i64);

/// Millionths in one.
const MILLION: i64 = 1_000_000;

impl MicroDollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a plain decimal number of dollars, exactly: at most six decimals, no sign, no exponent.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_plain(whole) || !is_plain(part) || part.len() > 6 {
            return None;
        }
        let part: i64 = format!("{part:0<6}").parse().ok()?;
        whole.parse::<i64>().ok()?.checked_mul(MILLION)?.checked_add(part).map(Self)
    }

    /// The nearest whole number of millionths.
    #[expect(clippy::cast_possible_truncation, reason = "a float-to-integer cast saturates, as sums do")]
    pub fn rounded(amount: Money) -> Self {
        Self((amount.0 * MILLION as f64).round() as i64)
    }

    /// The amount for formulas and for printing.
    pub fn money(self) -> Money {
        Money(self.0 as f64 / MILLION as f64)
    }

    /// So many times the amount.
    pub const fn times(self, count: u64) -> Self {
        if count > i64::MAX as u64 {
            return Self(self.0.saturating_mul(i64::MAX));
        }
        Self(self.0.saturating_mul(count.cast_signed()))
    }

    /// The amount times a factor, rounded to the nearest millionth.
    pub fn scaled(self, factor: f64) -> Self {
        Self::rounded(self.money().scaled(factor))
    }

    /// What is left after `other` is taken away; negative where that is more.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for MicroDollars {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for MicroDollars {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for MicroDollars {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.money().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, expected) in [
            ("0.1", 100_000),
            ("2.49", 2_490_000),
            ("98.32", 98_320_000),
            ("0.000001", 1),
            ("7", 7_000_000),
            ("1.", 1_000_000),
        ] {
            assert_eq!(MicroDollars::parse(text), Some(MicroDollars(expected)), "{text}");
        }
        for wrong in ["", ".5", "-1", "1e3", "NaN", "inf", "0.0000001", "1,5", "99999999999999"] {
            assert_eq!(MicroDollars::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sums_saturate_and_differences_may_be_negative() {
        assert_eq!(MicroDollars(i64::MAX) + MicroDollars(1), MicroDollars(i64::MAX));
        assert_eq!(MicroDollars(2).times(u64::MAX), MicroDollars(i64::MAX));
        assert_eq!(MicroDollars(1).minus(MicroDollars(3)), MicroDollars(-2));
        assert_eq!(MicroDollars::rounded(Money(0.123_456_7)), MicroDollars(123_457));
    }
}
