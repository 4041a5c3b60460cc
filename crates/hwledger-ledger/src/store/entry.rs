//! What a store hands out.

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
