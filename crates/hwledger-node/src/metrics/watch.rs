//! Asking engines again and again, each in a thread of its own, for whoever wants the latest readings.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Attachment, LabelledReading};
use crate::planner::with_causes;

#[derive(Default)]
struct Shared {
    /// The latest readings of each engine.
    latest: Mutex<Vec<Vec<LabelledReading>>>,
    is_stopping: AtomicBool,
    stop: (Mutex<()>, Condvar),
}

/// Engines that are asked at an interval; the asking ends when this is dropped.
pub struct Watcher {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watcher").field("engines", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Watcher {
    /// Begins to ask. `tell` gets the failures, each engine's once until it answers again.
    pub fn start(
        attachments: Vec<Attachment>,
        interval: Duration,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let tell: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(tell);
        // What is not known yet is no reading.
        shared.latest.lock().unwrap_or_else(PoisonError::into_inner).resize_with(attachments.len(), Vec::new);
        let threads = attachments.into_iter().enumerate().map(|(index, attachment)| {
            let (shared, tell) = (Arc::clone(&shared), Arc::clone(&tell));
            thread::spawn(move || watch(attachment, index, interval, &shared, &*tell))
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// The latest readings of all engines.
    pub fn readings(&self) -> Vec<LabelledReading> {
        self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner).concat()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        drop(self.shared.stop.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.stop.1.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

fn watch(mut attachment: Attachment, index: usize, interval: Duration, shared: &Shared, tell: &dyn Fn(&str)) {
    let mut is_failing = false;
    loop {
        let readings = match attachment.scrape() {
            Ok(scraped) => {
                is_failing = false;
                scraped.readings
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tell(&with_causes(&error));
                }
                // Old numbers are not passed off as new ones.
                vec![attachment.down()]
            }
        };
        if let Some(slot) = shared.latest.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            *slot = readings;
        }
        let guard = shared.stop.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_stopping.load(Ordering::SeqCst) {
            return;
        }
        let waited = shared.stop.1.wait_timeout(guard, interval);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        if shared.is_stopping.load(Ordering::SeqCst) {
            return;
        }
    }
}
