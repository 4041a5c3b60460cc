//! The CLIP vision tower (Radford et al. 2021; transformers `modeling_clip.py`).

use hwledger_core::model::Modality;

use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, patches, square};

/// The tower without a projector: a class token, norms before and after the layers.
pub(crate) fn clip(source: &Source<'_>, config: &Config<'_>) -> Result<(TowerBuilder, TowerShape), ConfigError> {
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = layer_count(config, "num_hidden_layers")?;
    let patches = patches(config)?;
    let mut tower = TowerBuilder::new(source);
    tower.vector(hidden);
    tower.matrix(hidden, square(config.required("patch_size")?).saturating_mul(config.required("num_channels")?));
    tower.matrix(patches + 1, hidden);
    tower.norm(hidden, true);
    tower.repeat(layers, |tower| tower.transformer_layer(TowerLayer::vit(hidden, width)));
    tower.norm(hidden, true);
    let heads = config.required("num_attention_heads")?;
    let positions = Some(patches);
    Ok((tower, TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions }))
}
