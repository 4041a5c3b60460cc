//! Engines: what each allocates, as a pure function of model, settings and devices.

pub mod deployment;
mod error;
pub mod hwledger;
pub mod llamacpp;
mod memory;
pub mod mistralrs;
pub mod mlx;
pub mod ollama;
mod paged;
mod parallel;
#[cfg(test)]
mod properties;
mod server_log;
pub mod sglang;
mod shard;
pub mod support;
pub mod tensorrt_llm;
pub mod tgi;
pub mod transformers;
pub mod vllm;

pub use error::EngineError;
pub use memory::{Components, DeviceMemory, MemoryPlan, Residence, WeightBuffer};

use crate::settings::Engine;
use crate::{Assumptions, ModelSpec, Settings};

/// The memory of `model` under `settings`, as `engine` would allocate it.
/// Defaults that were taken are added to `assumptions`.
pub fn plan_memory(
    engine: Engine,
    model: &ModelSpec,
    settings: &Settings,
    assumptions: &mut Assumptions,
) -> Result<MemoryPlan, EngineError> {
    match engine {
        Engine::LlamaCpp | Engine::IkLlamaCpp => llamacpp::plan(model, settings, assumptions),
        Engine::Ollama => ollama::plan(model, settings, assumptions),
        Engine::Vllm => vllm::plan(model, settings, assumptions),
        Engine::TensorRtLlm => tensorrt_llm::plan(model, settings, assumptions),
        Engine::Tgi => tgi::plan(model, settings, assumptions),
        Engine::MistralRs => mistralrs::plan(model, settings, assumptions),
        Engine::Transformers => transformers::plan(model, settings, assumptions),
        Engine::Sglang => sglang::plan(model, settings, assumptions),
        Engine::Mlx => mlx::plan(model, settings, assumptions),
        Engine::Hwledger => hwledger::plan(model, settings, assumptions),
    }
}

/// The context that an engine takes by itself, where that is a choice and not the model's maximum.
pub fn default_context(engine: Engine, model: &ModelSpec, settings: &Settings) -> Option<u64> {
    (engine == Engine::Ollama).then(|| ollama::default_context(model, settings))
}

/// The lines about memory that the engine's own start-up log would print.
///
/// # Errors
///
/// As [`plan_memory`].
pub fn log_lines(engine: Engine, model: &ModelSpec, settings: &Settings) -> Result<Vec<String>, EngineError> {
    match engine {
        Engine::LlamaCpp | Engine::IkLlamaCpp => llamacpp::log_lines(model, settings),
        Engine::Ollama => ollama::log_lines(model, settings),
        other => server_log::lines(other, model, settings),
    }
}
