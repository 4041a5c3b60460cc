//! The audio towers of Gemma 3n and 4: convolutions that thin out a spectrogram, then conformer layers
//! (Gulati et al. 2020; transformers `modeling_gemma3n.py`, `modeling_gemma4.py`).

use hwledger_core::model::{Modality, Tower};

use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::tower::{TowerBuilder, TowerShape, layer_count};

struct Shape {
    hidden: u64,
    heads: u64,
    layers: u64,
    /// Taps of the depthwise convolution.
    taps: u64,
    /// Mel bands of the spectrogram.
    bands: u64,
    /// Channels of the two thinning convolutions.
    channels: [u64; 2],
}

fn channels(config: &Config<'_>, key: &str) -> Result<[u64; 2], ConfigError> {
    match config.counts(key)?.as_deref() {
        // Both classes take (128, 32).
        None => Ok([128, 32]),
        Some(&[first, second]) => Ok([first, second]),
        Some(_) => Err(config.contradiction(key, "is not a pair")),
    }
}

fn tower(source: &Source<'_>, shape: &Shape) -> TowerBuilder {
    let Shape { hidden, heads, layers, taps, bands, channels: [first, second] } = *shape;
    let mut tower = TowerBuilder::new(source);
    // Both convolutions are three by three with a stride of two.
    tower.matrix(first, 9);
    tower.norm(first, false);
    tower.matrix(second, 9 * first);
    tower.norm(second, false);
    tower.matrix(hidden, second * (bands / 4));
    tower.repeat(layers, |tower| {
        for _ in ["before", "after"] {
            tower.matrix(4 * hidden, hidden);
            tower.matrix(hidden, 4 * hidden);
        }
        for _ in ["query", "key", "value", "position", "output"] {
            tower.matrix(hidden, hidden);
        }
        tower.vector(hidden / heads);
        tower.matrix(2 * hidden, hidden);
        tower.matrix(hidden, taps);
        tower.matrix(hidden, hidden);
        // Two around each of the two feed-forwards, attention and convolution, and a last one.
        for _ in 0..9 {
            tower.norm(hidden, false);
        }
    });
    tower
}

fn finish(tower: TowerBuilder, shape: &Shape) -> Tower {
    tower.finish(TowerShape {
        modality: Modality::Audio,
        hidden: shape.hidden,
        heads: shape.heads,
        width: 4 * shape.hidden,
        layers: shape.layers,
        positions: None,
    })
}

/// Gemma 4's, with an output projection of its own.
pub(crate) fn gemma4(source: &Source<'_>, config: &Config<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let shape = Shape {
        hidden: config.required("hidden_size")?,
        heads: config.required("num_attention_heads")?,
        layers: layer_count(config, "num_hidden_layers")?,
        taps: config.required("conv_kernel_size")?,
        bands: 128,
        channels: channels(config, "subsampling_conv_channels")?,
    };
    let mut tower = tower(source, &shape);
    let width = config.required("output_proj_dims")?;
    tower.linear(width, shape.hidden, true);
    tower.start_projector();
    tower.matrix(text_hidden, width);
    Ok(finish(tower, &shape))
}

/// Gemma 3n's, with a small vocabulary of its own.
pub(crate) fn gemma3n(source: &Source<'_>, config: &Config<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let shape = Shape {
        hidden: config.required("hidden_size")?,
        heads: config.required("conf_num_attention_heads")?,
        layers: layer_count(config, "conf_num_hidden_layers")?,
        taps: config.required("conf_conv_kernel_size")?,
        bands: config.required("input_feat_size")?,
        channels: channels(config, "sscp_conv_channel_size")?,
    };
    let mut tower = tower(source, &shape);
    gemma3n_embedder(&mut tower, config.required("vocab_size")?, shape.hidden, text_hidden);
    Ok(finish(tower, &shape))
}

/// What maps a modality of Gemma 3n into the model: its own tokens, two norms, a projection.
pub(crate) fn gemma3n_embedder(tower: &mut TowerBuilder, vocabulary: u64, hidden: u64, text_hidden: u64) {
    tower.start_projector();
    tower.matrix(vocabulary, hidden);
    tower.norm(hidden, false);
    tower.norm(hidden, false);
    tower.matrix(text_hidden, hidden);
}
