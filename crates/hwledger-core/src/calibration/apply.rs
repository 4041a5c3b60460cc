//! Samples held, and predictions corrected by them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::key::{Figure, Key};
use super::robust::{Weighted, conformal_quantile, effective_count, hodges_lehmann};
use super::sample::{Sample, Subject};
use crate::{Basis, Estimate};

/// How many samples the rest of the chain is worth beside a key's own.
const PSEUDO_COUNT: f64 = 3.0;
/// Samples that a full key counts for, at most, where others are asked about.
const VOICE_MAX: f64 = 3.0;
/// How often intervals are meant to hold the truth.
const COVERAGE: f64 = 0.9;
/// Most samples for which each is really left out; with more, leaving one out moves the location
/// by less than the interval's own rounding.
const LEFT_OUT_MAX: usize = 64;
/// Standard deviations that hold nine in ten of normal noise.
const NOISE: f64 = 1.645;

/// Samples, ready to correct predictions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// By full key.
    groups: BTreeMap<Key, Vec<Sample>>,
}

/// A prediction before and after correction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibrated {
    /// What the formula says.
    pub formula: Estimate<f64>,
    /// The same, corrected; equal to `formula` where there is nothing to go by.
    pub calibrated: Estimate<f64>,
    /// The most specific key that had samples.
    pub key_used: Option<Key>,
    /// Samples of that key.
    pub samples: usize,
}

/// What predictions of one key are corrected by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Correction {
    /// `ln` of the factor.
    pub location: f64,
    /// Half the interval's width in logarithms, where the key's own samples are enough to tell.
    pub half_width: Option<f64>,
    /// The same by the nearest wider key that has enough.
    pub kin_half_width: Option<f64>,
    /// The largest error on a sample of the key after its correction.
    pub worst: f64,
    /// The most specific key that had samples.
    pub key_used: Key,
    /// Samples of that key.
    pub samples: usize,
}

impl Correction {
    /// The corrected prediction. Where the key's own samples are too few to give an interval, it is
    /// as wide as the formula's own, or as that of the nearest kin where that is narrower, and
    /// never narrower than the worst of the key's own errors.
    pub fn apply(&self, formula: Estimate<f64>) -> Calibrated {
        let is_usable = |value: f64| value.is_finite() && value > 0.0;
        if ![formula.value, formula.low, formula.high].into_iter().all(is_usable) {
            return Calibrated::unchanged(formula);
        }
        let few = |doubt: f64| self.kin_half_width.map_or(doubt, |kin| kin.min(doubt)).max(self.worst);
        let (below, above) = doubts(formula);
        let value = formula.value * self.location.exp();
        let (below, above) = self.half_width.map_or_else(|| (few(below), few(above)), |half| (half, half));
        let calibrated = around(value, below, above, Basis::Calibrated);
        Calibrated { formula, calibrated, key_used: Some(self.key_used.clone()), samples: self.samples }
    }
}

impl Calibrated {
    /// A prediction that nothing corrects.
    pub const fn unchanged(formula: Estimate<f64>) -> Self {
        Self { formula, calibrated: formula, key_used: None, samples: 0 }
    }
}

/// A sample beside the correction that all the others give.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual<'a> {
    /// The sample.
    pub sample: &'a Sample,
    /// `ln(measured / predicted)`.
    pub before: f64,
    /// The same after a correction that never saw the sample.
    pub after: f64,
}

/// What one level of a chain says.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// Location of the logarithms, drawn towards the levels outside it.
    location: f64,
    /// Samples.
    count: usize,
    /// Half the interval's width in logarithms, where the samples are enough.
    half_width: Option<f64>,
    /// The largest error on a sample of the level itself.
    worst: f64,
}

impl Calibration {
    /// A calibration from samples; those that are not positive and finite are left out.
    pub fn new(samples: impl IntoIterator<Item = Sample>) -> Self {
        let mut groups: BTreeMap<Key, Vec<Sample>> = BTreeMap::new();
        for sample in samples.into_iter().filter(Sample::is_sound) {
            groups.entry(sample.key.clone()).or_default().push(sample);
        }
        Self { groups }
    }

    /// The samples, by key.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.groups.values().flatten()
    }

    /// The full keys that have samples, each with how many.
    pub fn keys(&self) -> impl Iterator<Item = (&Key, usize)> {
        self.groups.iter().map(|(key, samples)| (key, samples.len()))
    }

    /// Whether there is nothing to learn from.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Corrects a prediction.
    ///
    /// **Formula** see the [module](super). **Units** those of the prediction. **Assumptions** a
    /// prediction that is not positive and finite is given back as it is.
    pub fn apply(&self, key: &Key, formula: Estimate<f64>) -> Calibrated {
        match self.correction(key) {
            Some(correction) => correction.apply(formula),
            None => Calibrated::unchanged(formula),
        }
    }

    /// What predictions of a key are corrected by; nothing where no sample of the figure is held.
    pub fn correction(&self, key: &Key) -> Option<Correction> {
        let levels = self.levels(key);
        let (first, used) = levels.first()?;
        Some(Correction {
            location: first.location,
            half_width: first.half_width,
            kin_half_width: levels.iter().find_map(|(level, _)| level.half_width),
            worst: first.worst,
            key_used: used.clone(),
            samples: first.count,
        })
    }

    /// Corrects a prediction for exactly `subject`: where that very thing has been measured on this
    /// machine, the measurement itself is the answer.
    pub fn apply_to(&self, key: &Key, subject: &Subject, formula: Estimate<f64>) -> Calibrated {
        self.prefer_own_run(key, subject, self.apply(key, formula))
    }

    /// `inferred`, or the measurement itself where exactly `subject` has been measured on this machine.
    ///
    /// The interval is the conformal quantile of the repetitions' distances from their location; of
    /// too few, the widest of these and of the noise that each reports; of one without either, as
    /// wide as that of `inferred`. All of it is of the machine by itself: see [`Sample::share_left`].
    pub fn prefer_own_run(&self, key: &Key, subject: &Subject, inferred: Calibrated) -> Calibrated {
        let Some(samples) = self.groups.get(key) else { return inferred };
        let own = || samples.iter().filter(|sample| sample.is_own && sample.subject == *subject);
        let values: Vec<Weighted> = own().map(|sample| (sample.quiet_log(), sample.counts())).collect();
        let Some(location) = hodges_lehmann(&values) else { return inferred };
        let errors: Vec<Weighted> = values.iter().map(|(value, weight)| ((value - location).abs(), *weight)).collect();
        let worst = errors.iter().map(|(error, _)| *error).fold(0.0, f64::max);
        let noise = own().filter_map(|sample| sample.spread).reduce(f64::max).map(|spread| NOISE * spread);
        let repeated = (values.len() > 1).then_some(worst);
        let half = conformal_quantile(&errors, COVERAGE).or_else(|| noise.into_iter().chain(repeated).reduce(f64::max));
        let (below, above) = half.map_or_else(|| doubts(inferred.calibrated), |half| (half, half));
        let calibrated = around(location.exp(), below, above, Basis::Measured);
        Calibrated { calibrated, key_used: Some(key.clone()), samples: values.len(), ..inferred }
    }

    /// Every sample of a figure beside the correction that the others give; of all figures where
    /// none is named.
    pub fn residuals(&self, figure: Option<Figure>) -> Vec<Residual<'_>> {
        let mut residuals = Vec::new();
        for (key, samples) in &self.groups {
            if figure.is_some_and(|figure| figure != key.figure) {
                continue;
            }
            let prior = self.outside(key);
            let own = Heard::of(samples);
            let others = own.left_out(prior);
            residuals.extend(
                samples.iter().zip(own.values).zip(others).map(|((sample, (before, _)), location)| Residual {
                    sample,
                    before,
                    after: before - location,
                }),
            );
        }
        residuals
    }

    /// The levels of a key's chain that have samples, the most specific first.
    fn levels(&self, key: &Key) -> Vec<(Level, Key)> {
        let chain: Vec<Key> = key.chain().collect();
        let mut prior = 0.0;
        let mut levels = Vec::new();
        for (index, level) in chain.iter().enumerate().rev() {
            let inner = index.checked_sub(1).map(|inner| &chain[inner]);
            // Samples of the chain's more specific keys speak for themselves later.
            let ring = self.heard(level, inner);
            let is_wider = inner.is_none() || !ring.values.is_empty();
            // A level that adds no sample to the one inside it has nothing of its own to say.
            let all = if is_wider { self.heard(level, None) } else { Heard::default() };
            if !all.values.is_empty() {
                levels.push((all.judge(prior), level.clone()));
            }
            prior = ring.drawn(prior);
        }
        levels.reverse();
        levels
    }

    /// What the chain says about `key` without its samples.
    fn outside(&self, key: &Key) -> f64 {
        let chain: Vec<Key> = key.chain().collect();
        chain.windows(2).rev().fold(0.0, |prior, pair| self.heard(&pair[1], Some(&pair[0])).drawn(prior))
    }

    /// What the samples that `key` covers and `but` does not say. A full key asked about itself
    /// hears each of its samples; asked about others, its samples share one voice, which counts
    /// for no more than [`VOICE_MAX`] samples.
    fn heard(&self, key: &Key, but: Option<&Key>) -> Heard {
        let covered =
            self.groups.iter().filter(|(full, _)| key.covers(full) && !but.is_some_and(|but| but.covers(full)));
        let mut heard = Heard::default();
        for (full, samples) in covered {
            let own: Vec<Weighted> = samples.iter().map(|sample| (sample.log_ratio(), sample.counts())).collect();
            let count = effective_count(&own);
            let (voice, most) = if full == key { (1.0, f64::INFINITY) } else { (own.len() as f64, VOICE_MAX) };
            heard.values.extend(own.into_iter().map(|(value, weight)| (value, weight / voice)));
            heard.count += count.min(most);
        }
        heard
    }
}

/// Values of a level, and how many samples they count for.
#[derive(Debug, Default)]
struct Heard {
    values: Vec<Weighted>,
    count: f64,
}

impl Heard {
    /// The samples of one full key.
    fn of(samples: &[Sample]) -> Self {
        let values: Vec<Weighted> = samples.iter().map(|sample| (sample.log_ratio(), sample.counts())).collect();
        Self { count: effective_count(&values), values }
    }

    /// Their location, drawn towards `prior` as if that were [`PSEUDO_COUNT`] more of them.
    fn drawn(&self, prior: f64) -> f64 {
        let Some(location) = hodges_lehmann(&self.values) else { return prior };
        (self.count * location + PSEUDO_COUNT * prior) / (self.count + PSEUDO_COUNT)
    }

    /// For each value, the drawn location of all the others.
    fn left_out(&self, prior: f64) -> Vec<f64> {
        let all = self.values.len();
        if all > LEFT_OUT_MAX {
            return vec![self.drawn(prior); all];
        }
        let count = self.count * (all.saturating_sub(1)) as f64 / all.max(1) as f64;
        let without = |left: usize| {
            let others = self.values.iter().enumerate().filter(|(other, _)| *other != left);
            Self { values: others.map(|(_, value)| *value).collect(), count }.drawn(prior)
        };
        (0..all).map(without).collect()
    }

    fn judge(&self, prior: f64) -> Level {
        let errors: Vec<Weighted> = self
            .values
            .iter()
            .zip(self.left_out(prior))
            .map(|((value, weight), location)| ((value - location).abs(), *weight))
            .collect();
        let location = self.drawn(prior);
        Level {
            location,
            count: self.values.len(),
            half_width: conformal_quantile(&errors, COVERAGE),
            worst: self.values.iter().map(|(value, _)| (value - location).abs()).fold(0.0, f64::max),
        }
    }
}

/// How far an interval reaches below and above its value, in logarithms.
fn doubts(estimate: Estimate<f64>) -> (f64, f64) {
    ((estimate.value / estimate.low).ln(), (estimate.high / estimate.value).ln())
}

/// A prediction for a machine that nobody else uses, made for one where others leave the share `share_left` of the
/// processors to the run.
///
/// **Formula** `value · share^e`, `e` being [`Figure::load_exponent`]; the interval reaches from what it was (the others
/// stop) to `share^2e` times that (each step waits for the thread that was held up longest, or the others take more).
/// **Units** those of the prediction. **Assumptions** a share that is not within 0 and 1 changes nothing.
///
/// ```
/// use hwledger_core::calibration::{Figure, under_load};
/// use hwledger_core::Estimate;
/// let quiet = Estimate::formula(90.0, 100.0, 110.0);
/// let busy = under_load(Figure::DecodeTokensPerS, quiet, 0.5);
/// assert_eq!((busy.low, busy.value, busy.high), (22.5, 50.0, 110.0));
/// assert_eq!(under_load(Figure::WeightsBytes, quiet, 0.5), quiet);
/// ```
pub fn under_load(figure: Figure, quiet: Estimate<f64>, share_left: f64) -> Estimate<f64> {
    let exponent = figure.load_exponent();
    if !(share_left > 0.0 && share_left < 1.0) {
        return quiet;
    }
    let most = share_left.powf(2.0 * exponent);
    Estimate {
        value: quiet.value * share_left.powf(exponent),
        low: quiet.low * most.min(1.0),
        high: quiet.high * most.max(1.0),
        ..quiet
    }
}

/// An estimate whose logarithm reaches `below` and `above` the value's.
fn around(value: f64, below: f64, above: f64, basis: Basis) -> Estimate<f64> {
    Estimate { value, low: value * (-below).exp(), high: value * above.exp(), basis }
}
