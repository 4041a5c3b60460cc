//! `InternViT`, the vision tower of `InternVL` (transformers `modeling_internvl.py`; remote code `modeling_intern_vit.py`).

use hwledger_core::model::{Modality, Tower};

use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, square};

/// Height times width of a size given as one number or as a pair; `default` where it is left out.
fn area(config: &Config<'_>, key: &str, default: u64) -> Result<(u64, u64), ConfigError> {
    match config.counts(key)?.as_deref() {
        None => Ok((default, default)),
        Some(&[side]) => Ok((side, side)),
        Some(&[height, width]) => Ok((height, width)),
        Some(_) => Err(config.contradiction(key, "is neither a number nor a pair")),
    }
}

/// How many patches are merged into one: the inverse square of `downsample_ratio`.
fn merged_patches(config: &Config<'_>) -> Result<u64, ConfigError> {
    let ratio = config.number("downsample_ratio")?.unwrap_or(0.5);
    if !(0.01..=1.0).contains(&ratio) {
        return Err(config.contradiction("downsample_ratio", format!("is {ratio}")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the ratio's range is checked")]
    let side = (1.0 / ratio) as u64;
    Ok(square(side))
}

/// The tower with its projector.
pub(crate) fn internvit(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = layer_count(&config, "num_hidden_layers")?;
    let heads = config.required("num_attention_heads")?;
    // InternVLVisionConfig takes images of 448 and patches of 14 on each side.
    let (image_height, image_width) = area(&config, "image_size", 448)?;
    let (patch_height, patch_width) = area(&config, "patch_size", 14)?;
    if patch_height == 0 || patch_width == 0 {
        return Err(config.contradiction("patch_size", "is zero"));
    }
    let patches = (image_height / patch_height).saturating_mul(image_width / patch_width);
    let has_norm_bias = config.text("norm_type")? != Some("rms_norm");
    let has_bias = config.flag("qkv_bias", config.flag("attention_bias", false)?)?;
    let layer = TowerLayer {
        attention_bias: AttentionBias { query_key_value: has_bias, output: true },
        has_norm_bias,
        ..TowerLayer::vit(hidden, width)
    };
    let has_query_key_norm = config.flag("qk_normalization", config.flag("use_qk_norm", false)?)?;
    let mut tower = TowerBuilder::new(source);
    tower.vector(hidden);
    if config.flag("use_absolute_position_embeddings", true)? {
        tower.matrix(patches + 1, hidden);
    }
    let elements = patch_height.saturating_mul(patch_width).saturating_mul(config.count("num_channels")?.unwrap_or(3));
    tower.linear(hidden, elements, true);
    tower.repeat(layers, |tower| {
        tower.transformer_layer(layer);
        // Each block's output is scaled channel by channel.
        tower.vector(hidden);
        tower.vector(hidden);
        if has_query_key_norm {
            tower.norm(hidden, false);
            tower.norm(hidden, false);
        }
    });
    if !config.flag("use_mean_pooling", true)? {
        tower.norm(hidden, true);
    }
    let merged = hidden.saturating_mul(merged_patches(&source.root)?);
    tower.start_projector();
    tower.norm(merged, true);
    tower.linear(text_hidden, merged, true);
    tower.linear(text_hidden, text_hidden, true);
    let positions = source.root.count("image_seq_length")?;
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions }))
}
