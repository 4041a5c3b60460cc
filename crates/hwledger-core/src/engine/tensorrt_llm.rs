//! TensorRT-LLM, within stated bounds: its engines' buffers are not published by shape.

use super::paged::{PoolRules, ShareOf};
use super::{EngineError, MemoryPlan};
use crate::{Assumptions, ModelSpec, Settings};

/// `free_gpu_memory_fraction` (0.9) of what is free after weights and the activations of
/// `max_num_tokens` (8192) become blocks of 32 tokens.
const RULES: PoolRules = PoolRules {
    engine: "tensorrt-llm",
    block: 32,
    share: 0.9,
    share_of: ShareOf::Free,
    step_tokens: 8192,
    overhead_gib: (0.5, 1.2, 3.0),
    activation_bounds: (0.5, 2.5),
};

/// The memory of `model` as TensorRT-LLM allocates it.
///
/// **Assumptions**: activations by the shapes of the layers, good to a factor of two.
/// **Source**: `KvCacheConfig` and the memory page of the TensorRT-LLM documentation, release 1.0.
pub fn plan(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
    assumptions.note("compute", "by shapes", "the engine's activation buffers are known within a factor of two only");
    RULES.plan(model, settings, assumptions)
}
