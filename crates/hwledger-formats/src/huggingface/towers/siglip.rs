//! The `SigLIP` and `SigLIP` 2 vision towers (Zhai et al. 2023; transformers `modeling_siglip.py`, `modeling_siglip2.py`).

use hwledger_core::model::{Modality, Tower};

use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, patches, square};

/// The tower without a projector, whose positions follow from the image's size.
pub(crate) fn siglip(source: &Source<'_>, config: &Config<'_>) -> Result<(TowerBuilder, TowerShape), ConfigError> {
    let patches = patches(config)?;
    let has_head = config.flag("vision_use_head", true)?;
    tower(source, config, patches, has_head)
}

/// The same without the pooling head, which Idefics 3 and `SmolVLM` leave out.
pub(crate) fn without_head(
    source: &Source<'_>,
    config: &Config<'_>,
) -> Result<(TowerBuilder, TowerShape), ConfigError> {
    let patches = patches(config)?;
    tower(source, config, patches, false)
}

/// The tower of `SigLIP` 2, whose position table has `num_patches` rows.
pub(crate) fn siglip2(source: &Source<'_>, config: &Config<'_>) -> Result<(TowerBuilder, TowerShape), ConfigError> {
    let has_head = config.flag("vision_use_head", true)?;
    tower(source, config, config.required("num_patches")?, has_head)
}

fn tower(
    source: &Source<'_>,
    config: &Config<'_>,
    patches: u64,
    has_head: bool,
) -> Result<(TowerBuilder, TowerShape), ConfigError> {
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = layer_count(config, "num_hidden_layers")?;
    let heads = config.required("num_attention_heads")?;
    let layer = TowerLayer::vit(hidden, width);
    let mut tower = TowerBuilder::new(source);
    tower.linear(hidden, square(config.required("patch_size")?).saturating_mul(config.required("num_channels")?), true);
    tower.matrix(patches, hidden);
    tower.repeat(layers, |tower| tower.transformer_layer(layer));
    tower.norm(hidden, true);
    if has_head {
        // Attention pooling: one learned query, attention, a norm and a feed-forward.
        tower.vector(hidden);
        tower.attention(hidden, hidden, AttentionBias { query_key_value: true, output: true });
        tower.norm(hidden, true);
        tower.feed_forward(hidden, width, layer.activation, true);
    }
    let shape = TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions: Some(patches) };
    Ok((tower, shape))
}

/// The tower of LFM2-VL with its projector into a model of width `text_hidden`
/// (transformers `modeling_lfm2_vl.py`).
pub(crate) fn lfm2_vl(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let root = &source.root;
    let (mut tower, shape) = siglip2(source, &root.nested_or_empty("vision_config"))?;
    let merged = square(root.required("downsample_factor")?).saturating_mul(shape.hidden);
    let width = root.required("projector_hidden_size")?;
    let has_bias = root.flag("projector_bias", true)?;
    tower.start_projector();
    if root.flag("projector_use_layernorm", true)? {
        tower.norm(merged, true);
    }
    tower.linear(width, merged, has_bias);
    tower.linear(text_hidden, width, has_bias);
    Ok(tower.finish(shape))
}
