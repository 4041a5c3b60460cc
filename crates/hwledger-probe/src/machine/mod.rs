//! The machine: its devices, its host, and what both are doing.
//!
//! A [`Source`] gives one [`Snapshot`] after another: of this machine ([`Machine`]), of one that does not exist
//! ([`Mock`]), or of one that was recorded ([`Replay`]). [`History`] keeps the last few values of what a face shows;
//! [`Recorder`] writes snapshots to a file. No part of this grows with time.

#[cfg(any(test, target_os = "macos"))]
mod apple;
mod collect;
mod device;
mod history;
mod linux;
mod live;
pub mod metric;
mod mock;
mod notes;
pub mod nvidia;
mod overhead;
mod rate;
mod record;
mod replay;
mod source;

pub use device::{Device, DeviceKind, DeviceSnapshot, Host, MemoryKind, Note, Snapshot, Vendor};
pub use history::{History, SERIES_MAX};
pub use linux::disk::free_space;
pub use live::Machine;
pub use metric::Metric;
pub use mock::Mock;
pub use overhead::processor_time;
pub use record::{HEADER, Recorder};
pub use replay::{Fault, LINE_BYTES_MAX, READINGS_MAX, Replay, ReplayError};
pub use source::Source;
