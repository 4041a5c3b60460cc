//! From counters to rates, and from power to energy.

use std::collections::BTreeMap;

use super::collect::Missing;

/// The longest time between two values of a counter from which a rate is computed. Over a longer one (the machine
/// slept, the probe was stopped) the mean says nothing about now: the last rate stands, with its age.
pub(crate) const GAP_MAX_NS: u64 = 10_000_000_000;
/// Counters that are remembered at most; further ones get no rate.
const COUNTERS_MAX: usize = 4096;
/// Samples after which a counter that was in none of them is forgotten (its process ended, its disk is gone). Not a
/// time: a machine that slept for a day has forgotten nothing.
const FORGOTTEN_AFTER: u64 = 600;

#[derive(Debug, Clone, Copy)]
struct Counter {
    value: f64,
    at_ns: u64,
    /// Number of the sample in which it was last seen.
    sample: u64,
    /// The last rate and when it was computed.
    rate: Option<(f64, u64)>,
    /// For power: joules so far.
    sum: f64,
}

/// The last value of every counter.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    counters: BTreeMap<String, Counter>,
    /// Number of this sample, and its moment, which all calls for one sample share.
    sample: (u64, u64),
}

impl Rates {
    /// The rate per second of a counter that now says `value`, and when it was computed.
    ///
    /// A counter that went back was reset; with a `range` it wrapped there.
    pub(crate) fn per_second(
        &mut self,
        key: &str,
        value: f64,
        range: Option<f64>,
        at_ns: u64,
    ) -> Result<(f64, u64), Missing> {
        let Some(last) = self.exchange(key, value, at_ns)? else {
            return Err(Missing::absent("a rate needs two samples"));
        };
        let elapsed_ns = at_ns.saturating_sub(last.at_ns);
        let gone =
            if value >= last.value { Some(value - last.value) } else { range.map(|range| range - last.value + value) };
        let rate = match gone {
            Some(gone) if elapsed_ns > 0 && elapsed_ns <= GAP_MAX_NS && gone >= 0.0 => {
                Some((gone / (elapsed_ns as f64 / 1e9), at_ns))
            }
            None => None,
            Some(_) => last.rate,
        };
        if let Some(counter) = self.counters.get_mut(key) {
            counter.rate = rate;
        }
        rate.ok_or_else(|| {
            Missing::Absent(match gone {
                None => "the counter began anew".to_owned(),
                Some(_) => "no two samples within ten seconds".to_owned(),
            })
        })
    }

    /// Joules since the first call, of something that now draws `watts`: the mean of both ends over each time between
    /// two calls; a gap adds nothing.
    pub(crate) fn joules(&mut self, key: &str, watts: f64, at_ns: u64) -> Result<f64, Missing> {
        let Some(last) = self.exchange(key, watts, at_ns)? else { return Ok(0.0) };
        let elapsed_ns = at_ns.saturating_sub(last.at_ns);
        let gained =
            if elapsed_ns <= GAP_MAX_NS { f64::midpoint(last.value, watts) * (elapsed_ns as f64 / 1e9) } else { 0.0 };
        let sum = last.sum + gained;
        if let Some(counter) = self.counters.get_mut(key) {
            counter.sum = sum;
        }
        Ok(sum)
    }

    /// Puts `value` in the place of the last one, which comes back.
    fn exchange(&mut self, key: &str, value: f64, at_ns: u64) -> Result<Option<Counter>, Missing> {
        self.begin(at_ns);
        let sample = self.sample.0;
        if let Some(counter) = self.counters.get_mut(key) {
            let last = *counter;
            counter.value = value;
            counter.at_ns = at_ns;
            counter.sample = sample;
            return Ok(Some(last));
        }
        if self.counters.len() >= COUNTERS_MAX {
            return Err(Missing::absent("too many counters to keep a rate of each"));
        }
        self.counters.insert(key.to_owned(), Counter { value, at_ns, sample, rate: None, sum: 0.0 });
        Ok(None)
    }

    /// Counts samples, and forgets now and then.
    fn begin(&mut self, at_ns: u64) {
        let (sample, last_ns) = self.sample;
        if at_ns == last_ns {
            return;
        }
        self.sample = (sample + 1, at_ns);
        if sample % FORGOTTEN_AFTER == 0 {
            self.counters.retain(|_, counter| sample - counter.sample < FORGOTTEN_AFTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNTERS_MAX, FORGOTTEN_AFTER, Missing, Rates};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_rate_is_what_was_gained_over_the_time() {
        let mut rates = Rates::default();
        assert!(matches!(rates.per_second("a", 100.0, None, SECOND), Err(Missing::Absent(_))));
        assert_eq!(rates.per_second("a", 300.0, None, 3 * SECOND), Ok((100.0, 3 * SECOND)));
        assert_eq!(rates.per_second("a", 300.0, None, 4 * SECOND), Ok((0.0, 4 * SECOND)), "standing still is a rate");
    }

    #[test]
    fn a_reset_is_no_rate_and_the_next_one_is_right() {
        let mut rates = Rates::default();
        let _ = rates.per_second("a", 1000.0, None, SECOND);
        let _ = rates.per_second("a", 2000.0, None, 2 * SECOND);
        assert!(rates.per_second("a", 5.0, None, 3 * SECOND).is_err());
        assert_eq!(rates.per_second("a", 25.0, None, 4 * SECOND), Ok((20.0, 4 * SECOND)));
    }

    #[test]
    fn a_counter_with_a_range_wraps() {
        let mut rates = Rates::default();
        let _ = rates.per_second("a", 90.0, Some(100.0), SECOND);
        assert_eq!(rates.per_second("a", 20.0, Some(100.0), 2 * SECOND), Ok((30.0, 2 * SECOND)));
    }

    #[test]
    fn across_a_gap_the_last_rate_stands_with_its_age() {
        let mut rates = Rates::default();
        let _ = rates.per_second("a", 0.0, None, SECOND);
        let _ = rates.per_second("a", 50.0, None, 2 * SECOND);
        assert_eq!(rates.per_second("a", 1e9, None, 100 * SECOND), Ok((50.0, 2 * SECOND)));
        assert_eq!(rates.per_second("a", 1e9 + 7.0, None, 101 * SECOND), Ok((7.0, 101 * SECOND)));
        let _ = rates.per_second("b", 0.0, None, SECOND);
        assert!(rates.per_second("b", 9.0, None, 30 * SECOND).is_err(), "there was no rate to stand");
    }

    #[test]
    fn energy_is_summed_and_gaps_add_nothing() {
        let mut rates = Rates::default();
        assert_eq!(rates.joules("p", 100.0, SECOND), Ok(0.0));
        assert_eq!(rates.joules("p", 200.0, 2 * SECOND), Ok(150.0));
        assert_eq!(rates.joules("p", 200.0, 60 * SECOND), Ok(150.0));
        assert_eq!(rates.joules("p", 100.0, 61 * SECOND), Ok(300.0));
    }

    #[test]
    fn what_is_gone_is_forgotten_and_the_number_is_bounded() {
        let mut rates = Rates::default();
        for number in 0..COUNTERS_MAX {
            let _ = rates.per_second(&number.to_string(), 1.0, None, SECOND);
        }
        assert!(rates.joules("one more", 1.0, SECOND).is_err());
        for sample in 0..2 * FORGOTTEN_AFTER {
            let _ = rates.per_second("0", 1.0, None, (2 + sample) * SECOND);
        }
        assert_eq!(rates.counters.len(), 1);
        assert!(rates.joules("one more", 1.0, SECOND).is_ok());
    }
}
