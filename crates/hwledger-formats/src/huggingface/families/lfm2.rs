//! LFM 2: gated short convolutions between layers of attention (transformers `modeling_lfm2.py`,
//! `modeling_lfm2_moe.py`, `modeling_lfm3.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, FeedForward, Mixer, Recurrent, RecurrentKind, Role, Span};

use crate::huggingface::blocks::{self, AttentionBias, Heads, QueryKeyNorm};
use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::Dense;
use crate::huggingface::experts::{Mixture, Names};
use crate::huggingface::schedule;
use crate::huggingface::towers::siglip;

/// Width of the feed-forward: two thirds of the key's, scaled and rounded up, unless that is switched off.
fn width(config: &Config<'_>) -> Result<u64, ConfigError> {
    let given = config.required_of(&["block_ff_dim", "intermediate_size"])?;
    if !config.flag("block_auto_adjust_ff_dim", true)? {
        return Ok(given);
    }
    let two_thirds = 2 * given / 3;
    let factor = config.number("block_ffn_dim_multiplier")?.unwrap_or(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a width times a factor near one, clamped"
    )]
    let scaled = (two_thirds as f64 * factor).clamp(1.0, 1e9) as u64;
    Ok(scaled.next_multiple_of(config.count("block_multiple_of")?.unwrap_or(256).max(1)))
}

/// Which layers are convolutions: `layer_types`, else those not in `full_attn_idxs`.
fn convolution_layers(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    const KEY: &str = "layer_types";
    let Some(kinds) = schedule::kinds(config, KEY, layers)? else {
        let attention = config.counts("full_attn_idxs")?;
        return Ok((0..layers).map(|index| attention.as_ref().is_some_and(|list| !list.contains(&index))).collect());
    };
    kinds
        .into_iter()
        .map(|kind| match kind {
            "conv" | "short_conv" => Ok(true),
            "full_attention" => Ok(false),
            other => Err(schedule::unknown(config, KEY, other)),
        })
        .collect()
}

fn convolution(layer: &mut LayerBuilder<'_>, hidden: u64, taps: u64, has_bias: bool) -> Recurrent {
    layer.linear_with_bias(Role::RecurrentIn, "conv.in_proj", 3 * hidden, hidden, has_bias);
    layer.convolution(hidden, taps, has_bias);
    layer.linear_with_bias(Role::RecurrentOut, "conv.out_proj", hidden, hidden, has_bias);
    Recurrent {
        kind: RecurrentKind::ShortConvolution,
        heads: 1,
        inner_size: hidden,
        state_size: 0,
        groups: 1,
        convolution_channels: hidden,
        convolution_taps: taps,
        state_elements: 0,
        shift_elements: 0,
    }
}

fn attention(layer: &mut LayerBuilder<'_>, hidden: u64, heads: Heads) -> Mixer {
    let query = heads.query_heads * heads.head_dim;
    let key = heads.kv_heads * heads.head_dim;
    layer.linear(Role::Query, "self_attn.q_proj", query, hidden);
    layer.linear(Role::Key, "self_attn.k_proj", key, hidden);
    layer.linear(Role::Value, "self_attn.v_proj", key, hidden);
    layer.linear(Role::AttentionOutput, "self_attn.out_proj", hidden, query);
    blocks::query_key_norms(layer, heads, QueryKeyNorm::PerHead);
    Mixer::Attention(heads.attention(Span::Full))
}

fn feed_forward(layer: &mut LayerBuilder<'_>, hidden: u64, width: u64) -> FeedForward {
    layer.linear(Role::Gate, "feed_forward.w1", width, hidden);
    layer.linear(Role::Up, "feed_forward.w3", width, hidden);
    layer.linear(Role::Down, "feed_forward.w2", hidden, width);
    FeedForward::Dense { width, activation: Activation::Gated }
}

fn build(source: &Source<'_>, width: u64, mixture: Option<(u64, Mixture)>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let heads = Heads::read(&config, hidden)?;
    let taps = config.required("conv_L_cache")?;
    let has_bias = config.flag("conv_bias", false)?;
    let layers = source.layer_count()?;
    let is_convolution = convolution_layers(&config, layers)?;
    // The older key wins over the common one.
    let is_tied = match config.get("tie_embedding") {
        Some(_) => config.flag("tie_embedding", true)?,
        None => source.is_head_tied(true)?,
    };
    let mut model = source.decoder(hidden, config.required("vocab_size")?, is_tied);
    for (index, &is_convolution) in (0..layers).zip(&is_convolution) {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = if is_convolution {
            Mixer::Recurrent(convolution(&mut layer, hidden, taps, has_bias))
        } else {
            attention(&mut layer, hidden, heads)
        };
        let feed_forward = match mixture {
            Some((first, mixture)) if index >= first => mixture.add(&mut layer, hidden),
            _ => feed_forward(&mut layer, hidden, width),
        };
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(mixer, feed_forward));
    }
    Ok(model)
}

/// LFM 2.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    build(source, width(&source.text)?, None)
}

/// LFM 2 with experts after the first layers.
pub(super) fn read_moe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let experts = config.required("num_experts")?;
    let per_token = config.required("num_experts_per_tok")?;
    let names = Names { projections: ["w1", "w3", "w2"], ..Names::FEED_FORWARD };
    let mixture = Mixture::gated(experts, per_token, config.required("moe_intermediate_size")?).named(names);
    let first = config.count("num_dense_layers")?.unwrap_or(2);
    build(source, config.required("intermediate_size")?, Some((first, mixture)))
}

/// LFM 2 behind `SigLIP` 2.
pub(super) fn read_vl(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read(source)?;
    model.towers.push(siglip::lfm2_vl(source, model.hidden_size)?);
    Ok(model)
}

/// LFM 3: windows in some layers of attention, a gate per head, norms behind the blocks as well.
pub(super) fn read_lfm3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    const KEY: &str = "layer_types";
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, true)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.query_key_norm = QueryKeyNorm::PerHead;
    let taps = config.required("conv_L_cache")?;
    let has_bias = config.flag("conv_bias", false)?;
    let has_gate = config.flag("use_attention_gate", true)?;
    let norms = if config.flag("use_sandwich_norm", true)? { 4 } else { 2 };
    let window = config.positions("sliding_window")?.map_or(Span::Full, Span::Sliding);
    let kinds = schedule::kinds(&config, KEY, dense.layers)?;
    let mut model = dense.frame(source);
    for index in 0..dense.layers {
        let listed = kinds.as_ref().and_then(|list| list.get(usize::try_from(index).ok()?)).copied();
        let kind = listed.unwrap_or(match index % 4 {
            2 => "full_attention",
            0 if index > 0 => "sliding_attention",
            _ => "conv",
        });
        let span = match kind {
            "full_attention" => Some(Span::Full),
            "sliding_attention" => Some(window),
            "conv" => None,
            other => return Err(schedule::unknown(&config, KEY, other)),
        };
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = match span {
            None => Mixer::Recurrent(convolution(&mut layer, dense.hidden, taps, has_bias)),
            Some(span) => {
                dense.attention_weights(&mut layer);
                if has_gate {
                    layer.linear(Role::AttentionGate, "self_attn.g_proj", dense.heads.query_heads, dense.hidden);
                }
                Mixer::Attention(dense.heads.attention(span))
            }
        };
        let feed_forward = feed_forward(&mut layer, dense.hidden, dense.width);
        dense.norms(&mut layer, norms);
        model.decoder.push(layer.finish(mixer, feed_forward));
    }
    Ok(model)
}
