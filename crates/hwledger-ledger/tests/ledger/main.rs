//! The ledger as its users meet it: durable, in order, provable, and honest about damage.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod crash;
mod examples_of_kinds;
mod faults;
mod folder;
mod golden;
mod memory;
mod mutation;
mod projections;
mod retention;
mod rotation;
mod storage;
mod strangers;
mod tampering;
mod witness;
