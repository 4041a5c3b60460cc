//! Zamba: Mamba layers, some of them behind a transformer block whose weights are shared (transformers
//! `modeling_zamba.py`, `modeling_zamba2.py`). The block's weights stand with the first layer that uses it.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, Attention, FeedForward, Mixer, Recurrent, Role};

use super::mamba::step_rank;
use crate::huggingface::blocks;
use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::recurrent::{Mamba1, Mamba2};
use crate::huggingface::schedule;

/// Which layers are behind a shared block: `layers_block_type`, else the reference's rule.
fn hybrid_layers(config: &Config<'_>, layers: u64, rule: impl Fn(u64) -> bool) -> Result<Vec<bool>, ConfigError> {
    const KEY: &str = "layers_block_type";
    let Some(kinds) = schedule::kinds(config, KEY, layers)? else {
        return Ok((0..layers).map(rule).collect());
    };
    kinds
        .into_iter()
        .map(|kind| match kind {
            "hybrid" => Ok(true),
            "mamba" | "mamba2" | "linear_attention" => Ok(false),
            other => Err(schedule::unknown(config, KEY, other)),
        })
        .collect()
}

/// Attention over the residual stream and the embedding side by side.
fn attention(config: &Config<'_>, hidden: u64) -> Result<Attention, ConfigError> {
    let heads = config.required("num_attention_heads")?;
    let kv_heads = config.count("num_key_value_heads")?.filter(|&count| count > 0).unwrap_or(heads);
    let dim = config.count("attention_head_dim")?.filter(|&dim| dim > 0).unwrap_or(2 * hidden / heads);
    Ok(Attention::full(heads, kv_heads, dim))
}

fn add_attention(layer: &mut LayerBuilder<'_>, attention: &Attention, hidden: u64) {
    let Attention { heads, kv_heads, key_dim, .. } = *attention;
    layer.linear(Role::Query, "shared_transformer.self_attn.q_proj", heads * key_dim, 2 * hidden);
    layer.linear(Role::Key, "shared_transformer.self_attn.k_proj", kv_heads * key_dim, 2 * hidden);
    layer.linear(Role::Value, "shared_transformer.self_attn.v_proj", kv_heads * key_dim, 2 * hidden);
    layer.linear(Role::AttentionOutput, "shared_transformer.self_attn.o_proj", hidden, heads * key_dim);
}

/// A hybrid layer attends and recurs; its feed-forward is the shared block's.
fn finish(
    mut layer: LayerBuilder<'_>,
    attention: Option<&Attention>,
    recurrent: Recurrent,
    hidden: u64,
    width: u64,
) -> hwledger_core::model::Layer {
    layer.norm(hidden, false);
    let Some(attention) = attention else {
        return layer.finish(Mixer::Recurrent(recurrent), FeedForward::None);
    };
    layer.linear(Role::Other, "linear", hidden, hidden);
    let feed_forward = FeedForward::Dense { width, activation: Activation::Gated };
    layer.finish(Mixer::Both(attention.clone(), recurrent), feed_forward)
}

/// Zamba.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = source.layer_count()?;
    let period = config.required("attn_layer_period")?;
    let offset = config.count("attn_layer_offset")?.unwrap_or(4);
    let is_hybrid = hybrid_layers(&config, layers, |index| index == 2 || index > 2 && (index - 3) % period == offset)?;
    let attention = attention(&config, hidden)?;
    let mamba = Mamba1 {
        // Heads split every matrix into equal parts, so that sizes do not depend on them.
        inner: config.required("mamba_expand")? * hidden,
        state: config.required("mamba_d_state")?,
        step_rank: step_rank(&config, "mamba_dt_rank", hidden)?,
        taps: config.required("mamba_d_conv")?,
        has_convolution_bias: config.flag("mamba_conv_bias", true)?,
        has_projection_bias: config.flag("mamba_proj_bias", false)?,
        has_inner_norms: false,
    };
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(true)?);
    let mut is_shared_block_placed = false;
    for (index, &is_hybrid) in is_hybrid.iter().enumerate() {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let recurrent = mamba.add(&mut layer, "mamba", hidden);
        if is_hybrid && !is_shared_block_placed {
            is_shared_block_placed = true;
            add_attention(&mut layer, &attention, hidden);
            blocks::gated_feed_forward(&mut layer, hidden, width, false);
            layer.norm(2 * hidden, false);
            layer.norm(hidden, false);
        }
        model.decoder.push(finish(layer, is_hybrid.then_some(&attention), recurrent, hidden, width));
    }
    Ok(model)
}

/// Zamba 2: `num_mem_blocks` shared blocks in turn, each use with low-rank adapters of its own.
pub(super) fn read_zamba2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let width = config.count("intermediate_size")?.filter(|&width| width > 0).unwrap_or(4 * hidden);
    let layers = source.layer_count()?;
    // The reference's default order: every sixth layer of the first 42, then the 48th and the 52nd.
    let rule = |index: u64| index > 0 && index <= 42 && index.is_multiple_of(6) || index == 47 || index == 51;
    let is_hybrid = hybrid_layers(&config, layers, rule)?;
    let attention = attention(&config, hidden)?;
    let inner = config.required("mamba_expand")? * hidden;
    let heads = config.required("n_mamba_heads")?;
    let mamba = Mamba2 {
        heads,
        head_dim: (inner / heads).max(1),
        state: config.required("mamba_d_state")?,
        groups: config.required("mamba_ngroups")?,
        taps: config.required("mamba_d_conv")?,
        has_convolution_bias: config.flag("use_conv_bias", true)?,
        has_projection_bias: config.flag("add_bias_linear", false)?,
        has_output_bias: config.flag("add_bias_linear", false)?,
        has_norm: true,
    };
    let blocks = config.required("num_mem_blocks")?;
    let uses = is_hybrid.iter().filter(|&&is| is).count() as u64;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(true)?);
    let mut used = 0;
    for (index, &is_hybrid) in is_hybrid.iter().enumerate() {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let recurrent = mamba.add(&mut layer, "mamba", hidden);
        if is_hybrid {
            if used < blocks {
                add_attention(&mut layer, &attention, hidden);
                let adapters = (uses - used).div_ceil(blocks);
                add_zamba2_feed_forward(&mut layer, &config, hidden, width, adapters)?;
                layer.norm(2 * hidden, false);
                layer.norm(hidden, false);
            }
            used += 1;
        }
        model.decoder.push(finish(layer, is_hybrid.then_some(&attention), recurrent, hidden, width));
    }
    Ok(model)
}

/// The shared block's feed-forward and the adapters of its `adapters` uses.
fn add_zamba2_feed_forward(
    layer: &mut LayerBuilder<'_>,
    config: &Config<'_>,
    hidden: u64,
    width: u64,
    adapters: u64,
) -> Result<(), ConfigError> {
    let has_bias = config.flag("add_bias_linear", false)?;
    let rank = config.required("adapter_rank")?;
    layer.linear_with_bias(Role::GateUp, "shared_transformer.feed_forward.gate_up_proj", 2 * width, hidden, has_bias);
    layer.linear_with_bias(Role::Down, "shared_transformer.feed_forward.down_proj", hidden, width, has_bias);
    let is_attention_adapted = config.flag("use_shared_attention_adapter", false)?;
    for _ in 0..adapters {
        layer.linear(Role::GateUp, "shared_transformer.feed_forward.gate_up_proj_adapter_list", rank, hidden);
        layer.linear(Role::GateUp, "shared_transformer.feed_forward.gate_up_proj_adapter_list", 2 * width, rank);
        if is_attention_adapted {
            for role in [Role::Query, Role::Key, Role::Value] {
                layer.linear(role, "shared_transformer.self_attn.linear_adapter_list", rank, 2 * hidden);
                layer.linear(role, "shared_transformer.self_attn.linear_adapter_list", 2 * hidden, rank);
            }
        }
    }
    Ok(())
}
