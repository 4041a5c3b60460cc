//! Where entries are kept: appending durably and in order, reading, proving.

mod fault;
mod ledger;
pub mod sqlite;
mod writer;

pub use fault::{AppendError, Fault, StoreError};
pub use ledger::{Ledger, LedgerPlaces, Receipt, clock_ns};
