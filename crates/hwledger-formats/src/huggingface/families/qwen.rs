//! Qwen 1 to 3 (transformers `modeling_qwen2.py`, `modeling_qwen3.py`, `modeling_qwen3_moe.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::Span;

use super::glm_moe::qwen_sparse_layers;
use crate::huggingface::blocks::{AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, spans};
use crate::huggingface::experts::Mixture;
use crate::huggingface::sparse::{OutputGate, Sparse};
use crate::huggingface::towers::qwen_vision;

/// The window applies only where it is switched on, and then from `max_window_layers` upwards.
fn windows(config: &Config<'_>, layers: u64) -> Result<Vec<Span>, ConfigError> {
    if !config.flag("use_sliding_window", false)? {
        return Ok(Vec::new());
    }
    let first = config.count("max_window_layers")?.unwrap_or(0);
    spans(config, layers, config.positions("sliding_window")?, |index| index >= first)
}

/// Biases on query, key and value.
fn shaped_as_qwen2(source: &Source<'_>) -> Result<Dense, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.attention_bias = AttentionBias::inputs(true);
    dense.spans = windows(&source.text, dense.layers)?;
    Ok(dense)
}

/// Norms on queries and keys instead.
fn shaped_as_qwen3(source: &Source<'_>) -> Result<Dense, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.attention_bias = AttentionBias::all(source.text.flag("attention_bias", false)?);
    dense.query_key_norm = QueryKeyNorm::PerHead;
    dense.spans = windows(&source.text, dense.layers)?;
    Ok(dense)
}

/// Qwen 1 (remote code `modeling_qwen.py`): `intermediate_size` counts gate and up together.
pub(super) fn read_qwen(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = &source.text;
    let hidden = config.required("hidden_size")?;
    let mut dense = Dense::with_width(source, config, false, hidden, config.required("intermediate_size")? / 2)?;
    dense.attention_bias = AttentionBias::inputs(true);
    dense.has_feed_forward_bias = !config.flag("no_bias", true)?;
    Ok(dense.build(source))
}

/// Qwen 2 and 2.5.
pub(super) fn read_qwen2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    Ok(shaped_as_qwen2(source)?.build(source))
}

/// Qwen 3.
pub(super) fn read_qwen3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    Ok(shaped_as_qwen3(source)?.build(source))
}

/// Qwen 3 with experts in every `decoder_sparse_step`-th layer.
pub(super) fn read_qwen3_moe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let dense = shaped_as_qwen3(source)?;
    let experts = config.required_of(&["num_experts", "num_local_experts"])?;
    let per_token = config.required("num_experts_per_tok")?;
    let mixture = Mixture::gated(experts, per_token, config.required("moe_intermediate_size")?);
    let is_sparse = qwen_sparse_layers(&config, dense.layers)?;
    Ok(Sparse { dense, output_gate: OutputGate::None, mixture, is_sparse }.build(source))
}

/// Qwen2-VL.
pub(super) fn read_qwen2_vl(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_qwen2(source)?;
    model.towers.push(qwen_vision::qwen2(source)?);
    Ok(model)
}

/// Qwen2.5-VL.
pub(super) fn read_qwen2_5_vl(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_qwen2(source)?;
    model.towers.push(qwen_vision::qwen2_5(source)?);
    Ok(model)
}

/// Qwen3-VL.
pub(super) fn read_qwen3_vl(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_qwen3(source)?;
    model.towers.push(qwen_vision::qwen3(source)?);
    Ok(model)
}

/// Qwen3-VL with experts.
pub(super) fn read_qwen3_vl_moe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_qwen3_moe(source)?;
    model.towers.push(qwen_vision::qwen3(source)?);
    Ok(model)
}
