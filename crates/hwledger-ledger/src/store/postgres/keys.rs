//! The keys under which entries are appended once, compared with the entries.
//!
//! No hash covers them: one that was changed would let an event in twice, or keep another out, and breaks no proof.

use std::collections::HashMap;

use ::postgres::types::Type;

use super::read::{PAGE, number};
use super::{Reader, StoreError};
use crate::event::Event;
use crate::hash::Hash;

/// Findings that are listed at most.
const FINDINGS_MAX: usize = 20;

/// What is kept under the place of an entry: key, content and leaf.
type Kept = (u64, [Vec<u8>; 3]);

/// What is wrong with the keys; at most twenty lines.
pub(super) fn findings(reader: &Reader) -> Result<Vec<String>, StoreError> {
    let size = reader.size()?;
    let statement = "SELECT position, key, content, leaf FROM once WHERE position >= $1 AND position < $2";
    let mut found = Vec::new();
    let mut from = 0;
    while from < size && found.len() < FINDINGS_MAX {
        let to = size.min(from + PAGE);
        let range = [(&from.cast_signed() as _, Type::INT8), (&to.cast_signed() as _, Type::INT8)];
        let kept: HashMap<u64, [Vec<u8>; 3]> = reader
            .rows::<Kept>(statement, &range, |row| {
                Ok((number(row, 0)?, [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?]))
            })?
            .into_iter()
            .collect();
        reader.entries(from, to, |entry| {
            let index = entry.index;
            let Some(bytes) = &entry.bytes else { return Ok(true) };
            // What cannot be read is damaged, which verification finds.
            let Ok(event) = Event::parse(bytes) else { return Ok(true) };
            let is_right = kept.get(&index).is_some_and(|[key, content, leaf]| {
                *key == event.once().0
                    && *leaf == Hash::of_leaf(bytes).0
                    && event.content().is_ok_and(|hash| *content == hash.0)
            });
            if !is_right {
                found.push(format!("the key of entry {index} is not kept, or for other content"));
            }
            Ok::<_, StoreError>(found.len() < FINDINGS_MAX)
        })?;
        from = to;
    }
    let keys = reader.rows("SELECT count(*) FROM once", &[], |row| number(row, 0))?.pop().unwrap_or(0);
    if keys != size && found.is_empty() {
        found.push(format!("{keys} keys are kept for {size} entries"));
    }
    Ok(found)
}
