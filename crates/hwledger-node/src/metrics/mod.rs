//! Readings of running engines: taken from them, served to Prometheus, sent to OpenTelemetry.
//!
//! [`Attachment`] asks an engine, [`Watcher`] does so again and again, [`MetricsServer`] serves what any source of readings
//! has, and [`MetricsPush`] sends it.

mod attach;
mod error;
mod prometheus;
mod push;
mod serve;
#[cfg(test)]
mod tests;
mod watch;

pub use attach::{AttachOptions, Attachment, Scraped, engine_names, mapping_of_file, reply_of_file};
pub use error::{AttachError, PushError, ServeError};
pub use hwledger_probe::engine::{GAP_MAX_S, Mapping, MetricType, canonical_metrics};
pub use hwledger_probe::{Outcome, Reading, Unit};
pub use prometheus::exposition;
pub use push::{MetricsPush, encode};
use serde::Serialize;
pub use serve::{MetricsServer, ServeOptions};
pub use watch::Watcher;

/// A reading, and what it is of: labels such as `("engine", "vllm")` and `("instance", "127.0.0.1:8000")`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelledReading {
    /// What the reading is of.
    #[serde(rename = "of")]
    pub labels: Vec<(String, String)>,
    /// The reading.
    #[serde(flatten)]
    pub reading: Reading,
}
