//! Tests in which the thread that writes ends while callers wait for its answer.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ledger::Health;
use super::{AppendError, Fault, Ledger, LedgerPlaces, StoreError};
use crate::event::{AgentLost, Count, Draft};

/// Where the writer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    BeforeCommit,
    AfterCommit,
    AfterSigning,
    BeforePruning,
    /// For what became of events, where others place them.
    #[cfg(feature = "postgres")]
    Looking,
}

impl Health {
    /// Ends the writer here, if this is where a test wants it to end.
    pub(super) fn reach(&self, moment: Moment) {
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(end != Some(moment), "the writer ends here, as a test asked for");
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hwledger-ended-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn places(&self) -> LedgerPlaces {
        LedgerPlaces { ledger: self.0.join("ledger"), signer: self.0.join("signer") }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn draft(number: u64) -> Draft {
    let lost = AgentLost { agent: "a".to_owned(), last_seen_at_ns: Count(number) };
    Draft::new("test", "agent/a", lost).once(number.to_string())
}

/// A ledger of one entry whose writer will end.
fn ending(folder: &Folder, moment: Moment) -> Ledger {
    let ledger = Ledger::create(&folder.places(), "example.com/test", None).unwrap();
    *ledger.health().end.lock().unwrap() = Some(moment);
    ledger
}

#[test]
fn an_event_whose_writer_ended_is_there_once_after_another_try() {
    for (moment, was_durable) in [(Moment::BeforeCommit, false), (Moment::AfterCommit, true)] {
        let folder = Folder::new();
        let ledger = ending(&folder, moment);
        // One is told that nobody knows; those who come later that nothing of theirs was appended.
        assert_eq!(ledger.append(&draft(1)), Err(AppendError::Unknown(Fault::WriterEnded)));
        assert_eq!(ledger.append(&draft(2)), Err(AppendError::ReadOnly(Fault::WriterEnded)));
        assert_eq!(ledger.fault(), Some(Fault::WriterEnded));
        drop(ledger);
        let ledger = Ledger::open(&folder.places()).unwrap();
        let again = ledger.append(&draft(1)).unwrap();
        assert_eq!((again.index, again.is_new), (1, !was_durable), "{moment:?}");
        assert_eq!(ledger.append(&draft(2)).unwrap().index, 2);
        assert_eq!(ledger.reader().unwrap().size().unwrap(), 3);
    }
}

#[test]
fn of_many_events_each_is_there_once_after_another_try() {
    for moment in [Moment::BeforeCommit, Moment::AfterCommit] {
        let folder = Folder::new();
        let ledger = ending(&folder, moment);
        let drafts: Vec<Draft> = (0..700).map(draft).collect();
        let answers = ledger.append_all(&drafts).unwrap();
        assert_eq!(answers.len(), drafts.len());
        // Whatever was sent may be there; the rest is not.
        let unknown = answers.iter().filter(|answer| **answer == Err(AppendError::Unknown(Fault::WriterEnded))).count();
        let refused = answers.iter().filter(|answer| **answer == Err(AppendError::ReadOnly(Fault::WriterEnded)));
        assert!(unknown > 0 && unknown + refused.count() == drafts.len(), "{answers:?}");
        drop(ledger);
        let ledger = Ledger::open(&folder.places()).unwrap();
        for answer in ledger.append_all(&drafts).unwrap() {
            answer.unwrap();
        }
        assert_eq!(ledger.reader().unwrap().size().unwrap(), 701);
    }
}

#[test]
fn a_head_or_a_pruning_whose_writer_ended_can_be_asked_for_again() {
    let folder = Folder::new();
    let ledger = ending(&folder, Moment::AfterSigning);
    ledger.append(&draft(1)).unwrap();
    let answer = ledger.checkpoint();
    assert!(matches!(answer, Err(StoreError::Unknown(Fault::WriterEnded))), "{answer:?}");
    drop(ledger);
    let ledger = Ledger::open(&folder.places()).unwrap();
    assert!(ledger.checkpoint().unwrap().starts_with("example.com/test\n2\n"));
    *ledger.health().end.lock().unwrap() = Some(Moment::BeforePruning);
    let answer = ledger.prune(2);
    assert!(matches!(answer, Err(StoreError::Unknown(Fault::WriterEnded))), "{answer:?}");
    drop(ledger);
    let ledger = Ledger::open(&folder.places()).unwrap();
    let reader = ledger.reader().unwrap();
    assert!(reader.entry(1).unwrap().bytes.is_some());
    ledger.prune(2).unwrap();
    assert_eq!(reader.entry(1).unwrap().bytes, None);
}
