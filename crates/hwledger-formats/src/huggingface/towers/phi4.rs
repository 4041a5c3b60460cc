//! The towers of Phi-4-multimodal (transformers `modeling_phi4_multimodal.py`): `SigLIP`, and a conformer for sound.

use hwledger_core::model::{Activation, Modality, Tower};

use super::siglip;
use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::tower::{TowerBuilder, TowerShape, layer_count};

/// Images: patches, two learned separators, two linear layers.
pub(crate) fn vision(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let (mut tower, shape) = siglip::siglip(source, &config)?;
    tower.start_projector();
    tower.vector(shape.hidden);
    tower.vector(shape.hidden);
    tower.linear(text_hidden, shape.hidden, true);
    tower.linear(text_hidden, text_hidden, true);
    Ok(tower.finish(shape))
}

/// Sound: strided convolutions, conformer layers with gated feed-forwards, two linear layers for speech alone and two
/// for speech beside images.
pub(crate) fn audio(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("audio_config");
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let heads = config.required("num_attention_heads")?;
    let layers = layer_count(&config, "num_blocks")?;
    let channels = config.required("nemo_conv_channels")?;
    let wide = config.required("ext_pw_out_channel")?;
    let separable = config.required("depthwise_separable_out_channel")?;
    let deep = hidden.saturating_mul(config.required("depthwise_multiplier")?);
    let taps = config.required("kernel_size")?;
    let distance = config.required("bias_max_distance")?;
    let mut tower = TowerBuilder::new(source);
    // Three strided convolutions of three by three, the second and third separable.
    tower.linear(channels, 9, true);
    tower.repeat(2, |tower| {
        tower.linear(channels, 9, true);
        tower.linear(channels, channels, true);
    });
    tower.linear(hidden, channels.saturating_mul(config.required("nemo_final_size")?), true);
    tower.matrix(if config.flag("bias_symmetric", false)? { distance } else { 2 * distance }, heads);
    tower.repeat(layers, |tower| {
        for _ in ["before", "after"] {
            tower.norm(hidden, true);
            tower.feed_forward(hidden, width, Activation::Gated, true);
        }
        tower.attention(hidden, hidden, AttentionBias::all(true));
        for _ in ["attention", "convolution", "output"] {
            tower.norm(hidden, true);
        }
        tower.vector(wide);
        tower.vector(wide);
        tower.linear(2 * wide, hidden, true);
        tower.linear(deep, taps, true);
        tower.linear(separable, deep, true);
        tower.linear(wide, separable, true);
    });
    tower.start_projector();
    for _ in ["speech", "speech and images"] {
        tower.linear(text_hidden, hidden.saturating_mul(config.required("downsample_rate")?), true);
        tower.linear(text_hidden, text_hidden, true);
    }
    Ok(tower.finish(TowerShape { modality: Modality::Audio, hidden, heads, width, layers, positions: None }))
}
