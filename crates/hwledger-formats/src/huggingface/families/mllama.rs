//! Llama 3.2 Vision (transformers `modeling_mllama.py`): some layers attend to image patches instead of text.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Attention, CacheOwner, Modality, Role, Span, Tower};

use crate::huggingface::blocks::{AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::Dense;
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, patches, square};

/// Rows that the embedding has beyond the vocabulary, for image tokens.
const IMAGE_TOKENS: u64 = 8;

/// Cross-attention layers of the class default, where the file names none.
const CROSS_ATTENTION_LAYERS: [u64; 8] = [3, 8, 13, 18, 23, 28, 33, 38];

/// The whole model, or the language model alone.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let dense = Dense::read(source, &config, false)?;
    let cross = config.counts("cross_attention_layers")?.unwrap_or_else(|| CROSS_ATTENTION_LAYERS.to_vec());
    let with_gates = Dense {
        query_key_norm: QueryKeyNorm::PerHead,
        extras: vec![(Role::AttentionGate, 1), (Role::Other, 1)],
        ..dense.clone()
    };
    let mut model = dense.frame(source);
    if let Some(table) = model.embedding.first_mut() {
        table.rows += IMAGE_TOKENS;
    }
    for index in 0..dense.layers {
        let layer = if cross.contains(&index) {
            let attention = Attention { cache: CacheOwner::Encoder, ..dense.heads.attention(Span::Full) };
            with_gates.layer(source, index, attention)
        } else {
            dense.layer(source, index, dense.attention(index))
        };
        model.decoder.push(layer);
    }
    if source.root.model_type()? == Some("mllama") {
        model.towers.push(vision(source, model.hidden_size)?);
    }
    Ok(model)
}

/// Tiles of an image with tables of positions per tile; gated layers at the end look across tiles.
fn vision(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let local = layer_count(&config, "num_hidden_layers")?;
    let global = layer_count(&config, "num_global_layers")?;
    let tiles = config.required("max_num_tiles")?;
    // MllamaVisionConfig takes eight aspect ratios; one more stands for padding.
    let ratios =
        config.get("supported_aspect_ratios").and_then(|list| list.as_array()).map_or(8, |list| list.len() as u64) + 1;
    let positions = patches(&config)? + 1;
    let layer = TowerLayer { attention_bias: AttentionBias::all(false), ..TowerLayer::vit(hidden, width) };
    let mut tower = TowerBuilder::new(source);
    tower.vector(hidden);
    tower.matrix(hidden, square(config.required("patch_size")?).saturating_mul(config.required("num_channels")?));
    tower.vector(1);
    tower.matrix(positions, hidden);
    tower.matrix(ratios, tiles.saturating_mul(positions).saturating_mul(hidden));
    for _ in ["before", "after"] {
        tower.vector(1);
        tower.matrix(ratios, tiles.saturating_mul(hidden));
        tower.norm(hidden, true);
    }
    tower.repeat(local, |tower| tower.transformer_layer(layer));
    tower.repeat(global, |tower| {
        tower.transformer_layer(layer);
        tower.vector(1);
        tower.vector(1);
    });
    tower.start_projector();
    tower.linear(text_hidden, config.required("vision_output_dim")?, true);
    let heads = config.required_of(&["attention_heads", "num_attention_heads"])?;
    let layers = local + global;
    let positions = Some(positions.saturating_mul(tiles));
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions }))
}
