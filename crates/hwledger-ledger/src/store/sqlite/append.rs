//! Appending: one transaction per group of events.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use super::read::tile_in;
use super::{StoreError, in_database, schema};
use crate::event::Sealing;
use crate::hash::Hash;
use crate::merkle::{Edge, Perfect, TileName, perfect_in_tile, root_of};
use crate::store::entry::{KEPT_KIND, KEPT_SUBJECT};
use crate::store::tree::{self, bytes_of, hashes_of};
use crate::store::{AppendError, Receipt};

/// The only one that writes to a ledger's database within a process. Several processes take turns.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    connection: Connection,
    edge: Edge,
    files: Option<Files>,
}

impl Appender {
    /// Makes the database of a new ledger.
    ///
    /// # Errors
    ///
    /// There is one already, or it cannot be written.
    pub fn create(path: &Path, origin: &str) -> Result<Self, StoreError> {
        let connection = schema::create(path, origin)?;
        Ok(Self { path: path.to_owned(), connection, edge: Edge::default(), files: None })
    }

    /// Opens the database of a ledger for writing.
    ///
    /// # Errors
    ///
    /// It is none, or contradicts itself at its end.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = schema::open(path, true)?;
        let mut appender = Self { path: path.to_owned(), connection, edge: Edge::default(), files: None };
        appender.refresh()?;
        Ok(appender)
    }

    /// Entries, as of the last transaction.
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The root over them.
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// Whether a signed head of all entries is kept; where nobody can tell, there is none.
    pub(crate) fn is_signed(&self) -> bool {
        let last =
            self.connection.query_row("SELECT max(size) FROM checkpoints", [], |row| row.get::<_, Option<i64>>(0));
        last.is_ok_and(|last| last.is_some_and(|size| size.cast_unsigned() == self.size()))
    }

    /// Appends a group durably, each with its own answer.
    ///
    /// # Errors
    ///
    /// The database failed: nothing of the group was appended, unless committing itself failed, after which nobody knows.
    pub fn append(
        &mut self,
        group: &[Sealing],
    ) -> Result<Vec<Result<Receipt, AppendError>>, (rusqlite::Error, IsCommitting)> {
        let Self { path, connection, edge, files } = self;
        let before = |error| (error, IsCommitting(false));
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(before)?;
        let size = count(&transaction).map_err(before)?;
        let mut next = if size == edge.size() {
            edge.clone()
        } else {
            // Another process has appended since.
            load_edge(path, &transaction).map_err(|error| (as_database_error(error), IsCommitting(false)))?
        };
        let answers = append_in(&transaction, &mut next, group).map_err(before)?;
        transaction.commit().map_err(|error| (error, IsCommitting(true)))?;
        *edge = next;
        files_in_place(path, files).map_err(|error| (error, IsCommitting(true)))?;
        Ok(answers)
    }

    /// Takes note of what other processes have appended.
    ///
    /// # Errors
    ///
    /// The database cannot be read, or contradicts itself at its end.
    pub fn refresh(&mut self) -> Result<(), StoreError> {
        let Self { path, connection, edge, .. } = self;
        // One snapshot: nobody appends between counting and reading the tiles.
        let snapshot = in_database(path, connection.transaction())?;
        if edge.size() == 0 || in_database(path, count(&snapshot))? != edge.size() {
            *edge = load_edge(path, &snapshot)?;
        }
        Ok(())
    }

    /// Keeps a signed head.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn keep_checkpoint(&mut self, size: u64, note: &str) -> rusqlite::Result<()> {
        let statement = "INSERT OR IGNORE INTO checkpoints (size, note) VALUES (?1, ?2)";
        self.connection.prepare_cached(statement)?.execute((size.cast_signed(), note)).map(|_| ())
    }

    /// The root when there were `size` entries.
    ///
    /// # Errors
    ///
    /// There never were so many, or the tree cannot be read.
    pub fn root_at(&self, size: u64) -> Result<Hash, StoreError> {
        let mut read = |perfect: Perfect| {
            let tile = in_database(&self.path, tile_in(&self.connection, TileName::of(perfect)))?;
            let hash = tile.as_deref().map(hashes_of).and_then(|hashes| perfect_in_tile(perfect, &hashes));
            hash.ok_or_else(|| StoreError::Inconsistent(format!("the tree has no hash for {perfect:?}")))
        };
        if size == self.edge.size() { Ok(self.edge.root()) } else { root_of(size, &mut read) }
    }

    /// Moves what is in the write-ahead log to the database itself.
    pub(crate) fn fold_log(&self) {
        // Whoever still reads the log keeps it; the next one to close does it then.
        let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// Drops the data of entries `start..end`, but for those that verification needs; their hashes stay. Returns how many
    /// had data until now.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn prune(&mut self, start: u64, end: u64) -> rusqlite::Result<usize> {
        let statement = "UPDATE entries SET bytes = NULL WHERE position >= ?1 AND position < ?2
                         AND bytes IS NOT NULL AND subject <> ?3 AND kind <> ?4";
        self.connection.execute(statement, (start.cast_signed(), end.cast_signed(), KEPT_SUBJECT, KEPT_KIND))
    }
}

/// What tells the files of a ledger from others that were put in their places: device and number of each.
type Files = [(u64, u64); 2];

/// Checks that what was just committed lies in the files that the next one to open the ledger will find: this process
/// would go on writing to files that somebody has deleted or replaced.
fn files_in_place(path: &Path, known: &mut Option<Files>) -> rusqlite::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let identity = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino()));
        let found = identity(path).and_then(|file| Ok([file, identity(&path.with_extension("sqlite-wal"))?]));
        let is_same = found.is_ok_and(|found| *known.get_or_insert(found) == found);
        if !is_same {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
            let what = "the ledger's file or its write-ahead log was deleted or replaced while it was open";
            return Err(rusqlite::Error::SqliteFailure(code, Some(what.to_owned())));
        }
    }
    #[cfg(not(unix))]
    let _ = (path, known);
    Ok(())
}

/// Whether a failure came while committing, so that the outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsCommitting(pub bool);

/// An error of a store as one of the database: what is inconsistent is damage.
fn as_database_error(error: StoreError) -> rusqlite::Error {
    match error {
        StoreError::Database { source, .. } => source,
        other => corrupt(other.to_string()),
    }
}

fn corrupt(what: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(what))
}

pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    let last = "SELECT coalesce(max(position) + 1, 0) FROM entries";
    connection.prepare_cached(last)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// The edge of the stored tree, checked against the entries that its last tile stands for.
fn load_edge(path: &Path, connection: &Connection) -> Result<Edge, StoreError> {
    let size = in_database(path, count(connection))?;
    let tile = |name| {
        let bytes = in_database(path, tile_in(connection, name))?;
        Ok(bytes.as_deref().map(hashes_of).unwrap_or_default())
    };
    let statement = "SELECT bytes FROM entries WHERE position = ?1";
    tree::load_edge(&path.display().to_string(), size, tile, |position| {
        let found = connection
            .prepare_cached(statement)
            .and_then(|mut statement| statement.query_row([position.cast_signed()], |row| row.get(0)).optional());
        in_database(path, found)
    })
}

fn append_in(
    transaction: &Transaction<'_>,
    edge: &mut Edge,
    group: &[Sealing],
) -> rusqlite::Result<Vec<Result<Receipt, AppendError>>> {
    let mut answers = Vec::with_capacity(group.len());
    let mut full = Vec::new();
    let before = edge.size();
    {
        let mut known = transaction.prepare_cached("SELECT content, position FROM once WHERE key = ?1")?;
        let mut stream = transaction.prepare_cached("SELECT max(version) FROM entries WHERE subject = ?1")?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO entries (position, bytes, kind, subject, version) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let mut remember =
            transaction.prepare_cached("INSERT INTO once (key, content, position) VALUES (?1, ?2, ?3)")?;
        for sealing in group {
            let same = known.query_row([&sealing.once.0], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)));
            if let Some((content, position)) = same.optional()? {
                let index = position.cast_unsigned();
                if index >= edge.size() {
                    // Nobody is told that an event is there when it is not.
                    return Err(corrupt(format!("a key is kept for entry {index}, which is not there")));
                }
                answers.push(if content == sealing.content.0 {
                    Ok(Receipt { index, is_new: false })
                } else {
                    Err(AppendError::Conflict { index })
                });
                continue;
            }
            let last: Option<i64> = stream.query_row([&sealing.subject], |row| row.get(0))?;
            let version = match last {
                Some(last) => u64::try_from(last)
                    .ok()
                    .filter(|last| *last < i64::MAX.cast_unsigned())
                    .map(|last| last + 1)
                    .ok_or_else(|| corrupt(format!("`{}` has an entry of version {last}", sealing.subject)))?,
                None => 0,
            };
            if let Some(expected) = sealing.expected_version.filter(|expected| *expected != version) {
                answers.push(Err(AppendError::Version { subject: sealing.subject.clone(), expected, found: version }));
                continue;
            }
            let index = edge.size();
            let position = index.cast_signed();
            insert.execute((position, &sealing.bytes, sealing.kind, &sealing.subject, version.cast_signed()))?;
            remember.execute((&sealing.once.0, &sealing.content.0, position))?;
            edge.push(sealing.leaf, |name, hashes| full.push((name, bytes_of(hashes))));
            answers.push(Ok(Receipt { index, is_new: true }));
        }
    }
    if edge.size() > before {
        let statement = "INSERT INTO tiles (level, position, hashes) VALUES (?1, ?2, ?3)
                         ON CONFLICT DO UPDATE SET hashes = excluded.hashes";
        let mut keep = transaction.prepare_cached(statement)?;
        for (name, bytes) in &full {
            keep.execute((name.level, name.index.cast_signed(), bytes))?;
        }
        for (name, hashes) in edge.partial_tiles() {
            // A tile of a higher level only changes when one below is completed.
            if name.level == 0 || !full.is_empty() {
                keep.execute((name.level, name.index.cast_signed(), bytes_of(hashes)))?;
            }
        }
    }
    Ok(answers)
}
