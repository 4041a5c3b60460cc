//! Linear attention between layers of full attention: MiniMax-Text-01, Kimi Linear, Ring 2.5 (transformers
//! `modeling_minimax.py`, `modeling_kimi_linear.py`, `modeling_bailing_hybrid.py`; remote code of Ring-linear).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Mixer, Recurrent, RecurrentKind, Role, Span};

use crate::huggingface::blocks::{self, AttentionBias, Heads, QueryKeyNorm};
use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::experts::{Mixture, Names};
use crate::huggingface::latent::LatentShape;
use crate::huggingface::recurrent::DeltaShape;
use crate::huggingface::schedule;
use crate::huggingface::sparse::deepseek_experts;

/// Linear attention with a fixed decay: a matrix of state per head, no convolution.
fn lightning(heads: Heads) -> Recurrent {
    let Heads { query_heads, head_dim, .. } = heads;
    Recurrent {
        kind: RecurrentKind::Lightning,
        heads: query_heads,
        inner_size: query_heads * head_dim,
        state_size: head_dim,
        groups: query_heads,
        convolution_channels: 0,
        convolution_taps: 0,
        state_elements: query_heads * head_dim * head_dim,
        shift_elements: 0,
    }
}

/// Which layers are recurrent: by `layer_types`, else by `rule`.
fn linear_layers(config: &Config<'_>, layers: u64, rule: impl Fn(u64) -> bool) -> Result<Vec<bool>, ConfigError> {
    const KEY: &str = "layer_types";
    let Some(kinds) = schedule::kinds(config, KEY, layers)? else {
        return Ok((0..layers).map(rule).collect());
    };
    kinds
        .into_iter()
        .map(|kind| match kind {
            "linear_attention" => Ok(true),
            "full_attention" | "attention" => Ok(false),
            other => Err(schedule::unknown(config, KEY, other)),
        })
        .collect()
}

/// MiniMax-Text-01. Its first release marks full attention with 1 in `attn_type_list`.
pub(super) fn read_minimax(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let heads = Heads::read(&config, hidden)?;
    let layers = source.layer_count()?;
    let marked = schedule::per_layer(&config, "attn_type_list", layers)?;
    let is_linear = match marked {
        Some(marks) if !config.has("layer_types") => marks.into_iter().map(|mark| mark == 0).collect(),
        _ => linear_layers(&config, layers, |index| index % 2 == 1)?,
    };
    let experts = config.required("num_local_experts")?;
    let per_token = config.required("num_experts_per_tok")?;
    let shared = config.counts("shared_intermediate_size")?.and_then(|list| list.first().copied()).unwrap_or(0);
    let mixture = Mixture::gated(experts, per_token, config.required("intermediate_size")?)
        .with_shared(shared)
        .named(Names::MIXTRAL);
    let span = config.positions("sliding_window")?.map_or(Span::Full, Span::Sliding);
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for (index, &is_linear) in is_linear.iter().enumerate() {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = if is_linear {
            let inner = heads.query_heads * heads.head_dim;
            layer.linear(Role::RecurrentIn, "self_attn.qkv_proj", 3 * inner, hidden);
            layer.linear(Role::AttentionGate, "self_attn.output_gate", inner, hidden);
            layer.norm(inner, false);
            layer.linear(Role::RecurrentOut, "self_attn.out_proj", hidden, inner);
            Mixer::Recurrent(lightning(heads))
        } else {
            blocks::attention(&mut layer, hidden, heads, AttentionBias::default(), QueryKeyNorm::None);
            Mixer::Attention(heads.attention(span))
        };
        let feed_forward = mixture.add(&mut layer, hidden);
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(mixer, feed_forward));
    }
    Ok(model)
}

/// Kimi delta attention; `is_low_rank` where decay and output gate go through the width of one head.
fn add_kimi_delta(layer: &mut LayerBuilder<'_>, shape: DeltaShape, hidden: u64, is_low_rank: bool) -> Recurrent {
    let (inner, heads, dim) = (shape.keys(), shape.key_heads, shape.key_dim);
    for name in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] {
        layer.linear(Role::RecurrentIn, name, inner, hidden);
    }
    layer.convolution(3 * inner, shape.taps, false);
    layer.vector(Role::RecurrentSmall, inner);
    layer.vector(Role::RecurrentSmall, heads);
    for name in ["self_attn.f", "self_attn.g"] {
        if is_low_rank {
            layer.linear(Role::RecurrentInner, &format!("{name}_a_proj"), dim, hidden);
            layer.linear(Role::RecurrentInner, &format!("{name}_b_proj"), inner, dim);
        } else {
            layer.linear(Role::RecurrentInner, &format!("{name}_proj"), inner, hidden);
        }
    }
    layer.linear(Role::RecurrentInner, "self_attn.b_proj", heads, hidden);
    layer.norm(dim, false);
    layer.linear(Role::RecurrentOut, "self_attn.o_proj", hidden, inner);
    shape.recurrent(RecurrentKind::KimiDelta)
}

/// Kimi Linear.
pub(super) fn read_kimi(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let layers = source.layer_count()?;
    let nested = config.nested_or_empty("linear_attn_config");
    let of = |inside: &str, outside: &str| -> Result<u64, ConfigError> {
        nested.count(inside)?.filter(|&value| value > 0).map_or_else(|| config.required(outside), Ok)
    };
    let heads = of("num_heads", "linear_num_heads")?;
    let dim = of("head_dim", "linear_head_dim")?;
    let taps = of("short_conv_kernel_size", "linear_conv_kernel_dim")?;
    let shape = DeltaShape { key_heads: heads, key_dim: dim, value_heads: heads, value_dim: dim, taps };
    // Counted from one.
    let attention = nested.counts("full_attn_layers")?;
    let is_linear = linear_layers(&config, layers, |index| match &attention {
        Some(list) => !list.contains(&(index + 1)),
        None => index == 0 || index % 4 != 0,
    })?;
    let is_sparse = schedule::sparse_layers(&config, layers, 1)?;
    let latent = LatentShape::read(&config)?;
    let mixture = deepseek_experts(&config)?;
    let width = config.required("intermediate_size")?;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for (index, (&is_linear, &is_sparse)) in is_linear.iter().zip(&is_sparse).enumerate() {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = if is_linear {
            Mixer::Recurrent(add_kimi_delta(&mut layer, shape, hidden, true))
        } else {
            Mixer::Attention(latent.add(&mut layer, hidden))
        };
        let feed_forward = if is_sparse {
            mixture.add(&mut layer, hidden)
        } else {
            blocks::gated_feed_forward(&mut layer, hidden, width, false)
        };
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(mixer, feed_forward));
    }
    Ok(model)
}

/// Every `layer_group_size`-th layer attends; those after the last whole group do as well.
fn is_outside_groups(index: u64, layers: u64, group: u64) -> bool {
    (index + 1).is_multiple_of(group) || index >= layers / group * group
}

/// Ring 2.5 and Ling 2.5: Kimi delta attention and latent attention, both gated.
pub(super) fn read_bailing_hybrid(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let layers = source.layer_count()?;
    let heads = config.required("num_attention_heads")?;
    let dim = config.required_of(&["linear_head_dim", "head_dim"])?;
    let taps = config.count_of(&["linear_conv_kernel_dim", "short_conv_kernel_size"])?.unwrap_or(4);
    let shape = DeltaShape { key_heads: heads, key_dim: dim, value_heads: heads, value_dim: dim, taps };
    let group = config.required("layer_group_size")?;
    let is_linear = linear_layers(&config, layers, |index| (index + 1) % group != 0)?;
    let is_sparse = schedule::sparse_layers(&config, layers, 2)?;
    let latent = LatentShape::read(&config)?;
    let mixture = deepseek_experts(&config)?;
    let width = config.required("intermediate_size")?;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for (index, (&is_linear, &is_sparse)) in is_linear.iter().zip(&is_sparse).enumerate() {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = if is_linear {
            Mixer::Recurrent(add_kimi_delta(&mut layer, shape, hidden, false))
        } else {
            let attention = latent.add(&mut layer, hidden);
            layer.linear(Role::AttentionGate, "self_attn.g_proj", heads, hidden);
            Mixer::Attention(attention)
        };
        let feed_forward = if is_sparse {
            mixture.add(&mut layer, hidden)
        } else {
            blocks::gated_feed_forward(&mut layer, hidden, width, false)
        };
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(mixer, feed_forward));
    }
    Ok(model)
}

/// Ring-linear and Ling-linear 2.0: fixed-decay linear attention, gated, between layers of ordinary attention.
pub(super) fn read_bailing_linear(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let heads = Heads::read(&config, hidden)?;
    let layers = source.layer_count()?;
    let group = config.required("layer_group_size")?;
    let is_linear = linear_layers(&config, layers, |index| !is_outside_groups(index, layers, group))?;
    let is_sparse = schedule::sparse_layers(&config, layers, 0)?;
    let bias =
        AttentionBias { query_key_value: config.flag("use_qkv_bias", false)?, output: config.flag("use_bias", false)? };
    let norm = if config.flag("use_qk_norm", true)? { QueryKeyNorm::PerHead } else { QueryKeyNorm::None };
    let mixture = deepseek_experts(&config)?;
    let width = config.required("intermediate_size")?;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for (index, (&is_linear, &is_sparse)) in is_linear.iter().zip(&is_sparse).enumerate() {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = if is_linear {
            let all = Heads { kv_heads: heads.query_heads, ..heads };
            let inner = heads.query_heads * heads.head_dim;
            blocks::attention(&mut layer, hidden, all, bias, norm);
            layer.linear(Role::AttentionGate, "attention.g_proj", inner, hidden);
            layer.norm(inner, false);
            Mixer::Recurrent(lightning(heads))
        } else {
            blocks::attention(&mut layer, hidden, heads, bias, norm);
            Mixer::Attention(heads.attention(Span::Full))
        };
        let feed_forward = if is_sparse {
            mixture.add(&mut layer, hidden)
        } else {
            blocks::gated_feed_forward(&mut layer, hidden, width, false)
        };
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(mixer, feed_forward));
    }
    Ok(model)
}
