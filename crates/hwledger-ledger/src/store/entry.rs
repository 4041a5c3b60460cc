//! What a store hands out.

/// The stream whose data are never dropped: keys, policies, what was dropped and why, what witnesses signed.
pub(super) const KEPT_SUBJECT: &str = crate::verify::rotation::SUBJECT;

/// The kind whose data are never dropped: with what is in them the signatures of machines are checked.
pub(super) const KEPT_KIND: &str = "AgentEnrolled";

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place, from 0.
    pub index: u64,
    /// The event; none where the data were dropped.
    pub bytes: Option<Vec<u8>>,
    /// The kind that the store has it under.
    pub kind: String,
    /// The stream that the store has it under.
    pub subject: String,
    /// Its number within that stream.
    pub version: u64,
}

impl Entry {
    /// Whether verification needs its data, so that no policy drops them: the stream `ledger` and the keys of machines.
    pub fn is_kept(&self) -> bool {
        self.subject == KEPT_SUBJECT || self.kind == KEPT_KIND
    }
}
