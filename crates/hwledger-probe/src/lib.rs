//! What a machine has and what it is doing right now.
//!
//! Everything read, from a device or from a running engine, is a [`Reading`]: a number with its unit, where it comes
//! from and when it was taken, or the reason why there is none. [`machine`] reads the machine itself.

pub mod engine;
pub mod machine;
mod reading;

pub use reading::{Outcome, Reading, Unit};
