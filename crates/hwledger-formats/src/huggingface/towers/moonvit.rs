//! `MoonViT`, the vision tower of Kimi K2.5 with its patch merger (transformers `modeling_kimi_k25.py`).

use hwledger_core::model::{Modality, Tower};

use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, square};

/// The tower with its projector into a model of width `text_hidden`.
///
/// Published files spell several keys with `vt_` or `init_` in front, the reference does not.
pub(crate) fn kimi_k25(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required_of(&["vt_hidden_size", "hidden_size"])?;
    let width = config.required_of(&["vt_intermediate_size", "intermediate_size"])?;
    let heads = config.required_of(&["vt_num_attention_heads", "num_attention_heads"])?;
    let prefixed = if config.has("vt_num_hidden_layers") { "vt_num_hidden_layers" } else { "num_hidden_layers" };
    let layers = layer_count(&config, prefixed)?;
    let positions = config.required_of(&["init_pos_emb_height", "pos_emb_height"])?
        * config.required_of(&["init_pos_emb_width", "pos_emb_width"])?;
    let merged = match config.counts("merge_kernel_size")?.as_deref() {
        // The class default merges two by two patches.
        None => 4 * hidden,
        Some([rows, columns]) => rows.saturating_mul(*columns).saturating_mul(hidden),
        Some(_) => return Err(config.contradiction("merge_kernel_size", "is not a pair")),
    };
    let mut tower = TowerBuilder::new(source);
    tower.linear(hidden, square(config.required("patch_size")?).saturating_mul(3), true);
    tower.matrix(positions, hidden);
    tower.repeat(layers, |tower| tower.transformer_layer(TowerLayer::vit(hidden, width)));
    tower.norm(hidden, true);
    tower.start_projector();
    tower.norm(hidden, true);
    tower.linear(merged, merged, true);
    tower.linear(text_hidden, merged, true);
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions: None }))
}
