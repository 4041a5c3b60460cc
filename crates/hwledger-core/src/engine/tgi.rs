//! Text Generation Inference.

use super::paged::{PoolRules, ShareOf};
use super::{EngineError, MemoryPlan};
use crate::{Assumptions, ModelSpec, Settings};

/// `get_free_memory` keeps `1 - MEMORY_FRACTION x TGI_WIGGLE_ROOM` of the total free, after a warm-up
/// prefill of `max_batch_prefill_tokens` (4096). Blocks are of one token with `FlashInfer`.
const RULES: PoolRules = PoolRules {
    engine: "tgi",
    block: 1,
    share: 0.9,
    share_of: ShareOf::Total,
    step_tokens: 4096,
    overhead_gib: (0.3, 0.7, 1.5),
    activation_bounds: (0.5, 1.8),
};

/// The memory of `model` as TGI allocates it. **Source**: `flash_causal_lm.py` and `globals.py` of TGI 3.
pub fn plan(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
    RULES.plan(model, settings, assumptions)
}
