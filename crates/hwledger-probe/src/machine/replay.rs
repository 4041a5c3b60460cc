//! Reading recordings, which may come from anywhere.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::device::{Snapshot, is_plain};

/// Longest line of a recording.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// Readings of one snapshot.
pub const READINGS_MAX: usize = 16_384;
/// Devices, and notes, of one snapshot.
const DEVICES_MAX: usize = 256;
const LABELS_MAX: usize = 8;
/// What a recording says that it is.
const FORMAT: &str = "hwledger.probe/1";

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("`{}` cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("`{}`, line {line}: {fault}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a line.
#[derive(Debug)]
pub enum Fault {
    /// It has more bytes than [`LINE_BYTES_MAX`].
    TooLong,
    /// It does not say that it begins a recording of a version that is known.
    NoHeader,
    /// It is no snapshot; why.
    NoSnapshot(String),
    /// It holds more of something than any machine has.
    TooMany(&'static str),
    /// A text in it is too long, or holds characters that change a terminal.
    BadText,
    /// A snapshot is older than the one before.
    BackInTime,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(formatter, "the line is longer than {LINE_BYTES_MAX} bytes"),
            Self::NoHeader => write!(formatter, "this is no recording of `{FORMAT}`"),
            Self::NoSnapshot(why) => write!(formatter, "this is no snapshot: {why}"),
            Self::TooMany(what) => write!(formatter, "too many {what}"),
            Self::BadText => write!(formatter, "a text is too long or holds control characters"),
            Self::BackInTime => write!(formatter, "the snapshot is older than the one before"),
        }
    }
}

#[derive(Deserialize)]
struct Header {
    format: String,
}

/// A recording that is read line by line.
pub struct Replay {
    path: PathBuf,
    lines: Box<dyn BufRead + Send>,
    line: u64,
    last_ns: u64,
}

impl fmt::Debug for Replay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Replay").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

impl Replay {
    /// Opens a recording and reads its first line.
    pub fn open(path: &Path) -> Result<Self, ReplayError> {
        let file = File::open(path).map_err(|source| ReplayError::File { path: path.to_owned(), source })?;
        Self::new(path, Box::new(BufReader::new(file)))
    }

    /// Reads a recording that is called `path` in messages.
    pub fn new(path: &Path, lines: Box<dyn BufRead + Send>) -> Result<Self, ReplayError> {
        let mut replay = Self { path: path.to_owned(), lines, line: 0, last_ns: 0 };
        let bytes = replay.next_line()?.unwrap_or_default();
        let header = serde_json::from_slice::<Header>(&bytes).ok().filter(|header| header.format == FORMAT);
        if header.is_none() {
            replay.line = replay.line.max(1);
            return Err(replay.fault(Fault::NoHeader));
        }
        Ok(replay)
    }

    /// The next snapshot; none at the end. After an error the rest is not read.
    pub fn next_snapshot(&mut self) -> Result<Option<Snapshot>, ReplayError> {
        let Some(bytes) = self.next_line()? else { return Ok(None) };
        let mut snapshot: Snapshot =
            serde_json::from_slice(&bytes).map_err(|error| self.fault(Fault::NoSnapshot(plain(&error.to_string()))))?;
        check(&mut snapshot).map_err(|fault| self.fault(fault))?;
        if snapshot.taken_at_ns < self.last_ns {
            return Err(self.fault(Fault::BackInTime));
        }
        self.last_ns = snapshot.taken_at_ns;
        Ok(Some(snapshot))
    }

    /// One line without its end, never more of it than the limit.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, ReplayError> {
        let mut bytes = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.lines.by_ref().take(limit).read_until(b'\n', &mut bytes);
        let count = read.map_err(|source| ReplayError::File { path: self.path.clone(), source })?;
        if count == 0 {
            return Ok(None);
        }
        self.line += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if count > LINE_BYTES_MAX {
            return Err(self.fault(Fault::TooLong));
        }
        Ok(Some(bytes))
    }

    fn fault(&self, fault: Fault) -> ReplayError {
        ReplayError::Line { path: self.path.clone(), line: self.line, fault }
    }
}

/// A parser's message may quote what it read.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

fn check(snapshot: &mut Snapshot) -> Result<(), Fault> {
    if snapshot.devices.len() > DEVICES_MAX {
        return Err(Fault::TooMany("devices"));
    }
    if snapshot.notes.len() > DEVICES_MAX {
        return Err(Fault::TooMany("notes"));
    }
    let of_devices = snapshot.devices.iter().flat_map(|device| &device.readings);
    let readings = snapshot.host.readings.iter().chain(of_devices);
    if readings.clone().count() > READINGS_MAX {
        return Err(Fault::TooMany("readings"));
    }
    if readings.into_iter().any(|reading| reading.labels.len() > LABELS_MAX) {
        return Err(Fault::TooMany("labels"));
    }
    if snapshot.texts().all(|text| is_plain(text)) { Ok(()) } else { Err(Fault::BadText) }
}
