//! This machine, or one that was recorded: what it has and what it is doing.

mod doctor;
mod export;
mod local;
mod readings;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use doctor::{CacheSpace, DoctorReport, Finding, FindingKind, ProcessorReport, doctor};
pub use export::{ReadingRecord, export};
pub use hwledger_probe::machine::{
    Device, DeviceSnapshot, Host, MemoryKind, Note, Recorder, ReplayError, Snapshot, metric,
};
pub use hwledger_probe::{Outcome, Reading, Unit};
pub use local::with_this_machine;
pub use readings::MachineReadings;
pub(crate) use readings::own_snapshot;
pub use watch::{Watch, WatchOptions, WatchRow, WatchSeries, Watched, watch};

use crate::time::timestamp;
use hwledger_probe::machine::{Machine, Mock, Replay, Source};

/// How far apart the two samples are from which [`snapshot`] computes rates.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(250);

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceName {
    /// This machine.
    Live,
    /// A machine that does not exist; the same seed gives the same numbers.
    Mock(u64),
    /// The recording in this file.
    File(PathBuf),
}

impl SourceName {
    /// Reads `live`, `mock`, `mock:7` or a path.
    pub fn parse(text: &str) -> Self {
        match text {
            "live" => Self::Live,
            "mock" => Self::Mock(0),
            _ => match text.strip_prefix("mock:").and_then(|seed| seed.parse().ok()) {
                Some(seed) => Self::Mock(seed),
                None => Self::File(Path::new(text).to_owned()),
            },
        }
    }

    /// Opens the source. The clock of a machine that does not exist moves by `interval` with each snapshot.
    fn open(&self, interval: Duration) -> Result<Source, ReplayError> {
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Ok(match self {
            Self::Live => Source::Live(Box::new(Machine::local())),
            Self::Mock(seed) => Source::Mock(Mock::new(*seed, interval_ns)),
            Self::File(path) => Source::Replay(Replay::open(path)?),
        })
    }
}

/// Why watching ended early.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The recording cannot be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The recording holds no snapshot.
    #[error("`{}` holds no snapshot", .0.display())]
    Empty(PathBuf),
    /// What was watched cannot be written down.
    #[error("`{}` cannot be written", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The table cannot be written.
    #[error("the table cannot be written")]
    Table(#[source] crate::table::TableError),
    /// What was watched cannot be shown.
    #[error("the output cannot be written")]
    Show(#[source] io::Error),
}

/// One snapshot, with rates: of what moves by itself, two samples are taken a quarter of a second apart.
pub fn snapshot(name: &SourceName) -> Result<Snapshot, ProbeError> {
    let mut source = name.open(Duration::from_secs(1))?;
    let first = source.next_snapshot()?;
    if source.is_live() {
        thread::sleep(BETWEEN_SAMPLES);
    }
    match (source.next_snapshot()?, first, name) {
        (Some(second), ..) => Ok(second),
        (None, Some(only), _) => Ok(only),
        (None, None, SourceName::File(path)) => Err(ProbeError::Empty(path.clone())),
        (None, None, _) => unreachable!("only recordings end"),
    }
}

/// How long ago something at `at_ns` (since 1970) was, by this machine's clock.
pub fn age(at_ns: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_nanos(at_ns))
}

/// `2026-01-01T00:00:00Z`, of nanoseconds since 1970.
pub fn clock(at_ns: u64) -> String {
    let text = timestamp(at_ns);
    format!("{}Z", text.split_once('.').map_or(text.as_str(), |(seconds, _)| seconds))
}

#[cfg(test)]
mod tests {
    use super::{SourceName, clock};
    use std::path::PathBuf;

    #[test]
    fn moments_are_dates() {
        assert_eq!(clock(0), "1970-01-01T00:00:00Z");
        assert_eq!(clock(951_827_696_000_000_000), "2000-02-29T12:34:56Z");
        assert_eq!(clock(1_767_225_599_999_999_999), "2025-12-31T23:59:59Z");
        assert_eq!(clock(1_767_225_600_000_000_000), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn sources_have_names() {
        assert_eq!(SourceName::parse("live"), SourceName::Live);
        assert_eq!(SourceName::parse("mock"), SourceName::Mock(0));
        assert_eq!(SourceName::parse("mock:7"), SourceName::Mock(7));
        assert_eq!(SourceName::parse("mock:x"), SourceName::File(PathBuf::from("mock:x")));
        assert_eq!(SourceName::parse("night.jsonl"), SourceName::File(PathBuf::from("night.jsonl")));
    }
}
