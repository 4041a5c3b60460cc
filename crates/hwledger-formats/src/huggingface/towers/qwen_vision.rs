//! The vision towers of Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5
//! (transformers `modeling_qwen2_vl.py`, `modeling_qwen2_5_vl.py`, `modeling_qwen3_vl.py`).

use hwledger_core::model::{Modality, Tower};

use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, square};

/// Elements of one patch that the embedding reads: channels x frames x height x width.
fn patch(config: &Config<'_>) -> Result<u64, ConfigError> {
    let size = config.required("patch_size")?;
    let channels = config.required_of(&["in_channels", "in_chans"])?;
    Ok(square(size).saturating_mul(channels).saturating_mul(config.required("temporal_patch_size")?))
}

/// The tower of Qwen2-VL: layer norms, a plain feed-forward, no position table.
pub(crate) fn qwen2(source: &Source<'_>) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required("embed_dim")?;
    let width = hidden * config.required("mlp_ratio")?;
    let layers = layer_count(&config, "depth")?;
    let mut tower = TowerBuilder::new(source);
    tower.matrix(hidden, patch(&config)?);
    tower.repeat(layers, |tower| tower.transformer_layer(TowerLayer::vit(hidden, width)));
    tower.start_projector();
    let merged = square(config.required("spatial_merge_size")?).saturating_mul(hidden);
    tower.norm(hidden, true);
    tower.linear(merged, merged, true);
    tower.linear(config.required("hidden_size")?, merged, true);
    let heads = config.required("num_heads")?;
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions: None }))
}

/// The tower of Qwen2.5-VL: root-mean-square norms and a gated feed-forward, with biases.
pub(crate) fn qwen2_5(source: &Source<'_>) -> Result<Tower, ConfigError> {
    let config = source.outer().nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = layer_count(&config, "depth")?;
    let mut tower = TowerBuilder::new(source);
    tower.matrix(hidden, patch(&config)?);
    let vit = TowerLayer::vit(hidden, width);
    let heads = config.required("num_heads")?;
    // EXAONE 4.5 groups the queries.
    let key_value = config.count("num_key_value_heads")?.map(|groups| groups.saturating_mul(hidden / heads));
    let activation = TowerLayer::gated(hidden, width).activation;
    let layer = TowerLayer { has_norm_bias: false, activation, key_value, ..vit };
    tower.repeat(layers, |tower| tower.transformer_layer(layer));
    tower.start_projector();
    let merged = square(config.required("spatial_merge_size")?).saturating_mul(hidden);
    tower.norm(hidden, false);
    tower.linear(merged, merged, true);
    tower.linear(config.required("out_hidden_size")?, merged, true);
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions: None }))
}

/// Layers whose output goes into the language model by a merger of its own; the class default where absent.
fn deepstack_layers(config: &Config<'_>) -> Result<u64, ConfigError> {
    let listed = config.counts("deepstack_visual_indexes")?.map(|layers| layers.len() as u64);
    // Qwen3VLVisionConfig takes (8, 16, 24).
    Ok(listed.unwrap_or(3))
}

/// The tower of Qwen3-VL: learned positions, and mergers for the layers of `deepstack_visual_indexes`.
pub(crate) fn qwen3(source: &Source<'_>) -> Result<Tower, ConfigError> {
    let config = source.outer().nested_or_empty("vision_config");
    let mergers = deepstack_layers(&config)?;
    with_position_table(source, &config, mergers)
}

/// The tower of Qwen3.5: that of Qwen3-VL without the further mergers.
pub(crate) fn qwen3_5(source: &Source<'_>) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    with_position_table(source, &config, 0)
}

fn with_position_table(source: &Source<'_>, config: &Config<'_>, mergers: u64) -> Result<Tower, ConfigError> {
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = layer_count(config, "depth")?;
    let mut tower = TowerBuilder::new(source);
    tower.linear(hidden, patch(config)?, true);
    tower.matrix(config.required("num_position_embeddings")?, hidden);
    tower.repeat(layers, |tower| tower.transformer_layer(TowerLayer::vit(hidden, width)));
    tower.start_projector();
    let merged = square(config.required("spatial_merge_size")?).saturating_mul(hidden);
    let out = config.required("out_hidden_size")?;
    tower.norm(hidden, true);
    tower.linear(merged, merged, true);
    tower.linear(out, merged, true);
    tower.repeat(mergers, |tower| {
        tower.norm(merged, true);
        tower.linear(merged, merged, true);
        tower.linear(out, merged, true);
    });
    let heads = config.required("num_heads")?;
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions: None }))
}
