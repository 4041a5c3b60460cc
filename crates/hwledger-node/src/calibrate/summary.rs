//! How far predictions are off, before and after correction.

use std::collections::{BTreeMap, HashSet};

use hwledger_core::calibration::{Calibration, Figure, Key, Residual};
use serde::Serialize;

/// `ln` of a factor of 1.25.
const WITHIN: f64 = 0.223_143_551_314_209_76;

/// The errors of one key, or of one figure over all keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorRow {
    /// The figure.
    pub figure: Figure,
    /// The key; none for the figure over all keys.
    pub key: Option<Key>,
    /// Pairs.
    pub n: usize,
    /// Median of `|ln(measured / predicted)|`.
    pub median_error_before: f64,
    /// The same, each pair corrected only by the others.
    pub median_error_after: f64,
    /// Share of pairs within a factor of 1.25.
    pub within_quarter_before: f64,
    /// The same after correction.
    pub within_quarter_after: f64,
}

/// A row for every figure and for every key in `touched`.
pub(crate) fn rows(calibration: &Calibration, touched: &HashSet<Key>) -> Vec<ErrorRow> {
    let residuals = calibration.residuals(None);
    let mut figures: BTreeMap<Figure, Vec<&Residual<'_>>> = BTreeMap::new();
    let mut keys: BTreeMap<&Key, Vec<&Residual<'_>>> = BTreeMap::new();
    for residual in &residuals {
        let key = &residual.sample.key;
        if touched.iter().any(|one| one.figure == key.figure) {
            figures.entry(key.figure).or_default().push(residual);
        }
        if touched.contains(key) {
            keys.entry(key).or_default().push(residual);
        }
    }
    let mut rows = Vec::new();
    for (figure, residuals) in &figures {
        rows.push(row(*figure, None, residuals));
        let own = keys.iter().filter(|(key, _)| key.figure == *figure);
        rows.extend(own.map(|(key, residuals)| row(*figure, Some((*key).clone()), residuals)));
    }
    rows
}

fn row(figure: Figure, key: Option<Key>, residuals: &[&Residual<'_>]) -> ErrorRow {
    let before: Vec<f64> = residuals.iter().map(|residual| residual.before.abs()).collect();
    let after: Vec<f64> = residuals.iter().map(|residual| residual.after.abs()).collect();
    ErrorRow {
        figure,
        key,
        n: residuals.len(),
        within_quarter_before: within(&before),
        within_quarter_after: within(&after),
        median_error_before: median(before),
        median_error_after: median(after),
    }
}

fn within(errors: &[f64]) -> f64 {
    let count = errors.iter().filter(|error| **error <= WITHIN).count();
    count as f64 / errors.len().max(1) as f64
}

/// The middle error; zero of none, which no row has.
fn median(mut errors: Vec<f64>) -> f64 {
    errors.sort_by(f64::total_cmp);
    let half = errors.len() / 2;
    match (errors.get(half), errors.len().is_multiple_of(2)) {
        (Some(upper), true) => f64::midpoint(*upper, errors[half - 1]),
        (Some(middle), false) => *middle,
        (None, _) => 0.0,
    }
}
