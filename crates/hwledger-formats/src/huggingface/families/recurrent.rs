//! RWKV 4 and `RecurrentGemma` (transformers `modeling_rwkv.py`, `modeling_recurrent_gemma.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, FeedForward, Mixer, Recurrent, RecurrentKind, Role, Span};

use crate::huggingface::blocks::{AttentionBias, Heads};
use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::{Config, ConfigError};

/// RWKV 4 (Peng et al. 2023).
pub(super) fn read_rwkv(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let inner = config.count("attention_hidden_size")?.filter(|&width| width > 0).unwrap_or(hidden);
    let width = config.count("intermediate_size")?.filter(|&width| width > 0).unwrap_or(4 * hidden);
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    model.context_max = config.positions("context_length")?;
    model.head.insert(1, source.vector(Role::Norm, hidden));
    for index in 0..source.layer_count()? {
        let mut layer = source.layer(format!("rwkv.blocks.{index}"));
        if index == 0 {
            layer.norm(hidden, true);
        }
        layer.norm(hidden, true);
        layer.norm(hidden, true);
        for length in [inner, inner, hidden, hidden, hidden] {
            // Decay, bonus, and the three mixes with the token before.
            layer.vector(Role::RecurrentSmall, length);
        }
        layer.linear(Role::RecurrentIn, "attention.key", inner, hidden);
        layer.linear(Role::RecurrentIn, "attention.value", inner, hidden);
        layer.linear(Role::RecurrentIn, "attention.receptance", inner, hidden);
        layer.linear(Role::RecurrentOut, "attention.output", hidden, inner);
        layer.vector(Role::Other, hidden);
        layer.vector(Role::Other, hidden);
        layer.linear(Role::Up, "feed_forward.key", width, hidden);
        layer.linear(Role::Gate, "feed_forward.receptance", hidden, hidden);
        layer.linear(Role::Down, "feed_forward.value", hidden, width);
        let recurrent = Recurrent {
            kind: RecurrentKind::Rwkv4,
            heads: 1,
            inner_size: inner,
            state_size: 3,
            groups: 1,
            convolution_channels: 0,
            convolution_taps: 0,
            // Numerator, denominator and largest exponent per channel.
            state_elements: 3 * inner,
            // The token before, for attention and for the feed-forward.
            shift_elements: 2 * hidden,
        };
        let feed_forward = FeedForward::Dense { width, activation: Activation::Plain };
        model.decoder.push(layer.finish(Mixer::Recurrent(recurrent), feed_forward));
    }
    Ok(model)
}

/// The recurrent block of Griffin (De et al. 2024): a gated linear recurrence behind a short convolution.
fn add_gated_recurrence(
    layer: &mut LayerBuilder<'_>,
    config: &Config<'_>,
    hidden: u64,
) -> Result<Recurrent, ConfigError> {
    let inner = config.count("lru_width")?.filter(|&width| width > 0).unwrap_or(hidden);
    let heads = config.required("num_attention_heads")?;
    let taps = config.required("conv1d_width")?;
    layer.linear_with_bias(Role::RecurrentIn, "temporal_block.linear_y", inner, hidden, true);
    layer.linear_with_bias(Role::RecurrentIn, "temporal_block.linear_x", inner, hidden, true);
    layer.linear_with_bias(Role::RecurrentOut, "temporal_block.linear_out", hidden, inner, true);
    layer.convolution(inner, taps, true);
    layer.vector(Role::RecurrentSmall, inner);
    for _ in 0..2 {
        // Input and recurrence gates, a square block per head.
        layer.plain_matrix(Role::RecurrentInner, inner, inner / heads);
        layer.vector(Role::RecurrentInner, inner);
    }
    Ok(Recurrent {
        kind: RecurrentKind::GatedLinear,
        heads,
        inner_size: inner,
        state_size: 1,
        groups: 1,
        convolution_channels: inner,
        convolution_taps: taps,
        state_elements: inner,
        shift_elements: 0,
    })
}

/// `RecurrentGemma`: two recurrent layers to one of windowed attention.
pub(super) fn read_recurrent_gemma(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    const KEY: &str = "block_types";
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")? / 2;
    let heads = Heads::read(&config, hidden)?;
    let span = Span::Sliding(config.positions("attention_window_size")?.unwrap_or(2048));
    let kinds = match config.texts(KEY)? {
        Some(kinds) if !kinds.is_empty() => kinds,
        _ => vec!["recurrent", "recurrent", "attention"],
    };
    let bias = AttentionBias { query_key_value: config.flag("attention_bias", false)?, output: true };
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(true)?);
    for (index, &kind) in (0..source.layer_count()?).zip(kinds.iter().cycle()) {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = match kind {
            "recurrent" => Mixer::Recurrent(add_gated_recurrence(&mut layer, &config, hidden)?),
            "attention" => {
                let query = heads.query_heads * heads.head_dim;
                let key = heads.kv_heads * heads.head_dim;
                let has_bias = bias.query_key_value;
                layer.linear_with_bias(Role::Query, "temporal_block.q_proj", query, hidden, has_bias);
                layer.linear_with_bias(Role::Key, "temporal_block.k_proj", key, hidden, has_bias);
                layer.linear_with_bias(Role::Value, "temporal_block.v_proj", key, hidden, has_bias);
                layer.linear_with_bias(Role::AttentionOutput, "temporal_block.o_proj", hidden, query, bias.output);
                Mixer::Attention(heads.attention(span))
            }
            other => return Err(crate::huggingface::schedule::unknown(&config, KEY, other)),
        };
        layer.linear_with_bias(Role::Gate, "mlp_block.gate_proj", width, hidden, true);
        layer.linear_with_bias(Role::Up, "mlp_block.up_proj", width, hidden, true);
        layer.linear_with_bias(Role::Down, "mlp_block.down_proj", hidden, width, true);
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(mixer, FeedForward::Dense { width, activation: Activation::Gated }));
    }
    Ok(model)
}
