//! Mamba between or beside layers of attention: Jamba, Bamba, Granite 4, Falcon-H1 (transformers
//! `modeling_jamba.py`, `modeling_bamba.py`, `modeling_granitemoehybrid.py`, `modeling_falcon_h1.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, FeedForward, Mixer, Role, Span};

use super::mamba::step_rank;
use crate::huggingface::blocks::{self, AttentionBias, Heads, QueryKeyNorm};
use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::ConfigError;
use crate::huggingface::experts::{Mixture, Names};
use crate::huggingface::recurrent::{Mamba1, Mamba2};
use crate::huggingface::schedule;

fn attention(layer: &mut LayerBuilder<'_>, hidden: u64, heads: Heads, has_bias: bool) -> Mixer {
    blocks::attention(layer, hidden, heads, AttentionBias::all(has_bias), QueryKeyNorm::None);
    Mixer::Attention(heads.attention(Span::Full))
}

/// Jamba.
pub(super) fn read_jamba(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let heads = Heads::read(&config, hidden)?;
    let mamba = Mamba1 {
        inner: config.required("mamba_expand")? * hidden,
        state: config.required("mamba_d_state")?,
        step_rank: step_rank(&config, "mamba_dt_rank", hidden)?,
        taps: config.required("mamba_d_conv")?,
        has_convolution_bias: config.flag("mamba_conv_bias", true)?,
        has_projection_bias: config.flag("mamba_proj_bias", false)?,
        has_inner_norms: true,
    };
    let experts = config.required("num_experts")?;
    let mixture = Mixture::gated(experts, config.required("num_experts_per_tok")?, width).named(Names::FEED_FORWARD);
    let attention_period = config.required("attn_layer_period")?;
    let attention_offset = config.count("attn_layer_offset")?.unwrap_or(4);
    let expert_period = config.required("expert_layer_period")?;
    let expert_offset = config.count("expert_layer_offset")?.unwrap_or(1);
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for index in 0..source.layer_count()? {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = if index % attention_period == attention_offset {
            attention(&mut layer, hidden, heads, false)
        } else {
            Mixer::Recurrent(mamba.add(&mut layer, "mamba", hidden))
        };
        let feed_forward = if experts > 1 && index % expert_period == expert_offset {
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

/// Bamba.
pub(super) fn read_bamba(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let heads = Heads::read(&config, hidden)?;
    let mamba = Mamba2::read(&config, config.required("mamba_expand")? * hidden)?;
    let attention_layers = config.counts("attn_layer_indices")?.unwrap_or_default();
    let has_bias = config.flag("attention_bias", false)?;
    let has_feed_forward_bias = config.flag("mlp_bias", false)?;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for index in 0..source.layer_count()? {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = if attention_layers.contains(&index) {
            attention(&mut layer, hidden, heads, has_bias)
        } else {
            Mixer::Recurrent(mamba.add(&mut layer, "mamba", hidden))
        };
        let feed_forward = blocks::gated_feed_forward(&mut layer, hidden, width, has_feed_forward_bias);
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(mixer, feed_forward));
    }
    Ok(model)
}

/// Falcon-H1: Mamba-2 and attention side by side in every layer.
pub(super) fn read_falcon_h1(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let heads = Heads::read(&config, hidden)?;
    let inner = match config.count("mamba_d_ssm")? {
        Some(inner) => inner,
        None => config.required("mamba_expand")? * hidden,
    };
    let mamba = Mamba2 {
        has_norm: config.flag("mamba_rms_norm", false)?,
        has_output_bias: config.flag("projectors_bias", false)?,
        ..Mamba2::read(&config, inner)?
    };
    let bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let has_feed_forward_bias = config.flag("mlp_bias", false)?;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for index in 0..source.layer_count()? {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let recurrent = mamba.add(&mut layer, "mamba", hidden);
        blocks::attention(&mut layer, hidden, heads, bias, QueryKeyNorm::None);
        let feed_forward = blocks::gated_feed_forward(&mut layer, hidden, width, has_feed_forward_bias);
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(Mixer::Both(heads.attention(Span::Full), recurrent), feed_forward));
    }
    Ok(model)
}

/// Granite 4: a shared feed-forward in every layer, experts beside it where there are any.
pub(super) fn read_granite(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    const KEY: &str = "layer_types";
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let heads = Heads::read(&config, hidden)?;
    let layers = source.layer_count()?;
    let kinds = schedule::kinds(&config, KEY, layers)?;
    let has_bias = config.flag("attention_bias", false)?;
    let shared = config.required("shared_intermediate_size")?;
    let experts = config.count("num_local_experts")?.unwrap_or(0);
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for index in 0..layers {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let kind = kinds.as_ref().and_then(|kinds| kinds.get(usize::try_from(index).ok()?)).copied();
        let mixer = match kind.unwrap_or("mamba") {
            "attention" | "full_attention" => attention(&mut layer, hidden, heads, has_bias),
            "mamba" | "linear_attention" => {
                let mamba = Mamba2::read(&config, config.required("mamba_expand")? * hidden)?;
                Mixer::Recurrent(mamba.add(&mut layer, "mamba", hidden))
            }
            other => return Err(schedule::unknown(&config, KEY, other)),
        };
        let feed_forward = if experts > 0 {
            let width = config.required("intermediate_size")?;
            let names = Names { shared: "shared_mlp", ..Names::MIXTRAL };
            let per_token = config.required("num_experts_per_tok")?;
            Mixture::gated(experts, per_token, width).with_shared(shared).named(names).add(&mut layer, hidden)
        } else {
            layer.linear(Role::GateUp, "shared_mlp.input_linear", 2 * shared, hidden);
            layer.linear(Role::Down, "shared_mlp.output_linear", hidden, shared);
            FeedForward::Dense { width: shared, activation: Activation::Gated }
        };
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(mixer, feed_forward));
    }
    Ok(model)
}
