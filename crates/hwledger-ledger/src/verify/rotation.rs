//! Which keys are trusted: those that were given, and those that the record introduces.
//!
//! A `KeyRotated` entry is a claim. It counts where a head that a trusted key has signed covers it:
//!
//! * signed by the old key, it introduces the new one: the old key has vouched for the entry;
//! * signed by the new key, it introduces the old one, but only for heads that are no longer than that one. What they
//!   say has been vouched for already, and an old key that fell into other hands can say nothing beyond it.

use super::heads::{Head, Heads};
use super::levels::contains;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::event::{Event, Payload};
use crate::hash::Hash;
use crate::note::PublicKey;

/// Changes of keys that are followed at most. Beyond, heads by newer keys are not believed.
const ROTATIONS_MAX: usize = 1024;

/// The source and the stream of entries that change keys.
pub(crate) const SOURCE: &str = "hwledger/ledger";
pub(crate) const SUBJECT: &str = "ledger";

/// An entry that says that another key signs.
#[derive(Debug)]
pub(super) struct Rotation {
    index: u64,
    old: PublicKey,
    new: PublicKey,
}

/// Takes note of an entry that changes keys, if its bytes are those whose hash is in the tree: what was altered is
/// vouched for by nobody.
pub(super) fn find(rotations: &mut Vec<Rotation>, index: u64, bytes: &[u8], leaf: Hash) {
    let is_rotation = rotations.len() < ROTATIONS_MAX && contains(bytes, b"KeyRotated\"");
    if !is_rotation || Hash::of_leaf(bytes) != leaf {
        return;
    }
    if let Some([old, new]) = named(bytes) {
        rotations.push(Rotation { index, old, new });
    }
}

/// The old and the new key that an entry names; none where it is no entry that changes keys.
pub(crate) fn named(bytes: &[u8]) -> Option<[PublicKey; 2]> {
    let event = Event::parse(bytes).ok()?;
    if event.source != SOURCE || event.subject != SUBJECT || event.agent.is_some() {
        return None;
    }
    let Ok(Some(Payload::KeyRotated(rotated))) = event.payload() else { return None };
    let keys = [PublicKey::parse(&rotated.old).ok()?, PublicKey::parse(&rotated.new).ok()?];
    (keys[0].name() == keys[1].name()).then_some(keys)
}

/// A key, and why it is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// Heads of more entries are not believed.
    pub size_max: u64,
    /// The entry that introduces it, and the key that vouches for the entry; none for those that were given.
    pub by: Option<(u64, PublicKey)>,
}

/// The keys that are trusted.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) keys: Vec<TrustedKey>,
}

impl Trust {
    pub(super) fn new(given: &[PublicKey]) -> Self {
        let trusted = |key: &PublicKey| TrustedKey { key: key.clone(), size_max: u64::MAX, by: None };
        Self { keys: given.iter().map(trusted).collect() }
    }

    /// Adds the keys that the record introduces, one after the other.
    pub(super) fn follow(&mut self, rotations: &[Rotation], heads: &Heads) {
        let mut next = 0;
        while let Some(TrustedKey { key, size_max, .. }) = self.keys.get(next).cloned() {
            next += 1;
            let is_named = rotations.iter().any(|rotation| rotation.old == key || rotation.new == key);
            let covered = if is_named { covered_by(&key, size_max, heads) } else { 0 };
            for rotation in rotations.iter().filter(|rotation| rotation.index < covered) {
                let (other, size_max) = if rotation.old == key {
                    (&rotation.new, size_max)
                } else if rotation.new == key {
                    (&rotation.old, covered)
                } else {
                    continue;
                };
                if self.keys.iter().all(|known| known.key != *other) {
                    let by = Some((rotation.index, key.clone()));
                    self.keys.push(TrustedKey { key: other.clone(), size_max, by });
                }
            }
        }
    }

    /// Checks a head's signatures.
    pub(super) fn verify(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        let all: Vec<PublicKey> = self.keys.iter().map(|trusted| trusted.key.clone()).collect();
        let checkpoint = Checkpoint::verify(note, &all)?;
        if self.keys.iter().all(|trusted| checkpoint.size <= trusted.size_max) {
            return Ok(checkpoint);
        }
        let is_valid = |trusted: &&TrustedKey| checkpoint.size <= trusted.size_max;
        let valid: Vec<PublicKey> = self.keys.iter().filter(is_valid).map(|trusted| trusted.key.clone()).collect();
        Checkpoint::verify(note, &valid)
    }

    /// What the record said of keys, as the end of a sentence.
    pub(super) fn introductions(&self) -> String {
        let introduced = self.keys.iter().filter_map(|trusted| {
            let (index, by) = trusted.by.as_ref()?;
            let until = match trusted.size_max {
                u64::MAX => String::new(),
                size => format!(" for heads of at most {size} entries"),
            };
            Some(format!("; entry {index}, signed by {:08x}, introduces {:08x}{until}", by.id(), trusted.key.id()))
        });
        introduced.collect()
    }
}

/// The size of the longest head, of at most `size_max` entries, that fits the record and has this key's signature.
fn covered_by(key: &PublicKey, size_max: u64, heads: &Heads) -> u64 {
    let longest = |heads: &[Head]| {
        let fitting = heads.iter().rev().filter_map(|head| Some((head.fitting_size()?, head)));
        let mut signed = fitting.filter(|(size, head)| {
            *size <= size_max && Checkpoint::verify(&head.note, std::slice::from_ref(key)).is_ok()
        });
        signed.next().map_or(0, |(size, _)| size)
    };
    longest(&heads.own).max(longest(&heads.held))
}
