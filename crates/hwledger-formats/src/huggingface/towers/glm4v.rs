//! The vision tower of GLM-4.1V and GLM-4.5V (transformers `modeling_glm4v.py`).

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
