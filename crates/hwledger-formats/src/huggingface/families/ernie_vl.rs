//! ERNIE 4.5 VL with experts: one set of experts for text and one for images, shared experts for both
//! (transformers `modeling_ernie4_5_vl_moe.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{FeedForward, Mixer, Modality, Tower};

use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::Dense;
use crate::huggingface::experts::{Mixture, Names};
use crate::huggingface::schedule;
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, square};

/// The number for text and that for images under `key`; one number stands for both.
fn pair(config: &Config<'_>, key: &str, default: (u64, u64)) -> Result<(u64, u64), ConfigError> {
    Ok(match config.counts(key)?.as_deref() {
        Some(&[both]) => (both, both),
        Some(&[text, images, ..]) => (text, images),
        Some(&[]) | None => config.count(key)?.map_or(default, |both| (both, both)),
    })
}

/// Spatial and temporal neighbours are merged, then mapped to the model's width.
fn tower(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required_of(&["hidden_size", "embed_dim"])?;
    let width = config.required("intermediate_size")?;
    let heads = config.required("num_heads")?;
    let layers = layer_count(&config, "depth")?;
    let spatial = square(config.required("spatial_merge_size")?).saturating_mul(hidden);
    let temporal = config.required("temporal_merge_size")?.saturating_mul(spatial);
    let mut tower = TowerBuilder::new(source);
    tower.matrix(hidden, square(config.required("patch_size")?).saturating_mul(config.required("in_channels")?));
    tower.repeat(layers, |tower| tower.transformer_layer(TowerLayer::vit(hidden, width)));
    tower.norm(hidden, true);
    tower.start_projector();
    for inputs in [spatial, temporal] {
        tower.linear(spatial, inputs, true);
        tower.linear(spatial, spatial, true);
        tower.norm(spatial, true);
    }
    tower.linear(text_hidden, spatial, true);
    tower.norm(text_hidden, false);
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions: None }))
}

/// The language model behind its tower.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, true)?;
    let has_bias = config.flag("use_bias", false)?;
    dense.attention_bias = AttentionBias::all(has_bias);
    dense.has_feed_forward_bias = has_bias;
    let experts = pair(&config, "moe_num_experts", (64, 64))?;
    let widths = pair(&config, "moe_intermediate_size", (1536, 512))?;
    let per_token = config.required("moe_k")?;
    let first = pair(&config, "moe_layer_start_index", (1, 1))?.0;
    let is_sparse = schedule::sparse_layers(&config, dense.layers, first)?;
    let shared = config.count("moe_num_shared_experts")?.unwrap_or(0).saturating_mul(widths.0);
    let plain = Mixture::gated(experts.0, per_token, widths.0);
    let text = Mixture { router_vectors: 1, has_shared_bias: has_bias, ..plain.with_shared(shared) };
    let names = Names { expert: "mlp.vision_moe.experts.0", ..Names::USUAL };
    let images = Mixture { router_vectors: 1, ..Mixture::gated(experts.1, per_token, widths.1).named(names) };
    let mut model = dense.frame(source);
    for (index, &is_sparse) in (0..dense.layers).zip(&is_sparse) {
        let mut layer = source.layer(format!("model.layers.{index}"));
        dense.attention_weights(&mut layer);
        let feed_forward: FeedForward = if is_sparse {
            // A text token passes through the experts for text only.
            images.add(&mut layer, dense.hidden);
            text.add(&mut layer, dense.hidden)
        } else {
            dense.feed_forward(&mut layer)
        };
        dense.norms(&mut layer, 2);
        model.decoder.push(layer.finish(Mixer::Attention(dense.attention(index)), feed_forward));
    }
    model.towers.push(tower(source, model.hidden_size)?);
    Ok(model)
}
