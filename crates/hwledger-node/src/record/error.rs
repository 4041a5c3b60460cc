//! Why something is not recorded, compared or learnt.

use std::path::PathBuf;

use hwledger_ledger::hash::Hash;
use hwledger_ledger::store::{AppendError, StoreError};
use hwledger_ledger::vault::VaultError;

use crate::calibrate;
use crate::ledger::LedgerError;
use crate::planner::PlanFailure;

/// Why something is not recorded, compared or learnt.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Appending to it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The run cannot be planned, so nothing can be said before it.
    #[error(transparent)]
    Plan(#[from] PlanFailure),
    /// The run is none that plans know.
    #[error("nothing can be predicted: {0}")]
    Run(String),
    /// A file beside the ledger cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A blob is not what its name says.
    #[error("{}: this is not what entry {entry} refers to", path.display())]
    Blob {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: u64,
    },
    /// A blob is gone.
    #[error("the data of {hash}, which entry {entry} refers to, are gone")]
    NoBlob {
        /// Its hash.
        hash: Hash,
        /// The entry.
        entry: u64,
    },
    /// The store of pairs cannot be read or written.
    #[error(transparent)]
    Pairs(#[from] calibrate::StoreError),
    /// What names somebody cannot be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// No run has this name.
    #[error("the ledger has no prediction of a run `{0}`")]
    NoRun(String),
}

impl RecordError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ledger(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Append(error) => error.hint(),
            Self::Plan(failure) => failure.hint(),
            Self::Pairs(error) => error.hint(),
            _ => None,
        }
    }
}
