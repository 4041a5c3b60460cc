//! What happened, by the minute and in all.

use std::collections::BTreeMap;
use std::time::Duration;

use hwledger_engine::scheduler::Scheduler;
use hwledger_engine::{MemoryReport, resident_bytes};
use serde_json::{Value, json};

use crate::options::Options;

/// The longest stretch over which the resident set is averaged, at either end.
const WINDOW_MAX: f64 = 600.0;
/// The part of the run before memory must be flat, and its longest.
const WARM_UP: f64 = 1.0 / 6.0;
const WARM_UP_MAX: f64 = 300.0;
/// Violations that are told in words.
const WORDS_MAX: usize = 10;
/// What must have happened at least once: a soak that never refused or cancelled anything shows nothing.
const REQUIRED: [&str; 12] = [
    "compared",
    "compared_tokens",
    "finished_stop",
    "finished_length",
    "cancelled_before_first_token",
    "cancelled_after_first_token",
    "failed",
    "refused_empty",
    "refused_beyond_context",
    "refused_unknown_token",
    "refused_full",
    "steps_short_of_pages",
];

/// The longest that any request heard nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Waits {
    /// From submission to the first word.
    first_steps: u64,
    first: Duration,
    /// From one token to the next.
    next_steps: u64,
    next: Duration,
    /// The slowest step.
    step: Duration,
}

impl Waits {
    fn longest(self, other: Self) -> Self {
        Self {
            first_steps: self.first_steps.max(other.first_steps),
            first: self.first.max(other.first),
            next_steps: self.next_steps.max(other.next_steps),
            next: self.next.max(other.next),
            step: self.step.max(other.step),
        }
    }

    fn json(self) -> Value {
        json!({
            "first_token_steps": self.first_steps,
            "first_token_seconds": self.first.as_secs_f64(),
            "next_token_steps": self.next_steps,
            "next_token_seconds": self.next.as_secs_f64(),
            "step_seconds": self.step.as_secs_f64(),
        })
    }
}

type Counts = BTreeMap<&'static str, u64>;

/// What happened.
#[derive(Debug)]
pub(crate) struct Record {
    sequences_max: usize,
    /// Seconds that the run lasts.
    duration: f64,
    minute: Counts,
    total: Counts,
    waits: Waits,
    waits_total: Waits,
    running_most: usize,
    pages_most: usize,
    /// Sums over the steps of a minute.
    running: usize,
    pages: usize,
    /// Seconds and resident bytes, once a second; room for all is taken at the start, so that taking note takes none.
    samples: Vec<(f64, f64)>,
    violations: u64,
    words: Vec<String>,
}

impl Record {
    pub(crate) fn new(options: &Options, duration: Duration) -> Self {
        let mut samples = vec![(1.0, 1.0); usize::try_from(duration.as_secs()).unwrap() + 64];
        samples.clear();
        Self {
            sequences_max: options.sequences,
            duration: duration.as_secs_f64(),
            minute: Counts::new(),
            total: Counts::new(),
            waits: Waits::default(),
            waits_total: Waits::default(),
            running_most: 0,
            pages_most: 0,
            running: 0,
            pages: 0,
            samples,
            violations: 0,
            words: Vec::new(),
        }
    }

    pub(crate) fn count(&mut self, name: &'static str, more: u64) {
        *self.minute.entry(name).or_default() += more;
    }

    /// Something that must not be.
    pub(crate) fn violation(&mut self, words: &str) {
        self.violations += 1;
        self.count("violations", 1);
        if self.words.len() < WORDS_MAX {
            self.words.push(words.to_owned());
        }
    }

    /// A step was computed, in which `ended` requests came to their end.
    pub(crate) fn step(&mut self, took: Duration, ended: usize, scheduler: &Scheduler) {
        self.count("steps", 1);
        self.waits.step = self.waits.step.max(took);
        let (cache, running) = (scheduler.decoder().cache(), scheduler.running());
        self.running += running;
        self.running_most = self.running_most.max(running);
        self.pages += cache.pages_used();
        self.pages_most = self.pages_most.max(cache.pages_used());
        // Places were free although requests waited: for want of pages.
        if scheduler.waiting() > 0 && running + ended < self.sequences_max {
            self.count("steps_short_of_pages", 1);
        }
    }

    /// A request heard something.
    pub(crate) fn heard(&mut self, steps: u64, waited: Duration, is_first: bool) {
        let none = Waits::default();
        let waits = if is_first {
            Waits { first_steps: steps, first: waited, ..none }
        } else {
            Waits { next_steps: steps, next: waited, ..none }
        };
        self.waits = self.waits.longest(waits);
    }

    /// Takes note of the resident set, about once a second.
    pub(crate) fn sample(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        if self.samples.last().is_none_or(|&(last, _)| seconds >= last + 1.0)
            && self.samples.len() < self.samples.capacity()
            && let Some(resident) = resident_bytes()
        {
            self.samples.push((seconds, resident as f64));
        }
    }

    /// The line of a minute; the next one starts.
    pub(crate) fn minute(&mut self, minute: u64, scheduler: &Scheduler) -> Value {
        let steps = *self.minute.get("steps").unwrap_or(&1) as f64;
        let line = json!({
            "kind": "minute",
            "minute": minute,
            "resident_bytes": resident_bytes(),
            "memory": memory(scheduler),
            "pages_used": scheduler.decoder().cache().pages_used(),
            "pages_free": scheduler.decoder().cache().pages_free(),
            "pages_used_mean": self.pages as f64 / steps,
            "pages_used_most": self.pages_most,
            "running_mean": self.running as f64 / steps,
            "running_most": self.running_most,
            "waits": self.waits.json(),
            "counts": self.minute,
        });
        self.add_up();
        line
    }

    fn add_up(&mut self) {
        for (name, count) in std::mem::take(&mut self.minute) {
            *self.total.entry(name).or_default() += count;
        }
        self.waits_total = self.waits_total.longest(std::mem::take(&mut self.waits));
        (self.running, self.running_most, self.pages, self.pages_most) = (0, 0, 0, 0);
    }

    /// The last line.
    pub(crate) fn verdict(mut self, scheduler: &Scheduler, options: &Options) -> Value {
        self.add_up();
        let cache = scheduler.decoder().cache();
        let flatness = self.flatness();
        let grown = flatness.map(|flatness| flatness.last - flatness.first);
        let is_flat = grown.is_none_or(|grown| grown <= options.growth_limit as f64);
        let never: Vec<&str> = REQUIRED.into_iter().filter(|name| !self.total.contains_key(name)).collect();
        let is_clean = cache.pages_used() == 0 && cache.sequences() == 0 && scheduler.is_idle();
        json!({
            "kind": "verdict",
            "passed": is_flat && is_clean && never.is_empty() && self.violations == 0,
            "never_happened": never,
            "violations": self.violations,
            "violations_in_words": self.words,
            "mismatches": self.total.get("mismatches").unwrap_or(&0),
            "stuck": self.total.get("stuck").unwrap_or(&0),
            "pages_used": cache.pages_used(),
            "pages_free": cache.pages_free(),
            "sequences": cache.sequences(),
            "resident": flatness.map(Flatness::json),
            "resident_grown_bytes": grown,
            "growth_limit_bytes": options.growth_limit,
            "memory": memory(scheduler),
            "waits": self.waits_total.json(),
            "counts": self.total,
        })
    }

    /// The resident set after warm-up; none where the system does not tell it.
    fn flatness(&self) -> Option<Flatness> {
        let warm_up = (self.duration * WARM_UP).min(WARM_UP_MAX);
        let window = ((self.duration - warm_up) / 2.0).min(WINDOW_MAX);
        let within = |from: f64, to: f64| {
            self.samples.iter().copied().filter(move |&(seconds, _)| seconds >= from && seconds < to)
        };
        let mean = |from: f64, to: f64| {
            let count = within(from, to).count();
            (count > 0).then(|| within(from, to).map(|(_, bytes)| bytes).sum::<f64>() / count as f64)
        };
        let first = mean(warm_up, warm_up + window)?;
        let last = mean(self.duration - window, f64::INFINITY)?;
        // The line through all samples, by least squares.
        let level = mean(warm_up, f64::INFINITY)?;
        let count = within(warm_up, f64::INFINITY).count();
        let middle = within(warm_up, f64::INFINITY).map(|(seconds, _)| seconds).sum::<f64>() / count as f64;
        let (mut both, mut square) = (0.0, 0.0);
        for (seconds, bytes) in within(warm_up, f64::INFINITY) {
            both += (seconds - middle) * (bytes - level);
            square += (seconds - middle).powi(2);
        }
        let most = self.samples.iter().map(|&(_, bytes)| bytes).fold(0.0, f64::max);
        Some(Flatness { warm_up, window, first, last, most, per_hour: both / square * 3600.0 })
    }
}

/// How the resident set went.
#[derive(Clone, Copy, Debug)]
struct Flatness {
    /// Seconds that are not looked at.
    warm_up: f64,
    /// Seconds of each window.
    window: f64,
    /// Mean bytes of the first window and of the last.
    first: f64,
    last: f64,
    most: f64,
    /// Bytes per hour of the line through all samples after warm-up.
    per_hour: f64,
}

impl Flatness {
    fn json(self) -> Value {
        json!({
            "warm_up_seconds": self.warm_up,
            "window_seconds": self.window,
            "first_window_bytes": self.first,
            "last_window_bytes": self.last,
            "most_bytes": self.most,
            "slope_bytes_per_hour": self.per_hour,
        })
    }
}

fn memory(scheduler: &Scheduler) -> Value {
    let MemoryReport { weights, cache, activations } = MemoryReport::of(scheduler.decoder());
    json!({"weights": weights, "cache": cache, "activations": activations})
}

/// The processor's name, where the system tells it in a file.
pub(crate) fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}
