//! What a machine did, summed up in the ledger every quarter of an hour, until somebody ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hwledger_probe::machine::{Machine, ReplayError, Source};
use serde::Serialize;

use super::drafts;
use super::samples::{ROWS_MAX, Samples, Window};
use crate::ledger::Ledger;
use crate::record::{RecordError, blob, observe};

/// How long a window is where nobody says otherwise: 96 a day.
pub const SUMMARY_SPAN: Duration = Duration::from_mins(15);

/// How long a wait goes on after somebody has ended it, at most.
const PATIENCE: Duration = Duration::from_millis(100);

/// How a machine is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummarizeOptions {
    /// Time between two samples.
    pub interval: Duration,
    /// Time of a window. Windows end where the time since 1970 is a multiple of it.
    pub span: Duration,
    /// End after so many windows; go on until somebody ends it where absent.
    pub count: Option<u64>,
}

impl Default for SummarizeOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), span: SUMMARY_SPAN, count: None }
    }
}

/// What was written at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summarized {
    /// When the windows begin, in nanoseconds since 1970.
    pub start_ns: u64,
    /// When they end.
    pub end_ns: u64,
    /// The first entry.
    pub entry: u64,
    /// The windows, one entry each.
    pub windows: Vec<Window>,
}

/// Why summing up ended early.
#[derive(Debug, thiserror::Error)]
pub enum SummarizeError {
    /// A window that would be too long, or too short.
    #[error(
        "a window of {span_s} s with a sample every {interval_s} s would have less than one sample or more than {most}"
    )]
    Span {
        /// Seconds of the window.
        span_s: f64,
        /// Seconds between two samples.
        interval_s: f64,
        /// Samples of a window at most.
        most: usize,
    },
    /// The ledger takes nothing.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The machine cannot be read.
    #[error(transparent)]
    Source(#[from] ReplayError),
}

/// Samples this machine and writes to the ledger, window after window, what it did. The window that is under way when
/// `is_ended` becomes true is written too. `tell` gets what was written, and says whether to go on.
///
/// # Errors
///
/// The ledger takes nothing, or a window would have too many samples.
pub fn summarize(
    ledger: &Ledger,
    options: &SummarizeOptions,
    is_ended: &AtomicBool,
    tell: impl FnMut(&Summarized) -> bool,
) -> Result<(), SummarizeError> {
    let samples = options.span.as_secs_f64() / options.interval.as_secs_f64();
    if !(1.0..ROWS_MAX as f64).contains(&samples) {
        let (span_s, interval_s) = (options.span.as_secs_f64(), options.interval.as_secs_f64());
        return Err(SummarizeError::Span { span_s, interval_s, most: ROWS_MAX });
    }
    let source = Source::Live(Box::new(Machine::local()));
    summarize_source(ledger, source, options, is_ended, tell)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1)
}

pub(super) fn summarize_source(
    ledger: &Ledger,
    mut source: Source,
    options: &SummarizeOptions,
    is_ended: &AtomicBool,
    mut tell: impl FnMut(&Summarized) -> bool,
) -> Result<(), SummarizeError> {
    let span_ns = nanoseconds(options.span);
    let (mut samples, mut end_ns, mut written) = (Samples::default(), None, 0);
    let mut next = Instant::now();
    while let Some(snapshot) = source.next_snapshot()? {
        let at_ns = snapshot.taken_at_ns;
        samples.push(&snapshot);
        if end_ns.is_none() {
            observe(ledger, &snapshot)?;
        }
        // The first multiple that is still to come.
        let end = *end_ns.get_or_insert((at_ns / span_ns + 1).saturating_mul(span_ns));
        // Of a window there is something to tell once there are two samples.
        let is_over = is_ended.load(Ordering::SeqCst) && samples.len() > 1;
        if at_ns >= end || is_over {
            if let Some(summarized) = write(ledger, &samples)? {
                written += 1;
                if !tell(&summarized) {
                    return Ok(());
                }
            }
            samples = samples.since(samples.len().saturating_sub(1));
            end_ns = Some((at_ns / span_ns + 1).saturating_mul(span_ns));
        }
        if is_over || options.count.is_some_and(|count| written >= count) {
            return Ok(());
        }
        if source.is_live() {
            next = (next + options.interval).max(Instant::now());
            wait(next, is_ended);
        }
    }
    if let Some(summarized) = write(ledger, &samples)? {
        tell(&summarized);
    }
    Ok(())
}

/// Waits until a moment, or until somebody ends it.
fn wait(until: Instant, is_ended: &AtomicBool) {
    while !is_ended.load(Ordering::SeqCst) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(PATIENCE));
    }
}

/// Writes a window of each metric; none where there is nothing to tell.
fn write(ledger: &Ledger, samples: &Samples) -> Result<Option<Summarized>, RecordError> {
    let windows = samples.windows();
    let Some(first) = windows.first() else { return Ok(None) };
    let raw = blob::keep(ledger.folder(), &samples.raw())?;
    let (start_ns, end_ns) = (first.start_ns, first.end_ns);
    let mut entry = None;
    for receipt in ledger.append_all(&drafts(&windows, None, raw))? {
        entry.get_or_insert(receipt?.index);
    }
    Ok(entry.map(|entry| Summarized { start_ns, end_ns, entry, windows }))
}

impl SummarizeError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Record(error) => error.hint(),
            Self::Span { .. } => Some("change `--span` or `--interval`".to_owned()),
            Self::Source(_) => None,
        }
    }
}
