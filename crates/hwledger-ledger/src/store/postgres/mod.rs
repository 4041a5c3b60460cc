//! The store for several processes that write: a PostgreSQL server, an inbox and one sequencer.
//!
//! Any process puts events into the *inbox*, once per key, durably. One of them is the *sequencer*: it holds an advisory
//! lock, and moves what is in the inbox to the entries, giving places without gaps, in one transaction with the tree. Each
//! that takes over raises an *epoch*, which the transaction of the one before checks and holds to its end: a sequencer
//! that stalled and wakes up later commits nothing. Processes that wait for their events' places are told by a
//! notification, and look by themselves now and then in case one was lost.
//!
//! | table | holds |
//! | --- | --- |
//! | `meta`, `entries`, `once`, `tiles`, `checkpoints` | what those of [`super::sqlite`] do |
//! | `inbox` | events that were accepted and have no place yet |
//! | `refused` | events whose stream had another version than they expected |
//! | `sequencer` | the epoch, and who has it |
//! | `migrations` | versions of the tables |
//!
//! A numbered column of the server's (`bigserial`) could not stand for the order: its numbers appear out of turn, and
//! those of transactions that fail never.
//!
//! Connections to other machines are encrypted, and the servers' certificates verified; [`Transport`] has the exception.

mod address;
mod candidate;
mod encryption;
mod inbox;
mod keys;
mod ledger;
mod outcome;
mod read;
mod schema;
mod sequencer;

pub use address::{Address, Transport};
pub use candidate::{Candidate, Elected};
pub use ledger::{PostgresLedger, PostgresPlaces, Ticket};
pub use read::Reader;
pub use schema::{SCHEMA_VERSION, migrate, prune, role};
pub use sequencer::Sequencer;

use std::error::Error as _;

use ::postgres::error::SqlState;

use super::{Fault, StoreError};

/// Of the advisory locks: `hwlg`.
const LOCK_SPACE: i32 = 0x6877_6c67;

/// The advisory lock of the sequencer.
const LOCK_OF_SEQUENCER: i32 = 1;

/// The advisory lock of migrations.
const LOCK_OF_MIGRATION: i32 = 2;

/// What the server or the connection said, without the source's source being lost.
pub(super) fn said(error: &::postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// What to do about a failure, where something can be done.
pub(super) fn hint(error: &::postgres::Error) -> Option<&'static str> {
    if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return Some("`HWLEDGER_LEDGER_OWNER` says how the owner of the tables connects, which this needs");
    }
    let text = said(error);
    if text.contains("server does not support TLS") {
        return Some("connections to other machines are encrypted: turn `ssl` on at the server");
    }
    // rustls names what is wrong with a certificate, and not what to do.
    let is_unknown = text.contains("UnknownIssuer") || text.contains("CaUsedAsEndEntity");
    is_unknown.then_some("`sslrootcert=FILE` names the certificate of the authority that signed the server's own")
}

/// What a failed statement means for the ledger; none where another try, perhaps over another connection, may do.
fn fault_of(error: &::postgres::Error) -> Option<Fault> {
    let text = said(error);
    let Some(code) = error.code() else {
        // Without a code it was the connection, or what came over it was not understood.
        let is_connection =
            error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
        return (!is_connection).then_some(Fault::Storage(text));
    };
    match *code {
        SqlState::DISK_FULL => Some(Fault::DiskFull),
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => Some(Fault::Corrupt(text)),
        // Connections, transactions to be tried again, resources, locks, an operator's intervention.
        _ if ["08", "25", "40", "53", "55", "57"].contains(&&code.code()[..2]) => None,
        _ => Some(Fault::Storage(text)),
    }
}

/// A statement's result with the database that it was for.
fn in_server<T>(address: &Address, result: Result<T, ::postgres::Error>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::Server { database: address.database().to_owned(), error: Box::new(error) })
}
