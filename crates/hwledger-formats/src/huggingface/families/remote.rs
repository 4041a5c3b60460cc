//! Decoders whose reference is code beside the weights: Baichuan, `InternLM` 1 and 2, Orion, `DeciLM`.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Attention, FeedForward, Mixer, Role, Span};

use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, NormShape, Projections};

/// Baichuan (`modeling_baichuan.py`): query, key and value in `W_pack`.
pub(super) fn read_baichuan(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.projections = Projections::Fused;
    dense.heads.kv_heads = dense.heads.query_heads;
    Ok(dense.build(source))
}

/// `InternLM` 1 and 2 (`modeling_internlm.py`, `modeling_internlm2.py`): `bias` covers attention only.
pub(super) fn read_internlm(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let is_first = source.text.text("model_type")? == Some("internlm");
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.attention_bias = AttentionBias::all(source.text.flag("bias", is_first)?);
    if !is_first {
        dense.projections = Projections::Fused;
    }
    Ok(dense.build(source))
}

/// Orion (`modeling_orion.py`): Llama with layer norms.
pub(super) fn read_orion(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.norm = NormShape::ScaleAndBias;
    Ok(dense.build(source))
}

/// `DeciLM` (`modeling_decilm.py`): Llama whose layers differ in key and value heads.
pub(super) fn read_decilm(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    if config.has("block_configs") {
        return read_nemotron_nas(source);
    }
    let mut dense = Dense::read(source, &config, false)?;
    let per_layer = config.counts("num_key_value_heads_per_layer")?.unwrap_or_default();
    let mut model = dense.frame(source);
    for index in 0..dense.layers {
        if let Some(&heads) = usize::try_from(index).ok().and_then(|index| per_layer.get(index)) {
            dense.heads.kv_heads = heads;
        }
        model.decoder.push(dense.layer(source, index, dense.attention(index)));
    }
    Ok(model)
}

/// Nemotron-NAS (`modeling_decilm.py` of Llama-3.1-Nemotron-51B): a search chose each layer's blocks, or left them out.
fn read_nemotron_nas(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let mut dense = Dense::with_width(source, &config, false, hidden, hidden)?;
    let blocks = config.get("block_configs").and_then(|value| value.as_array());
    let blocks = blocks.ok_or_else(|| config.contradiction("block_configs", "is not a list"))?;
    if blocks.len() as u64 != dense.layers {
        return Err(config.contradiction("block_configs", format!("describes {} layers", blocks.len())));
    }
    let mut model = dense.frame(source);
    for (index, block) in (0_u64..).zip(blocks) {
        let object = block.as_object().ok_or_else(|| config.contradiction("block_configs", "holds no objects"))?;
        let block = Config::root(object);
        let attention = block.nested_or_empty("attention");
        let feed_forward = block.nested_or_empty("ffn");
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = if attention.flag("no_op", false)? {
            Mixer::None
        } else if attention.flag("replace_with_linear", false)? {
            layer.linear(Role::Other, "self_attn.linear_attn", hidden, hidden);
            dense.norms(&mut layer, 1);
            Mixer::None
        } else {
            let group = attention.required("n_heads_in_group")?;
            dense.heads.kv_heads = dense.heads.query_heads / group;
            dense.attention_weights(&mut layer);
            dense.norms(&mut layer, 1);
            let heads = dense.heads;
            Mixer::Attention(Attention { span: Span::Full, ..heads.attention(Span::Full) })
        };
        let feed_forward = if feed_forward.flag("no_op", false)? {
            FeedForward::None
        } else if feed_forward.flag("replace_with_linear", false)? {
            layer.linear(Role::Other, "mlp.linear_mlp", hidden, hidden);
            dense.norms(&mut layer, 1);
            FeedForward::None
        } else {
            dense.width = nas_width(&feed_forward, hidden)?;
            dense.norms(&mut layer, 1);
            dense.feed_forward(&mut layer)
        };
        model.decoder.push(layer.finish(mixer, feed_forward));
    }
    Ok(model)
}

/// Two thirds of `ffn_mult` times twice the hidden size, rounded up to a multiple of 256.
fn nas_width(config: &Config<'_>, hidden: u64) -> Result<u64, ConfigError> {
    let factor = config.number("ffn_mult")?.ok_or_else(|| config.missing("ffn_mult"))?;
    if !(0.0..=64.0).contains(&factor) {
        return Err(config.contradiction("ffn_mult", format!("is {factor}")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the factor's range is checked")]
    let width = (2.0 * factor * hidden as f64 / 3.0) as u64;
    Ok(width.div_ceil(256) * 256)
}
