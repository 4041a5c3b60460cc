//! What was recorded of a machine as a table, one row per reading.

use std::path::Path;

use hwledger_probe::machine::{Replay, Snapshot};
use hwledger_probe::{Outcome, Reading};

use super::ProbeError;
use crate::table::TableError;
use crate::table::file::write_table;
use crate::table::record::record;

record! {
    /// One reading.
    #[expect(missing_docs, reason = "each column is named as in a reading")]
    pub struct ReadingRecord {
        required {
            /// When it was taken, in nanoseconds since 1970.
            taken_at_ns: i64,
            metric: String,
            unit: String,
            /// `measured`, `derived`, `unsupported` or `error`.
            quality: String,
            source: String,
        }
        optional {
            /// The device; the host where absent.
            device: String,
            /// What tells apart several readings of one metric, as `name=value`.
            labels: String,
            /// Absent where there is no number: never zero instead.
            value: f64,
            /// Why there is none.
            reason: String,
        }
    }
}

fn row(device: Option<&str>, reading: &Reading) -> ReadingRecord {
    let (quality, reason) = match &reading.outcome {
        Outcome::Measured { .. } => ("measured", None),
        Outcome::Derived { .. } => ("derived", None),
        Outcome::Unsupported { reason } => ("unsupported", Some(reason.clone())),
        Outcome::Error { reason } => ("error", Some(reason.clone())),
    };
    let labels: Vec<String> = reading.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    ReadingRecord {
        taken_at_ns: i64::try_from(reading.taken_at_ns).unwrap_or(i64::MAX),
        metric: reading.metric.clone(),
        unit: format!("{:?}", reading.unit).to_lowercase(),
        quality: quality.to_owned(),
        source: reading.source.clone(),
        device: device.map(str::to_owned),
        labels: (!labels.is_empty()).then(|| labels.join(" ")),
        value: reading.outcome.value(),
        reason,
    }
}

fn rows(snapshot: &Snapshot) -> Vec<ReadingRecord> {
    let host = snapshot.host.readings.iter().map(|reading| row(None, reading));
    let devices = snapshot.devices.iter();
    let devices =
        devices.flat_map(|device| device.readings.iter().map(|reading| row(Some(&device.device.id), reading)));
    host.chain(devices).collect()
}

/// Writes a recording to a table named `.parquet`, `.csv` or `.jsonl`. Returns the number of readings.
///
/// # Errors
///
/// The recording cannot be read, or the table cannot be written.
pub fn export(recording: &Path, out: &Path) -> Result<u64, ProbeError> {
    let mut replay = Replay::open(recording)?;
    let mut waiting = Vec::new().into_iter();
    let next = std::iter::from_fn(move || {
        loop {
            if let Some(row) = waiting.next() {
                return Some(Ok(row));
            }
            match replay.next_snapshot() {
                Ok(Some(snapshot)) => waiting = rows(&snapshot).into_iter(),
                Ok(None) => return None,
                Err(error) => return Some(Err(ProbeError::from(error))),
            }
        }
    });
    write_table(out, next)
}

impl From<TableError> for ProbeError {
    fn from(source: TableError) -> Self {
        Self::Table(source)
    }
}
