//! Proofs as files that need nothing but a public key: C2SP tlog-proof for one entry, and the body of C2SP
//! tlog-witness's `add-checkpoint` for two checkpoints.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{Checkpoint, CheckpointError, parse_decimal};
use crate::hash::Hash;
use crate::merkle::{PROOF_HASHES_MAX, ProofError, verify_consistency, verify_inclusion};
use crate::note::{NOTE_BYTES_MAX, PublicKey};

/// The first line of a proof that an entry is in a ledger.
const TITLE: &str = "c2sp.org/tlog-proof@v1";

/// Why a proof file shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// Not such a file.
    #[error("line {line} of the proof: {what}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Longer than any proof.
    #[error("the proof has {0} bytes, more than any proof")]
    TooLong(usize),
    /// Its checkpoint is not to be believed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its hashes do not lead from the entry to the root.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// That an entry is in a ledger, with the checkpoint it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionFile {
    /// The entry's place, from 0.
    pub index: u64,
    /// Hashes from the leaf's sibling up.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, as it stands in the file.
    pub checkpoint: String,
    /// The entry itself, where the file carries it. Worth nothing before [`InclusionFile::verify`] has seen it.
    pub entry: Option<Vec<u8>>,
}

/// Reads lines of base64 hashes up to an empty line; `first` is the number of the first.
fn parse_hashes<'a>(lines: &mut impl Iterator<Item = &'a str>, first: usize) -> Result<Vec<Hash>, ProofFileError> {
    let mut hashes = Vec::new();
    for (line, text) in (first..).zip(lines) {
        if text.is_empty() {
            return Ok(hashes);
        }
        if hashes.len() == PROOF_HASHES_MAX {
            return Err(ProofFileError::Malformed { line, what: "more hashes than any proof has" });
        }
        let hash = Hash::from_base64(text);
        hashes.push(hash.ok_or(ProofFileError::Malformed { line, what: "expected 32 bytes in base64" })?);
    }
    Err(ProofFileError::Malformed { line: first + hashes.len(), what: "no empty line before the checkpoint" })
}

/// All that follows the first empty line of a proof: the checkpoint, byte for byte.
fn after_blank(text: &str) -> &str {
    text.split_once("\n\n").map_or("", |(_, rest)| rest)
}

fn bounded(text: &str) -> Result<(), ProofFileError> {
    if text.len() > 2 * NOTE_BYTES_MAX { Err(ProofFileError::TooLong(text.len())) } else { Ok(()) }
}

impl InclusionFile {
    /// Takes a file apart; nothing is checked yet.
    ///
    /// # Errors
    ///
    /// It is no proof of this form.
    pub fn parse(text: &str) -> Result<Self, ProofFileError> {
        bounded(text)?;
        let malformed = |line, what| ProofFileError::Malformed { line, what };
        let mut lines = text.split('\n');
        if lines.next() != Some(TITLE) {
            return Err(malformed(1, "expected `c2sp.org/tlog-proof@v1`"));
        }
        let mut number = 2;
        let mut line = lines.next();
        let mut entry = None;
        if let Some(extra) = line.and_then(|line| line.strip_prefix("extra ")) {
            entry = Some(STANDARD.decode(extra).map_err(|_| malformed(number, "what follows `extra` is not base64"))?);
            number += 1;
            line = lines.next();
        }
        let index = line.and_then(|line| line.strip_prefix("index ")).and_then(parse_decimal);
        let index = index.ok_or(malformed(number, "expected `index` and a number"))?;
        let hashes = parse_hashes(&mut lines, number + 1)?;
        Ok(Self { index, hashes, checkpoint: after_blank(text).to_owned(), entry })
    }

    /// Checks that `entry` (its bytes) is in the ledger that one of `known` signs; gives the checkpoint.
    ///
    /// # Errors
    ///
    /// The checkpoint is not signed by a known key, or the entry is another.
    pub fn verify(&self, entry: &[u8], known: &[PublicKey]) -> Result<Checkpoint, ProofFileError> {
        let checkpoint = Checkpoint::verify(&self.checkpoint, known)?;
        verify_inclusion(Hash::of_leaf(entry), self.index, checkpoint.size, &self.hashes, &checkpoint.root)?;
        Ok(checkpoint)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let extra = self.entry.as_ref().map(|entry| format!("extra {}\n", STANDARD.encode(entry))).unwrap_or_default();
        let mut text = format!("{TITLE}\n{extra}index {}\n", self.index);
        push_hashes(&mut text, &self.hashes);
        text + "\n" + &self.checkpoint
    }
}

fn push_hashes(text: &mut String, hashes: &[Hash]) {
    for hash in hashes {
        writeln!(text, "{}", hash.to_base64()).expect("a string takes what is written");
    }
}

/// That the ledger of a later checkpoint continues that of an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyFile {
    /// Entries of the earlier checkpoint.
    pub old_size: u64,
    /// The hashes that lead from its root to the later one.
    pub hashes: Vec<Hash>,
    /// The later signed checkpoint, as it stands in the file.
    pub checkpoint: String,
}

impl ConsistencyFile {
    /// Takes a file apart; nothing is checked yet.
    ///
    /// # Errors
    ///
    /// It is no proof of this form.
    pub fn parse(text: &str) -> Result<Self, ProofFileError> {
        bounded(text)?;
        let mut lines = text.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(parse_decimal);
        let old_size = old.ok_or(ProofFileError::Malformed { line: 1, what: "expected `old` and a number" })?;
        let hashes = parse_hashes(&mut lines, 2)?;
        Ok(Self { old_size, hashes, checkpoint: after_blank(text).to_owned() })
    }

    /// Checks that the ledger of this file's checkpoint begins with `old`; gives the later checkpoint.
    ///
    /// # Errors
    ///
    /// A checkpoint is not signed by a known key, they are of two ledgers, or one does not continue the other.
    pub fn verify(&self, old: &Checkpoint, known: &[PublicKey]) -> Result<Checkpoint, ProofFileError> {
        let new = Checkpoint::verify(&self.checkpoint, known)?;
        if new.origin != old.origin {
            return Err(CheckpointError::Origin { expected: old.origin.clone(), found: new.origin }.into());
        }
        if old.size != self.old_size {
            return Err(ProofFileError::Malformed { line: 1, what: "the earlier checkpoint has another size" });
        }
        verify_consistency(old.size, new.size, &old.root, &new.root, &self.hashes)?;
        Ok(new)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old_size);
        push_hashes(&mut text, &self.hashes);
        text + "\n" + &self.checkpoint
    }
}
