//! Where snapshots come from.

use std::time::{SystemTime, UNIX_EPOCH};

use super::device::Snapshot;
use super::live::Machine;
use super::mock::Mock;
use super::replay::{Replay, ReplayError};

/// Something that gives one snapshot after another.
#[derive(Debug)]
pub enum Source {
    /// This machine.
    Live(Box<Machine>),
    /// A machine that does not exist.
    Mock(Mock),
    /// A machine that was recorded.
    Replay(Replay),
}

impl Source {
    /// The next snapshot; none when a recording ends.
    pub fn next_snapshot(&mut self) -> Result<Option<Snapshot>, ReplayError> {
        match self {
            Self::Live(machine) => Ok(Some(machine.snapshot(now_ns()))),
            Self::Mock(mock) => Ok(Some(mock.snapshot())),
            Self::Replay(replay) => replay.next_snapshot(),
        }
    }

    /// Whether time must pass between two snapshots for the second to say anything new.
    pub const fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }
}

/// Now, in nanoseconds since 1970; zero on a clock that is set before that.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
