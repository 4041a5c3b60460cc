//! The tables, and what must hold before a file is taken for a ledger.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{StoreError, in_database, place};

/// What says that the file is a ledger of ours: `hwlg`.
pub const APPLICATION_ID: i32 = 0x6877_6c67;

/// Version of the tables.
pub const SCHEMA_VERSION: i32 = 1;

/// The triggers guard against slips, not against people: whoever can write the file can drop them. What detects a
/// change is the tree.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entries (
    position INTEGER PRIMARY KEY,
    bytes BLOB,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_by_subject ON entries (subject, version);
CREATE TABLE once (key BLOB PRIMARY KEY, content BLOB NOT NULL, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE tiles (
    level INTEGER NOT NULL, position INTEGER NOT NULL, hashes BLOB NOT NULL, PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TRIGGER entries_stay BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;
CREATE TRIGGER entries_do_not_change BEFORE UPDATE ON entries
WHEN NEW.bytes IS NOT NULL OR NEW.position <> OLD.position OR NEW.kind <> OLD.kind OR NEW.subject <> OLD.subject
    OR NEW.version <> OLD.version
BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
CREATE TRIGGER checkpoints_stay BEFORE DELETE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints are never deleted'); END;
CREATE TRIGGER checkpoints_do_not_change BEFORE UPDATE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints are never changed'); END;
";

/// What every connection is set to.
///
/// `synchronous = FULL` because with less a power cut takes the last commits, and an acknowledged event would be gone;
/// no memory map, which spreads damage; `trusted_schema` and `cell_size_check` against files made by others.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;
         PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;",
    )
}

fn unsuitable(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Unsuitable { path: path.display().to_string(), what: what.into() }
}

/// Makes a new database for the ledger `origin`.
pub(super) fn create(path: &Path, origin: &str) -> Result<Connection, StoreError> {
    if path.exists() {
        return Err(unsuitable(path, "there is a ledger already"));
    }
    if let Some(kind) = path.parent().and_then(place::network_file_system) {
        return Err(unsuitable(
            path,
            format!("{kind} is a network file system, whose locks do not keep a ledger safe"),
        ));
    }
    // The file is created first, so that nobody else can ever read it.
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let created = options.open(path).and_then(|file| file.sync_all());
    created.map_err(|source| StoreError::File { path: path.display().to_string(), source })?;
    let connection = in_database(path, Connection::open_with_flags(path, flags(true)))?;
    let made = configure(&connection).and_then(|()| {
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};
             {TABLES} COMMIT;"
        ))?;
        connection.execute("INSERT INTO meta (name, value) VALUES ('origin', ?1)", [origin])
    });
    in_database(path, made)?;
    Ok(connection)
}

fn flags(is_writer: bool) -> OpenFlags {
    let access = if is_writer { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW
}

/// Opens the database of a ledger.
pub(super) fn open(path: &Path, is_writer: bool) -> Result<Connection, StoreError> {
    if !path.is_file() {
        return Err(unsuitable(path, "there is no ledger"));
    }
    // A link is refused by SQLite itself; the folder may be reached through one.
    let folder = path.parent().unwrap_or(Path::new("."));
    let folder =
        folder.canonicalize().map_err(|source| StoreError::File { path: folder.display().to_string(), source })?;
    let real = folder.join(path.file_name().unwrap_or_default());
    let connection = in_database(path, Connection::open_with_flags(real, flags(is_writer)))?;
    in_database(path, configure(&connection))?;
    let number = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i32>(0));
    if in_database(path, number("application_id"))? != APPLICATION_ID {
        return Err(unsuitable(path, "this is a database, and no ledger"));
    }
    match in_database(path, number("user_version"))? {
        SCHEMA_VERSION => Ok(connection),
        newer if newer > SCHEMA_VERSION => {
            Err(unsuitable(path, format!("version {newer} of the tables; this program knows {SCHEMA_VERSION}")))
        }
        other => Err(unsuitable(path, format!("version {other} of the tables never existed"))),
    }
}
