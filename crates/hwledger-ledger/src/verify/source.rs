//! What verification reads from.

use crate::hash::Hash;
use crate::merkle::TileName;
use crate::store::StoreError;
use crate::store::fault::fault_of;
use crate::store::sqlite::Reader;

/// What takes entries: the place, and the bytes or none where they were dropped.
pub type TakeEntry<'a> = dyn FnMut(u64, Option<&[u8]>) -> Result<(), StoreError> + 'a;

/// A record: a ledger's database, or what was exported from one.
pub trait Source {
    /// Entries.
    ///
    /// # Errors
    ///
    /// The record cannot be read.
    fn size(&self) -> Result<u64, StoreError>;

    /// Hands over all entries in order: the place and the bytes, or none where they were dropped.
    ///
    /// # Errors
    ///
    /// The record cannot be read, or those of `take`.
    fn entries(&self, take: &mut TakeEntry<'_>) -> Result<(), StoreError>;

    /// The hashes of a tile, as far as the record has them.
    ///
    /// # Errors
    ///
    /// The record cannot be read.
    fn tile(&self, name: TileName) -> Result<Option<Vec<Hash>>, StoreError>;

    /// SHA-256 over the canonical spelling of the schema that lies beside the entries for this version of a kind; none where
    /// none does.
    ///
    /// # Errors
    ///
    /// The record cannot be read.
    fn schema(&self, kind: &str, version: u64) -> Result<Option<Hash>, StoreError> {
        let _ = (kind, version);
        Ok(None)
    }

    /// Every signed head with the size that it is kept under.
    ///
    /// # Errors
    ///
    /// The record cannot be read.
    fn checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError>;
}

impl Source for Reader {
    fn size(&self) -> Result<u64, StoreError> {
        Self::size(self)
    }

    fn entries(&self, take: &mut TakeEntry<'_>) -> Result<(), StoreError> {
        self.readable(self.size()?, take)
    }

    fn tile(&self, name: TileName) -> Result<Option<Vec<Hash>>, StoreError> {
        match Self::tile(self, name) {
            // A damaged tile is a finding, not the end of the verification.
            Err(StoreError::Inconsistent(_)) => Ok(None),
            Err(StoreError::Database { source, .. }) if fault_of(&source).is_some() => Ok(None),
            other => other,
        }
    }

    fn checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError> {
        self.readable_checkpoints()
    }
}
