//! The tables, and what must hold before a file is taken for a ledger.

use std::fmt::Write as _;
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

/// What a file is that was not finished.
pub(super) const INTERRUPTED: &str = "the ledger's creation was interrupted; create it again";

/// Makes a new database for the ledger `origin`, or finishes one whose creation was interrupted.
pub(super) fn create(path: &Path, origin: &str) -> Result<Connection, StoreError> {
    if let Some(kind) = path.parent().and_then(place::network_file_system) {
        return Err(unsuitable(
            path,
            format!("{kind} is a network file system, whose locks do not keep a ledger safe"),
        ));
    }
    // The file is created first, so that nobody else can ever read it.
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let created = options.open(path).and_then(|file| file.sync_all());
    created.map_err(|source| StoreError::File { path: path.display().to_string(), source })?;
    let connection = in_database(path, Connection::open_with_flags(path, flags(true)))?;
    let made = configure(&connection)
        .and_then(|()| connection.execute_batch("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE;"))
        .and_then(|()| fill(&connection, origin));
    if in_database(path, made)? {
        in_database(path, connection.execute_batch("COMMIT"))?;
        return Ok(connection);
    }
    Err(unsuitable(path, "there is a ledger already"))
}

/// Within a transaction: makes the tables where there are none. Says whether this is now the ledger `origin`, with no
/// entry yet.
fn fill(connection: &Connection, origin: &str) -> rusqlite::Result<bool> {
    if objects(connection)? > 0 {
        let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let version: i32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if (id, version) != (APPLICATION_ID, SCHEMA_VERSION) || super::append::count(connection)? > 0 {
            return Ok(false);
        }
        let found: String =
            connection.query_row("SELECT value FROM meta WHERE name = 'origin'", [], |row| row.get(0))?;
        return Ok(found == origin);
    }
    connection.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; {TABLES}"
    ))?;
    connection.execute("INSERT INTO meta (name, value) VALUES ('origin', ?1)", [origin]).map(|_| true)
}

/// Tables and the like.
fn objects(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
}

/// Whether nothing can be read because the folder cannot be written.
fn is_out_of_reach(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode;
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// Whether there are entries outside of the database itself.
fn has_log(path: &Path) -> bool {
    std::fs::metadata(path.with_extension("sqlite-wal")).is_ok_and(|log| log.len() > 0)
}

/// The file as SQLite takes it for one that nobody changes (SQLite, URI filenames, `immutable`).
fn address_of(path: &Path) -> String {
    let mut address = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => address.push(char::from(*byte)),
            other => write!(address, "%{other:02X}").expect("a string takes what is written"),
        }
    }
    address + "?immutable=1"
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
    // A creation that was interrupted while the file was given its form has left a journal, which only a writer may use.
    // A ledger itself has a write-ahead log instead.
    let is_writer = is_writer || real.with_extension("sqlite-journal").exists();
    let mut connection = in_database(path, Connection::open_with_flags(&real, flags(is_writer)))?;
    let ready = configure(&connection).and_then(|()| objects(&connection));
    if !is_writer && ready.as_ref().is_err_and(is_out_of_reach) && !has_log(&real) {
        // A read-only medium: readers cannot make the files that they share with a writer. There is no writer.
        let flags = flags(false) | OpenFlags::SQLITE_OPEN_URI;
        connection = in_database(path, Connection::open_with_flags(address_of(&real), flags))?;
        in_database(path, configure(&connection))?;
    } else {
        in_database(path, ready)?;
    }
    let number = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i32>(0));
    if in_database(path, number("application_id"))? != APPLICATION_ID {
        if in_database(path, objects(&connection))? == 0 {
            return Err(unsuitable(path, INTERRUPTED));
        }
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
