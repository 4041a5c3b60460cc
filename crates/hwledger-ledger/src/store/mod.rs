//! Where entries are kept: appending durably and in order, reading, proving.

mod entry;
mod fault;
mod ledger;
pub mod sqlite;
mod tree;
mod writer;

pub use entry::Entry;
pub use fault::{AppendError, Fault, StoreError};
pub use ledger::{Ledger, LedgerPlaces, Receipt, clock_ns};
