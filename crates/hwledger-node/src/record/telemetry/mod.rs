//! What the machine did while something ran: sampled in the background, summed up in windows, one for the host and each
//! device and metric.

mod sampler;
mod samples;
mod summary;
#[cfg(test)]
mod tests;

use hwledger_ledger::event::{Count, Decimal, Draft, TelemetryWindowRecorded};
use hwledger_ledger::hash::Hash;
pub(super) use sampler::{Sampler, Watching};
pub use samples::Window;
pub(super) use samples::{Energy, Samples};
pub use summary::{SUMMARY_SPAN, SummarizeError, SummarizeOptions, Summarized, summarize};

/// The stream of windows that belong to no run.
const STREAM: &str = "telemetry";

/// The events of these windows: in the stream of `run`, or in one of the host or device. `raw` is the blob with the
/// samples.
pub(super) fn drafts(windows: &[Window], run: Option<&str>, raw: Hash) -> Vec<Draft> {
    let draft = |window: &Window| {
        let event = TelemetryWindowRecorded {
            device: window.device.clone(),
            metric: window.metric.clone(),
            unit: window.unit.to_owned(),
            start_ns: Count(window.start_ns),
            end_ns: Count(window.end_ns),
            samples: Count(window.samples),
            minimum: Decimal::new(window.minimum),
            mean: Decimal::new(window.mean),
            percentile_95: Decimal::new(window.percentile_95),
            maximum: Decimal::new(window.maximum),
            joules: window.joules.and_then(Decimal::new),
            raw: Some(raw),
        };
        let subject = run.map_or_else(|| format!("{STREAM}/{}", window.device), |run| format!("run/{run}"));
        Draft { correlation_id: run.map(str::to_owned), ..Draft::new("hwledger/telemetry", &subject, event) }
    };
    windows.iter().map(draft).collect()
}
