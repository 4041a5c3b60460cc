//! Q-Former (Li et al. 2023, BLIP-2) and what stands in front of it: the vision tower of BLIP-2 and `InstructBLIP`, the
//! conformer of Granite Speech (transformers `modeling_blip_2.py`, `modeling_instructblip.py`,
//! `modeling_granite_speech.py`).

use hwledger_core::model::{Activation, Modality, Tower};

use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, patches, square};

/// The Q-Former: BERT's layers on learned queries, some of which also attend to the encoder; gives its width.
fn qformer(
    tower: &mut TowerBuilder,
    config: &Config<'_>,
    encoder: u64,
    queries: u64,
    reads_text: bool,
) -> Result<u64, ConfigError> {
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = layer_count(config, "num_hidden_layers")?;
    let crossing = layers.div_ceil(config.count("cross_attention_frequency")?.unwrap_or(2).max(1));
    tower.matrix(queries, hidden);
    tower.norm(hidden, true);
    if reads_text {
        tower.matrix(config.required("vocab_size")?, hidden);
        tower.matrix(config.required("max_position_embeddings")?, hidden);
    }
    tower.repeat(layers, |tower| {
        tower.transformer_layer(TowerLayer::vit(hidden, width));
        if reads_text {
            // Text passes through a feed-forward of its own.
            tower.feed_forward(hidden, width, Activation::Plain, true);
            tower.norm(hidden, true);
        }
    });
    tower.repeat(crossing, |tower| {
        for inputs in [hidden, encoder, encoder, hidden] {
            tower.linear(hidden, inputs, true);
        }
        tower.norm(hidden, true);
    });
    Ok(hidden)
}

/// The vision tower of BLIP-2 with its Q-Former and the projection into a model of width `text_hidden`.
pub(crate) fn blip2(source: &Source<'_>, text_hidden: u64, reads_text: bool) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let heads = config.required("num_attention_heads")?;
    let layers = layer_count(&config, "num_hidden_layers")?;
    let patches = patches(&config)?;
    let channels = config.count("num_channels")?.unwrap_or(3);
    let has_bias = config.flag("qkv_bias", true)?;
    let attention_bias = AttentionBias { query_key_value: has_bias, output: true };
    let layer = TowerLayer { attention_bias, ..TowerLayer::vit(hidden, width) };
    let mut tower = TowerBuilder::new(source);
    tower.vector(hidden);
    tower.matrix(patches + 1, hidden);
    tower.linear(hidden, square(config.required("patch_size")?).saturating_mul(channels), true);
    tower.repeat(layers, |tower| tower.transformer_layer(layer));
    tower.norm(hidden, true);
    tower.start_projector();
    let queries = source.root.count("num_query_tokens")?.unwrap_or(32);
    let inner = qformer(&mut tower, &source.root.nested_or_empty("qformer_config"), hidden, queries, reads_text)?;
    tower.linear(text_hidden, inner, true);
    let positions = Some(queries);
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions }))
}

/// The conformer of Granite Speech with its Q-Former, which shortens windows of frames.
pub(crate) fn granite_speech(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("encoder_config");
    let hidden = config.required("hidden_dim")?;
    let heads = config.required("num_heads")?;
    let head_dim = config.count("dim_head")?.unwrap_or(hidden / heads);
    let inner = heads.saturating_mul(head_dim);
    let layers = layer_count(&config, "num_layers")?;
    let width = hidden.saturating_mul(config.required("feedforward_mult")?);
    let channels = hidden.saturating_mul(config.required("conv_expansion_factor")?);
    let distances = 2 * config.required("max_pos_emb")? + 1;
    let taps = config.required("conv_kernel_size")?;
    let out = config.required("output_dim")?;
    let mut tower = TowerBuilder::new(source);
    tower.linear(hidden, config.required("input_dim")?, true);
    tower.repeat(layers, |tower| {
        for _ in ["before", "behind"] {
            tower.norm(hidden, true);
            tower.feed_forward(hidden, width, Activation::Plain, true);
        }
        tower.norm(hidden, true);
        tower.matrix(inner, hidden);
        tower.matrix(2 * inner, hidden);
        tower.linear(hidden, inner, true);
        tower.matrix(distances, head_dim);
        tower.norm(hidden, true);
        tower.linear(2 * channels, hidden, true);
        tower.matrix(channels, taps);
        tower.norm(channels, true);
        tower.linear(hidden, channels, true);
        tower.norm(hidden, true);
    });
    tower.linear(out, hidden, true);
    tower.linear(hidden, out, true);
    tower.start_projector();
    // GraniteSpeechConfig takes windows of 15 frames, shortened five-fold.
    let window = source.root.count("window_size")?.unwrap_or(15);
    let queries = window / source.root.count("downsample_rate")?.unwrap_or(5).max(1);
    let projector = source.root.nested_or_empty("projector_config");
    let inner = qformer(&mut tower, &projector, projector.required("encoder_hidden_size")?, queries, false)?;
    tower.linear(text_hidden, inner, true);
    Ok(tower.finish(TowerShape { modality: Modality::Audio, hidden, heads, width, layers, positions: None }))
}
