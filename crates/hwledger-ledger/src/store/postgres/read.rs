//! Reading: entries, tiles, heads and proofs, from any process that can reach the server.

use std::cell::RefCell;
use std::ops::Range;

use ::postgres::types::{ToSql, Type};
use ::postgres::{Client, Row};

use super::{Address, StoreError, in_server, keys, schema};
use crate::hash::Hash;
use crate::merkle::{TileName, root_of};
use crate::proof_file::{ConsistencyFile, InclusionFile};
use crate::store::{Entry, LedgerReader, tree};
use crate::verify::{Source, TakeEntry};

/// Entries that are read at once.
pub(super) const PAGE: u64 = 1024;

/// Entries so far. Places have no gaps, so the last one tells.
pub(super) const SIZE: &str = "SELECT coalesce(max(position) + 1, 0) FROM entries";

/// A connection that only reads.
pub struct Reader {
    address: Address,
    client: RefCell<Client>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A number that is never negative.
pub(super) fn number(row: &Row, column: usize) -> Result<u64, ::postgres::Error> {
    row.try_get::<_, i64>(column).map(i64::cast_unsigned)
}

fn entry_of(row: &Row) -> Result<Entry, ::postgres::Error> {
    Ok(Entry {
        index: number(row, 0)?,
        bytes: row.try_get(1)?,
        kind: row.try_get(2)?,
        subject: row.try_get(3)?,
        version: number(row, 4)?,
    })
}

fn head_of(row: &Row) -> Result<(u64, String), ::postgres::Error> {
    Ok((number(row, 0)?, row.try_get(1)?))
}

impl Reader {
    /// Connects to the database of a ledger for reading.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or holds no ledger of this version.
    pub fn open(address: &Address) -> Result<Self, StoreError> {
        let mut client = address.connect_to_read()?;
        schema::check(address, &mut client)?;
        Ok(Self { address: address.clone(), client: RefCell::new(client) })
    }

    pub(super) fn rows<T>(
        &self,
        statement: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        read: impl FnMut(&Row) -> Result<T, ::postgres::Error>,
    ) -> Result<Vec<T>, StoreError> {
        // The connection is free again before any caller gets to see a row.
        let rows = self.client.borrow_mut().query_typed(statement, parameters);
        in_server(&self.address, rows.and_then(|rows| rows.iter().map(read).collect()))
    }

    fn first<T>(
        &self,
        statement: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        read: impl FnMut(&Row) -> Result<T, ::postgres::Error>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.rows(statement, parameters, read)?.into_iter().next())
    }

    /// Reads everything as it is at one moment, however many writers go on meanwhile: verification needs it, so that
    /// no head is longer than what it read before.
    ///
    /// # Errors
    ///
    /// The server failed, or those of `read`.
    pub fn at_one_moment<T>(&self, read: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        let begun = self.client.borrow_mut().batch_execute(begin);
        in_server(&self.address, begun)?;
        let answer = read(self);
        let ended = self.client.borrow_mut().batch_execute("ROLLBACK");
        answer.and_then(|answer| in_server(&self.address, ended).map(|()| answer))
    }

    /// The ledger's name.
    ///
    /// # Errors
    ///
    /// It cannot be read, or the ledger was not begun.
    pub fn origin(&self) -> Result<String, StoreError> {
        let found = self.first("SELECT value FROM meta WHERE name = 'origin'", &[], |row| row.try_get(0))?;
        let database = self.address.database().to_owned();
        found.ok_or(StoreError::NotBegun { database, has_tables: true })
    }

    /// Entries.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn size(&self) -> Result<u64, StoreError> {
        Ok(self.first(SIZE, &[], |row| number(row, 0))?.unwrap_or(0))
    }

    /// One entry.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn entry(&self, index: u64) -> Result<Entry, StoreError> {
        let statement = "SELECT position, bytes, kind, subject, version FROM entries WHERE position = $1";
        let entry = self.first(statement, &[(&index.cast_signed(), Type::INT8)], entry_of)?;
        let size = self.size()?;
        entry.ok_or(StoreError::NoEntry { index, size })
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
        mut take: impl FnMut(Entry) -> Result<bool, E>,
    ) -> Result<(), E> {
        let statement = "SELECT position, bytes, kind, subject, version FROM entries
                         WHERE position >= $1 AND position < $2 ORDER BY position";
        let mut from = start;
        while from < end {
            let to = end.min(from.saturating_add(PAGE));
            let (first, after) = (from.cast_signed(), to.cast_signed());
            for entry in self.rows(statement, &[(&first, Type::INT8), (&after, Type::INT8)], entry_of)? {
                if !take(entry)? {
                    return Ok(());
                }
            }
            from = to;
        }
        Ok(())
    }

    /// The events of one stream, in order, `limit` at most.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn stream(&self, subject: &str, limit: u64) -> Result<Vec<Entry>, StoreError> {
        let statement = "SELECT position, bytes, kind, subject, version FROM entries
                         WHERE subject = $1 ORDER BY version LIMIT $2";
        self.rows(statement, &[(&subject, Type::TEXT), (&limit.cast_signed(), Type::INT8)], entry_of)
    }

    /// The place of the event with this identity, searched from the end.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn find(&self, id: &str) -> Result<Option<u64>, StoreError> {
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).collect();
        let pattern = format!("\"id\":\"{digits}\"").into_bytes();
        let statement =
            "SELECT position FROM entries WHERE position($1 IN bytes) > 0 ORDER BY entries.position DESC LIMIT 1";
        self.first(statement, &[(&pattern, Type::BYTEA)], |row| number(row, 0))
    }

    /// The hashes of a tile; none where the tree has none there.
    ///
    /// # Errors
    ///
    /// They cannot be read, or are not a whole number of hashes.
    pub fn tile(&self, name: TileName) -> Result<Option<Vec<Hash>>, StoreError> {
        let statement = "SELECT hashes FROM tiles WHERE level = $1 AND position = $2";
        let (level, index) = (name.level.cast_signed(), name.index.cast_signed());
        let bytes =
            self.first(statement, &[(&level, Type::INT4), (&index, Type::INT8)], |row| row.try_get::<_, Vec<u8>>(0))?;
        bytes.map(|bytes| tree::tile_of(name, &bytes)).transpose()
    }

    /// The root when there were `size` entries.
    ///
    /// # Errors
    ///
    /// There never were so many, or the tree cannot be read.
    pub fn root_at(&self, size: u64) -> Result<Hash, StoreError> {
        root_of(size, tree::nodes(|name| self.tile(name)))
    }

    /// Every signed head, from the first.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError> {
        self.rows("SELECT size, note FROM checkpoints ORDER BY size", &[], head_of)
    }

    /// The signed head of at least `size` entries that is nearest to it, or the last one without a size.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn checkpoint(&self, size: Option<u64>) -> Result<Option<(u64, String)>, StoreError> {
        let Some(size) = size else {
            return self.first("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1", &[], head_of);
        };
        let statement = "SELECT size, note FROM checkpoints WHERE size >= $1 ORDER BY size LIMIT 1";
        self.first(statement, &[(&size.cast_signed(), Type::INT8)], head_of)
    }

    /// The proof that entry `index` is in the ledger, with the last signed head; none where no head has it yet.
    ///
    /// # Errors
    ///
    /// There is no such entry, or the tree cannot be read.
    pub fn prove(&self, index: u64) -> Result<Option<InclusionFile>, StoreError> {
        tree::prove(index, self.size()?, self.checkpoint(None)?, |name| self.tile(name))
    }

    /// The proof that the ledger of the last signed head begins with `old_size` entries of the same tree; none where no
    /// head is that long.
    ///
    /// # Errors
    ///
    /// The tree cannot be read.
    pub fn prove_consistency(&self, old_size: u64) -> Result<Option<ConsistencyFile>, StoreError> {
        tree::prove_consistency(old_size, self.checkpoint(None)?, |name| self.tile(name))
    }

    /// The epoch of the sequencer and who has it: a number that grows, and a text for people.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn sequencer(&self) -> Result<(u64, String), StoreError> {
        let found = self.first("SELECT epoch, holder FROM sequencer", &[], head_of)?;
        found.ok_or_else(|| StoreError::Inconsistent("the row of the sequencer is missing".to_owned()))
    }

    /// Events that were accepted and have no place yet.
    ///
    /// # Errors
    ///
    /// They cannot be counted.
    pub fn waiting(&self) -> Result<u64, StoreError> {
        Ok(self.first("SELECT count(*) FROM inbox", &[], |row| number(row, 0))?.unwrap_or(0))
    }
}

impl LedgerReader for Reader {
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
        keys::findings(self)
    }
}

impl Source for Reader {
    fn size(&self) -> Result<u64, StoreError> {
        Self::size(self)
    }

    fn entries(&self, take: &mut TakeEntry<'_>) -> Result<(), StoreError> {
        Self::entries(self, 0, self.size()?, |entry| {
            take(entry.index, entry.bytes.as_deref())?;
            Ok::<_, StoreError>(true)
        })
    }

    fn tile(&self, name: TileName) -> Result<Option<Vec<Hash>>, StoreError> {
        match Self::tile(self, name) {
            // A damaged tile is a finding, not the end of the verification.
            Err(StoreError::Inconsistent(_)) => Ok(None),
            other => other,
        }
    }

    fn checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError> {
        Self::checkpoints(self)
    }
}
