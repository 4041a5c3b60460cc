//! What must be true of a ledger whose process died.

use std::collections::BTreeMap;
use std::path::Path;

use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::event::Event;
use hwledger_ledger::hash::Hash;
use hwledger_ledger::merkle::Edge;
use hwledger_ledger::store::sqlite::Reader;
use hwledger_ledger::store::{Ledger, StoreError};
use hwledger_ledger::verify::{Outcome, VerifyOptions, verify};

use super::draft_of;

/// What was seen over all rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) rounds: u64,
    pub(crate) acknowledged: u64,
    pub(crate) checkpoints: u64,
    /// Killed before the ledger was there.
    pub(crate) during_creation: u64,
    /// Killed while opening a ledger.
    pub(crate) during_opening: u64,
    /// Killed between writing down what is signed and keeping the signed head.
    pub(crate) during_signing: u64,
    /// Entries that were durable though nobody had been told.
    pub(crate) durable_unacknowledged: u64,
    /// Events that were under way and were tried again: found, and appended anew.
    pub(crate) retried_found: u64,
    pub(crate) retried_new: u64,
    pub(crate) entries_checked: u64,
}

/// What is known of one ledger: by which key which entry was acknowledged, and which heads were handed out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    acknowledged: BTreeMap<String, u64>,
    heads: Vec<String>,
    is_created: bool,
}

impl Known {
    /// Entries that must be there.
    pub(crate) fn size_min(&self) -> u64 {
        self.acknowledged.values().max().map_or(0, |index| index + 1)
    }

    /// Takes note of what a process said.
    pub(crate) fn hear(&mut self, said: &[String], counts: &mut Counts) -> Result<(), String> {
        for line in said {
            match line.split_once(' ') {
                None if line == "O" => self.is_created = true,
                Some(("A", rest)) => {
                    let (index, key) = rest.split_once(' ').ok_or_else(|| format!("unclear: {line}"))?;
                    let index = index.parse().map_err(|_| format!("unclear: {line}"))?;
                    counts.acknowledged += 1;
                    if self.acknowledged.insert(key.to_owned(), index).is_some_and(|before| before != index) {
                        return Err(format!("`{key}` was acknowledged twice, under two indices"));
                    }
                }
                Some(("C", note)) => {
                    counts.checkpoints += 1;
                    self.heads.push(note.replace('|', "\n"));
                }
                Some(("E", why)) => return Err(format!("the process failed by itself: {why}")),
                // What a test harness says.
                _ => {}
            }
        }
        if said.iter().any(|line| line == "O") {
        } else if self.is_created {
            counts.during_opening += 1;
        } else {
            counts.during_creation += 1;
        }
        Ok(())
    }

    /// Opens the ledger again and checks everything; then tries again what was under way in `round`.
    pub(crate) fn check(&mut self, folder: &Path, round: u64, threads: u64, counts: &mut Counts) -> Result<(), String> {
        let places = super::places(folder);
        let text = |error: StoreError| error.to_string();
        let signed = std::fs::read_to_string(places.signer.join("last-signed")).ok();
        let signed = signed.and_then(|text| Checkpoint::parse_text(&text).ok()).map(|head| head.size);
        let ledger = match Ledger::open(&places) {
            Err(StoreError::Unsuitable { .. }) if !self.is_created => {
                Ledger::create(&places, "example.com/crash", None).map_err(|error| format!("created again: {error}"))?
            }
            opened => {
                let ledger = opened.map_err(text)?;
                let kept = ledger.reader().and_then(|reader| reader.checkpoint(None)).map_err(text)?;
                counts.during_signing += u64::from(signed > kept.map(|(size, _)| size));
                ledger
            }
        };
        self.is_created = true;
        if let Some(fault) = ledger.fault() {
            return Err(format!("opened with a fault: {fault}"));
        }
        let reader = ledger.reader().map_err(text)?;
        let found = self.check_entries(&reader, counts)?;
        self.check_levels(&reader, &ledger)?;
        for thread in 0..threads {
            let key = |number: u64| format!("{round} {thread} {number}");
            let is_known = |number: &u64| self.acknowledged.contains_key(&key(*number));
            let first = (0..u64::MAX).take_while(is_known).count() as u64;
            for number in first..first + 3 {
                let key = key(number);
                let receipt = ledger.append(&draft_of(&key)).map_err(|error| format!("tried again: {error}"))?;
                match found.get(&key) {
                    Some(index) if (receipt.index, receipt.is_new) == (*index, false) => counts.retried_found += 1,
                    None if receipt.is_new => counts.retried_new += 1,
                    other => return Err(format!("`{key}` tried again gave {receipt:?}, it was at {other:?}")),
                }
                self.acknowledged.insert(key, receipt.index);
            }
        }
        counts.rounds += 1;
        Ok(())
    }

    /// Every acknowledged event is there, under its index and as it was said, and every key once.
    fn check_entries(&self, reader: &Reader, counts: &mut Counts) -> Result<BTreeMap<String, u64>, String> {
        let size = reader.size().map_err(|error| error.to_string())?;
        let mut edge = Edge::default();
        let mut found = BTreeMap::new();
        let all = reader.entries(0, size, |entry| {
            let wrong = |what: &str| StoreError::Inconsistent(format!("entry {}: {what}", entry.index));
            if entry.index != edge.size() {
                return Err(wrong("the order has a gap before it"));
            }
            let bytes = entry.bytes.as_deref().ok_or_else(|| wrong("it has no bytes"))?;
            edge.push(Hash::of_leaf(bytes), |_, _| ());
            let event = Event::parse(bytes)?;
            let key = event.idempotency_key.as_deref().unwrap_or_default().to_owned();
            if entry.index > 0 {
                let draft = draft_of(&key);
                if event.payload()?.as_ref() != Some(&draft.payload) || event.subject != draft.subject {
                    return Err(wrong("it is not what was appended under its key"));
                }
                counts.durable_unacknowledged += u64::from(!self.acknowledged.contains_key(&key));
            }
            if found.insert(key, entry.index).is_some() {
                return Err(wrong("its key is there twice"));
            }
            Ok(true)
        });
        all.map_err(|error: StoreError| error.to_string())?;
        counts.entries_checked += size;
        if edge.size() != size || reader.root_at(size).map_err(|error| error.to_string())? != edge.root() {
            return Err(format!("the stored root of {size} entries is not the recomputed one"));
        }
        for (key, index) in &self.acknowledged {
            if found.get(key) != Some(index) {
                return Err(format!("`{key}` was acknowledged as {index} and is at {:?}", found.get(key)));
            }
        }
        Ok(found)
    }

    fn check_levels(&self, reader: &Reader, ledger: &Ledger) -> Result<(), String> {
        let held = self.heads.iter().map(|note| ("handed out".to_owned(), note.clone())).collect();
        let options = VerifyOptions { keys: ledger.keys().to_vec(), held, ..VerifyOptions::default() };
        let answer = verify(reader, &options).map_err(|error| error.to_string())?;
        let is_held = self.heads.is_empty() || answer.levels[3].outcome == Outcome::Holds;
        if answer.is_sound() && is_held {
            return Ok(());
        }
        Err(format!("verification: {answer:?}"))
    }
}
