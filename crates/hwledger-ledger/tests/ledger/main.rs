//! The ledger as its users meet it: durable, in order, provable, and honest about damage.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod folder;
mod memory;
mod storage;
mod strangers;
mod tampering;
