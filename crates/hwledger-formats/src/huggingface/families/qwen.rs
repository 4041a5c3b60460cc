//! Qwen 2 and 3 (transformers `modeling_qwen2.py`, `modeling_qwen3.py`, `modeling_qwen3_moe.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Mixer, Span};

use crate::huggingface::blocks::{self, AttentionBias, Experts, Heads, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};

/// The window applies only where it is switched on, and then from `max_window_layers` upwards.
fn span(config: &Config<'_>, index: u64) -> Result<Span, ConfigError> {
    if !config.flag("use_sliding_window", false)? {
        return Ok(Span::Full);
    }
    let first = config.count("max_window_layers")?.unwrap_or(0);
    Ok(match config.positions("sliding_window")? {
        Some(window) if index >= first => Span::Sliding(window),
        _ => Span::Full,
    })
}

/// Qwen 2 and 2.5: biases on query, key and value.
pub(super) fn read_qwen2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    read(source, AttentionBias { query_key_value: true, output: false }, QueryKeyNorm::None, false)
}

/// Qwen 3: norms on queries and keys instead.
pub(super) fn read_qwen3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let has_bias = source.text.flag("attention_bias", false)?;
    read(source, AttentionBias { query_key_value: has_bias, output: has_bias }, QueryKeyNorm::PerHead, false)
}

/// Qwen 3 with experts in every `decoder_sparse_step`-th layer.
pub(super) fn read_qwen3_moe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let has_bias = source.text.flag("attention_bias", false)?;
    read(source, AttentionBias { query_key_value: has_bias, output: has_bias }, QueryKeyNorm::PerHead, true)
}

fn read(
    source: &mut Source<'_>,
    bias: AttentionBias,
    norm: QueryKeyNorm,
    has_experts: bool,
) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let heads = Heads::read(&config, hidden)?;
    let step = config.count("decoder_sparse_step")?.unwrap_or(1).max(1);
    let dense_only = config.counts("mlp_only_layers")?.unwrap_or_default();
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for index in 0..source.layer_count()? {
        let mut layer = source.layer(format!("model.layers.{index}"));
        blocks::attention(&mut layer, hidden, heads, bias, norm);
        let feed_forward = if has_experts && (index + 1) % step == 0 && !dense_only.contains(&index) {
            let shape = Experts {
                experts: config.required_of(&["num_experts", "num_local_experts"])?,
                per_token: config.required("num_experts_per_tok")?,
                width: config.required("moe_intermediate_size")?,
                shared_width: 0,
                has_shared_gate: false,
                has_router_bias: false,
            };
            blocks::gated_experts(&mut layer, hidden, shape)
        } else {
            blocks::gated_feed_forward(&mut layer, hidden, config.required("intermediate_size")?, false)
        };
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(Mixer::Attention(heads.attention(span(&config, index)?)), feed_forward));
    }
    Ok(model)
}
