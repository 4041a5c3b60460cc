//! The loop that makes predictions honest: said before the run, measured after it, compared, learnt from.
//!
//! A prediction is an event (`PredictionMade`) that is durable before the run begins: nobody can pick the ones that came
//! true. What it rests on (the run, the machine, the keys that it will be filed under) is kept beside the ledger as a
//! blob, whose hash is in the event.

mod attached;
pub(crate) mod blob;
mod devices;
mod engines;
mod error;
mod export;
mod learn;
mod load;
mod measurement;
mod prediction;
mod reconcile;
mod runs;
mod telemetry;
#[cfg(test)]
mod tests;

pub use attached::{AttachRequest, AttachedRun};
pub use blob::BLOB_BYTES_MAX;
use devices::observe;
pub use engines::{EngineRecorder, host_subject};
pub use error::RecordError;
pub use export::{FigureRecord, figure_records, workload_records};
pub use hwledger_formats::measurement::RunSettings;
pub use learn::{LearnRequest, learn};
pub use load::Load;
pub use measurement::Surroundings;
pub use prediction::{Prediction, Recorder};
pub use reconcile::{ReconcileAnswer, ReconcileRequest, ReconciledRun, ResidualRow, reconcile};
pub use telemetry::{SUMMARY_SPAN, SummarizeError, SummarizeOptions, Summarized, Window, summarize};
