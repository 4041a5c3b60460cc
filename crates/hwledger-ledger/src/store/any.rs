//! What the readers of all stores have in common, and one of them, whichever it is.

use std::ops::Range;

#[cfg(feature = "postgres")]
use super::postgres;
use super::{Entry, StoreError, sqlite};
use crate::hash::Hash;
use crate::merkle::TileName;
use crate::proof_file::{ConsistencyFile, InclusionFile};
use crate::verify::{Source, TakeEntry};

/// A store that is read: a record, and beside it the columns that its entries are kept under.
pub trait LedgerReader: Source {
    /// The ledger's name.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn origin(&self) -> Result<String, StoreError>;

    /// The root when there were `size` entries.
    ///
    /// # Errors
    ///
    /// There never were so many, or the tree cannot be read.
    fn root_at(&self, size: u64) -> Result<Hash, StoreError>;

    /// Hands over the entries of a range in order, until `take` says that it has enough (`false`).
    ///
    /// # Errors
    ///
    /// They cannot be read, or those of `take`.
    fn entries_in<E: From<StoreError>>(
        &self,
        range: Range<u64>,
        take: impl FnMut(Entry) -> Result<bool, E>,
    ) -> Result<(), E>;

    /// What is wrong with the store itself, and which keys are not those of the entries: nothing, or one line per finding.
    ///
    /// # Errors
    ///
    /// The check cannot run.
    fn findings(&self) -> Result<Vec<String>, StoreError>;
}

/// The reader of a ledger, wherever it is kept.
#[derive(Debug)]
pub enum AnyReader {
    /// In a file.
    Sqlite(sqlite::Reader),
    /// On a server.
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Reader>),
}

impl From<sqlite::Reader> for AnyReader {
    fn from(reader: sqlite::Reader) -> Self {
        Self::Sqlite(reader)
    }
}

#[cfg(feature = "postgres")]
impl From<postgres::Reader> for AnyReader {
    fn from(reader: postgres::Reader) -> Self {
        Self::Postgres(Box::new(reader))
    }
}

/// The same call of whichever reader it is.
macro_rules! whichever {
    ($any:expr, $reader:ident => $call:expr) => {
        match $any {
            AnyReader::Sqlite($reader) => $call,
            #[cfg(feature = "postgres")]
            AnyReader::Postgres(boxed) => {
                let $reader = boxed.as_ref();
                $call
            }
        }
    };
}

impl AnyReader {
    /// The ledger's name.
    ///
    /// # Errors
    ///
    /// It cannot be read, or no ledger was begun.
    pub fn origin(&self) -> Result<String, StoreError> {
        whichever!(self, reader => reader.origin())
    }

    /// Entries.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn size(&self) -> Result<u64, StoreError> {
        whichever!(self, reader => reader.size())
    }

    /// One entry.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn entry(&self, index: u64) -> Result<Entry, StoreError> {
        whichever!(self, reader => reader.entry(index))
    }

    /// Hands over entries `start..end` in order, until `take` says that it has enough (`false`).
    ///
    /// # Errors
    ///
    /// They cannot be read, or those of `take`.
    pub fn entries<E: From<StoreError>>(
        &self,
        start: u64,
        end: u64,
        take: impl FnMut(Entry) -> Result<bool, E>,
    ) -> Result<(), E> {
        whichever!(self, reader => reader.entries(start, end, take))
    }

    /// The events of one stream, in order, `limit` at most.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn stream(&self, subject: &str, limit: u64) -> Result<Vec<Entry>, StoreError> {
        whichever!(self, reader => reader.stream(subject, limit))
    }

    /// The place of the event with this identity, searched from the end.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn find(&self, id: &str) -> Result<Option<u64>, StoreError> {
        whichever!(self, reader => reader.find(id))
    }

    /// The root when there were `size` entries.
    ///
    /// # Errors
    ///
    /// There never were so many, or the tree cannot be read.
    pub fn root_at(&self, size: u64) -> Result<Hash, StoreError> {
        whichever!(self, reader => reader.root_at(size))
    }

    /// Every signed head, from the first.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError> {
        whichever!(self, reader => reader.checkpoints())
    }

    /// The signed head of at least `size` entries that is nearest to it, or the last one without a size.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn checkpoint(&self, size: Option<u64>) -> Result<Option<(u64, String)>, StoreError> {
        whichever!(self, reader => reader.checkpoint(size))
    }

    /// The proof that entry `index` is in the ledger, with the last signed head; none where no head has it yet.
    ///
    /// # Errors
    ///
    /// There is no such entry, or the tree cannot be read.
    pub fn prove(&self, index: u64) -> Result<Option<InclusionFile>, StoreError> {
        whichever!(self, reader => reader.prove(index))
    }

    /// The proof that the ledger of the last signed head begins with `old_size` entries of the same tree; none where no
    /// head is that long.
    ///
    /// # Errors
    ///
    /// The tree cannot be read.
    pub fn prove_consistency(&self, old_size: u64) -> Result<Option<ConsistencyFile>, StoreError> {
        whichever!(self, reader => reader.prove_consistency(old_size))
    }

    /// Reads a ledger on a server as it is at one moment, however many writers go on meanwhile. One in a file is read as
    /// it is at each step.
    ///
    /// # Errors
    ///
    /// The server failed, or those of `read`.
    pub fn at_one_moment<T>(&self, read: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(_) => read(self),
            #[cfg(feature = "postgres")]
            Self::Postgres(reader) => reader.at_one_moment(|_| read(self)),
        }
    }
}

impl Source for AnyReader {
    fn size(&self) -> Result<u64, StoreError> {
        whichever!(self, reader => Source::size(reader))
    }

    fn entries(&self, take: &mut TakeEntry<'_>) -> Result<(), StoreError> {
        whichever!(self, reader => Source::entries(reader, take))
    }

    fn tile(&self, name: TileName) -> Result<Option<Vec<Hash>>, StoreError> {
        whichever!(self, reader => Source::tile(reader, name))
    }

    fn checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError> {
        whichever!(self, reader => Source::checkpoints(reader))
    }
}

impl LedgerReader for AnyReader {
    fn origin(&self) -> Result<String, StoreError> {
        Self::origin(self)
    }

    fn root_at(&self, size: u64) -> Result<Hash, StoreError> {
        Self::root_at(self, size)
    }

    fn entries_in<E: From<StoreError>>(
        &self,
        range: Range<u64>,
        take: impl FnMut(Entry) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.entries(range.start, range.end, take)
    }

    fn findings(&self) -> Result<Vec<String>, StoreError> {
        whichever!(self, reader => reader.findings())
    }
}
