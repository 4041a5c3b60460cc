//! The projections' file: made, opened, replaced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::ProjectionError;

/// "hwlp" in the file's header.
const APPLICATION_ID: i32 = 0x6877_6c70;

/// The version of the tables that every projection shares.
const SCHEMA_VERSION: i32 = 2;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE projections (
    name TEXT PRIMARY KEY, version INTEGER NOT NULL, cursor INTEGER NOT NULL, root BLOB NOT NULL, stopped TEXT,
    lacking INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

pub(super) fn in_database<T>(path: &Path, result: rusqlite::Result<T>) -> Result<T, ProjectionError> {
    result.map_err(|source| ProjectionError::Database { path: path.display().to_string(), source })
}

fn in_file<T>(path: &Path, result: io::Result<T>) -> Result<T, ProjectionError> {
    result.map_err(|source| ProjectionError::File { path: path.display().to_string(), source })
}

pub(super) fn stale(path: &Path, what: impl Into<String>) -> ProjectionError {
    ProjectionError::Stale { path: path.display().to_string(), what: what.into() }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    // What a power cut takes from here, the ledger gives back.
    connection.execute_batch(
        "PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;
         PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}

/// The path as SQLite follows no link in it; the folder itself may be reached through one.
fn real(path: &Path) -> Result<PathBuf, ProjectionError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let folder = in_file(folder, folder.canonicalize())?;
    Ok(folder.join(path.file_name().unwrap_or_default()))
}

/// Makes an empty file for the ledger `origin`.
pub(super) fn create(path: &Path, origin: &str) -> Result<Connection, ProjectionError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    in_file(path, options.open(path))?;
    let made = connect(&real(path)?).and_then(|connection| {
        connection.execute_batch(&format!(
            "BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; {TABLES} COMMIT;"
        ))?;
        connection.execute("INSERT INTO meta (name, value) VALUES ('origin', ?1)", [origin])?;
        Ok(connection)
    });
    in_database(path, made)
}

/// Opens the file, if it is one of this program's.
pub(super) fn open(path: &Path) -> Result<Connection, ProjectionError> {
    if !path.is_file() {
        return Err(stale(path, "there are no projections yet"));
    }
    let connection = in_database(path, connect(&real(path)?))?;
    let number = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i32>(0));
    let found = number("application_id").and_then(|id| Ok((id, number("user_version")?)));
    if in_database(path, found)? != (APPLICATION_ID, SCHEMA_VERSION) {
        return Err(stale(path, "the file was not made by this version"));
    }
    Ok(connection)
}

/// Closes a file so that it is whole without its log.
pub(super) fn close(path: &Path, connection: Connection) -> Result<(), ProjectionError> {
    in_database(path, connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"))?;
    in_database(path, connection.close().map_err(|(_, error)| error))
}

/// Removes a file with what SQLite keeps beside it: itself first, so that it is never there without its log.
pub(super) fn remove(path: &Path) -> Result<(), ProjectionError> {
    for extension in ["sqlite", "sqlite-wal", "sqlite-shm", "sqlite-journal"] {
        let path = path.with_extension(extension);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => in_file(&path, result)?,
        }
    }
    Ok(())
}

/// Puts `shadow` where `path` is. Nobody may have either open.
pub(super) fn replace(shadow: &Path, path: &Path) -> Result<(), ProjectionError> {
    remove(path)?;
    in_file(path, fs::rename(shadow, path))
}

/// Whether a file is damaged.
pub(super) fn is_damage(error: &ProjectionError) -> bool {
    let ProjectionError::Database { source, .. } = error else { return false };
    matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// What is wrong with a file that can be made again.
///
/// # Errors
///
/// Making it again would not help.
pub(super) fn reason_to_rebuild(error: ProjectionError) -> Result<String, ProjectionError> {
    match error {
        ProjectionError::Stale { what, .. } => Ok(what),
        ProjectionError::Database { source, path } => match source.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::CannotOpen,
            ) => Err(ProjectionError::Database { path, source }),
            // Pages that make no sense, tables that are missing, values of another type.
            _ => Ok(source.to_string()),
        },
        other => Err(other),
    }
}
