//! mistral.rs with paged attention.

use super::paged::{PoolRules, ShareOf};
use super::{EngineError, MemoryPlan};
use crate::{Assumptions, ModelSpec, Settings};

/// Blocks of 32 tokens; 0.9 of the card's total less what is in use after loading and what the
/// device mapper reserves for activations (`paged_attention/mod.rs`).
const RULES: PoolRules = PoolRules {
    engine: "mistral.rs",
    block: 32,
    share: 0.9,
    share_of: ShareOf::Total,
    step_tokens: 4096,
    overhead_gib: (0.3, 0.6, 1.2),
    activation_bounds: (0.5, 2.0),
};

/// The memory of `model` as mistral.rs allocates it. **Source**: `paged_attention/{mod,config}.rs` and
/// `auto_device_map.rs` of mistral.rs, autumn 2026.
pub fn plan(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
    RULES.plan(model, settings, assumptions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::parallel::Layout;
    use crate::engine::sglang::pool::cells;
    use crate::model::fixture;
    use crate::units::MEBIBYTE;
    use crate::{Bytes, ElementType};

    /// `engine-memory` vectors, mistral.rs: a block of 32 tokens over the 32 layers of Llama-3.1-8B.
    #[test]
    fn mistralrs_vector_llama_8b() {
        let block = |element_type| {
            cells(&fixture::llama_8b(), &Layout::SINGLE, element_type, element_type).full * RULES.block / MEBIBYTE
        };
        assert_eq!(block(ElementType::BF16), 4);
        assert_eq!(block(ElementType::Fp8), 2);
    }

    #[test]
    fn the_pool_is_what_the_share_leaves() {
        let device = crate::device::find("RTX 4090", None).expect("a known name").device;
        let settings = Settings { context: Some(8192), devices: vec![device], ..Settings::default() };
        let plan = plan(&fixture::llama_8b(), &settings, &mut Assumptions::default()).expect("a valid request");
        let row = &plan.devices[0];
        let total = row.components.total().expect("all parts are known").value;
        let capacity = row.capacity.expect("the card's memory is known");
        // The share less nothing: the parts add up to 0.9 of the card.
        assert!(total.0.abs_diff(capacity.scaled(0.9).0) < MEBIBYTE, "{total} of {capacity}");
        assert!(plan.available_kv.is_some_and(|pool| pool.value > Bytes::from_gibibytes(3.0)));
    }
}
