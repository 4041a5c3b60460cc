//! Audio towers shaped as Whisper's encoder: Voxtral, Qwen2-Audio
//! (transformers `modeling_voxtral.py`, `modeling_qwen2_audio.py`).

use hwledger_core::model::{Activation, Modality, Tower};

use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::tower::{TowerBuilder, TowerShape, layer_count};

/// The tower without a projector: two convolutions of three taps, positions, layers whose keys have no bias.
fn whisper(source: &Source<'_>, config: &Config<'_>) -> Result<(TowerBuilder, TowerShape), ConfigError> {
    let hidden = config.required_of(&["d_model", "hidden_size"])?;
    let width = config.required_of(&["encoder_ffn_dim", "intermediate_size"])?;
    let heads = config.required_of(&["encoder_attention_heads", "num_attention_heads"])?;
    let prefixed = if config.has("encoder_layers") { "encoder_layers" } else { "num_hidden_layers" };
    let layers = match config.count(prefixed)? {
        Some(_) => layer_count(config, prefixed)?,
        None => layer_count(config, "encoder_layers")?,
    };
    let positions = config.required("max_source_positions")?;
    let mut tower = TowerBuilder::new(source);
    tower.linear(hidden, 3 * config.required("num_mel_bins")?, true);
    tower.linear(hidden, 3 * hidden, true);
    tower.matrix(positions, hidden);
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
    let (mut tower, shape) = whisper(source, &config)?;
    tower.start_projector();
    // Frames are stacked until they fill the feed-forward's width.
    tower.matrix(text_hidden, shape.width);
    tower.matrix(text_hidden, text_hidden);
    Ok(tower.finish(shape))
}

/// Qwen2-Audio: one linear layer.
pub(crate) fn qwen2_audio(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("audio_config");
    let (mut tower, shape) = whisper(source, &config)?;
    tower.start_projector();
    tower.linear(text_hidden, shape.hidden, true);
    Ok(tower.finish(shape))
}
