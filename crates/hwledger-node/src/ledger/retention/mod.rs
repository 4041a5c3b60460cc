//! Retention: data that are old enough may go; what was hashed, signed and proved stays provable.
//!
//! A policy stands in the record before anything goes under it, and `RetentionApplied`, signed, says what goes before it
//! does. Only what a signed head covers goes. Every step can be done again:
//!
//! 1. the policy is in the record, and a head covers it;
//! 2. `RetentionApplied` is in the record, with the root before, and a head covers it;
//! 3. blobs are deleted;
//! 4. the data of entries are deleted.

mod policy;
mod survey;

use hwledger_ledger::event::{Count, Draft, Payload, RetentionApplied};
use hwledger_ledger::hash::Hash;
use hwledger_ledger::store::{AnyReader, AppendError, clock_ns};
use serde::Serialize;

pub use policy::{Keep, Policy};
use survey::{Survey, references};

use super::own::{SOURCE, SUBJECT, own_events};
use super::place::reader;
use super::{Ledger, LedgerError, LedgerOptions, open};
use crate::record::blob;

/// What the policies of `RetentionApplied` events begin with, by what they are for.
const ENTRIES: &str = "entries ";
const BLOBS: &str = hwledger_ledger::verify::BLOBS_POLICY;

/// Data beside the ledger that nothing was learnt from yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeededBlob {
    /// The run that it was for.
    pub run: String,
    /// The entry of its prediction.
    pub entry: u64,
    /// Its hash.
    pub blob: Hash,
}

/// What a policy lets go, and what was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetentionAnswer {
    /// `hwledger.ledger-retention/1`.
    pub schema: &'static str,
    /// The policy.
    pub policy: Policy,
    /// Whether what follows was dropped; otherwise it would be.
    pub is_applied: bool,
    /// Entries of the ledger.
    pub size: u64,
    /// Entries that the last signed head covers: no others go.
    pub signed: u64,
    /// Entries that lose their data.
    pub entries: u64,
    /// They come before this one.
    pub entries_end: u64,
    /// Blobs altogether.
    pub blobs: u64,
    /// Blobs that go, by hash.
    pub old_blobs: Vec<Hash>,
    /// Their bytes.
    pub old_blobs_bytes: u64,
    /// Blobs that stay, although they are old, because nothing was learnt from their runs yet.
    pub needed: Vec<NeededBlob>,
    /// Blobs that stay because no entry refers to them.
    pub unreferenced: u64,
    /// The `RetentionApplied` entries that say what was dropped.
    pub said_in: Vec<u64>,
}

fn answer(policy: Policy, survey: &Survey, said_in: Option<Vec<u64>>) -> RetentionAnswer {
    let needed =
        |needed: &survey::Unlearnt| NeededBlob { run: needed.run.clone(), entry: needed.entry, blob: needed.hash };
    RetentionAnswer {
        schema: "hwledger.ledger-retention/1",
        policy,
        is_applied: said_in.is_some(),
        size: survey.size,
        signed: survey.signed,
        entries: survey.entries,
        entries_end: survey.entries_end,
        blobs: survey.blobs,
        old_blobs: survey.old_blobs.iter().map(|blob| blob.hash).collect(),
        old_blobs_bytes: survey.old_blobs.iter().map(|blob| blob.bytes).sum(),
        needed: survey.unlearnt.iter().map(needed).collect(),
        unreferenced: survey.unreferenced,
        said_in: said_in.unwrap_or_default(),
    }
}

/// The policy of a ledger, and what would go under it. Nothing is changed.
///
/// # Errors
///
/// There is no ledger, or it cannot be read.
pub fn retention(options: &LedgerOptions) -> Result<RetentionAnswer, LedgerError> {
    let (folder, reader) = reader(options)?;
    let policy = Policy::read(&reader)?;
    Ok(answer(policy, &Survey::of(&folder, &reader, &policy, clock_ns())?, None))
}

/// Records for how long data are kept, and signs it; what is not given stays as it is. Nothing is dropped.
///
/// # Errors
///
/// There is no ledger, or it cannot be appended to.
pub fn set_retention(
    options: &LedgerOptions,
    entries: Option<Keep>,
    blobs: Option<Keep>,
) -> Result<RetentionAnswer, LedgerError> {
    let ledger = open(options)?;
    let old = Policy::read(&ledger.reader()?)?;
    let new = Policy { entries: entries.unwrap_or(old.entries), blobs: blobs.unwrap_or(old.blobs), entry: None };
    for result in ledger.append_all(&new.drafts(&old))? {
        result?;
    }
    ledger.checkpoint()?;
    drop(ledger);
    retention(options)
}

/// Drops what the policy in the record lets go.
///
/// # Errors
///
/// There is no ledger, no policy in its record, it must not be signed, or files cannot be deleted. What was done stays
/// done, and doing it again does the rest.
pub fn apply_retention(options: &LedgerOptions) -> Result<RetentionAnswer, LedgerError> {
    let ledger = open(options)?;
    let policy = Policy::read(&ledger.reader()?)?;
    if policy.entry.is_none() {
        return Err(LedgerError::NoPolicy);
    }
    // The policy itself is signed before anything goes under it.
    ledger.checkpoint()?;
    let survey = Survey::of(ledger.folder(), &ledger.reader()?, &policy, clock_ns())?;
    let said_in = announce(&ledger, &policy, &survey)?;
    drop_data(&ledger, &survey)?;
    Ok(answer(policy, &survey, Some(said_in)))
}

/// Says in the record, and signs, what will be dropped.
fn announce(ledger: &Ledger, policy: &Policy, survey: &Survey) -> Result<Vec<u64>, LedgerError> {
    let root_before = ledger.reader()?.root_at(survey.signed)?;
    let last_blob = survey.old_blobs.iter().map(|blob| blob.entry).max();
    let mut said_in = Vec::new();
    let parts = [
        (BLOBS, policy.blobs, last_blob.map(|entry| entry + 1)),
        (ENTRIES, policy.entries, (survey.entries > 0).then_some(survey.entries_end)),
    ];
    for (what, keep, end) in parts {
        let Some(end) = end else { continue };
        let (start, policy_text) = (Count(0), format!("{what}{keep}"));
        let key = format!("retention {policy_text} {} {end}", policy.entry.unwrap_or_default());
        let applied = RetentionApplied { start, end: Count(end), policy: policy_text, root_before };
        said_in.push(match ledger.append(&Draft::new(SOURCE, SUBJECT, applied).once(key)) {
            Ok(receipt) => receipt.index,
            // An attempt that was interrupted has said it, with the root of then.
            Err(AppendError::Conflict { index }) => index,
            Err(error) => return Err(error.into()),
        });
    }
    ledger.checkpoint()?;
    Ok(said_in)
}

/// Deletes what was announced.
fn drop_data(ledger: &Ledger, survey: &Survey) -> Result<(), LedgerError> {
    let reader = ledger.reader()?;
    // Somebody may have recorded the same bytes again meanwhile.
    let since = references(&reader, survey.size, reader.size()?)?;
    let old: Vec<Hash> = survey.old_blobs.iter().map(|blob| blob.hash).filter(|hash| !since.contains(hash)).collect();
    blob::delete(ledger.folder(), &old).map_err(|(path, source)| LedgerError::File { path, source })?;
    if survey.entries > 0 {
        ledger.prune(survey.entries_end)?;
    }
    Ok(())
}

/// The last entry that says that data were dropped: those of entry `index`, or what it refers to.
pub(super) fn dropped_by(reader: &AnyReader, index: u64, is_blob: bool) -> Result<Option<u64>, LedgerError> {
    let says = |(place, payload): (u64, Payload)| match payload {
        Payload::RetentionApplied(applied) => {
            let covers = (applied.start.0..applied.end.0).contains(&index);
            (covers && applied.policy.starts_with(BLOBS) == is_blob).then_some(place)
        }
        _ => None,
    };
    Ok(own_events(reader)?.into_iter().filter_map(says).next_back())
}

#[cfg(test)]
mod tests {
    use hwledger_ledger::event::{Count, Draft, EngineWindowRecorded};
    use hwledger_ledger::hash::Hash;
    use hwledger_ledger::store::{self, clock_ns};
    use hwledger_ledger::verify::{VerifyOptions, verify};

    use super::survey::Survey;
    use super::{Keep, Ledger, LedgerError, Policy, announce, apply_retention, retention, set_retention};
    use crate::ledger::temporary::Temporary;
    use crate::record::blob;

    fn window(raw: Hash, number: u64) -> Draft {
        let (start_ns, end_ns, measures) = (Count(number), Count(number + 1), Vec::new());
        let engine = "hwledger".to_owned();
        let raw = Some(raw);
        let recorded =
            EngineWindowRecorded { run: None, engine, engine_version: None, start_ns, end_ns, measures, raw };
        Draft::new("test", "run/none", recorded)
    }

    /// Whether the blob is there, and the entry has its data.
    fn state(place: &Temporary, raw: Hash, entry: u64) -> (bool, bool) {
        let ledger = Ledger::from(store::Ledger::open(&place.places()).unwrap());
        let has_data = ledger.reader().unwrap().entry(entry).unwrap().bytes.is_some();
        (blob::bytes_of(ledger.folder(), raw).is_some(), has_data)
    }

    #[test]
    fn dropping_that_was_interrupted_is_gone_on_with() {
        let place = Temporary::new("retention-interrupted");
        let options = place.options();
        let ledger = place.create();
        let key = ledger.keys()[0].clone();
        let raw = blob::keep(ledger.folder(), b"raw").unwrap();
        ledger.append(&window(raw, 1)).unwrap();
        drop(ledger);
        assert!(matches!(apply_retention(&options), Err(LedgerError::NoPolicy)));
        let would = set_retention(&options, Some(Keep::Days(0)), Some(Keep::Days(0))).unwrap();
        assert_eq!((would.is_applied, would.entries, would.old_blobs.as_slice()), (false, 1, &[raw][..]));
        assert_eq!(state(&place, raw, 1), (true, true));

        // Said, and then nothing more: the process is gone.
        let ledger = Ledger::from(store::Ledger::open(&place.places()).unwrap());
        let reader = ledger.reader().unwrap();
        let policy = Policy::read(&reader).unwrap();
        let survey = Survey::of(ledger.folder(), &reader, &policy, clock_ns()).unwrap();
        let said = announce(&ledger, &policy, &survey).unwrap();
        drop((reader, ledger));
        assert_eq!((said.len(), state(&place, raw, 1)), (2, (true, true)));
        // Or with the blob gone and the entry not.
        blob::delete(&place.0.join("ledger"), &[raw]).unwrap();

        let done = apply_retention(&options).unwrap();
        assert_eq!((done.said_in.as_slice(), done.entries), (&said[1..], 1), "it is not said twice");
        assert_eq!(state(&place, raw, 1), (false, false));
        let again = apply_retention(&options).unwrap();
        assert_eq!((again.said_in.len(), again.entries, again.old_blobs.len()), (0, 0, 0));
        let reader = Ledger::from(store::Ledger::open(&place.places()).unwrap()).reader().unwrap();
        let answer = verify(&reader, &VerifyOptions { keys: vec![key], ..VerifyOptions::default() }).unwrap();
        assert!(answer.is_sound() && answer.is_signed(), "{answer:#?}");
    }

    #[test]
    fn a_blob_that_is_recorded_again_stays() {
        let place = Temporary::new("retention-again");
        let options = place.options();
        let ledger = place.create();
        let raw = blob::keep(ledger.folder(), b"raw").unwrap();
        ledger.append(&window(raw, 1)).unwrap();
        drop(ledger);
        set_retention(&options, None, Some(Keep::Days(0))).unwrap();
        let ledger = Ledger::from(store::Ledger::open(&place.places()).unwrap());
        let policy = Policy::read(&ledger.reader().unwrap()).unwrap();
        let survey = Survey::of(ledger.folder(), &ledger.reader().unwrap(), &policy, clock_ns()).unwrap();
        assert_eq!(survey.old_blobs.len(), 1);
        ledger.append(&window(raw, 2)).unwrap();
        super::drop_data(&ledger, &survey).unwrap();
        assert!(blob::bytes_of(ledger.folder(), raw).is_some());
        drop(ledger);
        // The policy itself keeps what it was before where only a part is set.
        let set = set_retention(&options, Some(Keep::Days(7)), None).unwrap();
        assert_eq!((set.policy.entries, set.policy.blobs), (Keep::Days(7), Keep::Days(0)));
        assert_eq!(retention(&options).unwrap().policy, set.policy);
    }
}
