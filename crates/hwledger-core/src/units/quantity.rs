//! Quantities that are no counts: rates, times, power, cost. Each is held in its base unit.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul};

use serde::{Deserialize, Serialize};

use super::Bytes;

/// Quantities of one kind: they add up, scale by a plain factor and compare as a ratio.
macro_rules! quantities {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub f64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0.0);

            /// As much times a factor.
            pub fn scaled(self, factor: f64) -> Self {
                Self(self.0 * factor)
            }

            /// How many times `other` this is.
            pub fn ratio(self, other: Self) -> f64 {
                self.0 / other.0
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
                parts.fold(Self::ZERO, Add::add)
            }
        }
    )+};
}

quantities! {
    /// How fast bytes move.
    BytesPerSecond
    /// Arithmetic operations, floating-point or integer; a multiply-add is two.
    Flops
    /// How fast arithmetic is done, floating-point or integer; a multiply-add is two.
    FlopsPerSecond
    /// Arithmetic intensity: operations done per byte moved.
    FlopsPerByte
    /// Time.
    Seconds
    /// Power.
    Watts
    /// Energy.
    Joules
    /// An amount in United States dollars.
    Money
}

/// Products and quotients that mean something: `left / right = result`, and back by multiplication.
macro_rules! quotients {
    ($($left:ident / $right:ident = $result:ident)+) => {$(
        impl Div<$right> for $left {
            type Output = $result;
            fn div(self, divisor: $right) -> $result {
                $result(self.0 / divisor.0)
            }
        }

        impl Mul<$right> for $result {
            type Output = $left;
            fn mul(self, factor: $right) -> $left {
                $left(self.0 * factor.0)
            }
        }
    )+};
}

quotients! {
    Flops / FlopsPerSecond = Seconds
    FlopsPerSecond / BytesPerSecond = FlopsPerByte
    Joules / Watts = Seconds
}

impl Div<BytesPerSecond> for Bytes {
    type Output = Seconds;
    fn div(self, rate: BytesPerSecond) -> Seconds {
        Seconds(self.0 as f64 / rate.0)
    }
}

impl Div<Seconds> for Bytes {
    type Output = BytesPerSecond;
    fn div(self, time: Seconds) -> BytesPerSecond {
        BytesPerSecond(self.0 as f64 / time.0)
    }
}

impl Div<Seconds> for Flops {
    type Output = FlopsPerSecond;
    fn div(self, time: Seconds) -> FlopsPerSecond {
        FlopsPerSecond(self.0 / time.0)
    }
}

impl Div<Bytes> for Flops {
    type Output = FlopsPerByte;
    fn div(self, moved: Bytes) -> FlopsPerByte {
        FlopsPerByte(self.0 / moved.0 as f64)
    }
}

impl Mul<Seconds> for Watts {
    type Output = Joules;
    fn mul(self, time: Seconds) -> Joules {
        Joules(self.0 * time.0)
    }
}

impl BytesPerSecond {
    /// A rate in GB/s, decimal as data sheets print it.
    pub const fn from_gigabytes(rate: f64) -> Self {
        Self(rate * 1e9)
    }

    /// In GB/s, decimal.
    pub fn gigabytes(self) -> f64 {
        self.0 / 1e9
    }
}

impl FlopsPerSecond {
    /// A rate in 10^12 operations a second.
    pub const fn from_tera(rate: f64) -> Self {
        Self(rate * 1e12)
    }

    /// In 10^12 operations a second.
    pub fn tera(self) -> f64 {
        self.0 / 1e12
    }
}

/// `value` with the decimal prefix that leaves one to three digits before the point.
fn prefixed(formatter: &mut fmt::Formatter<'_>, value: f64, unit: &str) -> fmt::Result {
    const PREFIXES: &[(f64, &str)] = &[(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (scale, prefix) = PREFIXES.iter().find(|(scale, _)| value.abs() >= *scale).copied().unwrap_or((1.0, ""));
    let shown = value / scale;
    let decimals = usize::from(shown.abs() < 100.0);
    write!(formatter, "{shown:.decimals$} {prefix}{unit}")
}

macro_rules! printed {
    ($($name:ident $unit:literal)+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                prefixed(formatter, self.0, $unit)
            }
        }
    )+};
}

printed! {
    BytesPerSecond "B/s"
    Flops "FLOP"
    FlopsPerSecond "FLOP/s"
    FlopsPerByte "FLOP/B"
    Watts "W"
    Joules "J"
}

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.abs() {
            time if time >= 1.0 || time == 0.0 => write!(formatter, "{:.2} s", self.0),
            time if time >= 1e-3 => write!(formatter, "{:.2} ms", self.0 * 1e3),
            _ => write!(formatter, "{:.2} µs", self.0 * 1e6),
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = if self.0 != 0.0 && self.0.abs() < 0.01 { 6 } else { 2 };
        let sign = if self.0 < 0.0 { "-" } else { "" };
        write!(formatter, "{sign}${:.decimals$}", self.0.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(printed: impl fmt::Display, expected: &str) {
        assert_eq!(printed.to_string(), expected);
    }

    #[test]
    fn printing_picks_the_prefix() {
        check(BytesPerSecond::from_gigabytes(1008.0), "1.0 TB/s");
        check(BytesPerSecond::from_gigabytes(936.2), "936 GB/s");
        check(FlopsPerSecond::from_tera(165.2), "165 TFLOP/s");
        check(Watts(450.0), "450 W");
        check(Watts(1400.0), "1.4 kW");
        check(Seconds(0.0214), "21.40 ms");
        check(Seconds(2.0), "2.00 s");
        check(Money(1599.0), "$1599.00");
        check(Money(0.000_25), "$0.000250");
    }

    #[test]
    fn quotients_give_what_they_should() {
        let near = |left: f64, right: f64| assert!((left - right).abs() < 1e-9 * right.abs(), "{left} is not {right}");
        near((Bytes(1_000_000_000) / BytesPerSecond::from_gigabytes(500.0)).0, 0.002);
        near((Flops(2e12) / FlopsPerSecond::from_tera(4.0)).0, 0.5);
        // The ridge point of an A100 (80 GB, SXM): 312e12 / 2039e9.
        near((FlopsPerSecond::from_tera(312.0) / BytesPerSecond::from_gigabytes(2039.0)).0, 153.016_184_404);
        near((Watts(300.0) * Seconds(10.0) / Watts(1000.0)).0, 3.0);
    }

    #[test]
    fn no_bytes_take_no_time() {
        assert_eq!(Bytes::ZERO / BytesPerSecond(1.0), Seconds::ZERO);
    }
}
