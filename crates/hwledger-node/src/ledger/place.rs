//! Where a ledger and its signer are.
//!
//! The ledger is data (`$XDG_DATA_HOME/hwledger/ledger`), the signer is state (`$XDG_STATE_HOME/hwledger/signer/…`):
//! two places, so that a backup of the one does not roll the other back with it.

use std::path::{Path, PathBuf};

use hwledger_ledger::hash::Hash;
use hwledger_ledger::store::sqlite::{FILE, Reader};
use hwledger_ledger::store::{Ledger, LedgerPlaces};

use super::LedgerError;
use crate::directories::base;

/// Which ledger is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerOptions {
    /// The folder of the ledger; the user's own where absent.
    pub ledger: Option<PathBuf>,
    /// The folder of its signer; the user's own for that ledger where absent.
    pub signer: Option<PathBuf>,
}

/// The folder of the ledger that is meant.
///
/// # Errors
///
/// None is named, and the environment names none.
pub fn folder(options: &LedgerOptions) -> Result<PathBuf, LedgerError> {
    let variable = |name: &str| std::env::var_os(name);
    let own = || base("XDG_DATA_HOME", ".local/share", variable).map(|data| data.join("hwledger/ledger"));
    options.ledger.clone().or_else(own).ok_or(LedgerError::NoPlace)
}

/// A folder's name for a ledger's name: readable, and one for each.
fn folder_name(origin: &str) -> String {
    let plain: String = origin
        .chars()
        .take(48)
        .map(|character| if character.is_ascii_alphanumeric() || character == '.' { character } else { '-' })
        .collect();
    let hash = Hash::of(origin.as_bytes()).to_string();
    format!("{plain}-{}", &hash[..12])
}

/// Where the ledger `origin` and its signer are or will be.
///
/// # Errors
///
/// The environment names no place.
pub fn places(options: &LedgerOptions, origin: &str) -> Result<LedgerPlaces, LedgerError> {
    let variable = |name: &str| std::env::var_os(name);
    let own = || {
        let state = base("XDG_STATE_HOME", ".local/state", variable)?;
        Some(state.join("hwledger/signer").join(folder_name(origin)))
    };
    let signer = options.signer.clone().or_else(own).ok_or(LedgerError::NoPlace)?;
    Ok(LedgerPlaces { ledger: folder(options)?, signer })
}

/// The folder of the keys of sealed fields.
pub(super) fn vault_folder(places: &LedgerPlaces) -> PathBuf {
    places.signer.join("vault")
}

/// The reader of the ledger that is meant.
pub(super) fn reader(options: &LedgerOptions) -> Result<(PathBuf, Reader), LedgerError> {
    let folder = folder(options)?;
    if !has_ledger(&folder) {
        return Err(LedgerError::NoLedger(folder));
    }
    let reader = Reader::open(&folder.join(FILE))?;
    Ok((folder, reader))
}

fn has_ledger(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}

/// Opens the ledger that is meant for appending.
///
/// # Errors
///
/// There is none, or it cannot be read.
pub fn open(options: &LedgerOptions) -> Result<Ledger, LedgerError> {
    let (_, reader) = reader(options)?;
    Ok(Ledger::open(&places(options, &reader.origin()?)?)?)
}

/// The same; none where there is no ledger.
///
/// # Errors
///
/// There is one, and it cannot be read.
pub fn open_if_there(options: &LedgerOptions) -> Result<Option<Ledger>, LedgerError> {
    match folder(options) {
        Ok(folder) if has_ledger(&folder) => open(options).map(Some),
        // Where nobody named one, none is missed.
        Ok(folder) if options.ledger.is_some() => Err(LedgerError::NoLedger(folder)),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::folder_name;

    #[test]
    fn two_ledgers_never_share_a_signer() {
        assert!(folder_name("example.com/a").starts_with("example.com-a-"));
        assert_ne!(folder_name("example.com/a"), folder_name("example.com-a"));
        assert!(folder_name(&"../".repeat(40)).len() < 64 && !folder_name("../x").contains('/'));
    }
}
