//! The keys under which entries are appended once, compared with the entries.
//!
//! No hash covers them: one that was changed would let an event in twice, or keep another out, and breaks no proof.

use rusqlite::{Connection, OptionalExtension as _};

use super::{Reader, StoreError, in_database};
use crate::event::Event;

/// Findings that are listed at most.
const FINDINGS_MAX: usize = 20;

/// What is wrong with the keys; at most twenty lines.
pub(super) fn findings(reader: &Reader, connection: &Connection) -> Result<Vec<String>, StoreError> {
    let size = reader.size()?;
    let path = reader.path();
    let mut found = Vec::new();
    let mut key = in_database(path, connection.prepare("SELECT content, position FROM once WHERE key = ?1"))?;
    reader.entries(0, size, |entry| {
        let index = entry.index;
        let Some(event) = entry.bytes.as_deref().and_then(|bytes| Event::parse(bytes).ok()) else {
            // Dropped, or damaged, which verification finds.
            return Ok(true);
        };
        let kept = key.query_row([&event.once().0], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)));
        let is_right = in_database(path, kept.optional())?.is_some_and(|(content, position)| {
            position.cast_unsigned() == index && event.content().is_ok_and(|hash| content == hash.0)
        });
        if !is_right {
            found.push(format!("the key of entry {index} is not kept, or for other content"));
        }
        Ok::<_, StoreError>(found.len() < FINDINGS_MAX)
    })?;
    let keys = connection.query_row("SELECT count(*) FROM once", [], |row| row.get::<_, i64>(0));
    let keys = in_database(path, keys)?.cast_unsigned();
    if keys != size && found.is_empty() {
        found.push(format!("{keys} keys are kept for {size} entries"));
    }
    Ok(found)
}
