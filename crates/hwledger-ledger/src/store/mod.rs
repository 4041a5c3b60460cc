//! Where entries are kept: appending durably and in order, reading, proving.
//!
//! [`sqlite`] is the default: one file, whose writers take turns. `postgres` (a feature) is for several processes that
//! write, on one machine or more. [`AnyReader`] reads either.

mod any;
#[cfg(test)]
mod ended;
mod entry;
pub(crate) mod fault;
mod ledger;
#[cfg(feature = "postgres")]
pub mod postgres;
mod rotate;
pub mod sqlite;
mod tree;
mod writer;

pub use any::{AnyReader, LedgerReader};
pub use entry::Entry;
pub use fault::{AppendError, Fault, StoreError};
pub use ledger::{Ledger, LedgerPlaces, Receipt, clock_ns};
