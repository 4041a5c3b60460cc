//! NVIDIA devices, through NVML, the library that comes with the driver.
//!
//! [`Answers`] is what the library said about one device, as plain values that can be recorded; `library` asks for
//! them, [`read`] turns them into readings.

mod answers;
mod library;

pub use answers::{Answer, Answers, Memory, Process, Refusal, read};
pub(crate) use library::Nvidia;
