//! Qwen3-Next and Qwen3.5: three gated delta nets to one layer of gated attention (transformers
//! `modeling_qwen3_next.py`, `modeling_qwen3_5.py`, `modeling_qwen3_5_moe.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Layer, Mixer, Role, Span};

use super::glm_moe::{qwen_experts, qwen_sparse_layers};
use crate::huggingface::blocks::{self, AttentionBias, Heads, QueryKeyNorm};
use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::Dense;
use crate::huggingface::experts::Mixture;
use crate::huggingface::recurrent::DeltaShape;
use crate::huggingface::schedule;
use crate::huggingface::towers::qwen_vision;

/// What one layer needs to be built.
struct Shape {
    dense: Dense,
    delta: DeltaShape,
    /// None in the models without experts.
    mixture: Option<Mixture>,
    has_output_gate: bool,
}

/// Queries come with a gate of their own size.
fn gated_attention(layer: &mut LayerBuilder<'_>, hidden: u64, heads: Heads, bias: AttentionBias, has_gate: bool) {
    let query = heads.query_heads * heads.head_dim;
    let key = heads.kv_heads * heads.head_dim;
    let rows = if has_gate { 2 * query } else { query };
    layer.linear_with_bias(Role::Query, "self_attn.q_proj", rows, hidden, bias.query_key_value);
    layer.linear_with_bias(Role::Key, "self_attn.k_proj", key, hidden, bias.query_key_value);
    layer.linear_with_bias(Role::Value, "self_attn.v_proj", key, hidden, bias.query_key_value);
    layer.linear_with_bias(Role::AttentionOutput, "self_attn.o_proj", hidden, query, bias.output);
    blocks::query_key_norms(layer, heads, QueryKeyNorm::PerHead);
}

impl Shape {
    fn layer(&self, source: &Source<'_>, index: u64, is_linear: bool, is_sparse: bool) -> Layer {
        let Dense { hidden, heads, attention_bias, .. } = self.dense;
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = if is_linear {
            Mixer::Recurrent(self.delta.add_gated_delta(&mut layer, hidden))
        } else {
            gated_attention(&mut layer, hidden, heads, attention_bias, self.has_output_gate);
            Mixer::Attention(heads.attention(Span::Full))
        };
        let feed_forward = match self.mixture {
            Some(mixture) if is_sparse => mixture.add(&mut layer, hidden),
            _ => self.dense.feed_forward(&mut layer),
        };
        self.dense.norms(&mut layer, 2);
        layer.finish(mixer, feed_forward)
    }
}

/// Which layers are recurrent: `layer_types`, else all but every `full_attention_interval`-th.
fn linear_layers(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    const KEY: &str = "layer_types";
    let Some(kinds) = schedule::kinds(config, KEY, layers)? else {
        let period = config.count("full_attention_interval")?.unwrap_or(4).max(1);
        return Ok((0..layers).map(|index| (index + 1) % period != 0).collect());
    };
    kinds
        .into_iter()
        .map(|kind| match kind {
            "linear_attention" => Ok(true),
            "full_attention" => Ok(false),
            other => Err(schedule::unknown(config, KEY, other)),
        })
        .collect()
}

fn read_shape(source: &Source<'_>, has_experts: bool) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    // Models with experts everywhere may leave the dense width out.
    let width = if has_experts {
        config.count("intermediate_size")?.unwrap_or(0)
    } else {
        config.required("intermediate_size")?
    };
    let mut dense = Dense::with_width(source, &config, false, hidden, width)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let layers = dense.layers;
    let shape = Shape {
        dense,
        delta: DeltaShape::read(&config)?,
        mixture: has_experts.then(|| qwen_experts(&config)).transpose()?,
        has_output_gate: config.flag("attn_output_gate", true)?,
    };
    let is_linear = linear_layers(&config, layers)?;
    let is_sparse = qwen_sparse_layers(&config, layers)?;
    let mut model = shape.dense.frame(source);
    for (index, (&is_linear, &is_sparse)) in (0..layers).zip(is_linear.iter().zip(&is_sparse)) {
        model.decoder.push(shape.layer(source, index, is_linear, is_sparse));
    }
    let drafts = config.count_of(&["mtp_num_hidden_layers", "num_nextn_predict_layers"])?.unwrap_or(0);
    for index in 0..drafts.min(16) {
        let layer = shape.layer(source, layers + index, false, true);
        model.draft_layers.push(crate::huggingface::sparse::prediction_layer(source, layer, hidden));
    }
    Ok(model)
}

/// Qwen3-Next.
pub(super) fn read_next(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    read_shape(source, true)
}

/// The language model of Qwen3.5.
pub(super) fn read_text(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    read_shape(source, false)
}

/// The language model of Qwen3.5 with experts.
pub(super) fn read_moe_text(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    read_shape(source, true)
}

/// Qwen3.5.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_shape(source, false)?;
    model.towers.push(qwen_vision::qwen3_5(source)?);
    Ok(model)
}

/// Qwen3.5 with experts.
pub(super) fn read_moe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_shape(source, true)?;
    model.towers.push(qwen_vision::qwen3_5(source)?);
    Ok(model)
}
