//! Reading: entries, tiles, heads and proofs, beside a writer and without one.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::append::count;
use super::{StoreError, in_database, keys, schema};
use crate::hash::Hash;
use crate::merkle::{TileName, root_of};
use crate::proof_file::{ConsistencyFile, InclusionFile};
use crate::store::fault::fault_of;
use crate::store::{Entry, LedgerReader, tree};
use crate::verify::TakeEntry;

/// Entries that are read at once.
const PAGE: u64 = 1024;

/// A connection that only reads.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

pub(super) fn tile_in(connection: &Connection, name: TileName) -> rusqlite::Result<Option<Vec<u8>>> {
    let statement = "SELECT hashes FROM tiles WHERE level = ?1 AND position = ?2";
    let mut statement = connection.prepare_cached(statement)?;
    statement.query_row((name.level, name.index.cast_signed()), |row| row.get(0)).optional()
}

fn entry_of(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        index: row.get::<_, i64>(0)?.cast_unsigned(),
        bytes: row.get(1)?,
        kind: row.get(2)?,
        subject: row.get(3)?,
        version: row.get::<_, i64>(4)?.cast_unsigned(),
    })
}

impl Reader {
    /// Opens the database of a ledger for reading.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: path.to_owned(), connection: schema::open(path, false)? })
    }

    fn read<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        in_database(&self.path, result)
    }

    /// The ledger's name.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn origin(&self) -> Result<String, StoreError> {
        self.read(self.connection.query_row("SELECT value FROM meta WHERE name = 'origin'", [], |row| row.get(0)))
    }

    /// Entries.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn size(&self) -> Result<u64, StoreError> {
        self.read(count(&self.connection))
    }

    /// One entry.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn entry(&self, index: u64) -> Result<Entry, StoreError> {
        let statement = "SELECT position, bytes, kind, subject, version FROM entries WHERE position = ?1";
        let statement = self.connection.prepare_cached(statement);
        let entry = statement.and_then(|mut statement| statement.query_row([index.cast_signed()], entry_of).optional());
        let size = self.size()?;
        self.read(entry)?.ok_or(StoreError::NoEntry { index, size })
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
                         WHERE position >= ?1 AND position < ?2 ORDER BY position";
        let mut statement = self.read(self.connection.prepare_cached(statement))?;
        // Page by page, so that no reader holds the write-ahead log for as long as its caller takes.
        let mut from = start;
        while from < end {
            let to = end.min(from.saturating_add(PAGE));
            let mut rows = self.read(statement.query((from.cast_signed(), to.cast_signed())))?;
            while let Some(row) = self.read(rows.next())? {
                if !take(self.read(entry_of(row))?)? {
                    return Ok(());
                }
            }
            from = to;
        }
        Ok(())
    }

    /// Hands over the bytes of all entries below `end` in order; those that the damaged file does not give are left out.
    pub(crate) fn readable(&self, end: u64, take: &mut TakeEntry<'_>) -> Result<(), StoreError> {
        let mut from = 0;
        while from < end {
            let to = end.min(from + PAGE);
            let mut next = from;
            if let Err(error) = self.run(from..to, &mut next, take)? {
                if fault_of(&error).is_none() {
                    return self.read(Err(error));
                }
                for index in next..to {
                    // One by one: what lies on a damaged page is missing, which verification says.
                    let _ = self.run(index..index + 1, &mut 0, take)?;
                }
            }
            from = to;
        }
        Ok(())
    }

    /// Entries of a run, until the database fails; `next` is the first that was not handed over.
    fn run(
        &self,
        range: Range<u64>,
        next: &mut u64,
        take: &mut TakeEntry<'_>,
    ) -> Result<rusqlite::Result<()>, StoreError> {
        let statement = "SELECT position, bytes FROM entries WHERE position >= ?1 AND position < ?2 ORDER BY position";
        let mut statement = match self.connection.prepare_cached(statement) {
            Ok(statement) => statement,
            Err(error) => return Ok(Err(error)),
        };
        let mut rows = match statement.query((range.start.cast_signed(), range.end.cast_signed())) {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        loop {
            // No copy: a million entries pass here.
            let (index, bytes) = match rows.next() {
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
                Ok(Some(row)) => match (row.get::<_, i64>(0), row.get_ref(1)) {
                    (Ok(index), Ok(ValueRef::Blob(bytes) | ValueRef::Text(bytes))) => (index, Some(bytes)),
                    (Ok(index), Ok(ValueRef::Null)) => (index, None),
                    (Ok(_), Ok(_)) => return Ok(Err(rusqlite::Error::InvalidQuery)),
                    (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
                },
            };
            *next = index.cast_unsigned() + 1;
            take(index.cast_unsigned(), bytes)?;
        }
    }

    /// Every signed head as [`Reader::checkpoints`], with whatever bytes a damaged one has.
    pub(crate) fn readable_checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError> {
        let found = self.connection.prepare_cached("SELECT size, note FROM checkpoints ORDER BY size").and_then(
            |mut statement| {
                let rows = statement.query_map([], |row| {
                    let note = match row.get_ref(1)? {
                        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                        _ => String::new(),
                    };
                    Ok((row.get::<_, i64>(0)?.cast_unsigned(), note))
                })?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            },
        );
        self.read(found)
    }

    /// The events of one stream, in order, `limit` at most.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn stream(&self, subject: &str, limit: u64) -> Result<Vec<Entry>, StoreError> {
        let statement = "SELECT position, bytes, kind, subject, version FROM entries
                         WHERE subject = ?1 ORDER BY version LIMIT ?2";
        let statement = self.connection.prepare_cached(statement);
        let found = statement.and_then(|mut statement| {
            statement.query_map((subject, limit.cast_signed()), entry_of)?.collect::<rusqlite::Result<Vec<_>>>()
        });
        self.read(found)
    }

    /// The place of the event with this identity, searched from the end.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn find(&self, id: &str) -> Result<Option<u64>, StoreError> {
        let pattern = format!("%\"id\":\"{}\"%", id.chars().filter(char::is_ascii_hexdigit).collect::<String>());
        let statement = "SELECT position FROM entries WHERE CAST(bytes AS TEXT) LIKE ?1 ORDER BY position DESC LIMIT 1";
        let found = self.connection.query_row(statement, [pattern], |row| row.get::<_, i64>(0)).optional();
        Ok(self.read(found)?.map(i64::cast_unsigned))
    }

    /// The hashes of a tile; none where the tree has none there.
    ///
    /// # Errors
    ///
    /// They cannot be read, or are not a whole number of hashes.
    pub fn tile(&self, name: TileName) -> Result<Option<Vec<Hash>>, StoreError> {
        let Some(bytes) = self.read(tile_in(&self.connection, name))? else { return Ok(None) };
        tree::tile_of(name, &bytes).map(Some)
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
        let statement = self.connection.prepare_cached("SELECT size, note FROM checkpoints ORDER BY size");
        let found = statement.and_then(|mut statement| {
            let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        self.read(found)
    }

    /// The signed head of at least `size` entries that is nearest to it, or the last one without a size.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn checkpoint(&self, size: Option<u64>) -> Result<Option<(u64, String)>, StoreError> {
        let statement = match size {
            Some(_) => "SELECT size, note FROM checkpoints WHERE size >= ?1 ORDER BY size LIMIT 1",
            None => "SELECT size, note FROM checkpoints WHERE ?1 IS NULL ORDER BY size DESC LIMIT 1",
        };
        let row = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?));
        self.read(self.connection.query_row(statement, [size.map(u64::cast_signed)], row).optional())
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

    /// The database.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What SQLite itself finds wrong with the file, and which keys are not those of the entries: nothing, or one line per
    /// finding.
    ///
    /// # Errors
    ///
    /// The check cannot run.
    pub fn file_findings(&self) -> Result<Vec<String>, StoreError> {
        let statement = self.connection.prepare("PRAGMA integrity_check(20)");
        let found = statement.and_then(|mut statement| {
            statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
        });
        let mut found: Vec<String> = match found {
            // So damaged that the check itself ends.
            Err(error) if fault_of(&error).is_some() => vec![error.to_string()],
            found => self.read(found)?.into_iter().filter(|line| line != "ok").collect(),
        };
        if found.is_empty() {
            found = keys::findings(self, &self.connection)?;
        }
        Ok(found)
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
        self.file_findings()
    }
}
