//! The default store: one SQLite file, one writer at a time, any number of readers.
//!
//! | table | holds |
//! | --- | --- |
//! | `meta` | the ledger's name and public keys |
//! | `entries` | the bytes of each event under its index, and its place in its stream |
//! | `once` | for each idempotency key (hashed with its source) the entry and what it said |
//! | `tiles` | the Merkle tree in tiles of 256 hashes, complete and not |
//! | `checkpoints` | every signed head |

mod append;
mod keys;
mod place;
mod read;
mod schema;

pub use append::{Appender, IsCommitting};
pub use read::Reader;
pub use schema::{APPLICATION_ID, SCHEMA_VERSION};

use std::path::Path;

pub use super::Entry;
use super::StoreError;

/// The name of the database within a ledger's folder.
pub const FILE: &str = "ledger.sqlite";

/// Whether there is no ledger yet at `path`, or one whose creation was interrupted before its first entry.
pub(super) fn is_unfinished(path: &Path) -> Result<bool, StoreError> {
    if !path.try_exists().map_err(|source| StoreError::File { path: path.display().to_string(), source })? {
        return Ok(true);
    }
    match Reader::open(path) {
        Ok(reader) => Ok(reader.size()? == 0),
        Err(StoreError::Unsuitable { what, .. }) if what == schema::INTERRUPTED => Ok(true),
        Err(error) => Err(error),
    }
}

impl StoreError {
    /// There is no ledger at `path`, or one that has no entry yet.
    pub(super) fn unfinished(path: &Path) -> Self {
        let what = if path.exists() { schema::INTERRUPTED } else { "there is no ledger" };
        Self::Unsuitable { path: path.display().to_string(), what: what.to_owned() }
    }
}

/// A statement's result with the file that it was for.
fn in_database<T>(path: &Path, result: rusqlite::Result<T>) -> Result<T, StoreError> {
    result.map_err(|source| StoreError::Database { path: path.display().to_string(), source })
}
