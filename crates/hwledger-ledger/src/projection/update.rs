//! Moving projections along the entries.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};
use sha2::{Digest as _, Sha256};

use super::file::{in_database, stale};
use super::{BATCH, Needs, Projection, ProjectionError, Projections, Seen, Status};
use crate::event::{Event, KINDS};
use crate::hash::Hash;
use crate::store::{Entry, LedgerReader};

/// Makes the tables of every projection, which has seen nothing yet.
pub(super) fn make_tables(connection: &mut Connection, projections: &Projections) -> Result<(), ProjectionError> {
    let path = projections.path();
    let transaction = in_database(&path, connection.transaction())?;
    for projection in projections.list {
        let statement = "INSERT INTO projections (name, version, cursor, root, lacking) VALUES (?1, ?2, 0, ?3, 0)";
        let row = (projection.name, projection.version.cast_signed(), Hash::of_empty_tree().0);
        let made = transaction.execute_batch(projection.tables).and_then(|()| transaction.execute(statement, row));
        in_database(&path, made)?;
    }
    in_database(&path, transaction.commit())
}

/// Where a projection is: how many entries it has seen, and the root over them.
struct Position {
    version: u64,
    cursor: u64,
    root: Option<Hash>,
    stopped: Option<String>,
    lacking: u64,
}

fn position(
    connection: &Connection,
    projections: &Projections,
    projection: &Projection,
) -> Result<Position, ProjectionError> {
    let path = projections.path();
    let statement = "SELECT version, cursor, root, stopped, lacking FROM projections WHERE name = ?1";
    let found = connection.prepare_cached(statement).and_then(|mut statement| {
        let row = statement.query_row([projection.name], |row| {
            Ok(Position {
                version: row.get::<_, i64>(0)?.cast_unsigned(),
                cursor: row.get::<_, i64>(1)?.cast_unsigned(),
                root: Hash::from_slice(&row.get::<_, Vec<u8>>(2)?),
                stopped: row.get(3)?,
                lacking: row.get::<_, i64>(4)?.cast_unsigned(),
            })
        });
        row.optional()
    });
    in_database(&path, found)?.ok_or_else(|| stale(&path, format!("it has no projection `{}`", projection.name)))
}

/// Checks that what was seen is what the ledger has, and that this code would have made of it what is there.
pub(super) fn check_history(
    connection: &Connection,
    projections: &Projections,
    reader: &impl LedgerReader,
) -> Result<(), ProjectionError> {
    let path = projections.path();
    let origin: rusqlite::Result<String> =
        connection.query_row("SELECT value FROM meta WHERE name = 'origin'", [], |row| row.get(0));
    let (origin, expected) = (in_database(&path, origin)?, reader.origin()?);
    if origin != expected {
        return Err(stale(&path, format!("it is of the ledger `{origin}`, not of `{expected}`")));
    }
    let size = reader.size()?;
    for projection in projections.list {
        let Position { version, cursor, root, .. } = position(connection, projections, projection)?;
        let name = projection.name;
        if version != projection.version {
            let what =
                format!("`{name}` was made by version {version} of its code, this is version {}", projection.version);
            return Err(stale(&path, what));
        }
        if cursor > size {
            return Err(stale(&path, format!("`{name}` has seen {cursor} entries, and the ledger has {size}")));
        }
        if root != Some(reader.root_at(cursor)?) {
            let what = format!("the first {cursor} entries of the ledger are not those that `{name}` has seen");
            return Err(stale(&path, what));
        }
    }
    Ok(())
}

/// Moves every projection over at most `entries` more entries, batch by batch.
pub(super) fn advance(
    connection: &mut Connection,
    projections: &Projections,
    reader: &impl LedgerReader,
    entries: u64,
) -> Result<(), ProjectionError> {
    let size = reader.size()?;
    for projection in projections.list {
        let mut cursor = position(connection, projections, projection)?.cursor;
        let end = size.min(cursor.saturating_add(entries));
        while cursor < end {
            let to = end.min(cursor + BATCH);
            let reached = batch(connection, projections, reader, projection, (cursor, to))?;
            cursor = reached;
            if reached < to {
                break;
            }
        }
    }
    Ok(())
}

/// Takes entries `from..to` into one projection and moves its cursor, in one transaction. Returns the cursor, which
/// stays before an entry that the projection cannot take.
fn batch(
    connection: &mut Connection,
    projections: &Projections,
    reader: &impl LedgerReader,
    projection: &Projection,
    (from, to): (u64, u64),
) -> Result<u64, ProjectionError> {
    let path = projections.path();
    let transaction = in_database(&path, connection.transaction_with_behavior(TransactionBehavior::Immediate))?;
    let mut cursor = from;
    let mut stopped = None;
    let mut lacking = 0_i64;
    reader.entries_in(from..to, |entry| {
        if entry.index != cursor {
            stopped = Some(format!("entry {cursor} is missing"));
            return Ok(false);
        }
        match take(&transaction, projection, &entry) {
            Ok(Taken::Whole) => cursor += 1,
            Ok(Taken::Lacking) => {
                cursor += 1;
                lacking += 1;
            }
            Err(Refused::Entry(what)) => {
                stopped = Some(what);
                return Ok(false);
            }
            Err(Refused::Database(error)) => return in_database(&path, Err(error)),
        }
        Ok(true)
    })?;
    if stopped.is_none() && cursor < to {
        stopped = Some(format!("entry {cursor} is missing"));
    }
    let root = reader.root_at(cursor)?;
    let statement = "UPDATE projections SET cursor = ?2, root = ?3, stopped = ?4, lacking = lacking + ?6
                     WHERE name = ?1 AND cursor = ?5";
    let row = (projection.name, cursor.cast_signed(), root.0, stopped, from.cast_signed(), lacking);
    if in_database(&path, transaction.execute(statement, row))? != 1 {
        return Err(stale(&path, format!("`{}` was moved by somebody else", projection.name)));
    }
    in_database(&path, transaction.commit())?;
    Ok(cursor)
}

/// Why an entry was not taken.
enum Refused {
    Entry(String),
    Database(rusqlite::Error),
}

/// What became of an entry.
enum Taken {
    /// What the projection needs of it was there.
    Whole,
    /// It needs its data, which were dropped.
    Lacking,
}

fn take(connection: &Connection, projection: &Projection, entry: &Entry) -> Result<Taken, Refused> {
    let index = entry.index;
    let unreadable = |error: &dyn std::fmt::Display| Refused::Entry(format!("entry {index} cannot be read: {error}"));
    let apply = |kind: &str, subject: &str, payload| {
        let applied = (projection.apply)(connection, &Seen { index, kind, subject, payload });
        applied.map(|()| Taken::Whole).map_err(Refused::Database)
    };
    let Some(bytes) = &entry.bytes else {
        // The data were dropped: what the store has it under is all there is, and says nothing to whoever needs data.
        return match projection.needs {
            Needs::Envelope => apply(&entry.kind, &entry.subject, None),
            Needs::Data(kinds) if kinds.contains(&entry.kind.as_str()) => Ok(Taken::Lacking),
            Needs::Data(_) => Ok(Taken::Whole),
        };
    };
    let event = Event::parse(bytes).map_err(|error| unreadable(&error))?;
    let kinds = match projection.needs {
        Needs::Envelope => return apply(&event.kind, &event.subject, None),
        Needs::Data(kinds) => kinds,
    };
    if !kinds.contains(&&*event.kind) {
        return Ok(Taken::Whole);
    }
    if let Some(payload) = event.payload().map_err(|error| unreadable(&error))? {
        return apply(&event.kind, &event.subject, Some(&payload));
    }
    let known = KINDS.iter().find(|kind| kind.name == event.kind).map_or(0, |kind| kind.version);
    let (kind, version) = (&event.kind, event.schema_version);
    let what = format!("entry {index} is version {version} of `{kind}`, and this program knows version {known}");
    Err(Refused::Entry(what))
}

/// How far every projection is.
pub(super) fn status(
    connection: &Connection,
    projections: &Projections,
    size: u64,
) -> Result<Vec<Status>, ProjectionError> {
    let status = |projection: &Projection| {
        let Position { version, cursor, stopped, lacking, .. } = position(connection, projections, projection)?;
        let name = projection.name.to_owned();
        Ok(Status { name, version, cursor, lag: size.saturating_sub(cursor), lacking, stopped })
    };
    projections.list.iter().map(status).collect()
}

/// SHA-256 over name, version, cursor and every value of the state, each after its type and length.
pub(super) fn digest(
    connection: &Connection,
    projections: &Projections,
    projection: &Projection,
) -> Result<Hash, ProjectionError> {
    let Position { version, cursor, .. } = position(connection, projections, projection)?;
    let mut hasher = Sha256::new();
    let mut add = |kind: u8, bytes: &[u8]| {
        hasher.update([kind]);
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    add(b't', projection.name.as_bytes());
    add(b'i', &version.to_be_bytes());
    add(b'i', &cursor.to_be_bytes());
    let mut read = |query: &str| -> rusqlite::Result<()> {
        let mut statement = connection.prepare(query)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        add(b'q', query.as_bytes());
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                match row.get_ref(column)? {
                    ValueRef::Null => add(b'n', &[]),
                    ValueRef::Integer(value) => add(b'i', &value.to_be_bytes()),
                    ValueRef::Real(value) => add(b'r', &value.to_be_bytes()),
                    ValueRef::Text(value) => add(b't', value),
                    ValueRef::Blob(value) => add(b'b', value),
                }
            }
        }
        Ok(())
    };
    for query in projection.state {
        in_database(&projections.path(), read(query))?;
    }
    Ok(Hash(hasher.finalize().into()))
}
