//! Llama 4 (transformers `modeling_llama4.py`): attention in chunks but for the layers without rotary positions,
//! experts in every `interleave_moe_layer_step`-th layer.

use hwledger_core::ModelSpec;
use hwledger_core::model::Span;

use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, spans};
use crate::huggingface::experts::{Mixture, Names};
use crate::huggingface::schedule;
use crate::huggingface::sparse::{OutputGate, Sparse};
use crate::huggingface::towers::llama4;

/// Which layers attend to all tokens: those marked 0 in `no_rope_layers`, else every fourth.
fn is_global(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    let is_listed = config.counts("no_rope_layers")?.is_some_and(|list| !list.is_empty());
    if is_listed && let Some(flags) = schedule::per_layer(config, "no_rope_layers", layers)? {
        return Ok(flags.into_iter().map(|flag| flag == 0).collect());
    }
    let period = config.count("no_rope_layer_interval")?.unwrap_or(4).max(1);
    Ok((0..layers).map(|index| (index + 1) % period == 0).collect())
}

/// Layers with experts: a list, else by step.
fn sparse_layers(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    if let Some(list) = config.counts("moe_layers")? {
        return Ok((0..layers).map(|index| list.contains(&index)).collect());
    }
    let step = config.count("interleave_moe_layer_step")?.unwrap_or(1).max(1);
    Ok((0..layers).map(|index| (index + 1) % step == 0).collect())
}

/// The language model of Llama 4.
pub(super) fn read_text(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size_mlp")?;
    let mut dense = Dense::with_width(source, &config, false, hidden, width)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let is_global = is_global(&config, dense.layers)?;
    dense.spans = spans_of(&config, dense.layers, &is_global)?;
    let expert_width = config.required("intermediate_size")?;
    let experts = config.required("num_local_experts")?;
    let mixture = Mixture::gated(experts, config.required("num_experts_per_tok")?, expert_width)
        .with_shared(expert_width)
        .named(Names::FEED_FORWARD);
    let is_sparse = sparse_layers(&config, dense.layers)?;
    Ok(Sparse { dense, output_gate: OutputGate::None, mixture, is_sparse }.build(source))
}

fn spans_of(config: &Config<'_>, layers: u64, is_global: &[bool]) -> Result<Vec<Span>, ConfigError> {
    let chunk = config.positions("attention_chunk_size")?;
    if config.has("layer_types") {
        return spans(config, layers, chunk, |_| false);
    }
    let chunked = chunk.map_or(Span::Full, Span::Chunked);
    Ok(is_global.iter().map(|&global| if global { Span::Full } else { chunked }).collect())
}

/// Llama 4.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_text(source)?;
    model.towers.push(llama4::llama4(source, model.hidden_size)?);
    Ok(model)
}
