//! `OLMo` Hybrid: gated delta nets with norms before the blocks, attention of `OLMo` 2 with norms behind them
//! (transformers `modeling_olmo_hybrid.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::Mixer;

use crate::huggingface::blocks::{AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::Dense;
use crate::huggingface::recurrent::DeltaShape;
use crate::huggingface::schedule;

/// Which layers are recurrent: `layer_types`, else all but every fourth.
fn recurrent_layers(source: &Source<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    const KEY: &str = "layer_types";
    let Some(kinds) = schedule::kinds(&source.text, KEY, layers)? else {
        return Ok((0..layers).map(|index| index % 4 != 3).collect());
    };
    kinds
        .into_iter()
        .map(|kind| match kind {
            "linear_attention" => Ok(true),
            "full_attention" => Ok(false),
            other => Err(schedule::unknown(&source.text, KEY, other)),
        })
        .collect()
}

/// `OLMo` Hybrid.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.query_key_norm = QueryKeyNorm::Full;
    let heads = dense.heads.query_heads;
    // OlmoHybridConfig derives what a file leaves out from the heads of attention.
    let key_dim = config.count("linear_key_head_dim")?.unwrap_or(3 * dense.hidden / heads / 4);
    let delta = DeltaShape {
        key_heads: config.count("linear_num_key_heads")?.unwrap_or(heads),
        key_dim,
        value_heads: config.count("linear_num_value_heads")?.unwrap_or(heads),
        value_dim: config.count("linear_value_head_dim")?.unwrap_or(2 * key_dim),
        taps: config.count("linear_conv_kernel_dim")?.unwrap_or(4),
    };
    let is_recurrent = recurrent_layers(source, dense.layers)?;
    let mut model = dense.frame(source);
    for (index, &is_recurrent) in (0..dense.layers).zip(&is_recurrent) {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mixer = if is_recurrent {
            Mixer::Recurrent(delta.add_gated_delta(&mut layer, dense.hidden))
        } else {
            dense.attention_weights(&mut layer);
            Mixer::Attention(dense.attention(index))
        };
        let feed_forward = dense.feed_forward(&mut layer);
        dense.norms(&mut layer, 2);
        model.decoder.push(layer.finish(mixer, feed_forward));
    }
    Ok(model)
}
