//! Cosignatures as a record keeps them: in its `WitnessCosigned` entries, because heads themselves never change.

use std::collections::BTreeMap;

use crate::event::{Event, Payload};
use crate::note::{MARK, NOTE_BYTES_MAX, Note, SIGNATURES_MAX};
use crate::verify::contains;

/// Cosignatures that are taken from a record at most.
const COSIGNATURES_MAX: usize = 1 << 16;

/// The cosignatures that a record tells of. Nobody vouches for them before [`super::cosigners`] has checked them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cosignatures {
    /// Signature lines by the size of the head that they are for.
    lines: BTreeMap<u64, Vec<String>>,
    count: usize,
}

impl Cosignatures {
    /// Takes note of an entry, if it is one of a cosignature.
    pub fn find(&mut self, bytes: &[u8]) {
        if self.count == COSIGNATURES_MAX || !contains(bytes, b"\"type\":\"WitnessCosigned\"") {
            return;
        }
        let payload = Event::parse(bytes).ok().and_then(|event| event.payload().ok().flatten());
        let Some(Payload::WitnessCosigned(cosigned)) = payload else { return };
        let Ok(key) = super::parse_key(&cosigned.witness) else { return };
        self.lines.entry(cosigned.size.0).or_default().push(format!("{MARK}{} {}\n", key.name(), cosigned.signature));
        self.count += 1;
    }

    /// The head of `size` entries with the cosignatures of it.
    pub fn on(&self, size: u64, note: &str) -> String {
        with_cosignatures(note, self.lines.get(&size).map_or(&[], Vec::as_slice))
    }

    /// The sizes of heads that have any, from the smallest.
    pub fn sizes(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.lines.keys().copied()
    }
}

/// A note with more signature lines; those that it has already, are malformed or too many are left out.
pub fn with_cosignatures(note: &str, lines: &[String]) -> String {
    let mut whole = note.to_owned();
    let Ok(parsed) = Note::parse(note) else { return whole };
    let mut count = parsed.signatures().count();
    for line in lines {
        let is_new = !note.lines().any(|known| known == line.trim_end_matches('\n'));
        let longer = format!("{whole}{line}");
        if is_new && count < SIGNATURES_MAX && longer.len() <= NOTE_BYTES_MAX && Note::parse(&longer).is_ok() {
            whole = longer;
            count += 1;
        }
    }
    whole
}
