//! What llama.cpp does differently from the model's own code, by architecture.
//!
//! Names are accepted in both spellings, Hugging Face's and GGUF's. Source: the
//! architecture files of llama.cpp 0.5.0 (autumn 2026).

use crate::model::{Attention, CacheOwner, Layer, ModelSpec, Role, Span, Stack};

/// Windows that the model has and llama.cpp ignores, so that these layers keep every token:
/// Mistral and Mixtral run as `llama`, Phi-3's window is disabled by name, StarCoder 2 and
/// Qwen never had the window implemented.
fn ignores_window(architecture: &str) -> bool {
    matches!(
        architecture,
        "llama"
            | "mistral"
            | "mixtral"
            | "mistral3"
            | "phi3"
            | "phimoe"
            | "phi4mm"
            | "starcoder2"
            | "qwen2"
            | "qwen2_moe"
            | "qwen2moe"
            | "qwen3"
            | "qwen3_moe"
            | "qwen3moe"
            | "minimax"
            | "minimax-01"
            | "minimax-m2"
            | "minimax_m2"
    )
}

/// The window that llama.cpp gives a layer, if it keeps fewer than all tokens.
pub(crate) fn window(architecture: &str, layers: usize, span: Span) -> Option<u64> {
    let own = span.window()?;
    match architecture {
        name if ignores_window(name) => None,
        "exaone4" if layers != 64 => None,
        "exaone4" | "smallthinker" => Some(4096),
        "llama4" | "llama4_text" => Some(8192),
        _ => Some(own),
    }
}

/// Whether recurrent state can be rolled back after rejected drafts.
pub(crate) fn can_roll_back(architecture: &str) -> bool {
    matches!(
        architecture,
        "qwen3_5"
            | "qwen3_5_moe"
            | "qwen35"
            | "qwen35moe"
            | "deepseek4"
            | "deepseek_v4"
            | "nemotron_h"
            | "nemotron_h_moe"
            | "lfm2"
            | "lfm2_moe"
            | "lfm2moe"
            | "kimi-k3"
    )
}

/// Architectures whose layers without attention are in the cache nonetheless.
pub(crate) fn caches_lost_attention(architecture: &str) -> bool {
    matches!(architecture, "deci" | "nemotron-nas")
}

/// Architectures whose latents are not cached: their heads are, decompressed.
fn caches_heads(architecture: &str) -> bool {
    matches!(architecture, "plm" | "minicpm3")
}

/// GGUF's own names of architectures with latent attention: such a description was read from a file.
fn is_read_from_gguf(architecture: &str) -> bool {
    matches!(architecture, "deepseek2" | "deepseek32" | "glm-dsa" | "kimi-linear" | "mistral4")
}

/// Elements of the latent that a layer caches, where llama.cpp caches the latent as such.
/// Files made before April 2025 hold the up-projection in one piece, and then the heads are cached.
pub(crate) fn cached_latent(architecture: &str, layer: &Layer, attention: &Attention) -> Option<u64> {
    let latent = attention.latent?;
    let is_split = || layer.weights.iter().any(|weight| weight.role == Role::LatentKeyUp);
    let is_cached = !caches_heads(architecture) && (!is_read_from_gguf(architecture) || is_split());
    is_cached.then_some(latent.kv_rank + latent.rope_dim)
}

/// Layers of the file that llama.cpp loads, those that predict further tokens included where the conversion keeps
/// them; the output layer is not one of them.
///
/// **Source**: `conversion/deepseek.py` of llama.cpp (2026): `DeepseekV2Model` skips them (`skip_mtp`), as the class
/// of DeepSeek-V4 does; those of DeepSeek-V3.2, GLM-4.5 and Qwen 3.5 count them as further blocks.
pub(crate) fn layers_in_file(model: &ModelSpec) -> usize {
    let drops_drafts = model.file_bytes.is_none()
        && matches!(model.architecture.as_str(), "deepseek_v3" | "kimi_k2" | "deepseek_v4" | "glm4_moe_lite");
    let drafts = if drops_drafts { 0 } else { model.draft_layers.len() };
    model.decoder.len() + model.encoder.as_ref().map_or(0, Stack::len) + drafts
}

/// Whether llama.cpp keeps a cache: for all that generates, and, without need, for T5's encoder alone.
pub(crate) fn has_cache(model: &ModelSpec) -> bool {
    model.is_causal || model.architecture == "t5encoder"
}

/// Whether a layer has a cache of its own. Layers that need none keep one if their model does.
pub(crate) const fn owns_cache(attention: &Attention) -> bool {
    matches!(attention.cache, CacheOwner::Own | CacheOwner::Nobody)
}
