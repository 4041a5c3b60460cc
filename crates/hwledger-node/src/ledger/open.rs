//! A ledger that is open for appending, wherever it is kept.

use std::path::{Path, PathBuf};

use hwledger_ledger::event::Draft;
use hwledger_ledger::note::PublicKey;
use hwledger_ledger::store::postgres::{self, PostgresLedger};
use hwledger_ledger::store::{self, AnyReader, AppendError, Fault, Receipt, StoreError};

use super::LedgerError;
use super::place::owner;

/// Where it is kept.
#[derive(Debug)]
enum Kept {
    File(store::Ledger),
    Server(Box<PostgresLedger>),
}

/// A ledger that is open for appending. Dropping it signs what is not signed yet.
#[derive(Debug)]
pub struct Ledger {
    kept: Kept,
    folder: PathBuf,
}

/// The same call of either.
macro_rules! either {
    ($ledger:expr, $kept:ident => $call:expr) => {
        match $ledger {
            Kept::File($kept) => $call,
            Kept::Server($kept) => $call,
        }
    };
}

impl From<store::Ledger> for Ledger {
    fn from(ledger: store::Ledger) -> Self {
        let folder = ledger.folder().to_owned();
        Self { kept: Kept::File(ledger), folder }
    }
}

impl Ledger {
    pub(super) fn on_server(ledger: PostgresLedger, folder: PathBuf) -> Self {
        Self { kept: Kept::Server(Box::new(ledger)), folder }
    }

    /// The folder of what is kept beside the entries: data that events refer to, and projections. Of a ledger in a file it
    /// is that of the file.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The ledger's name.
    pub fn origin(&self) -> &str {
        either!(&self.kept, ledger => ledger.origin())
    }

    /// The keys that sign its checkpoints, as of opening it or of the last step of a rotation here; none where this machine
    /// leaves the signing to others.
    pub fn keys(&self) -> &[PublicKey] {
        either!(&self.kept, ledger => ledger.keys())
    }

    /// Why nothing is appended; none while everything is well.
    pub fn fault(&self) -> Option<Fault> {
        either!(&self.kept, ledger => ledger.fault())
    }

    /// A connection that reads.
    ///
    /// # Errors
    ///
    /// The store cannot be opened.
    pub fn reader(&self) -> Result<AnyReader, StoreError> {
        either!(&self.kept, ledger => ledger.reader().map(AnyReader::from))
    }

    /// Appends one event; when this returns it is durable and has its place.
    ///
    /// # Errors
    ///
    /// It was not appended, or nobody knows ([`AppendError::Unknown`]).
    pub fn append(&self, draft: &Draft) -> Result<Receipt, AppendError> {
        either!(&self.kept, ledger => ledger.append(draft))
    }

    /// Appends several events, in order and in as few transactions as possible. Each has its own answer.
    ///
    /// # Errors
    ///
    /// A draft is no event: then none is appended.
    pub fn append_all(&self, drafts: &[Draft]) -> Result<Vec<Result<Receipt, AppendError>>, AppendError> {
        either!(&self.kept, ledger => ledger.append_all(drafts))
    }

    /// The signed head of everything appended so far, signing it if need be.
    ///
    /// # Errors
    ///
    /// It cannot be signed, or must not be.
    pub fn checkpoint(&self) -> Result<String, StoreError> {
        either!(&self.kept, ledger => ledger.checkpoint())
    }

    /// Makes a new key, records it, and signs with both from now on.
    ///
    /// # Errors
    ///
    /// The ledger is read-only, its signer is not here, or the signer's folder cannot be written.
    pub fn rotate(&mut self, reason: &str) -> Result<PublicKey, StoreError> {
        either!(&mut self.kept, ledger => ledger.rotate(reason))
    }

    /// Lets the new key sign alone.
    ///
    /// # Errors
    ///
    /// No rotation is under way, or as for [`Ledger::rotate`].
    pub fn finish_rotation(&mut self) -> Result<PublicKey, StoreError> {
        either!(&mut self.kept, ledger => ledger.finish_rotation())
    }

    /// Drops the data of the first `end` entries. Their hashes, and so all proofs, stay. On a server it is the owner of the
    /// tables who does it.
    ///
    /// # Errors
    ///
    /// The store failed, or nobody said how to connect as the owner.
    pub fn prune(&self, end: u64) -> Result<(), LedgerError> {
        match &self.kept {
            Kept::File(ledger) => Ok(ledger.prune(end)?),
            Kept::Server(_) => Ok(postgres::prune(&owner()?.ok_or(LedgerError::NoOwner)?, end).map(drop)?),
        }
    }
}
