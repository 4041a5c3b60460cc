//! Verification: what can be said of a record, level by level, by whoever holds it.
//!
//! Each level rests on the ones above it and says something else; there is no single "valid". A stranger needs a record
//! ([`crate::bundle::Bundle`] or a database), a public key, and, to rule out that the whole record was replaced, a
//! checkpoint from another time or place.

mod fsck;
mod heads;
mod levels;
pub(crate) mod rotation;
mod source;

use serde::Serialize;

pub use fsck::fsck;
pub use levels::BLOBS_POLICY;
pub(crate) use levels::contains;
pub use rotation::TrustedKey;
pub use source::{Source, TakeEntry};

use crate::event::Agents;
use crate::hash::Hash;
use crate::note::PublicKey;
use crate::store::StoreError;
use crate::witness::Cosignatures;
use heads::Heads;
use levels::{Leaves, TreeWalk};
use rotation::Rotation;

/// Findings that a level lists at most; the rest is counted.
const FINDINGS_MAX: usize = 20;

/// What a record is checked against.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// Keys that sign checkpoints of this ledger.
    pub keys: Vec<PublicKey>,
    /// Checkpoints held elsewhere, each with a name for messages.
    pub held: Vec<(String, String)>,
    /// Keys of witnesses.
    pub witnesses: Vec<PublicKey>,
    /// How many of them must have signed one checkpoint.
    pub witnesses_needed: usize,
    /// Whether a `KeyRotated` entry that a trusted key vouches for introduces the other key that it names (on by default).
    pub follow_rotations: bool,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        let (keys, held, witnesses) = (Vec::new(), Vec::new(), Vec::new());
        Self { keys, held, witnesses, witnesses_needed: 0, follow_rotations: true }
    }
}

/// How a level came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// There was nothing to check it with.
    NotChecked,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The entry, or the first of those, that it is about.
    pub entry: Option<u64>,
    /// What does not fit.
    pub what: String,
}

/// One level of verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// 1 to 6.
    pub number: u8,
    /// What it says where it holds.
    pub claim: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// How much was checked, or why nothing was.
    pub detail: String,
    /// What does not fit; at most twenty.
    pub findings: Vec<Finding>,
    /// How many there are altogether.
    pub findings_count: u64,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// `hwledger.verification/1`.
    pub schema: &'static str,
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// The levels, from the first.
    pub levels: Vec<Level>,
}

impl Verification {
    /// Whether no level that could be checked fails.
    pub fn is_sound(&self) -> bool {
        self.levels.iter().all(|level| level.outcome != Outcome::Fails)
    }

    /// Whether any checkpoint by a known key vouches for anything.
    pub fn is_signed(&self) -> bool {
        self.levels.iter().any(|level| level.number == 3 && level.outcome == Outcome::Holds)
    }
}

/// Collects what does not fit.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    count: u64,
}

impl Findings {
    pub(crate) fn add(&mut self, entry: Option<u64>, what: impl Into<String>) {
        self.count += 1;
        if self.list.len() < FINDINGS_MAX {
            self.list.push(Finding { entry, what: what.into() });
        }
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    fn level(self, number: u8, claim: &'static str, detail: String) -> Level {
        let outcome = if self.count == 0 { Outcome::Holds } else { Outcome::Fails };
        Level { number, claim, outcome, detail, findings: self.list, findings_count: self.count }
    }
}

fn not_checked(number: u8, claim: &'static str, detail: &str) -> Level {
    let (outcome, detail) = (Outcome::NotChecked, detail.to_owned());
    Level { number, claim, outcome, detail, findings: Vec::new(), findings_count: 0 }
}

/// What one pass over the entries finds.
struct Examined {
    size: u64,
    pass: Pass,
    rotations: Vec<Rotation>,
    cosignatures: Cosignatures,
    agents: Agents,
    agent_findings: Findings,
}

fn examine(source: &impl Source, options: &VerifyOptions) -> Result<Examined, StoreError> {
    let size = source.size()?;
    let mut pass = Pass {
        leaves: Leaves::default(),
        walk: TreeWalk::default(),
        heads: Heads::new(&source.checkpoints()?, options),
        expected: 0,
    };
    let mut rotations: Vec<Rotation> = Vec::new();
    let mut cosignatures = Cosignatures::default();
    let mut agents = Agents::default();
    let mut agent_findings = Findings::default();
    pass.heads.at(0, Hash::of_empty_tree);
    source.entries(&mut |index, bytes| {
        if index < pass.expected || index >= size {
            pass.leaves.misplaced(index);
            return Ok(());
        }
        pass.missing(source, index)?;
        let stored = pass.leaves.check(source, index, bytes)?;
        pass.push(source, stored);
        if let Some(bytes) = bytes {
            pass.leaves.check_retention(bytes);
            pass.leaves.find_schema(index, bytes);
            levels::check_agent(&mut agents, &mut agent_findings, index, bytes);
            rotation::find(&mut rotations, index, bytes, stored);
            cosignatures.find(bytes);
        } else {
            agents.pass_dropped();
        }
        Ok(())
    })?;
    pass.missing(source, size)?;
    Ok(Examined { size, pass, rotations, cosignatures, agents, agent_findings })
}

/// Checks a record in one pass over its entries.
///
/// # Errors
///
/// The record cannot be read at all. What is wrong with what can be read is in the answer.
pub fn verify(source: &impl Source, options: &VerifyOptions) -> Result<Verification, StoreError> {
    let Examined { size, pass, rotations, cosignatures, agents, agent_findings } = examine(source, options)?;
    let Pass { mut leaves, walk, heads, .. } = pass;
    leaves.check_schemas(source)?;
    let root = walk.root();
    let mut levels = vec![leaves.level(size), walk.level(source, size)?];
    let witnessed = heads.witnessed(size, options, &cosignatures);
    let (signed, held) = heads.levels(size, options, &rotations);
    levels.extend([signed, held, witnessed]);
    levels.push(if agents.checked == 0 && agent_findings.count() == 0 {
        not_checked(6, AGENTS_CLAIM, "no entry was signed by the machine that reported it")
    } else {
        agent_findings.level(6, AGENTS_CLAIM, format!("{} signatures", agents.checked))
    });
    Ok(Verification { schema: "hwledger.verification/1", size, root, levels })
}

/// The keys that a record leads to, from those in `options`: with them heads and proofs can be checked that lie apart from
/// it. Each is believed for the same reason as in [`verify`].
///
/// # Errors
///
/// The record cannot be read at all.
pub fn trusted_keys(source: &impl Source, options: &VerifyOptions) -> Result<Vec<TrustedKey>, StoreError> {
    let Examined { pass, rotations, .. } = examine(source, options)?;
    Ok(pass.heads.trust(options, &rotations).keys)
}

/// The first four levels while they go over the entries.
struct Pass {
    leaves: Leaves,
    walk: TreeWalk,
    heads: Heads,
    /// The next entry.
    expected: u64,
}

impl Pass {
    fn push(&mut self, source: &impl Source, leaf: Hash) {
        let Self { walk, heads, expected, .. } = self;
        walk.push(source, leaf);
        *expected += 1;
        heads.at(*expected, || walk.root());
    }

    /// Takes the entries up to `end` for missing; their hashes go on being compared as far as there are any.
    fn missing(&mut self, source: &impl Source, end: u64) -> Result<(), StoreError> {
        while self.expected < end {
            let index = self.expected;
            let leaf = self.leaves.stored(source, index)?;
            if !self.leaves.has_tile() {
                // A number of entries that nothing supports: there is no telling how many there are not.
                self.leaves.missing_all(index, end);
                self.expected = end;
                return Ok(());
            }
            self.leaves.missing(index);
            self.push(source, leaf);
        }
        Ok(())
    }
}

const AGENTS_CLAIM: &str = "machines signed what they reported, and nothing of it was left out";
