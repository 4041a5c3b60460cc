//! Keys for heads and proofs that lie apart from their record: after a change of keys the record leads from one to the other.

use std::path::Path;

use hwledger_ledger::bundle::Bundle;
use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::note::{Note, PublicKey};
use hwledger_ledger::verify::{Source, TrustedKey, VerifyOptions, trusted_keys};

use super::place::reader;
use super::{LedgerError, LedgerOptions};

/// The keys that a record leads to from `given`, and that are believed for heads of this size.
fn led(source: &impl Source, given: &[PublicKey], size: u64) -> Result<Vec<TrustedKey>, LedgerError> {
    let options = VerifyOptions { keys: given.to_vec(), ..VerifyOptions::default() };
    let mut keys = trusted_keys(source, &options)?;
    keys.retain(|trusted| size <= trusted.size_max);
    Ok(keys)
}

/// What a note says that it is of; nobody vouches for that yet.
fn claim(note: &str) -> Option<Checkpoint> {
    Checkpoint::parse_text(Note::parse(note).ok()?.unverified_text()).ok()
}

fn plain(keys: Vec<TrustedKey>) -> Vec<PublicKey> {
    keys.into_iter().map(|trusted| trusted.key).collect()
}

/// The keys with which a record lets this note be checked, from `given` on.
///
/// # Errors
///
/// The record cannot be read.
pub(super) fn led_to(source: &impl Source, given: &[PublicKey], note: &str) -> Result<Vec<PublicKey>, LedgerError> {
    Ok(plain(led(source, given, claim(note).map_or(u64::MAX, |head| head.size))?))
}

/// The keys to check a note with: those given, and those that the exported record leads to.
///
/// # Errors
///
/// The exported record cannot be read, or the note is signed by a key that the ledger of `options`
/// introduces: which one is in the error, and it is not believed without being given.
pub(super) fn for_note(
    options: &LedgerOptions,
    given: &[PublicKey],
    bundle: Option<&Path>,
    note: &str,
) -> Result<Vec<PublicKey>, LedgerError> {
    if let Some(folder) = bundle {
        return led_to(&Bundle::open(folder)?, given, note);
    }
    if Checkpoint::verify(note, given).is_err()
        && let Some(TrustedKey { key, by: Some((entry, by)), .. }) = introduced(options, given, note)
    {
        return Err(LedgerError::Introduced { key: key.to_string(), entry, by: by.to_string() });
    }
    Ok(given.to_vec())
}

/// The key that signed a note and that the ledger at hand introduces, if it is the note's ledger and can be read.
fn introduced(options: &LedgerOptions, given: &[PublicKey], note: &str) -> Option<TrustedKey> {
    let (_, reader) = reader(options).ok()?;
    let head = claim(note).filter(|head| reader.origin().is_ok_and(|origin| origin == head.origin))?;
    let keys = led(&reader, given, head.size).ok()?;
    keys.into_iter().find(|trusted| Checkpoint::verify(note, std::slice::from_ref(&trusted.key)).is_ok())
}
