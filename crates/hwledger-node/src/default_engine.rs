//! Which engine runs a model when nobody says.

use hwledger_core::Assumptions;
use hwledger_core::settings::{DeviceKind, Engine, Settings};

/// llama.cpp for GGUF, mlx on Apple, vllm otherwise.
pub(crate) fn default_engine(is_gguf: bool, settings: &Settings, assumptions: &mut Assumptions) -> Engine {
    if let Some(engine) = settings.engine {
        return engine;
    }
    let is_apple = settings.devices.iter().any(|device| device.kind == DeviceKind::Apple);
    let (engine, why) = if is_gguf {
        (Engine::LlamaCpp, "the usual engine of GGUF files")
    } else if is_apple {
        (Engine::Mlx, "the usual engine on Apple silicon")
    } else {
        (Engine::Vllm, "the usual engine of safetensors files")
    };
    assumptions.note("engine", engine.name(), why);
    engine
}
