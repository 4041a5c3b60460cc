//! Streams: how many events each has, and the last of them.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{Needs, Projection, Seen};

/// What is known of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub subject: String,
    /// How many events it has.
    pub events: u64,
    /// The entry of the last of them.
    pub last_entry: u64,
    /// The kind of the last of them.
    pub last_kind: String,
}

/// Streams by name, of events of every kind and version.
pub const STREAMS: Projection = Projection {
    name: "streams",
    version: 1,
    tables: "
CREATE TABLE streams (
    subject TEXT PRIMARY KEY, events INTEGER NOT NULL, last_entry INTEGER NOT NULL, last_kind TEXT NOT NULL
) STRICT, WITHOUT ROWID;
",
    needs: Needs::Envelope,
    apply,
    state: &["SELECT subject, events, last_entry, last_kind FROM streams ORDER BY subject"],
};

fn apply(connection: &Connection, seen: &Seen<'_>) -> rusqlite::Result<()> {
    let statement = "INSERT INTO streams (subject, events, last_entry, last_kind) VALUES (?1, 1, ?2, ?3)
                     ON CONFLICT (subject) DO UPDATE
                     SET events = events + 1, last_entry = excluded.last_entry, last_kind = excluded.last_kind";
    let row = (seen.subject, seen.index.cast_signed(), seen.kind);
    connection.prepare_cached(statement)?.execute(row).map(|_| ())
}

fn stream_of(row: &Row<'_>) -> rusqlite::Result<Stream> {
    Ok(Stream {
        subject: row.get(0)?,
        events: row.get::<_, i64>(1)?.cast_unsigned(),
        last_entry: row.get::<_, i64>(2)?.cast_unsigned(),
        last_kind: row.get(3)?,
    })
}

pub(super) fn one(connection: &Connection, subject: &str) -> rusqlite::Result<Option<Stream>> {
    let statement = "SELECT subject, events, last_entry, last_kind FROM streams WHERE subject = ?1";
    connection.prepare_cached(statement)?.query_row([subject], stream_of).optional()
}

pub(super) fn list(connection: &Connection, from: &str, limit: u64) -> rusqlite::Result<Vec<Stream>> {
    let statement = "SELECT subject, events, last_entry, last_kind FROM streams WHERE subject >= ?1
                     ORDER BY subject LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare_cached(statement)?.query_map((from, limit), stream_of)?.collect()
}
