//! What can go wrong with a store, and what a caller may conclude from it.

use crate::event::EventError;
use crate::note::NoteError;
use crate::signer::SignError;

/// Why a ledger only reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No room.
    #[error("the disk is full")]
    DiskFull,
    /// Writing or syncing failed.
    #[error("the storage failed: {0}")]
    Storage(String),
    /// The file is damaged.
    #[error("the ledger's file is damaged: {0}")]
    Corrupt(String),
    /// Entries, tree and checkpoints do not belong together.
    #[error("the ledger contradicts itself: {0}")]
    Inconsistent(String),
    /// It does not continue what was signed.
    #[error("{0}")]
    Refused(String),
    /// The thread that writes is gone, without having said why.
    #[error("what writes the ledger ended unexpectedly")]
    WriterEnded,
}

/// Why a store cannot be opened, read or created.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be used.
    #[error("{path}: {source}")]
    Database {
        /// Its file.
        path: String,
        /// Why.
        source: rusqlite::Error,
    },
    /// The server failed or cannot be reached.
    #[cfg(feature = "postgres")]
    #[error("{database}: {}", super::postgres::said(error))]
    Server {
        /// The database, without anything secret.
        database: String,
        /// Why.
        error: Box<::postgres::Error>,
    },
    /// The database has no tables of a ledger, or nothing in them.
    #[cfg(feature = "postgres")]
    #[error("there is no ledger in {database}")]
    NotBegun {
        /// The database, without anything secret.
        database: String,
        /// Whether the tables are there.
        has_tables: bool,
    },
    /// Another sequencer took over; nothing of this one's transaction was kept.
    #[cfg(feature = "postgres")]
    #[error("another sequencer took over from turn {epoch}")]
    Fenced {
        /// The turn that is over.
        epoch: u64,
    },
    /// Something else is in its place.
    #[error("{path}: {what}")]
    Unsuitable {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// What is stored contradicts itself.
    #[error("{0}")]
    Inconsistent(String),
    /// No such entry.
    #[error("the ledger has {size} entries; there is no entry {index}")]
    NoEntry {
        /// The entry asked for.
        index: u64,
        /// Entries of the ledger.
        size: u64,
    },
    /// The entry's data were dropped.
    #[error("the data of entry {0} were dropped under a retention policy; its hash and its proofs remain")]
    Pruned(u64),
    /// The ledger is read-only.
    #[error("the ledger is read-only: {0}")]
    ReadOnly(Fault),
    /// The signer cannot be used or refuses.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// An event cannot be made.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A key or note is malformed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Appending failed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Something else than appending was asked for, and no answer came. Doing it again does it once.
    #[error("it is not known whether it was done: {0}")]
    Unknown(Fault),
    /// A file beside the database cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Why an event was not appended, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The draft is no event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The same key came with other content.
    #[error("entry {index} was appended under the same key with other content")]
    Conflict {
        /// The entry that has the key.
        index: u64,
    },
    /// The stream has gone on.
    #[error("`{subject}` has {found} events, not {expected}")]
    Version {
        /// The stream.
        subject: String,
        /// Events that the caller expected.
        expected: u64,
        /// Events that there are.
        found: u64,
    },
    /// Only the ledger itself says this, in [`Ledger::rotate`](super::Ledger::rotate): whoever verifies it believes it.
    #[error("`KeyRotated` is appended where a key is rotated, and nowhere else")]
    Reserved,
    /// Too many callers wait. Nothing was appended; try again in a moment.
    #[error("the ledger is busy; try again in a moment")]
    Busy,
    /// Nothing is appended any more.
    #[error("the ledger is read-only: {0}")]
    ReadOnly(Fault),
    /// The storage failed while committing, or what writes ended before it answered. Try again with the same key once the
    /// ledger is open again: it will be there once, whether this attempt was durable or not.
    #[error("it is not known whether the event was appended: {0}")]
    Unknown(Fault),
    /// The ledger is being closed.
    #[error("the ledger is closed")]
    Closed,
}

impl StoreError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Sign(SignError::RolledBack { .. } | SignError::Forked { .. }) => {
                "compare it with a checkpoint held elsewhere (`ledger verify --checkpoint FILE`), then begin a new ledger \
                 that continues it (`ledger init --continues`)"
            }
            Self::ReadOnly(Fault::DiskFull) => "free some space and try again",
            Self::ReadOnly(_) | Self::Inconsistent(_) => "`ledger fsck` names what does not fit",
            Self::Append(error) => return error.hint(),
            Self::Unknown(_) => "try again: what was done already is not done twice",
            #[cfg(feature = "postgres")]
            Self::NotBegun { .. } => "`hwledger ledger init` begins one",
            #[cfg(feature = "postgres")]
            Self::Server { error, .. } => return super::postgres::hint(error).map(str::to_owned),
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl AppendError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::ReadOnly(Fault::DiskFull) | Self::Unknown(Fault::DiskFull) => "free some space and try again",
            Self::ReadOnly(Fault::WriterEnded) => "open the ledger again",
            Self::ReadOnly(_) => "`ledger fsck` names what does not fit",
            Self::Event(EventError::TooLong(_)) => "keep the data in a file and give its SHA-256",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// What a failed statement means for the ledger; none where another try may do.
pub(crate) fn fault_of(error: &rusqlite::Error) -> Option<Fault> {
    use rusqlite::ErrorCode;
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => None,
        Some(ErrorCode::DiskFull) => Some(Fault::DiskFull),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Some(Fault::Corrupt(text)),
        _ => Some(Fault::Storage(text)),
    }
}

/// What it means that a ledger cannot be appended to from the start.
///
/// # Errors
///
/// It cannot be read either.
pub(super) fn fault_of_opening(error: StoreError) -> Result<Fault, StoreError> {
    match error {
        StoreError::Inconsistent(what) => Ok(Fault::Inconsistent(what)),
        // Another process holds it for longer than anybody waits.
        StoreError::Database { source, path } => fault_of(&source).ok_or(StoreError::Database { path, source }),
        other => Err(other),
    }
}

/// What a signer that did not sign means for its ledger: nothing is appended that nobody can sign.
pub(super) fn fault_of_signing(error: &SignError) -> Fault {
    match error {
        SignError::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Fault::DiskFull,
        SignError::File { .. } => Fault::Storage(error.to_string()),
        _ => Fault::Refused(error.to_string()),
    }
}
