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

/// A statement's result with the file that it was for.
fn in_database<T>(path: &Path, result: rusqlite::Result<T>) -> Result<T, StoreError> {
    result.map_err(|source| StoreError::Database { path: path.display().to_string(), source })
}
