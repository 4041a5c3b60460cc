//! Command R and Command A (transformers `modeling_cohere.py`, `modeling_cohere2.py`,
//! `modeling_cohere2_moe.py`).

use hwledger_core::ModelSpec;

use crate::huggingface::blocks::{AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::{Dense, spans};
use crate::huggingface::experts::Mixture;
use crate::huggingface::schedule;
use crate::huggingface::sparse::{OutputGate, Sparse};

/// One norm before attention and feed-forward, which run side by side.
fn parallel_blocks(source: &Source<'_>) -> Result<Dense, ConfigError> {
    let mut dense = Dense::read(source, &source.text, true)?;
    dense.attention_bias = AttentionBias::all(source.text.flag("attention_bias", false)?);
    dense.norms_per_layer = 1;
    Ok(dense)
}

/// Command R, Aya 23: with `use_qk_norm` a scale for every element of queries and keys.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = parallel_blocks(source)?;
    if source.text.flag("use_qk_norm", false)? {
        dense.query_key_norm = QueryKeyNorm::Full;
    }
    Ok(dense.build(source))
}

/// Command R7B, Command A, Aya Vision: every fourth layer without a window.
pub(super) fn read_cohere2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = parallel_blocks(source)?;
    let config = &source.text;
    let period = config.count_of(&["sliding_window_pattern", "_sliding_window_pattern"])?.unwrap_or(4).max(1);
    let window = config.positions("sliding_window")?;
    dense.spans = spans(config, dense.layers, window, |index| (index + 1) % period != 0)?;
    Ok(dense.build(source))
}

/// Command A with experts, which are as wide as the shared ones; dense first layers have a width and windows of their own.
pub(super) fn read_cohere2_moe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = parallel_blocks(source)?;
    let first = config.count("first_k_dense_replace")?.unwrap_or(0);
    let before = config.count("prefix_dense_sliding_window_pattern")?.unwrap_or(1).max(1);
    let after = config.count("sliding_window_pattern")?.unwrap_or(4).max(1);
    let is_sliding = |index: u64| match index.checked_sub(first) {
        Some(index) => (index + 1) % after != 0,
        None => !(index + 1).is_multiple_of(before),
    };
    dense.spans = spans(&config, dense.layers, config.positions("sliding_window")?, is_sliding)?;
    let is_sparse = schedule::sparse_layers(&config, dense.layers, 0)?;
    let shared = config.count("num_shared_experts")?.unwrap_or(0).saturating_mul(dense.width);
    let experts = config.required("num_experts")?;
    let mixture = Mixture::gated(experts, config.required("num_experts_per_tok")?, dense.width).with_shared(shared);
    dense.width = config.count("prefix_dense_intermediate_size")?.unwrap_or(dense.width);
    Ok(Sparse { dense, output_gate: OutputGate::None, mixture, is_sparse }.build(source))
}
