//! Models that no family reads: the nearest shape that their keys describe.
//!
//! What configurations of different makers share are keys: latent ranks mean latent attention, numbers of experts
//! mean experts. The result is marked as guessed by the caller.

use hwledger_core::ModelSpec;

use super::deepseek;
use crate::Diagnostic;
use crate::huggingface::blocks::{AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, spans, uniform_spans};
use crate::huggingface::experts::Mixture;
use crate::huggingface::schedule;
use crate::huggingface::sparse::{OutputGate, Sparse};

const EXPERT_KEYS: &[&str] = &["n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"];
const CHOSEN_KEYS: &[&str] =
    &["num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "num_selected_experts"];
const EXPERT_WIDTH_KEYS: &[&str] = &["moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size"];
const SHARED_KEYS: &[&str] = &["n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert"];
const SHARED_WIDTH_KEYS: &[&str] =
    &["shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size"];

/// The experts that the keys describe, if any.
fn experts(config: &Config<'_>, width: u64) -> Result<Option<Mixture>, ConfigError> {
    let Some(experts) = config.count_of(EXPERT_KEYS)?.filter(|&experts| experts > 1) else { return Ok(None) };
    let per_token = config.required_of(CHOSEN_KEYS)?;
    let expert_width = config.count_of(EXPERT_WIDTH_KEYS)?.unwrap_or(width);
    let shared = match config.count_of(SHARED_WIDTH_KEYS)? {
        Some(shared) => shared,
        None => config.count_of(SHARED_KEYS)?.unwrap_or(0) * expert_width,
    };
    Ok(Some(Mixture::gated(experts, per_token, expert_width).with_shared(shared)))
}

/// Kinds of layers that this reader knows nothing about.
fn has_foreign_layers(config: &Config<'_>) -> Result<bool, ConfigError> {
    let known = ["full_attention", "sliding_attention", "chunked_attention", "attention"];
    Ok(config.texts("layer_types")?.is_some_and(|kinds| kinds.iter().any(|kind| !known.contains(kind))))
}

/// The nearest shape.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let is_latent = config.count("kv_lora_rank")?.is_some_and(|rank| rank > 0);
    let has_experts = config.count_of(EXPERT_KEYS)?.is_some_and(|experts| experts > 1);
    if is_latent && has_experts && config.has("intermediate_size") {
        return deepseek::read_v3(source);
    }
    let hidden = config.required_of(&["hidden_size", "n_embd", "d_model"])?;
    let widths = ["intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "moe_intermediate_size"];
    let width = config.count_of(&widths)?.filter(|&width| width > 0);
    let mut dense = Dense::with_width(source, &config, false, hidden, width.unwrap_or(4 * hidden))?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    if config.flag("use_qk_norm", false)? {
        dense.query_key_norm = QueryKeyNorm::PerHead;
    }
    let window = config.positions("sliding_window")?;
    if has_foreign_layers(&config)? {
        source.diagnostics.push(Diagnostic::new(
            "layer_types",
            "names layers of kinds that are not known; all are planned as full attention, an upper bound of the cache",
        ));
    } else if config.has("layer_types") {
        dense.spans = spans(&config, dense.layers, window, |_| false)?;
    } else if config.flag("use_sliding_window", true)? {
        dense.spans = uniform_spans(dense.layers, window);
    }
    let Some(mixture) = experts(&config, dense.width)? else { return Ok(dense.build(source)) };
    let is_sparse = schedule::sparse_layers(&config, dense.layers, 0)?;
    Ok(Sparse { dense, output_gate: OutputGate::None, mixture, is_sparse }.build(source))
}
