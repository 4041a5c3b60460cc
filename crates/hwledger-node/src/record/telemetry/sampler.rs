//! Sampling in the background, for as long as anything is watched.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hwledger_probe::machine::Source;

use super::Samples;

/// Time from one sample to the next at least: counters of processor time advance every 10 ms.
const LEAST: Duration = Duration::from_millis(250);
/// The same once something is watched for ten seconds.
const USUAL: Duration = Duration::from_secs(1);
/// The same at most: over more than ten seconds the probe tells no rates.
const MOST: Duration = Duration::from_secs(5);
/// Samples that a long watch has about: from a quarter of an hour on, intervals grow.
const SAMPLES: u32 = 900;
/// A sample that is not older than this stands for now.
const RECENT: Duration = Duration::from_millis(20);

struct State {
    source: Source,
    samples: Samples,
    last: Option<Instant>,
    /// How many watch, and since when anybody does.
    watching: usize,
    since: Instant,
    is_stopping: bool,
}

impl State {
    fn sample(&mut self) {
        // A recording that ends or breaks off gives no further samples.
        if let Ok(Some(snapshot)) = self.source.next_snapshot() {
            self.samples.push(&snapshot);
        }
        self.last = Some(Instant::now());
    }

    /// A sample, unless there is one of just now.
    fn sample_now(&mut self) {
        let is_recent = self.source.is_live() && self.last.is_some_and(|last| last.elapsed() < RECENT);
        if !is_recent || self.samples.len() == 0 {
            self.sample();
        }
    }

    fn interval(&self) -> Duration {
        let elapsed = self.since.elapsed();
        (elapsed / 10).clamp(LEAST, USUAL).max(elapsed / SAMPLES).min(MOST)
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Samples a machine in a thread of its own while anything is watched; the thread ends when this is dropped.
pub(in crate::record) struct Sampler {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Sampler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sampler").field("watching", &self.shared.state().watching).finish_non_exhaustive()
    }
}

impl Sampler {
    /// Samples `source`.
    pub(in crate::record) fn new(source: Source) -> Self {
        let state = State {
            source,
            samples: Samples::default(),
            last: None,
            watching: 0,
            since: Instant::now(),
            is_stopping: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let in_thread = Arc::clone(&shared);
        // Without a thread there are the samples at both ends.
        let thread = thread::Builder::new().name("telemetry".to_owned()).spawn(move || run(&in_thread)).ok();
        Self { shared, thread }
    }

    /// Begins to watch.
    pub(in crate::record) fn watch(&self) -> Watching {
        let mut state = self.shared.state();
        if state.watching == 0 {
            state.samples.clear();
            state.since = Instant::now();
        }
        state.watching += 1;
        state.sample_now();
        let start = state.samples.len().saturating_sub(1);
        drop(state);
        self.shared.changed.notify_all();
        Watching { shared: Arc::clone(&self.shared), start }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.state().is_stopping = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared) {
    let mut state = shared.state();
    while !state.is_stopping {
        if state.watching == 0 {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let due = state.interval().saturating_sub(state.last.map_or(Duration::ZERO, |last| last.elapsed()));
        if due.is_zero() {
            state.sample();
        } else {
            state = shared.changed.wait_timeout(state, due).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Something that is watched, from its beginning until this is dropped.
pub(in crate::record) struct Watching {
    shared: Arc<Shared>,
    start: usize,
}

impl fmt::Debug for Watching {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watching").field("start", &self.start).finish_non_exhaustive()
    }
}

impl Watching {
    /// The samples from its beginning until now.
    pub(in crate::record) fn samples(&self) -> Samples {
        let mut state = self.shared.state();
        // However short it was: of one moment there is nothing to tell.
        if state.samples.len() < self.start + 2 {
            state.sample();
        } else {
            state.sample_now();
        }
        state.samples.since(self.start)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.shared.state().watching -= 1;
    }
}
