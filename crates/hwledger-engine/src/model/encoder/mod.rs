//! Encoders: models that read a whole text at once and write none. BERT (Devlin et al. 2018) and its relatives,
//! Nomic BERT (Nussbaum et al. 2024).

mod load;
mod settings;

use hwledger_core::ModelSpec;
use hwledger_kernels::PackedWeight;

use super::{AttentionWeights, DenseWeights};

pub use load::{load_encoder, load_encoder_with_progress};
pub use settings::EncoderSettings;

/// The weights of a layer normalisation.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Factors.
    pub weight: Vec<f32>,
    /// What is added then.
    pub bias: Vec<f32>,
}

impl LayerNorm {
    fn bytes(&self) -> usize {
        (self.weight.len() + self.bias.len()) * size_of::<f32>()
    }
}

/// The weights of one layer of an encoder.
#[derive(Clone, Debug)]
pub struct EncoderLayer {
    /// Attention.
    pub attention: AttentionWeights,
    /// After attention is added.
    pub attention_norm: LayerNorm,
    /// The feed-forward.
    pub feed_forward: DenseWeights,
    /// After the feed-forward is added.
    pub feed_forward_norm: LayerNorm,
}

/// An encoder that can be run.
#[derive(Clone, Debug)]
pub struct EncoderModel {
    /// Its shapes.
    pub spec: ModelSpec,
    /// Its numbers.
    pub settings: EncoderSettings,
    /// A row per token.
    pub embedding: PackedWeight,
    /// A row per position, where positions are learned.
    pub positions: Option<PackedWeight>,
    /// What is added to every token: the row of the first segment, the only one that a text alone has.
    pub segment: Option<Vec<f32>>,
    /// Before the first layer.
    pub embedding_norm: LayerNorm,
    /// The layers in order.
    pub layers: Vec<EncoderLayer>,
}

impl EncoderModel {
    /// Bytes of all weights in memory.
    pub fn weight_bytes(&self) -> usize {
        let layers: usize = self
            .layers
            .iter()
            .map(|layer| {
                layer.attention.input.bytes()
                    + layer.attention.output.bytes()
                    + layer.attention_norm.bytes()
                    + layer.feed_forward.input.bytes()
                    + layer.feed_forward.down.bytes()
                    + layer.feed_forward_norm.bytes()
            })
            .sum();
        layers
            + self.embedding.bytes().len()
            + self.positions.as_ref().map_or(0, |positions| positions.bytes().len())
            + self.segment.as_ref().map_or(0, |segment| segment.len() * size_of::<f32>())
            + self.embedding_norm.bytes()
    }

    /// The longest text whose positions are learned; none where positions are computed.
    pub fn positions_max(&self) -> Option<usize> {
        let positions = self.positions.as_ref()?;
        Some(positions.shape.rows.saturating_sub(self.settings.first_position))
    }
}
