//! What the native engine tells of itself, under the canonical names of engines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hwledger_engine::PAGE_TOKENS;
use hwledger_engine::scheduler::Usage;
use hwledger_probe::engine::{MetricType, canonical_metrics};
use hwledger_probe::{Outcome, Reading, Unit};

use super::Session;
use crate::metrics::LabelledReading;

/// Durations of which quantiles are told: the latest.
const SAMPLES_MAX: usize = 4096;
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)];

/// Durations: all summed, the latest kept.
#[derive(Debug, Clone, Default)]
struct Durations {
    sum_s: f64,
    count: u64,
    latest: Vec<f64>,
}

impl Durations {
    fn add(&mut self, seconds: f64) {
        self.sum_s += seconds;
        let place = usize::try_from(self.count).unwrap_or(usize::MAX) % SAMPLES_MAX;
        self.count += 1;
        match self.latest.get_mut(place) {
            Some(oldest) => *oldest = seconds,
            None => self.latest.push(seconds),
        }
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum_s / self.count as f64)
    }

    /// The smallest of the latest durations that at least the share `share` of them do not exceed.
    fn quantile(&self, share: f64) -> Option<f64> {
        let mut ordered = self.latest.clone();
        ordered.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a few thousand")]
        let rank = (share * ordered.len() as f64).ceil() as usize;
        ordered.get(rank.max(1) - 1).copied()
    }
}

/// What a session has answered until now.
#[derive(Debug, Clone, Default)]
pub(super) struct Telemetry {
    replies: u64,
    prompt_tokens: u64,
    output_tokens: u64,
    first_token: Durations,
    per_token: Durations,
    /// Gaps between tokens are not timed one by one: their sum and count.
    gaps: (f64, u64),
    whole: Durations,
    queue: Durations,
}

impl Telemetry {
    /// Counts a reply that ended.
    pub(super) fn record(&mut self, usage: &Usage) {
        let seconds = Duration::as_secs_f64;
        self.replies += 1;
        self.prompt_tokens += usage.prompt_tokens as u64;
        self.output_tokens += usage.reply_tokens as u64;
        self.queue.add(seconds(&usage.waited));
        self.whole.add(seconds(&(usage.waited + usage.prefill + usage.decode)));
        if usage.reply_tokens > 0 {
            self.first_token.add(seconds(&usage.time_to_first_token()));
        }
        if let Some(per_token) = usage.time_per_token() {
            self.per_token.add(per_token);
            self.gaps.0 += seconds(&usage.decode);
            self.gaps.1 += usage.reply_tokens as u64 - 1;
        }
    }
}

/// A value, or why there is none.
type Told = Result<f64, &'static str>;

impl Session {
    /// What the engine holds and has done until now: every canonical metric of engines, with the reason where it has none.
    pub fn readings(&self) -> Vec<LabelledReading> {
        let taken_at_ns = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
        let reading = |metric: String, labels: &[(&str, &str)], unit: Unit, outcome: Outcome| {
            let pairs = [("model", self.name.as_str())].into_iter().chain(labels.iter().copied());
            let labels = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let source = "native engine".to_owned();
            LabelledReading {
                labels: vec![("engine".to_owned(), "hwledger".to_owned())],
                reading: Reading { metric, labels, unit, source, taken_at_ns, outcome },
            }
        };
        let measured = |value: f64| Outcome::Measured { value };
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let mut readings = vec![
            reading("hwl_engine_up".to_owned(), &[], Unit::Flag, measured(1.0)),
            reading("hwl_engine_info".to_owned(), &version, Unit::Flag, measured(1.0)),
        ];
        for metric in canonical_metrics() {
            let mut add = |suffix: &str, labels: &[(&str, &str)], unit: Unit, outcome: Outcome| {
                readings.push(reading(format!("{}{suffix}", metric.name), labels, unit, outcome));
            };
            let unsupported = |reason: &str| Outcome::Unsupported { reason: reason.to_owned() };
            if metric.kind != MetricType::Distribution {
                let outcome = self.told(metric.name).map_or_else(unsupported, measured);
                add("", &[], metric.unit, outcome);
                continue;
            }
            let (over, statistic) = (("over", "lifetime"), ("statistic", "mean"));
            let Some(durations) = self.durations(metric.name) else {
                // Only the gaps between tokens have no durations of their own.
                let (sum_s, count) = self.telemetry.gaps;
                let mean = (count > 0).then(|| sum_s / count as f64);
                let told =
                    mean.map_or_else(|| unsupported("no reply has had two tokens"), |value| Outcome::Derived { value });
                add("", &[over, statistic], metric.unit, told);
                continue;
            };
            let Some(mean) = durations.mean() else {
                add("", &[], metric.unit, unsupported("no reply has ended yet"));
                continue;
            };
            add("", &[over, statistic], metric.unit, Outcome::Derived { value: mean });
            for (text, share) in QUANTILES {
                if let Some(value) = durations.quantile(share) {
                    add("", &[over, ("quantile", text)], metric.unit, Outcome::Derived { value });
                }
            }
            add("_sum", &[], metric.unit, measured(durations.sum_s));
            add("_count", &[], Unit::Count, measured(durations.count as f64));
        }
        readings
    }

    /// A metric that is one number.
    fn told(&self, metric: &str) -> Told {
        let (memory, scheduler) = (self.memory(), &self.engine.scheduler);
        let cache = scheduler.decoder().cache();
        let telemetry = &self.telemetry;
        Ok(match metric {
            "hwl_engine_weights_bytes" => memory.weights as f64,
            "hwl_engine_kv_pool_bytes" => memory.cache as f64,
            // Buffers grow to what the largest batch needed and are kept.
            "hwl_engine_activation_peak_bytes" => memory.activations as f64,
            "hwl_engine_overhead_bytes" => {
                memory.overhead().ok_or("the system does not tell what a process holds")? as f64
            }
            "hwl_engine_device_memory_bytes" => return Err("the native engine uses no device but the processor"),
            "hwl_engine_context_tokens" => self.context() as f64,
            "hwl_engine_kv_total_tokens" => (cache.pages_max() * PAGE_TOKENS) as f64,
            "hwl_engine_kv_used_ratio" if cache.pages_max() > 0 => cache.pages_used() as f64 / cache.pages_max() as f64,
            "hwl_engine_requests_running" => scheduler.running() as f64,
            "hwl_engine_requests_waiting" => scheduler.waiting() as f64,
            "hwl_engine_requests_total" => telemetry.replies as f64,
            // Replies are admitted only with room for all that they may come to.
            "hwl_engine_preemptions_total" => 0.0,
            "hwl_engine_prompt_tokens_total" => telemetry.prompt_tokens as f64,
            "hwl_engine_output_tokens_total" => telemetry.output_tokens as f64,
            "hwl_engine_cached_prompt_tokens_total" | "hwl_engine_prefix_cache_hit_ratio" => {
                return Err("the native engine keeps no prefixes");
            }
            "hwl_engine_draft_tokens_total" | "hwl_engine_draft_acceptance_ratio" => {
                return Err("the native engine drafts nothing");
            }
            "hwl_engine_prompt_tokens_per_second" | "hwl_engine_output_tokens_per_second" => {
                return Err("a rate needs two scrapes");
            }
            _ => return Err("the native engine does not tell it"),
        })
    }

    fn durations(&self, metric: &str) -> Option<&Durations> {
        let telemetry = &self.telemetry;
        match metric {
            "hwl_engine_time_to_first_token_seconds" => Some(&telemetry.first_token),
            "hwl_engine_time_per_output_token_seconds" => Some(&telemetry.per_token),
            "hwl_engine_request_seconds" => Some(&telemetry.whole),
            "hwl_engine_queue_seconds" => Some(&telemetry.queue),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_latest_and_means_of_all() {
        let mut durations = Durations::default();
        assert_eq!((durations.mean(), durations.quantile(0.5)), (None, None));
        for second in 1..=4 {
            durations.add(f64::from(second));
        }
        let of = |share| durations.quantile(share);
        assert_eq!((of(0.5), of(0.9), of(0.01)), (Some(2.0), Some(4.0), Some(1.0)));
        assert_eq!(durations.mean(), Some(2.5));
        for _ in 0..SAMPLES_MAX {
            durations.add(9.0);
        }
        assert_eq!(durations.latest.len(), SAMPLES_MAX);
        assert_eq!(durations.quantile(0.01), Some(9.0));
        assert_eq!(durations.count, 4100);
    }
}
