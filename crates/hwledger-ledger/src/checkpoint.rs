//! Checkpoints (C2SP tlog-checkpoint): what a ledger says of itself, signed.

use std::fmt;

use crate::hash::Hash;
use crate::note::{Note, NoteError, PublicKey, SecretKey};

/// A tree head: which ledger, how many entries, which root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the ledger, which is also the name of its key.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a checkpoint is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note is malformed or not signed by a known key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is no tree head.
    #[error("line {line} of the checkpoint: {what}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Another ledger's.
    #[error("the checkpoint is of `{found}`, not of `{expected}`")]
    Origin {
        /// The ledger that was asked for.
        expected: String,
        /// The ledger that the checkpoint names.
        found: String,
    },
}

impl Checkpoint {
    /// The signed note.
    pub fn sign(&self, keys: &[&SecretKey]) -> String {
        Note::sign(&self.to_string(), keys)
    }

    /// Reads a note's text.
    ///
    /// # Errors
    ///
    /// It is no tree head.
    pub fn parse_text(text: &str) -> Result<Self, CheckpointError> {
        let malformed = |line, what| CheckpointError::Malformed { line, what };
        let mut lines = text.split('\n');
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(malformed(1, "no origin"))?;
        let size = lines.next().and_then(parse_decimal).ok_or(malformed(2, "expected a number of entries"))?;
        let root = lines.next().and_then(Hash::from_base64).ok_or(malformed(3, "expected 32 bytes in base64"))?;
        let mut rest: Vec<&str> = lines.collect();
        if rest.pop() != Some("") {
            return Err(malformed(4, "no line feed at the end"));
        }
        if rest.iter().any(|line| line.is_empty()) {
            return Err(malformed(4, "an empty line"));
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// Reads a signed checkpoint and checks it: signed by the key of its own origin, which is among `known`.
    ///
    /// # Errors
    ///
    /// It is malformed, not signed by a known key, or signed only by keys of other names.
    pub fn verify(note: &str, known: &[PublicKey]) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        let (text, signers) = note.verify(known)?;
        let checkpoint = Self::parse_text(text)?;
        if signers.iter().any(|key| key.name() == checkpoint.origin) {
            return Ok(checkpoint);
        }
        let signer = signers.first().map(|key| key.name().to_owned()).unwrap_or_default();
        Err(CheckpointError::Origin { expected: signer, found: checkpoint.origin })
    }
}

/// The note's text, with its final line feed.
impl fmt::Display for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())
    }
}

/// A decimal number in its one spelling: digits only, no leading zero.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}
