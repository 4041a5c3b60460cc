//! Histograms: what lies between their bounds is not known, and is said so.

/// Counts of observations up to each bound, cumulative, with the bounds ascending and the last infinite.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Histogram {
    /// Bound and how many observations were at most that.
    pub(super) buckets: Vec<(f64, f64)>,
    /// Sum of all observations.
    pub(super) sum: f64,
}

/// A quantile: a value between two bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quantile {
    /// The quantile is above this.
    pub(super) low: f64,
    /// And at most this; infinite past the last bound.
    pub(super) high: f64,
    /// On the straight line between the two, as Prometheus' `histogram_quantile` draws it. None past the last bound.
    pub(super) value: Option<f64>,
}

impl Histogram {
    /// Orders the bounds and checks that counts can be true.
    pub(super) fn checked(mut self) -> Result<Self, String> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        if self.buckets.last().is_none_or(|(bound, _)| bound.is_nan() || !bound.is_infinite() || *bound < 0.0) {
            return Err("it has no bucket with the bound `+Inf`".to_owned());
        }
        let counts_are_numbers = self.buckets.iter().all(|(_, count)| count.is_finite() && *count >= 0.0);
        if !counts_are_numbers || self.buckets.windows(2).any(|pair| pair[0].1 > pair[1].1) {
            return Err("its buckets do not count upwards".to_owned());
        }
        Ok(self)
    }

    pub(super) fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// Adds another's observations; bounds must be the same.
    pub(super) fn add(&mut self, other: &Self) -> Result<(), String> {
        self.pair(other, |mine, theirs| mine + theirs)
    }

    /// What was observed since `before`. Where any count is smaller than it was, the engine began anew, and all that it
    /// has counted is new.
    pub(super) fn since(&self, before: &Self) -> Result<Self, String> {
        let mut window = self.clone();
        window.pair(before, |now, then| now - then)?;
        let is_new = window.buckets.iter().any(|(_, count)| *count < 0.0);
        if is_new { Ok(self.clone()) } else { window.checked() }
    }

    fn pair(&mut self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Result<(), String> {
        let same = self.buckets.len() == other.buckets.len()
            && self.buckets.iter().zip(&other.buckets).all(|(mine, theirs)| mine.0.total_cmp(&theirs.0).is_eq());
        if !same {
            return Err("its instances, or its scrapes, have different bounds".to_owned());
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            mine.1 = combine(mine.1, theirs.1);
        }
        self.sum = combine(self.sum, other.sum);
        Ok(())
    }

    /// Mean of the observations; none where there are none.
    pub(super) fn mean(&self) -> Option<f64> {
        let mean = self.sum / self.count();
        (self.count() > 0.0 && mean.is_finite()).then_some(mean)
    }

    /// The quantile `share` of 1; none where there are no observations.
    ///
    /// **Formula** the first bucket whose count reaches `share * count`, and the straight line through it.
    /// **Source** Prometheus documentation, "Query functions", `histogram_quantile`.
    pub(super) fn quantile(&self, share: f64) -> Option<Quantile> {
        let rank = share * self.count();
        if rank <= 0.0 {
            return None;
        }
        let at = self.buckets.iter().position(|(_, count)| *count >= rank)?;
        let (high, count) = self.buckets[at];
        let (low, below) = match at.checked_sub(1) {
            Some(before) => self.buckets[before],
            // Durations are not negative.
            None => (0.0_f64.min(high), 0.0),
        };
        let value = high.is_finite().then(|| low + (high - low) * (rank - below) / (count - below));
        Some(Quantile { low, high, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: &[(f64, f64)]) -> Histogram {
        Histogram { buckets: counts.to_vec(), sum: 10.0 }.checked().unwrap()
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_bucket() {
        let four = histogram(&[(0.1, 1.0), (0.2, 3.0), (f64::INFINITY, 4.0)]);
        let median = four.quantile(0.5).unwrap();
        assert!((median.low - 0.1).abs() < 1e-12 && (median.high - 0.2).abs() < 1e-12);
        assert!((median.value.unwrap() - 0.15).abs() < 1e-12);
        assert!((four.quantile(0.25).unwrap().value.unwrap() - 0.1).abs() < 1e-12);
        let last = four.quantile(0.99).unwrap();
        assert!((last.low - 0.2).abs() < 1e-12 && last.high.is_infinite() && last.value.is_none());
        assert_eq!(histogram(&[(0.1, 0.0), (f64::INFINITY, 0.0)]).quantile(0.5), None);
        assert_eq!(histogram(&[(0.1, 0.0), (f64::INFINITY, 0.0)]).mean(), None);
        assert!((four.mean().unwrap() - 2.5).abs() < 1e-12);
    }

    #[test]
    fn windows_are_differences_and_a_restart_counts_from_nothing() {
        let before = histogram(&[(0.1, 5.0), (f64::INFINITY, 5.0)]);
        let after = histogram(&[(0.1, 6.0), (f64::INFINITY, 8.0)]);
        assert_eq!(after.since(&before).unwrap().buckets, [(0.1, 1.0), (f64::INFINITY, 3.0)]);
        assert_eq!(before.since(&after).unwrap(), before);
        let other = histogram(&[(0.3, 6.0), (f64::INFINITY, 8.0)]);
        assert!(after.since(&other).is_err());
    }

    #[test]
    fn counts_that_cannot_be_true_are_refused() {
        let check = |buckets: &[(f64, f64)]| Histogram { buckets: buckets.to_vec(), sum: 0.0 }.checked().is_err();
        assert!(check(&[]) && check(&[(0.1, 1.0)]) && check(&[(0.1, 2.0), (f64::INFINITY, 1.0)]));
        assert!(check(&[(0.1, f64::NAN), (f64::INFINITY, 1.0)]) && check(&[(f64::NAN, 1.0)]));
    }
}
