//! Engines: what each allocates, as a pure function of model, settings and devices.

mod error;
mod memory;

pub use error::EngineError;
pub use memory::{Components, DeviceMemory, MemoryPlan};

use crate::settings::Engine;
use crate::{Assumptions, ModelSpec, Settings};

/// The memory of `model` under `settings`, as `engine` would allocate it.
/// Defaults that were taken are added to `assumptions`.
pub fn plan_memory(
    engine: Engine,
    _model: &ModelSpec,
    _settings: &Settings,
    _assumptions: &mut Assumptions,
) -> Result<MemoryPlan, EngineError> {
    Err(EngineError::NotModelled(engine.name()))
}
