//! What a ledger holds, and what of it may go.

use std::collections::BTreeMap;
use std::path::Path;

use hwledger_ledger::event::{Event, Payload};
use hwledger_ledger::hash::Hash;
use hwledger_ledger::store::AnyReader;
use hwledger_ledger::store::Entry;

use super::super::LedgerError;
use super::Policy;
use crate::record::blob;

/// Data beside the ledger, as the entries tell of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Blob {
    bytes: u64,
    /// The last entry that refers to it, and when the youngest one was recorded; none where no entry does.
    reference: Option<(u64, u64)>,
}

/// A run as far as learning from it goes.
#[derive(Clone, Debug)]
struct Run {
    prediction: u64,
    inputs: Hash,
    /// The last measurement of it.
    measured: Option<u64>,
}

/// Data beside the ledger that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OldBlob {
    pub(super) hash: Hash,
    pub(super) bytes: u64,
    /// The last entry that refers to it.
    pub(super) entry: u64,
}

/// Data that would go if something had been learnt from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unlearnt {
    pub(super) run: String,
    pub(super) entry: u64,
    pub(super) hash: Hash,
}

/// What may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Entries, and how many of them the last signed head covers: no others may go.
    pub(super) size: u64,
    pub(super) signed: u64,
    /// The data of entries before this one may go, but for those that verification needs.
    pub(super) entries_end: u64,
    /// How many that are.
    pub(super) entries: u64,
    /// Blobs altogether.
    pub(super) blobs: u64,
    pub(super) old_blobs: Vec<OldBlob>,
    pub(super) unlearnt: Vec<Unlearnt>,
    /// Blobs that no entry refers to: nobody has signed that they belong to anything, so they stay.
    pub(super) unreferenced: u64,
}

/// The SHA-256 hashes that stand in an event's data.
fn hashes_in(data: &str) -> impl Iterator<Item = Hash> {
    data.split('"').filter(|text| text.len() == 2 * Hash::BYTES).filter_map(Hash::from_hexadecimal)
}

/// What one pass over the entries finds.
#[derive(Debug, Default)]
struct Pass {
    blobs: BTreeMap<Hash, Blob>,
    runs: BTreeMap<String, Run>,
    /// The last entry that says that something was learnt: from every run that was measured before it.
    learnt: Option<u64>,
    /// Entries that have data which may be dropped, each with the time at which it was recorded.
    times: Vec<(u64, u64)>,
    /// The first entry that cannot be read, behind which nothing may go.
    unreadable: Option<u64>,
}

impl Pass {
    fn take(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        let Some(bytes) = &entry.bytes else { return Ok(()) };
        let index = entry.index;
        let Ok(event) = Event::parse(bytes) else {
            self.unreadable.get_or_insert(index);
            return Ok(());
        };
        let time = event.recorded_at_ns.0;
        if !entry.is_kept() {
            self.times.push((index, time));
        }
        for hash in hashes_in(event.data.get()) {
            if let Some(blob) = self.blobs.get_mut(&hash) {
                let youngest = blob.reference.map_or(time, |(_, youngest)| youngest.max(time));
                blob.reference = Some((index, youngest));
            }
        }
        match &*event.kind {
            "CalibrationUpdated" => self.learnt = Some(index),
            "PredictionMade" | "EngineWindowRecorded" => match event.payload()? {
                Some(Payload::PredictionMade(made)) => {
                    let run = Run { prediction: index, inputs: made.inputs, measured: None };
                    self.runs.entry(made.run).or_insert(run);
                }
                Some(Payload::EngineWindowRecorded(window)) => {
                    if let Some(run) = window.run.and_then(|run| self.runs.get_mut(&run)) {
                        run.measured = Some(index);
                    }
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }
}

impl Survey {
    /// Looks at everything that the ledger in `folder` holds.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn of(folder: &Path, reader: &AnyReader, policy: &Policy, now_ns: u64) -> Result<Self, LedgerError> {
        let size = reader.size()?;
        let signed = reader.checkpoint(None)?.map_or(0, |(signed, _)| signed.min(size));
        let files = blob::list(folder).map_err(|(path, source)| LedgerError::File { path, source })?;
        let blobs = files.into_iter().map(|(hash, bytes)| (hash, Blob { bytes, reference: None })).collect();
        let mut pass = Pass { blobs, ..Pass::default() };
        reader.entries(0, size, |entry| pass.take(&entry).map(|()| true))?;
        Ok(Self::judge(pass, (size, signed), policy, now_ns))
    }

    fn judge(pass: Pass, (size, signed): (u64, u64), policy: &Policy, now_ns: u64) -> Self {
        let mut survey = Self { size, signed, blobs: pass.blobs.len() as u64, ..Self::default() };
        let is_unlearnt = |run: &Run| run.measured.is_some_and(|measured| pass.learnt.is_none_or(|at| at < measured));
        let unlearnt: BTreeMap<Hash, (&String, u64)> = pass
            .runs
            .iter()
            .filter(|(_, run)| is_unlearnt(run))
            .map(|(name, run)| (run.inputs, (name, run.prediction)))
            .collect();
        if let Some(cutoff) = policy.entries.cutoff_ns(now_ns) {
            // The first entry that stays; what nothing was learnt from yet does.
            let young = pass.times.iter().find(|(_, time)| *time >= cutoff).map_or(size, |(index, _)| *index);
            let needed = unlearnt.values().map(|(_, index)| *index).min().unwrap_or(size);
            let bound = young.min(needed).min(pass.unreadable.unwrap_or(size)).min(signed);
            let going: Vec<u64> = pass.times.iter().map(|(index, _)| *index).filter(|index| *index < bound).collect();
            // Just behind the last one that goes: what the ledger says of itself meanwhile changes nothing.
            survey.entries_end = going.last().map_or(0, |last| last + 1);
            survey.entries = going.len() as u64;
        }
        let cutoff = policy.blobs.cutoff_ns(now_ns);
        for (hash, Blob { bytes, reference }) in pass.blobs {
            let Some((entry, youngest)) = reference else {
                survey.unreferenced += 1;
                continue;
            };
            // Where an entry goes, what it refers to goes with it: nobody would find it any more.
            let is_old = cutoff.is_some_and(|cutoff| youngest < cutoff) || entry < survey.entries_end;
            if !is_old || entry >= signed {
                continue;
            }
            match unlearnt.get(&hash) {
                Some((run, entry)) => {
                    survey.unlearnt.push(Unlearnt { run: (*run).clone(), entry: *entry, hash });
                }
                None => survey.old_blobs.push(OldBlob { hash, bytes, entry }),
            }
        }
        survey.unlearnt.sort_by_key(|unlearnt| unlearnt.entry);
        survey
    }
}

/// The hashes that entries `start..end` refer to.
///
/// # Errors
///
/// The ledger cannot be read.
pub(super) fn references(reader: &AnyReader, start: u64, end: u64) -> Result<Vec<Hash>, LedgerError> {
    let mut found = Vec::new();
    reader.entries(start, end, |entry| {
        if let Some(event) = entry.bytes.as_deref().and_then(|bytes| Event::parse(bytes).ok()) {
            found.extend(hashes_in(event.data.get()));
        }
        Ok::<_, LedgerError>(true)
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hwledger_ledger::hash::Hash;

    use super::super::{Keep, Policy};
    use super::{Blob, Pass, Run, Survey};

    const DAY: u64 = 86_400 * 1_000_000_000;

    fn hash(name: &str) -> Hash {
        Hash::of(name.as_bytes())
    }

    /// Ten entries, one a day; blob `a` of entry 1, `b` of entries 2 and 7, `c` of none, `run` of the prediction of entry 4.
    fn pass() -> Pass {
        let blob = |reference: Option<u64>| Blob { bytes: 10, reference: reference.map(|index| (index, index * DAY)) };
        let blobs = [("a", Some(1)), ("b", Some(7)), ("c", None), ("run", Some(4))];
        let run = Run { prediction: 4, inputs: hash("run"), measured: Some(5) };
        Pass {
            blobs: blobs.into_iter().map(|(name, reference)| (hash(name), blob(reference))).collect(),
            runs: BTreeMap::from([("r".to_owned(), run)]),
            learnt: Some(6),
            times: (1..10).map(|index| (index, index * DAY)).collect(),
            unreadable: None,
        }
    }

    fn judge(pass: Pass, signed: u64, entries: Keep, blobs: Keep) -> (u64, u64, Vec<Hash>) {
        let survey = Survey::judge(pass, (10, signed), &Policy { entries, blobs, entry: Some(9) }, 10 * DAY);
        (survey.entries_end, survey.entries, survey.old_blobs.iter().map(|blob| blob.hash).collect())
    }

    fn sorted(names: &[&str]) -> Vec<Hash> {
        let mut hashes: Vec<Hash> = names.iter().map(|name| hash(name)).collect();
        hashes.sort();
        hashes
    }

    #[test]
    fn what_is_old_goes_and_what_somebody_young_refers_to_stays() {
        assert_eq!(judge(pass(), 10, Keep::Forever, Keep::Forever), (0, 0, vec![]));
        assert_eq!(judge(pass(), 10, Keep::Forever, Keep::Days(5)), (0, 0, sorted(&["a", "run"])));
        assert_eq!(judge(pass(), 10, Keep::Forever, Keep::Days(1)), (0, 0, sorted(&["a", "b", "run"])));
        // Entries take along what only they refer to.
        assert_eq!(judge(pass(), 10, Keep::Days(5), Keep::Forever), (5, 4, sorted(&["a", "run"])));
    }

    #[test]
    fn what_is_not_signed_or_not_learnt_from_stays() {
        assert_eq!(judge(pass(), 4, Keep::Days(0), Keep::Days(0)), (4, 3, sorted(&["a"])));
        assert_eq!(judge(pass(), 0, Keep::Days(0), Keep::Days(0)), (0, 0, vec![]));
        for learnt in [None, Some(4)] {
            let pass = Pass { learnt, ..pass() };
            assert_eq!(judge(pass, 10, Keep::Days(0), Keep::Days(0)), (4, 3, sorted(&["a", "b"])));
        }
        // Nothing waits for a run that was never measured.
        let mut open = Pass { learnt: None, ..pass() };
        open.runs.get_mut("r").unwrap().measured = None;
        assert_eq!(judge(open, 10, Keep::Days(0), Keep::Days(0)).1, 9);
        let damaged = Pass { unreadable: Some(3), ..pass() };
        assert_eq!(judge(damaged, 10, Keep::Days(0), Keep::Forever), (3, 2, sorted(&["a"])));
    }
}
