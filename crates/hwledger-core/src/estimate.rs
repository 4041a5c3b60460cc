//! Claims: a value, the interval that is meant to hold the truth, and what it rests on.

use std::ops::Add;

use serde::Serialize;

use crate::Bytes;

/// What a figure rests on, in falling order of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A run on the machine in question.
    Measured,
    /// A formula corrected by measurements of the same kind.
    Calibrated,
    /// Arithmetic alone.
    Formula,
}

impl Basis {
    /// The word of the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Calibrated => "calibrated",
            Self::Formula => "formula",
        }
    }
}

/// A claimed quantity: `low..=high` is meant to hold the truth nine times in ten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Estimate<T> {
    /// The best single figure.
    pub value: T,
    /// Lower end of the interval.
    pub low: T,
    /// Upper end of the interval.
    pub high: T,
    /// What the figure rests on.
    pub basis: Basis,
}

impl<T: Copy> Estimate<T> {
    /// A figure that arithmetic gives exactly.
    pub const fn exact(value: T) -> Self {
        Self { value, low: value, high: value, basis: Basis::Formula }
    }

    /// A figure from a formula, with the interval it is good to.
    pub const fn formula(low: T, value: T, high: T) -> Self {
        Self { value, low, high, basis: Basis::Formula }
    }
}

impl Estimate<Bytes> {
    /// A formula's figure with its interval as factors of the value.
    pub fn within(value: Bytes, low: f64, high: f64) -> Self {
        Self::formula(value.scaled(low), value, value.scaled(high))
    }

    /// The figure less `taken`, nothing if that is more.
    pub const fn minus(self, taken: Bytes) -> Self {
        Self {
            value: self.value.minus(taken),
            low: self.low.minus(taken),
            high: self.high.minus(taken),
            basis: self.basis,
        }
    }

    /// Nothing, exactly.
    pub const ZERO: Self = Self::exact(Bytes::ZERO);
}

impl Add for Estimate<Bytes> {
    type Output = Self;

    /// Intervals add end to end: the parts of one plan err together (a wrong
    /// shape moves all of them), so independence would promise too much.
    fn add(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            low: self.low + other.low,
            high: self.high + other.high,
            basis: self.basis.max(other.basis),
        }
    }
}

impl std::iter::Sum for Estimate<Bytes> {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, Add::add)
    }
}
