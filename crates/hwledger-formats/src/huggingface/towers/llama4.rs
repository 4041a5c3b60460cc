//! The vision tower of Llama 4 (transformers `modeling_llama4.py`).

use hwledger_core::model::{Modality, Tower};

use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, patches, square};

/// The tower with its projector: a class token, learned positions, an adapter after shuffling pixels.
pub(crate) fn llama4(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = layer_count(&config, "num_hidden_layers")?;
    let patches = patches(&config)?;
    let mut tower = TowerBuilder::new(source);
    tower.vector(hidden);
    tower.matrix(patches + 1, hidden);
    tower.matrix(hidden, square(config.required("patch_size")?).saturating_mul(config.required("num_channels")?));
    tower.norm(hidden, true);
    tower.norm(hidden, true);
    tower.repeat(layers, |tower| tower.transformer_layer(TowerLayer::vit(hidden, width)));
    let adapter = config.required("projector_output_dim")?;
    tower.matrix(config.required("projector_input_dim")?, width);
    tower.matrix(adapter, adapter);
    tower.start_projector();
    tower.matrix(text_hidden, config.required("vision_output_dim")?);
    let heads = config.required("num_attention_heads")?;
    let positions = Some(patches);
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions }))
}
