//! The vision tower of Pixtral (transformers `modeling_pixtral.py`): Llama's layers, rotary positions in two axes.

use hwledger_core::model::Modality;

use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, square};

/// The tower without a projector.
pub(crate) fn pixtral(source: &Source<'_>, config: &Config<'_>) -> Result<(TowerBuilder, TowerShape), ConfigError> {
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = layer_count(config, "num_hidden_layers")?;
    let mut tower = TowerBuilder::new(source);
    tower.matrix(hidden, square(config.required("patch_size")?).saturating_mul(config.required("num_channels")?));
    tower.norm(hidden, false);
    tower.repeat(layers, |tower| tower.transformer_layer(TowerLayer::gated(hidden, width)));
    let heads = config.required("num_attention_heads")?;
    Ok((tower, TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions: None }))
}
