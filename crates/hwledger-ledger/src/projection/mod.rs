//! Projections: what follows from the entries, kept so that it need not be read out of them again.
//!
//! They live in a file of their own, `projections.sqlite` beside the ledger, which holds nothing that the ledger does not
//! hold: lost, damaged, or of another ledger, it is made again. Each projection has a name, the version of its code, a
//! cursor (how many entries it has seen) and tables; a batch of entries and the cursor behind it are one transaction.
//! Nothing in them depends on a clock or on the order of a map, so that two machines that have seen the same entries
//! have the same [`Projections::digest`].

mod file;
mod runs;
mod streams;
mod update;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use runs::{RUNS, Run};
pub use streams::{STREAMS, Stream};

use crate::event::Payload;
use crate::hash::Hash;
use crate::store::{LedgerReader, StoreError};

/// The name of the projections' file within a ledger's folder.
pub const FILE: &str = "projections.sqlite";

/// Entries of one transaction at most.
const BATCH: u64 = 1024;

/// Every projection of this program.
pub const PROJECTIONS: &[Projection] = &[RUNS, STREAMS];

/// What a projection must know of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// That it is there: its kind and stream.
    Envelope,
    /// The data of events of these kinds; it sees no others.
    Data(&'static [&'static str]),
}

/// An entry as a projection sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its place.
    pub index: u64,
    /// The name of its kind.
    pub kind: &'a str,
    /// Its stream.
    pub subject: &'a str,
    /// Its data; none where [`Needs::Envelope`] is all that was asked for.
    pub payload: Option<&'a Payload>,
}

/// What computes one state from the entries.
#[derive(Clone, Copy, Debug)]
pub struct Projection {
    /// Its name.
    pub name: &'static str,
    /// The version of its code; where it is another one than in the file, the state is made again.
    pub version: u64,
    /// Statements that make its tables.
    pub tables: &'static str,
    /// What it reads.
    pub needs: Needs,
    /// Takes one entry into the tables.
    pub apply: fn(&Connection, &Seen<'_>) -> rusqlite::Result<()>,
    /// Queries that together give its whole state in one order.
    pub state: &'static [&'static str],
}

/// How far a projection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The projection.
    pub name: String,
    /// The version of its code.
    pub version: u64,
    /// Entries that it has seen.
    pub cursor: u64,
    /// Entries that it has not seen yet.
    pub lag: u64,
    /// Entries among those that it has seen whose data it needs, and which had been dropped before it saw them.
    pub lacking: u64,
    /// Why it goes no further; the entry at its cursor is the one that it cannot take.
    pub stopped: Option<String>,
}

/// What catching up did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Why all was made again; none where it went on from where it was.
    pub rebuilt: Option<String>,
    /// How far each projection is now.
    pub projections: Vec<Status>,
}

/// Why projections cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// A file beside them cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Their database cannot be used.
    #[error("{path}: {source}")]
    Database {
        /// The file.
        path: String,
        /// Why.
        source: rusqlite::Error,
    },
    /// Their file is missing or not what this program would make: catching up makes it again.
    #[error("{path}: {what}")]
    Stale {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// There is no projection of this name.
    #[error("there is no projection `{0}`")]
    Unknown(String),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] StoreError),
}

/// The projections beside a ledger. Any number of processes may catch up and read at once.
#[derive(Clone, Debug)]
pub struct Projections {
    folder: PathBuf,
    list: &'static [Projection],
}

impl Projections {
    /// Those of this program, in the folder of a ledger. Nothing is opened yet.
    pub fn new(folder: &Path) -> Self {
        Self::of(folder, PROJECTIONS)
    }

    /// Others.
    pub fn of(folder: &Path, list: &'static [Projection]) -> Self {
        Self { folder: folder.to_owned(), list }
    }

    /// Their file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Takes in all entries that the ledger has by now. Where the file is missing, damaged, made by other code or of
    /// another history, everything is made again in a second file, which then takes its place.
    ///
    /// # Errors
    ///
    /// The ledger cannot be read, or the folder cannot be written.
    pub fn catch_up(&self, reader: &impl LedgerReader) -> Result<Progress, ProjectionError> {
        self.advance(reader, u64::MAX)
    }

    /// The same for at most this many entries per projection; what is made again is made as a whole.
    ///
    /// # Errors
    ///
    /// Those of [`Projections::catch_up`].
    pub fn advance(&self, reader: &impl LedgerReader, entries: u64) -> Result<Progress, ProjectionError> {
        let _turn = self.lock("projections.writer", Hold::Alone)?;
        let advanced = {
            let _present = self.lock("projections.lock", Hold::Shared)?;
            file::open(&self.path()).and_then(|mut connection| {
                update::check_history(&connection, self, reader)?;
                update::advance(&mut connection, self, reader, entries)?;
                update::status(&connection, self, reader.size()?)
            })
        };
        let what = match advanced {
            Ok(projections) => return Ok(Progress { rebuilt: None, projections }),
            Err(error) => file::reason_to_rebuild(error)?,
        };
        let projections = self.rebuild_in_turn(reader)?;
        Ok(Progress { rebuilt: Some(what), projections })
    }

    /// Makes everything again from the first entry, beside what is there, and puts it in its place.
    ///
    /// # Errors
    ///
    /// Those of [`Projections::catch_up`].
    pub fn rebuild(&self, reader: &impl LedgerReader) -> Result<Vec<Status>, ProjectionError> {
        let _turn = self.lock("projections.writer", Hold::Alone)?;
        self.rebuild_in_turn(reader)
    }

    fn rebuild_in_turn(&self, reader: &impl LedgerReader) -> Result<Vec<Status>, ProjectionError> {
        let shadow = self.folder.join("projections-new.sqlite");
        file::remove(&shadow)?;
        let mut connection = file::create(&shadow, &reader.origin()?)?;
        update::make_tables(&mut connection, self)?;
        update::advance(&mut connection, self, reader, u64::MAX)?;
        let status = update::status(&connection, self, reader.size()?)?;
        file::close(&shadow, connection)?;
        // Nobody has the old file open now: SQLite finds a database's log by name, and must not find another's.
        let _alone = self.lock("projections.lock", Hold::Alone)?;
        file::replace(&shadow, &self.path())?;
        Ok(status)
    }

    /// How far each projection is, without moving it.
    ///
    /// # Errors
    ///
    /// The ledger or the projections cannot be read.
    pub fn lag(&self, reader: &impl LedgerReader) -> Result<Vec<Status>, ProjectionError> {
        self.read(|connection| update::status(connection, self, reader.size()?))
    }

    /// A hash over a projection's name, version, cursor and whole state.
    ///
    /// # Errors
    ///
    /// There is no such projection, or its state cannot be read.
    pub fn digest(&self, name: &str) -> Result<Hash, ProjectionError> {
        let projection = self.list.iter().find(|projection| projection.name == name);
        let projection = projection.ok_or_else(|| ProjectionError::Unknown(name.to_owned()))?;
        self.read(|connection| update::digest(connection, self, projection))
    }

    /// Runs in the order of their predictions, `limit` at most; those without a prediction come last.
    ///
    /// # Errors
    ///
    /// The projections cannot be read.
    pub fn runs(&self, limit: u64) -> Result<Vec<Run>, ProjectionError> {
        self.query(|connection| runs::list(connection, limit, false))
    }

    /// The run of this name; none where no entry tells of it.
    ///
    /// # Errors
    ///
    /// The projections cannot be read.
    pub fn run(&self, name: &str) -> Result<Option<Run>, ProjectionError> {
        self.query(|connection| runs::one(connection, name))
    }

    /// Those of them that were predicted and are not measured, or measured and not reconciled yet.
    ///
    /// # Errors
    ///
    /// The projections cannot be read.
    pub fn runs_to_reconcile(&self, limit: u64) -> Result<Vec<Run>, ProjectionError> {
        self.query(|connection| runs::list(connection, limit, true))
    }

    /// What is known of one stream; none where it has no entry.
    ///
    /// # Errors
    ///
    /// The projections cannot be read.
    pub fn stream(&self, subject: &str) -> Result<Option<Stream>, ProjectionError> {
        self.query(|connection| streams::one(connection, subject))
    }

    /// Streams in the order of their names from `subject` on, `limit` at most.
    ///
    /// # Errors
    ///
    /// The projections cannot be read.
    pub fn streams(&self, subject: &str, limit: u64) -> Result<Vec<Stream>, ProjectionError> {
        self.query(|connection| streams::list(connection, subject, limit))
    }

    fn query<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ProjectionError> {
        let path = self.path();
        self.read(|connection| file::in_database(&path, read(connection)))
    }

    /// Reads one moment of the state.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, ProjectionError>) -> Result<T, ProjectionError> {
        let path = self.path();
        let answer = {
            let _present = self.lock("projections.lock", Hold::Shared)?;
            file::open(&path).and_then(|mut connection| {
                let moment = file::in_database(&path, connection.transaction())?;
                read(&moment)
            })
        };
        if answer.as_ref().is_err_and(file::is_damage) {
            // Catching up might never touch the damaged page: what is not there is made again.
            let _alone = self.lock("projections.lock", Hold::Alone)?;
            file::remove(&path)?;
        }
        answer
    }

    /// Holds a lock until the answer is dropped.
    fn lock(&self, name: &str, hold: Hold) -> Result<File, ProjectionError> {
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let file = options.open(&path).and_then(|file| match hold {
            Hold::Alone => file.lock().map(|()| file),
            Hold::Shared => file.lock_shared().map(|()| file),
        });
        file.map_err(|source| ProjectionError::File { path: path.display().to_string(), source })
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug)]
enum Hold {
    Alone,
    Shared,
}
