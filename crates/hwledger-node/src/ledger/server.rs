//! What only a ledger on a server needs: its tables, and somebody who gives places while nobody else does.

use std::time::Duration;

use hwledger_ledger::store::postgres::{self, Address, PostgresLedger, Reader, SCHEMA_VERSION, role};
use hwledger_ledger::store::{self, LedgerPlaces, StoreError};
use serde::Serialize;

use super::place::{Place, make_folder, owner, server_places};
use super::{Ledger, LedgerError, LedgerOptions, open};

/// How often one who gives places looks whether it still may.
const LOOK: Duration = Duration::from_secs(1);

/// Tables that were made or brought up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigrateAnswer {
    /// `hwledger.ledger-migrate/1`.
    pub schema: &'static str,
    /// The database.
    pub database: String,
    /// The version of its tables.
    pub version: i32,
    /// The role of programs, which may read and append.
    pub role: String,
}

/// Makes the tables of a ledger on a server, or brings them up to date, as their owner where the environment says how that
/// one connects.
///
/// # Errors
///
/// The ledger is none on a server, the server cannot be reached, or the role may not.
pub fn migrate(options: &LedgerOptions) -> Result<MigrateAnswer, LedgerError> {
    let Place::Server(address) = options.place()? else { return Err(LedgerError::NotOnServer) };
    let role = role(&address)?;
    postgres::migrate(owner()?.as_ref().unwrap_or(&address), &role)?;
    let database = address.database().to_owned();
    Ok(MigrateAnswer { schema: "hwledger.ledger-migrate/1", database, version: SCHEMA_VERSION, role })
}

/// The name of a ledger on the server whose beginning was interrupted before its first entry.
pub(super) fn unfinished(options: &LedgerOptions) -> Result<Option<String>, LedgerError> {
    let Place::Server(address) = options.place()? else { return Ok(None) };
    match Reader::open(&address).and_then(|reader| Ok((reader.origin()?, reader.size()?))) {
        Ok((origin, 0)) => Ok(Some(origin)),
        Ok(_) | Err(StoreError::NotBegun { .. } | StoreError::Unsuitable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Begins a ledger. Returns it with its database, where that is on a server.
pub(super) fn create(
    options: &LedgerOptions,
    places: &LedgerPlaces,
    origin: &str,
    continues: Option<&str>,
) -> Result<(Ledger, Option<String>), LedgerError> {
    let address = match options.place()? {
        Place::Folder(_) => return Ok((store::Ledger::create(places, origin, continues)?.into(), None)),
        Place::Server(address) => address,
    };
    if owner()?.is_some() || !has_tables(&address)? {
        migrate(options)?;
    }
    make_folder(&places.ledger)?;
    let mut server = server_places(&address, options, &places.signer);
    server.signer = Some(places.signer.clone());
    let ledger = PostgresLedger::create(&server, origin, continues)?;
    Ok((Ledger::on_server(ledger, places.ledger.clone()), Some(address.database().to_owned())))
}

fn has_tables(address: &Address) -> Result<bool, LedgerError> {
    match Reader::open(address) {
        Ok(_) => Ok(true),
        Err(StoreError::NotBegun { has_tables, .. }) => Ok(has_tables),
        Err(error) => Err(error.into()),
    }
}

/// Gives the events of all machines their places, and signs, until it may not any more. `tell` gets the ledger's name once
/// it is ready to. Other processes with the same signer may do the same: one at a time has the turn.
///
/// # Errors
///
/// The ledger is none on a server, its signer is not here, or it became read-only.
pub fn sequence(options: &LedgerOptions, tell: impl FnOnce(&str)) -> Result<(), LedgerError> {
    if matches!(options.place()?, Place::Folder(_)) {
        return Err(LedgerError::NotOnServer);
    }
    let ledger = open(options)?;
    if ledger.keys().is_empty() && ledger.fault().is_none() {
        return Err(LedgerError::NoSigner(ledger.origin().to_owned()));
    }
    tell(ledger.origin());
    loop {
        if let Some(fault) = ledger.fault() {
            return Err(StoreError::ReadOnly(fault).into());
        }
        std::thread::sleep(LOOK);
    }
}
