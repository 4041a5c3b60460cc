//! MiMo-V2 (transformers `modeling_mimo_v2_flash.py`): windows with sinks and more key heads between layers of
//! full attention, values narrower than keys, experts after the first layer.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Attention, Mixer, Role, Span};

use crate::huggingface::blocks;
use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::schedule;
use crate::huggingface::sparse::deepseek_experts;

/// Attention of one of the two kinds of layers.
fn attention(config: &Config<'_>, is_local: bool) -> Result<Attention, ConfigError> {
    let own = |key: &str| -> Result<u64, ConfigError> {
        let local = if is_local { config.count(&format!("swa_{key}"))? } else { None };
        local.map_or_else(|| config.required(key), Ok)
    };
    // The reference attends to `sliding_window_size` tokens before the current one.
    let window = match config.positions("sliding_window_size")? {
        Some(before) => before + 1,
        None => config.positions("sliding_window")?.ok_or_else(|| config.missing("sliding_window"))?,
    };
    let sinks = if is_local { "add_swa_attention_sink_bias" } else { "add_full_attention_sink_bias" };
    let key_dim = own("head_dim")?;
    // The reference doubles the key heads of windows; the files say the same in a key of their own.
    let kv_heads = match config.count("swa_num_key_value_heads")?.filter(|_| is_local) {
        Some(heads) => heads,
        None => config.required("num_key_value_heads")? * if is_local { 2 } else { 1 },
    };
    Ok(Attention {
        value_dim: own("v_head_dim")?,
        span: if is_local { Span::Sliding(window) } else { Span::Full },
        has_sinks: config.flag(sinks, is_local)?,
        ..Attention::full(own("num_attention_heads")?, kv_heads, key_dim)
    })
}

fn add(layer: &mut LayerBuilder<'_>, attention: &Attention, hidden: u64, has_bias: bool) {
    let Attention { heads, kv_heads, key_dim, value_dim, .. } = *attention;
    layer.linear_with_bias(Role::Query, "self_attn.q_proj", heads * key_dim, hidden, has_bias);
    layer.linear_with_bias(Role::Key, "self_attn.k_proj", kv_heads * key_dim, hidden, has_bias);
    layer.linear_with_bias(Role::Value, "self_attn.v_proj", kv_heads * value_dim, hidden, has_bias);
    layer.linear(Role::AttentionOutput, "self_attn.o_proj", hidden, heads * value_dim);
    if attention.has_sinks {
        layer.vector(Role::Sinks, heads);
    }
}

/// Which layers have a window: `hybrid_layer_pattern` or `layer_types`, else all but the first and every sixth.
fn local_layers(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    const KEY: &str = "layer_types";
    if let Some(pattern) = schedule::per_layer(config, "hybrid_layer_pattern", layers)? {
        return Ok(pattern.into_iter().map(|flag| flag != 0).collect());
    }
    let Some(kinds) = schedule::kinds(config, KEY, layers)? else {
        return Ok((0..layers).map(|index| index != 0 && (index + 1) % 6 != 0).collect());
    };
    kinds
        .into_iter()
        .map(|kind| match kind {
            "full_attention" => Ok(false),
            "sliding_attention" => Ok(true),
            other => Err(schedule::unknown(config, KEY, other)),
        })
        .collect()
}

/// MiMo-V2.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let layers = source.layer_count()?;
    let is_local = local_layers(&config, layers)?;
    let is_sparse = schedule::sparse_layers(&config, layers, 1)?;
    let kinds = [attention(&config, false)?, attention(&config, true)?];
    let has_bias = config.flag("attention_bias", false)?;
    let mixture = deepseek_experts(&config)?;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for (index, (&is_local, &is_sparse)) in is_local.iter().zip(&is_sparse).enumerate() {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let attention = &kinds[usize::from(is_local)];
        add(&mut layer, attention, hidden, has_bias);
        let feed_forward = if is_sparse {
            mixture.add(&mut layer, hidden)
        } else {
            blocks::gated_feed_forward(&mut layer, hidden, config.required("intermediate_size")?, false)
        };
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(Mixer::Attention(attention.clone()), feed_forward));
    }
    Ok(model)
}
