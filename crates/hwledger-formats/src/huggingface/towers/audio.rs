//! Audio towers shaped as Whisper's encoder: Voxtral, Qwen2-Audio, Qwen2.5-Omni, Qwen3-Omni
//! (transformers `modeling_voxtral.py`, `modeling_qwen2_audio.py`, `modeling_qwen2_5_omni.py`,
//! `modeling_qwen3_omni_moe.py`, `modeling_audioflamingo3.py`, `modeling_glmasr.py`,
//! `modeling_voxtral_realtime.py`).

use hwledger_core::model::{Activation, Modality, Tower};

use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count};

/// The tower without a projector: two convolutions of three taps, positions, layers whose keys have no bias.
fn whisper(
    source: &Source<'_>,
    config: &Config<'_>,
    has_position_table: bool,
) -> Result<(TowerBuilder, TowerShape), ConfigError> {
    let hidden = config.required_of(&["d_model", "hidden_size"])?;
    let width = config.required_of(&["encoder_ffn_dim", "intermediate_size"])?;
    let heads = config.required_of(&["encoder_attention_heads", "num_attention_heads"])?;
    let prefixed = if config.has("encoder_layers") { "encoder_layers" } else { "num_hidden_layers" };
    let layers = match config.count(prefixed)? {
        Some(_) => layer_count(config, prefixed)?,
        None => layer_count(config, "encoder_layers")?,
    };
    let positions = config.required_of(&["max_source_positions", "max_position_embeddings"])?;
    let mut tower = TowerBuilder::new(source);
    tower.linear(hidden, 3 * config.required("num_mel_bins")?, true);
    tower.linear(hidden, 3 * hidden, true);
    if has_position_table {
        tower.matrix(positions, hidden);
    }
    tower.repeat(layers, |tower| {
        for has_bias in [true, false, true, true] {
            tower.linear(hidden, hidden, has_bias);
        }
        tower.feed_forward(hidden, width, Activation::Plain, true);
        tower.norm(hidden, true);
        tower.norm(hidden, true);
    });
    tower.norm(hidden, true);
    let shape = TowerShape { modality: Modality::Audio, hidden, heads, width, layers, positions: Some(positions) };
    Ok((tower, shape))
}

/// Voxtral: stacks of frames go through two matrices.
pub(crate) fn voxtral(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("audio_config");
    let (mut tower, shape) = whisper(source, &config, true)?;
    tower.start_projector();
    // Frames are stacked until they fill the feed-forward's width.
    tower.matrix(text_hidden, shape.width);
    tower.matrix(text_hidden, text_hidden);
    Ok(tower.finish(shape))
}

/// Qwen2-Audio: one linear layer.
pub(crate) fn qwen2_audio(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("audio_config");
    let (mut tower, shape) = whisper(source, &config, true)?;
    tower.start_projector();
    tower.linear(text_hidden, shape.hidden, true);
    Ok(tower.finish(shape))
}

/// Audio Flamingo 3: two linear layers.
pub(crate) fn flamingo(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("audio_config");
    let (mut tower, shape) = whisper(source, &config, true)?;
    let has_bias = source.root.flag("projector_bias", true)?;
    tower.start_projector();
    tower.linear(text_hidden, shape.hidden, has_bias);
    tower.linear(text_hidden, text_hidden, has_bias);
    Ok(tower.finish(shape))
}

/// GLM-ASR: rotary positions; stacks of frames that fill the feed-forward's width go through twice the model's.
pub(crate) fn glm_asr(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("audio_config");
    let (mut tower, shape) = whisper(source, &config, false)?;
    tower.start_projector();
    tower.linear(2 * text_hidden, shape.width, true);
    tower.linear(text_hidden, 2 * text_hidden, true);
    Ok(tower.finish(shape))
}

/// Qwen2.5-Omni: positions are computed, two learned vectors mark begin and end of a clip.
pub(crate) fn qwen2_5_omni(source: &Source<'_>) -> Result<Tower, ConfigError> {
    let config = source.outer().nested_or_empty("audio_config");
    let out = config.required("output_dim")?;
    let (mut tower, shape) = whisper(source, &config, false)?;
    tower.start_projector();
    tower.matrix(2, out);
    tower.linear(out, shape.hidden, true);
    Ok(tower.finish(shape))
}

/// Qwen3-Omni: three convolutions in time and frequency, each halving both, in front of layers with biases everywhere.
pub(crate) fn qwen3_omni(source: &Source<'_>) -> Result<Tower, ConfigError> {
    let config = source.outer().nested_or_empty("audio_config");
    let hidden = config.required("d_model")?;
    let width = config.required("encoder_ffn_dim")?;
    let layers = layer_count(&config, "encoder_layers")?;
    let channels = config.required("downsample_hidden_size")?;
    let bins = (0..3).fold(config.required("num_mel_bins")?, |bins, _| bins.div_ceil(2));
    let out = config.required("output_dim")?;
    let mut tower = TowerBuilder::new(source);
    tower.linear(channels, 9, true);
    tower.linear(channels, 9 * channels, true);
    tower.linear(channels, 9 * channels, true);
    tower.matrix(hidden, channels.saturating_mul(bins));
    tower.repeat(layers, |tower| tower.transformer_layer(TowerLayer::vit(hidden, width)));
    tower.norm(hidden, true);
    tower.start_projector();
    tower.linear(hidden, hidden, true);
    tower.linear(out, hidden, true);
    let heads = config.required("encoder_attention_heads")?;
    Ok(tower.finish(TowerShape { modality: Modality::Audio, hidden, heads, width, layers, positions: None }))
}

/// Voxtral Realtime: rotary positions, a gated feed-forward with one bias, heads that do not fill the width.
pub(crate) fn voxtral_realtime(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("audio_config");
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let heads = config.required("num_attention_heads")?;
    let inner = heads.saturating_mul(config.required("head_dim")?);
    let layers = layer_count(&config, "num_hidden_layers")?;
    // VoxtralRealtimeConfig joins four frames.
    let joined = source.root.count("downsample_factor")?.unwrap_or(4);
    let mut tower = TowerBuilder::new(source);
    tower.linear(hidden, 3 * config.required("num_mel_bins")?, true);
    tower.linear(hidden, 3 * hidden, true);
    tower.repeat(layers, |tower| {
        for has_bias in [true, false, true] {
            tower.linear(inner, hidden, has_bias);
        }
        tower.linear(hidden, inner, true);
        tower.feed_forward(hidden, width, Activation::Gated, false);
        tower.vector(hidden);
        tower.norm(hidden, false);
        tower.norm(hidden, false);
    });
    tower.norm(hidden, false);
    tower.start_projector();
    tower.matrix(text_hidden, hidden.saturating_mul(joined));
    tower.matrix(text_hidden, text_hidden);
    Ok(tower.finish(TowerShape { modality: Modality::Audio, hidden, heads, width, layers, positions: None }))
}
