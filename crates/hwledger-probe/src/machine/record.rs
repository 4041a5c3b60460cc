//! Writing snapshots down.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::device::Snapshot;

/// The first line of a recording.
pub const HEADER: &str = r#"{"format":"hwledger.probe/1"}"#;

/// A file of snapshots, one per line after a line that says what it is.
#[derive(Debug)]
pub struct Recorder {
    file: BufWriter<File>,
}

impl Recorder {
    /// Makes a new file that only its owner may read: what a machine does is nobody else's business.
    ///
    /// An error where the file is there already: a recording is never overwritten.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = BufWriter::new(options.open(path)?);
        writeln!(file, "{HEADER}")?;
        file.flush()?;
        Ok(Self { file })
    }

    /// Appends a snapshot. Its numbers are written in full; those of more than fifteen digits may differ in the last one
    /// when they are read again. The line is handed to the system whole before this returns.
    pub fn write(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, snapshot)?;
        self.file.write_all(b"\n")?;
        self.file.flush()
    }
}
