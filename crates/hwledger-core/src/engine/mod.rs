//! Engines: what each allocates, as a pure function of model, settings and devices.

mod memory;

pub use memory::{Components, DeviceMemory, MemoryPlan};
