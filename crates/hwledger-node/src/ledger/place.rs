//! Where a ledger and its signer are.
//!
//! A ledger in a file is data (`$XDG_DATA_HOME/hwledger/ledger`), the signer is state
//! (`$XDG_STATE_HOME/hwledger/signer/…`): two places, so that a backup of the one does not roll the other back with it.
//! For one on a server, [`DATABASE`] has the connection string, which never comes from a command line: what stands there
//! can be seen by every user of the machine.

use std::path::{Path, PathBuf};

use hwledger_ledger::hash::Hash;
use hwledger_ledger::store::postgres::{self, Address, PostgresLedger, PostgresPlaces, Transport};
use hwledger_ledger::store::sqlite::{FILE, Reader};
use hwledger_ledger::store::{AnyReader, LedgerPlaces, StoreError};

use super::{Ledger, LedgerError};
use crate::directories::base;

/// The environment variable that says how programs connect to a ledger on a server.
pub const DATABASE: &str = "HWLEDGER_LEDGER_DATABASE";

/// The environment variable that says how the owner of its tables connects.
pub const OWNER: &str = "HWLEDGER_LEDGER_OWNER";

/// The environment variable with the folder of what this machine keeps beside a ledger on a server.
pub const FOLDER: &str = "HWLEDGER_LEDGER_FOLDER";

/// The environment variable with the connection string of a ledger on a server that another one takes up.
pub const EARLIER: &str = "HWLEDGER_LEDGER_EARLIER";

/// The word that means the ledger on the server, and never a folder.
pub const SERVER: &str = "postgres";

/// Which ledger is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerOptions {
    /// The folder of the ledger, or [`SERVER`]; where absent the one on the server that the environment names, or else the
    /// user's own.
    pub ledger: Option<PathBuf>,
    /// The folder of its signer; the user's own for that ledger where absent.
    pub signer: Option<PathBuf>,
}

/// Where the ledger is that is meant.
#[derive(Debug)]
pub(super) enum Place {
    /// In this folder.
    Folder(PathBuf),
    /// On this server.
    Server(Box<Address>),
}

fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The address that an environment variable holds.
fn address(name: &'static str) -> Result<Option<Address>, LedgerError> {
    let Some(text) = variable(name) else { return Ok(None) };
    let text = text.to_str().ok_or(LedgerError::NotText(name))?;
    let parsed = Address::parse(text, Transport::Verified);
    parsed.map(Some).map_err(|source| LedgerError::Address { variable: name, source })
}

/// How the owner of a server's tables connects; none where the environment does not say.
pub(super) fn owner() -> Result<Option<Address>, LedgerError> {
    address(OWNER)
}

impl LedgerOptions {
    pub(super) fn place(&self) -> Result<Place, LedgerError> {
        let server = match &self.ledger {
            None => address(DATABASE)?,
            Some(word) if word.as_os_str() == SERVER => Some(address(DATABASE)?.ok_or(LedgerError::NoDatabase)?),
            Some(_) => None,
        };
        if let Some(address) = server {
            return Ok(Place::Server(Box::new(address)));
        }
        let own = || base("XDG_DATA_HOME", ".local/share", variable).map(|data| data.join("hwledger/ledger"));
        self.ledger.clone().or_else(own).map(Place::Folder).ok_or(LedgerError::NoPlace)
    }
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

/// The folder of what this machine keeps beside the ledger `origin` on a server.
fn folder_beside(origin: &str) -> Result<PathBuf, LedgerError> {
    let own = || {
        let data = base("XDG_DATA_HOME", ".local/share", variable)?;
        Some(data.join("hwledger/postgres").join(folder_name(origin)))
    };
    variable(FOLDER).map(PathBuf::from).or_else(own).ok_or(LedgerError::NoPlace)
}

/// Makes that folder, for its owner alone, if it is not there.
pub(super) fn make_folder(folder: &Path) -> Result<(), LedgerError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder).map_err(|source| LedgerError::File { path: folder.to_owned(), source })
}

/// Where the ledger `origin` and its signer are or will be. The folder of one on a server is that of what this machine
/// keeps beside it.
///
/// # Errors
///
/// The environment names no place.
pub fn places(options: &LedgerOptions, origin: &str) -> Result<LedgerPlaces, LedgerError> {
    let own = || {
        let state = base("XDG_STATE_HOME", ".local/state", variable)?;
        Some(state.join("hwledger/signer").join(folder_name(origin)))
    };
    let signer = options.signer.clone().or_else(own).ok_or(LedgerError::NoPlace)?;
    let ledger = match options.place()? {
        Place::Folder(folder) => folder,
        Place::Server(_) => folder_beside(origin)?,
    };
    Ok(LedgerPlaces { ledger, signer })
}

/// The folder of the keys of sealed fields.
pub(super) fn vault_folder(places: &LedgerPlaces) -> PathBuf {
    places.signer.join("vault")
}

/// The reader of the ledger that is meant, and the folder of what is kept beside it.
pub(super) fn reader(options: &LedgerOptions) -> Result<(PathBuf, AnyReader), LedgerError> {
    match options.place()? {
        Place::Folder(folder) => {
            let reader = reader_in(&folder)?;
            Ok((folder, reader))
        }
        Place::Server(address) => {
            let reader = postgres::Reader::open(&address)?;
            Ok((folder_beside(&reader.origin()?)?, reader.into()))
        }
    }
}

/// The reader of a ledger in a file.
fn reader_in(folder: &Path) -> Result<AnyReader, LedgerError> {
    if !has_ledger(folder) {
        return Err(LedgerError::NoLedger(folder.to_owned()));
    }
    Ok(Reader::open(&folder.join(FILE))?.into())
}

/// The reader of a ledger that another one takes up: in a folder, or on a server ([`EARLIER`], or else [`DATABASE`]).
pub(super) fn earlier(place: &Path) -> Result<AnyReader, LedgerError> {
    if place.as_os_str() != SERVER {
        return reader_in(place);
    }
    let address = address(EARLIER).transpose().or_else(|| address(DATABASE).transpose());
    Ok(postgres::Reader::open(&address.ok_or(LedgerError::NoDatabase)??)?.into())
}

fn has_ledger(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}

/// The server's ledger as this machine is to open it: with its signer where that is here.
pub(super) fn server_places(address: &Address, options: &LedgerOptions, signer: &Path) -> PostgresPlaces {
    // A folder that was named must hold a key; the user's own is missing on machines that leave the signing to others.
    let is_here = options.signer.is_some() || signer.join("key").exists();
    PostgresPlaces { address: address.clone(), signer: is_here.then(|| signer.to_owned()) }
}

/// Opens the ledger that is meant for appending.
///
/// # Errors
///
/// There is none, or it cannot be read.
pub fn open(options: &LedgerOptions) -> Result<Ledger, LedgerError> {
    let place = options.place()?;
    let (folder, reader) = reader(options)?;
    let places = places(options, &reader.origin()?)?;
    Ok(match place {
        Place::Folder(_) => hwledger_ledger::store::Ledger::open(&places)?.into(),
        Place::Server(address) => {
            make_folder(&folder)?;
            let ledger = PostgresLedger::open(&server_places(&address, options, &places.signer))?;
            Ledger::on_server(ledger, folder)
        }
    })
}

/// The same; none where there is no ledger.
///
/// # Errors
///
/// There is one, and it cannot be read.
pub fn open_if_there(options: &LedgerOptions) -> Result<Option<Ledger>, LedgerError> {
    match options.place() {
        Ok(Place::Folder(folder)) if has_ledger(&folder) => open(options).map(Some),
        // Where nobody named one, none is missed.
        Ok(Place::Folder(folder)) if options.ledger.is_some() => Err(LedgerError::NoLedger(folder)),
        Ok(Place::Folder(_)) | Err(LedgerError::NoPlace) => Ok(None),
        Ok(Place::Server(_)) => open(options).map(Some),
        Err(error) => Err(error),
    }
}

/// Whether the ledger that is meant was not begun, as far as that is why it cannot be opened.
pub fn is_missing(error: &LedgerError) -> bool {
    matches!(error, LedgerError::NoLedger(_) | LedgerError::Store(StoreError::NotBegun { .. }))
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
