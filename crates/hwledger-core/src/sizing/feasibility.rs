//! Whether a model fits into a tier's memory at all.

use serde::{Deserialize, Serialize};

use super::Compatibility;
use super::model::SizingModel;
use super::tier::Tier;

/// Whether it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// It does not.
    WontFit,
    /// It does, with less than 15 % of the memory to spare.
    Tight,
    /// It does.
    Fits,
}

/// What a model takes and what there is, in decimal gigabytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Feasibility {
    /// Whether it fits.
    pub fit: Fit,
    /// The weights.
    pub weights_gb: f64,
    /// The cache (and recurrent state) of one sequence at the whole context.
    pub kv_cache_gb: f64,
    /// The runtime and everything else.
    pub overhead_gb: f64,
    /// All of them.
    pub required_gb: f64,
    /// The memory.
    pub available_gb: f64,
    /// What is left; negative where it does not fit.
    pub headroom_gb: f64,
}

/// What the runtime takes beside weights and cache: a convention of the reference system.
const OVERHEAD_GB: f64 = 1.0;
/// Share of the memory that must be left for a comfortable fit.
const TIGHT_SHARE: f64 = 0.15;

/// Whether `model` with `context_tokens` of context fits into `tier`.
///
/// **Formula**: weights + cache + 1 GB against the capacity; below 15 % of the capacity left is tight.
/// Cache per token = layers x 2 x KV heads x head width x 2 bytes, with the model's true head width
/// and windows; the reference takes hidden size / heads for the head width.
///
/// **Units**: GB = 10^9 bytes on both sides.
pub fn feasibility(model: &SizingModel, tier: &Tier, context_tokens: u64, compatibility: Compatibility) -> Feasibility {
    let context = context_tokens as f64;
    let (weights_gb, kv_cache_gb) = match compatibility {
        Compatibility::Corrected => (model.weights_gb(), model.cache_gb(context)),
        Compatibility::Reference => {
            let weights = model.reference.map_or_else(|| model.weights_gb(), |figures| figures.file_gb);
            (weights, reference_cache_bytes_per_token(model) * context / 1e9)
        }
    };
    let required_gb = weights_gb + kv_cache_gb + OVERHEAD_GB;
    let headroom_gb = tier.capacity_gb - required_gb;
    let fit = if headroom_gb < 0.0 {
        Fit::WontFit
    } else if headroom_gb < TIGHT_SHARE * tier.capacity_gb {
        Fit::Tight
    } else {
        Fit::Fits
    };
    Feasibility {
        fit,
        weights_gb,
        kv_cache_gb,
        overhead_gb: OVERHEAD_GB,
        required_gb,
        available_gb: tier.capacity_gb,
        headroom_gb,
    }
}

/// Cached bytes of a token as the reference counts them.
fn reference_cache_bytes_per_token(model: &SizingModel) -> f64 {
    if model.heads == 0 {
        return 0.0;
    }
    model.layers as f64 * 2.0 * model.hidden_size as f64 * (model.kv_heads as f64 / model.heads as f64) * 2.0
}

#[cfg(test)]
mod tests {
    use super::super::registry::tier;
    use super::*;

    fn judged(model: &str, name: &str, context: u64, compatibility: Compatibility) -> Feasibility {
        let model = SizingModel::find(model).expect("a reference model");
        feasibility(model, tier(name).expect("a tier of the registry"), context, compatibility)
    }

    /// Qwen3-30B-A3B has heads of 128 elements on a hidden size of 2048 with 32 heads.
    #[test]
    fn d2_the_cache_takes_the_true_head_width() {
        let model = SizingModel::find("qwen3_30b_a3b").expect("a reference model");
        assert_eq!(model.cache_bytes_per_token(), 98_304);
        assert!((reference_cache_bytes_per_token(model) - 49_152.0).abs() < 1e-9);
        let ours = judged("qwen3_30b_a3b", "NPU High", 32_768, Compatibility::Corrected);
        let theirs = judged("qwen3_30b_a3b", "NPU High", 32_768, Compatibility::Reference);
        assert!((ours.kv_cache_gb / theirs.kv_cache_gb - 2.0).abs() < 1e-9);
    }

    #[test]
    fn d2_models_read_from_files_use_their_own_shapes_too() {
        let spec = crate::model::fixture::llama_8b();
        let model = SizingModel::of_spec("llama", &spec, None).expect("a sound model");
        let expected = crate::cache::sequence_memory(&spec, 8192, crate::ElementType::F16, crate::ElementType::F16);
        assert!((model.cache_gb(8192.0) * 1e9 - expected.bytes_per_sequence_at_context as f64).abs() < 1.0);
    }

    #[test]
    fn parts_sum_to_the_whole_and_verdicts_follow_the_headroom() {
        for (name, fit) in [("NPU i.MX 93", Fit::WontFit), ("NPU Mid", Fit::Fits), ("NPU High", Fit::Fits)] {
            let found = judged("qwen3_30b_a3b", name, 700, Compatibility::Corrected);
            assert_eq!(found.fit, fit, "{name}: {found:?}");
            let sum = found.weights_gb + found.kv_cache_gb + found.overhead_gb;
            assert!((sum - found.required_gb).abs() < 1e-9);
            assert!((found.required_gb + found.headroom_gb - found.available_gb).abs() < 1e-9);
        }
        assert_eq!(judged("qwen3_30b_a3b", "NPU Mid", 20_000, Compatibility::Corrected).fit, Fit::Tight);
    }
}
