//! Whether new runs still behave as the stored ones did.

use std::collections::BTreeMap;

use serde::Serialize;

use super::key::Key;
use super::sample::Sample;

/// Smallest change of the ratio that matters to anybody: 5 %.
const SHIFT_MIN: f64 = 0.048_790_164_169_432;
/// Two-sided 95 % of the normal distribution.
const SCORE_MIN: f64 = 1.96;
/// Fewest runs on either side that tell anything.
const RUNS_MIN: usize = 4;
/// Most runs of a side that are compared; of more, evenly spaced ones.
const RUNS_MAX: usize = 512;

/// A key whose new runs differ from its stored ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// What is meant; the engine's version is the new one.
    pub key: Key,
    /// Versions that the stored runs were made with.
    pub versions_before: Vec<String>,
    /// Stored runs.
    pub runs_before: usize,
    /// New runs.
    pub runs_after: usize,
    /// Measured over predicted now, relative to before: 0.9 is 10 % less.
    pub change: f64,
    /// Standard score of the difference.
    pub score: f64,
}

/// The keys of `new` whose runs differ from those of `stored` that agree in everything but the
/// version. Two runs on each side are too few; below four, nothing is said.
///
/// **Formula** the shift is the median of all differences of `ln(measured / predicted)` between
/// the two sides; its score is that of the rank-sum statistic, `(U - mn/2) / √(mn(m+n+1)/12)`. An
/// alarm needs a score beyond 1.96 and a shift of at least 5 %.
/// **Source** Hodges and Lehmann 1963, section 4; Mann and Whitney, "On a test of whether one of
/// two random variables is stochastically larger than the other", Annals of Mathematical
/// Statistics 18 (1947).
pub fn drifts(stored: &[Sample], new: &[Sample]) -> Vec<Drift> {
    let mut before: BTreeMap<Key, Vec<&Sample>> = BTreeMap::new();
    for sample in stored.iter().filter(|sample| sample.is_sound()) {
        before.entry(without_version(&sample.key)).or_default().push(sample);
    }
    let mut after: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for sample in new.iter().filter(|sample| sample.is_sound()) {
        after.entry(sample.key.clone()).or_default().push(sample.log_ratio());
    }
    after.into_iter().filter_map(|(key, ratios)| drift(before.get(&without_version(&key))?, key, &ratios)).collect()
}

fn without_version(key: &Key) -> Key {
    Key { engine_version: None, ..key.clone() }
}

fn drift(stored: &[&Sample], key: Key, ratios: &[f64]) -> Option<Drift> {
    let old: Vec<f64> = stored.iter().map(|sample| sample.log_ratio()).collect();
    if old.len() < RUNS_MIN || ratios.len() < RUNS_MIN {
        return None;
    }
    let (old, new) = (spaced(old), spaced(ratios.to_vec()));
    let mut differences: Vec<f64> = new.iter().flat_map(|after| old.iter().map(move |before| after - before)).collect();
    differences.sort_by(f64::total_cmp);
    let shift = middle(&differences)?;
    let above = differences.iter().map(|&difference| rank(difference)).sum::<f64>();
    let (m, n) = (new.len() as f64, old.len() as f64);
    let score = (above - m * n / 2.0) / (m * n * (m + n + 1.0) / 12.0).sqrt();
    if shift.abs() < SHIFT_MIN || score.abs() < SCORE_MIN {
        return None;
    }
    let mut versions: Vec<String> = stored.iter().filter_map(|sample| sample.key.engine_version.clone()).collect();
    versions.sort();
    versions.dedup();
    Some(Drift {
        key,
        versions_before: versions,
        runs_before: stored.len(),
        runs_after: ratios.len(),
        change: shift.exp(),
        score,
    })
}

/// One for a pair in which the new run is higher, half for a tie.
fn rank(difference: f64) -> f64 {
    if difference > 0.0 {
        1.0
    } else if difference < 0.0 {
        0.0
    } else {
        0.5
    }
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    if sorted.len().is_multiple_of(2) {
        sorted.get(half - 1).map(|lower| f64::midpoint(*lower, upper))
    } else {
        Some(upper)
    }
}

fn spaced(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    if values.len() <= RUNS_MAX {
        return values;
    }
    (0..RUNS_MAX).map(|index| values[index * values.len() / RUNS_MAX]).collect()
}
