//! Witnesses: being one, and recording what others signed.

use std::path::{Path, PathBuf};

use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::event::{Count, Draft, Payload, WitnessCosigned, random_identity};
use hwledger_ledger::hash::Hash;
use hwledger_ledger::note::{Note, PublicKey};
use hwledger_ledger::store::AnyReader;
use hwledger_ledger::store::{AppendError, clock_ns};
use hwledger_ledger::witness::{self, Witness};
use serde::Serialize;

use super::own::{SOURCE, SUBJECT, own_events};
use super::trust::{first_key, key_text, read_text};
use super::{LedgerError, LedgerOptions, open};
use crate::directories::base;

/// A witness that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WitnessAnswer {
    /// `hwledger.ledger-witness/1`.
    pub schema: &'static str,
    /// Its public key, to be kept wherever ledgers are verified.
    pub key: String,
    /// Its folder.
    pub folder: PathBuf,
}

/// A head that a witness signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WitnessedAnswer {
    /// `hwledger.ledger-witnessed/1`.
    pub schema: &'static str,
    /// The ledger.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Entries of the head that was seen before; none where this is the first.
    pub before: Option<u64>,
    /// The note with the witness's signature.
    pub note: String,
}

/// What witnesses signed, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CosignAnswer {
    /// `hwledger.ledger-cosign/1`.
    pub schema: &'static str,
    /// Entries of the head that they signed.
    pub size: u64,
    /// Each witness whose signature holds.
    pub witnesses: Vec<Cosigned>,
}

/// One witness's signature in the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cosigned {
    /// Its public key.
    pub witness: String,
    /// When it signed, in seconds since 1970, by its own clock.
    pub signed_at_s: u64,
    /// The entry.
    pub entry: u64,
    /// Whether it was recorded now; otherwise the record had a signature of this witness for this head.
    pub is_new: bool,
}

/// A witness's public key: its text, or a file whose first line it is.
///
/// # Errors
///
/// It is neither.
pub fn witness_key_of(text: &str) -> Result<PublicKey, LedgerError> {
    Ok(witness::parse_key(&key_text(text)?)?)
}

/// The folder of the witness that is meant.
fn folder_of(folder: Option<&Path>) -> Result<PathBuf, LedgerError> {
    let own = || base("XDG_STATE_HOME", ".local/state", |name| std::env::var_os(name));
    let own = || own().map(|state| state.join("hwledger/witness"));
    folder.map(Path::to_owned).or_else(own).ok_or(LedgerError::NoPlace)
}

/// Makes a witness with a key of its own. `name` is a URL without scheme; otherwise a name is made that nobody else has.
///
/// # Errors
///
/// There is one already, or the folder cannot be written.
pub fn witness_init(folder: Option<&Path>, name: Option<&str>) -> Result<WitnessAnswer, LedgerError> {
    let folder = folder_of(folder)?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => format!("witness.hwledger.local/{}", &random_identity()?[..16]),
    };
    let witness = Witness::create(&folder, &name)?;
    Ok(WitnessAnswer { schema: "hwledger.ledger-witness/1", key: witness::key_text(&witness.public()), folder })
}

/// Signs a head as a witness, if it continues what was seen of its ledger. `request` is a file with a signed head, or with
/// the proof that one continues what was seen; `keys` are believed from now on.
///
/// # Errors
///
/// There is no witness, or it refuses; what it refuses is never signed later.
pub fn witness_sign(folder: Option<&Path>, request: &Path, keys: &[PublicKey]) -> Result<WitnessedAnswer, LedgerError> {
    let folder = folder_of(folder)?;
    if !folder.join("key").is_file() {
        return Err(LedgerError::NoWitness(folder));
    }
    let witness = Witness::open(&folder)?;
    let request = read_text(request)?;
    for key in keys {
        witness.follow(key)?;
    }
    let accepted = witness.accept(&request)?;
    let Checkpoint { origin, size, root } = accepted.head().clone();
    let note = accepted.sign(clock_ns() / 1_000_000_000);
    Ok(WitnessedAnswer { schema: "hwledger.ledger-witnessed/1", origin, size, root, before: accepted.before(), note })
}

/// The witnesses that a record names. They are no reason to believe anything.
fn recorded_witnesses(reader: &AnyReader) -> Result<Vec<PublicKey>, LedgerError> {
    let mut known = Vec::new();
    for (_, payload) in own_events(reader)? {
        let Payload::WitnessCosigned(cosigned) = payload else { continue };
        known.extend(witness::parse_key(&cosigned.witness).ok().filter(|key| !known.contains(key)));
    }
    Ok(known)
}

/// Records what witnesses signed of a head of this ledger, and signs that. `witnesses` are their keys; without any, those
/// that the record has already.
///
/// # Errors
///
/// The note is not one of this ledger's heads, or no known witness has signed it.
pub fn cosign(options: &LedgerOptions, note: &Path, witnesses: &[PublicKey]) -> Result<CosignAnswer, LedgerError> {
    let note = read_text(note)?;
    let ledger = open(options)?;
    let reader = ledger.reader()?;
    let mut keys = ledger.keys().to_vec();
    keys.extend(first_key(&reader)?.into_iter().filter(|key| !ledger.keys().contains(key)));
    let size = Checkpoint::verify(&note, &keys)?.size;
    // What is recorded belongs to a head that stands in the record, letter by letter.
    let own = reader.checkpoint(Some(size))?.filter(|(signed, _)| *signed == size).map(|(_, own)| own);
    let text = |note: &str| Note::parse(note).map(|note| note.unverified_text().to_owned());
    if own.as_deref().map(text).transpose()? != Some(text(&note)?) {
        return Err(LedgerError::ForeignHead(size));
    }
    let known = if witnesses.is_empty() { recorded_witnesses(&reader)? } else { witnesses.to_vec() };
    let found = witness::cosigners(&note, &known).ok_or(LedgerError::WrongCosignature)?;
    if found.is_empty() {
        return Err(LedgerError::NotCosigned(known.len()));
    }
    let mut recorded = Vec::new();
    for (key, seconds) in found {
        let key_text = witness::key_text(key);
        let signature = witness::signature_of(&note, key).ok_or(LedgerError::WrongCosignature)?;
        let cosigned = WitnessCosigned { size: Count(size), witness: key_text.clone(), signature };
        let draft = Draft::new(SOURCE, SUBJECT, cosigned).once(format!("cosigned {size} {key_text}"));
        let (entry, is_new) = match ledger.append(&draft) {
            Ok(receipt) => (receipt.index, receipt.is_new),
            // Another signature of the same witness for the same head says nothing more.
            Err(AppendError::Conflict { index }) => (index, false),
            Err(error) => return Err(error.into()),
        };
        recorded.push(Cosigned { witness: key_text, signed_at_s: seconds, entry, is_new });
    }
    ledger.checkpoint()?;
    Ok(CosignAnswer { schema: "hwledger.ledger-cosign/1", size, witnesses: recorded })
}
