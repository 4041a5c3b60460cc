//! The vision towers of GLM-4.1V, GLM-4.5V and GLM-OCR (transformers `modeling_glm4v.py`, `modeling_glm_ocr.py`).

use hwledger_core::model::{Activation, Modality, Tower};

use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, patches, square};

/// The tower with its merger, which is a gated feed-forward of its own width.
pub(crate) fn glm4v(source: &Source<'_>) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    let out = config.required("out_hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = layer_count(&config, "depth")?;
    let patches = patches(&config)?;
    let has_bias = config.flag("attention_bias", false)?;
    let layer = TowerLayer {
        attention_bias: AttentionBias { query_key_value: has_bias, output: false },
        ..TowerLayer::gated(hidden, out)
    };
    let patch = square(config.required("patch_size")?)
        .saturating_mul(config.required("in_channels")?)
        .saturating_mul(config.required("temporal_patch_size")?);
    let mut tower = TowerBuilder::new(source);
    tower.matrix(patches, hidden);
    tower.linear(hidden, patch, true);
    tower.norm(hidden, false);
    tower.repeat(layers, |tower| tower.transformer_layer(layer));
    tower.norm(hidden, false);
    tower.linear(out, square(config.required("spatial_merge_size")?).saturating_mul(hidden), true);
    tower.start_projector();
    tower.matrix(out, out);
    tower.norm(out, true);
    tower.feed_forward(out, width, Activation::Gated, false);
    let heads = config.required("num_heads")?;
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width: out, layers, positions: None }))
}

/// The tower of GLM-OCR: rotary positions only, and a merger as wide as the channels of an image together.
pub(crate) fn glm_ocr(source: &Source<'_>) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    let out = config.required("out_hidden_size")?;
    let width = config.required("intermediate_size")?;
    let channels = config.required("in_channels")?;
    let heads = config.required("num_heads")?;
    let layers = layer_count(&config, "depth")?;
    let has_bias = config.flag("attention_bias", true)?;
    let layer = TowerLayer {
        attention_bias: AttentionBias::all(has_bias),
        has_feed_forward_bias: has_bias,
        ..TowerLayer::gated(hidden, width)
    };
    let patch = square(config.required("patch_size")?)
        .saturating_mul(channels)
        .saturating_mul(config.required("temporal_patch_size")?);
    let mut tower = TowerBuilder::new(source);
    tower.linear(hidden, patch, true);
    tower.repeat(layers, |tower| {
        tower.transformer_layer(layer);
        tower.norm(hidden / heads, false);
        tower.norm(hidden / heads, false);
    });
    tower.norm(hidden, false);
    tower.linear(out, square(config.required("spatial_merge_size")?).saturating_mul(hidden), true);
    tower.start_projector();
    tower.matrix(out, out);
    tower.norm(out, true);
    tower.feed_forward(out, out.saturating_mul(channels), Activation::Gated, false);
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions: None }))
}
