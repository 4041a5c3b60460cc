//! A model that can be run: its shapes, its numbers, its repacked weights.

mod conventions;
mod encoder;
mod gguf;
mod hugging_face;
mod latent;
mod load;
mod packed;
mod pooling;
mod positions;
mod rotary;
mod settings;
mod tensors;

use hwledger_core::ModelSpec;
use hwledger_kernels::PackedWeight;

pub use conventions::{Conventions, ExpertGroups, Routing, WindowRotary};
pub use encoder::{EncoderLayer, EncoderModel, EncoderSettings, LayerNorm, load_encoder, load_encoder_with_progress};
pub use gguf::GgufTensors;
pub use hugging_face::{Directory, HuggingFaceTensors};
pub use load::{LoadOptions, load, load_with_progress};
pub use pooling::{Pooling, PoolingSettings};
pub use rotary::{Rotary, Yarn};
pub use settings::Settings;
pub use tensors::{LoadProgress, ModelFile, Tensors};

/// A projection: matrices on top of each other over the same input, with their biases one after the other.
#[derive(Clone, Debug)]
pub struct Projection {
    /// The matrices.
    pub matrices: Vec<PackedWeight>,
    /// One number per row, if there are any.
    pub bias: Option<Vec<f32>>,
}

impl Projection {
    /// Outputs.
    pub fn rows(&self) -> usize {
        self.matrices.iter().map(|matrix| matrix.shape.rows).sum()
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.matrices.first().map_or(0, |matrix| matrix.shape.columns)
    }

    /// Bytes of the repacked matrices.
    pub fn bytes(&self) -> usize {
        let bias = self.bias.as_ref().map_or(0, |bias| bias.len() * size_of::<f32>());
        self.matrices.iter().map(|matrix| matrix.bytes().len()).sum::<usize>() + bias
    }
}

/// The heads of a layer's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a key, and of a query.
    pub key: usize,
    /// Elements of a value.
    pub value: usize,
    /// Tokens that a token sees, itself included; none for all before it.
    pub window: Option<usize>,
}

/// The weights of attention.
#[derive(Clone, Debug)]
pub struct AttentionWeights {
    /// Its heads.
    pub shape: HeadShape,
    /// Query, key and value heads, in this order; of latent attention query heads or the queries' latent, then the
    /// latent of keys and values with its rotary key.
    pub input: Projection,
    /// Normalises queries: per head, or all heads at once, by its length; of latent attention the queries' latent.
    pub query_norm: Option<Vec<f32>>,
    /// Normalises keys.
    pub key_norm: Option<Vec<f32>>,
    /// From heads back to the residual stream.
    pub output: Projection,
    /// A logit per query head that takes part in the softmax.
    pub sinks: Option<Vec<f32>>,
    /// What latent attention has beside.
    pub latent: Option<Box<LatentWeights>>,
}

/// What multi-head latent attention (DeepSeek-V2, section 2.1) has beside other attention. Keys and values of all heads
/// are linear functions of one latent per token, which is what the cache keeps; the functions are applied to queries
/// and to sums instead (section 2.1.2), so that no key and no value is ever made.
#[derive(Clone, Debug)]
pub struct LatentWeights {
    /// Elements of the latent.
    pub rank: usize,
    /// Elements of the rotary key that all heads share, at the end of each key.
    pub rope: usize,
    /// Normalises the latent.
    pub norm: Vec<f32>,
    /// From the queries' latent to query heads; none where the input makes these at once.
    pub query_up: Option<Projection>,
    /// Per head, from the part of a query without position to the latent's space: `[rank][nope]`.
    pub key_up: PackedWeight,
    /// Per head, from the latent's space to values: `[value][rank]`.
    pub value_up: PackedWeight,
}

impl LatentWeights {
    /// Bytes of all of it.
    pub fn bytes(&self) -> usize {
        self.norm.len() * size_of::<f32>()
            + self.query_up.as_ref().map_or(0, Projection::bytes)
            + self.key_up.bytes().len()
            + self.value_up.bytes().len()
    }
}

/// The weights of a feed-forward.
#[derive(Clone, Debug)]
pub enum FeedForwardWeights {
    /// One network.
    Dense(DenseWeights),
    /// Experts behind a router.
    Experts(Box<ExpertWeights>),
}

/// The weights of one network.
#[derive(Clone, Debug)]
pub struct DenseWeights {
    /// Gate, then up; up alone where nothing gates.
    pub input: Projection,
    /// Back to the residual stream.
    pub down: Projection,
    /// Whether the input has a gate.
    pub is_gated: bool,
}

/// The weights of experts.
#[derive(Clone, Debug)]
pub struct ExpertWeights {
    /// A logit per expert.
    pub router: Projection,
    /// Added to what experts are chosen by, not to their weights (DeepSeek-V3).
    pub choice_bias: Option<Vec<f32>>,
    /// Gate and up of all experts: two stacked matrices, or one with both.
    pub input: Vec<PackedWeight>,
    /// Per expert, the biases of gate and up one after the other.
    pub input_bias: Option<Vec<f32>>,
    /// Down of all experts.
    pub down: PackedWeight,
    /// Per expert, the bias of down.
    pub down_bias: Option<Vec<f32>>,
    /// Experts that one token passes through.
    pub used: usize,
    /// A network that every token passes through too.
    pub shared: Option<DenseWeights>,
    /// The gate on its output, one row.
    pub shared_gate: Option<Projection>,
}

/// The weights of one layer.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// Before attention.
    pub attention_norm: Option<Vec<f32>>,
    /// Attention.
    pub attention: AttentionWeights,
    /// After attention, before it is added.
    pub post_attention_norm: Option<Vec<f32>>,
    /// Before the feed-forward.
    pub feed_forward_norm: Option<Vec<f32>>,
    /// The feed-forward.
    pub feed_forward: FeedForwardWeights,
    /// After the feed-forward, before it is added.
    pub post_feed_forward_norm: Option<Vec<f32>>,
}

/// A model that can be run.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its shapes.
    pub spec: ModelSpec,
    /// Its numbers.
    pub settings: Settings,
    /// A row per token.
    pub embedding: PackedWeight,
    /// The layers in order.
    pub layers: Vec<LayerWeights>,
    /// Before the language head.
    pub output_norm: Vec<f32>,
    /// The language head; none where the embedding serves.
    pub head: Option<Projection>,
}

impl Model {
    /// Bytes of all weights in memory.
    pub fn weight_bytes(&self) -> usize {
        let vector = |vector: &Option<Vec<f32>>| vector.as_ref().map_or(0, |vector| vector.len() * size_of::<f32>());
        let dense = |dense: &DenseWeights| dense.input.bytes() + dense.down.bytes();
        let layers: usize = self
            .layers
            .iter()
            .map(|layer| {
                let attention = &layer.attention;
                let feed_forward = match &layer.feed_forward {
                    FeedForwardWeights::Dense(weights) => dense(weights),
                    FeedForwardWeights::Experts(experts) => {
                        experts.router.bytes()
                            + vector(&experts.choice_bias)
                            + experts.input.iter().map(|weight| weight.bytes().len()).sum::<usize>()
                            + experts.down.bytes().len()
                            + vector(&experts.input_bias)
                            + vector(&experts.down_bias)
                            + experts.shared.as_ref().map_or(0, dense)
                            + experts.shared_gate.as_ref().map_or(0, Projection::bytes)
                    }
                };
                attention.input.bytes()
                    + attention.output.bytes()
                    + vector(&attention.query_norm)
                    + vector(&attention.key_norm)
                    + vector(&attention.sinks)
                    + attention.latent.as_ref().map_or(0, |latent| latent.bytes())
                    + vector(&layer.attention_norm)
                    + vector(&layer.post_attention_norm)
                    + vector(&layer.feed_forward_norm)
                    + vector(&layer.post_feed_forward_norm)
                    + feed_forward
            })
            .sum();
        layers
            + self.embedding.bytes().len()
            + self.output_norm.len() * size_of::<f32>()
            + self.head.as_ref().map_or(0, Projection::bytes)
    }

    /// Bytes of weights that a step of `tokens` tokens reads: all but the embedding's other rows, and of
    /// experts those that so many tokens choose where each chooses others.
    pub fn step_bytes(&self, tokens: usize) -> usize {
        let mut bytes = self.weight_bytes();
        if self.head.is_some() {
            bytes -= self.embedding.bytes().len();
        }
        for layer in &self.layers {
            if let FeedForwardWeights::Experts(experts) = &layer.feed_forward {
                let all: usize = experts.input.iter().chain([&experts.down]).map(|weight| weight.bytes().len()).sum();
                let count = experts.down.shape.copies;
                bytes -= all - all / count * (experts.used * tokens).min(count);
            }
        }
        bytes
    }

    /// Operations of a step's products with weights, two for each: all layers for every token, the language head for those
    /// whose logits are wanted.
    pub fn step_operations(&self, tokens: usize, outputs: usize) -> usize {
        let elements = |weight: &PackedWeight| weight.shape.rows * weight.shape.columns;
        let projection = |projection: &Projection| projection.matrices.iter().map(elements).sum::<usize>();
        let dense = |dense: &DenseWeights| projection(&dense.input) + projection(&dense.down);
        let layers: usize = self
            .layers
            .iter()
            .map(|layer| {
                let feed_forward = match &layer.feed_forward {
                    FeedForwardWeights::Dense(weights) => dense(weights),
                    FeedForwardWeights::Experts(experts) => {
                        let one: usize = experts.input.iter().chain([&experts.down]).map(elements).sum();
                        one * experts.used + projection(&experts.router) + experts.shared.as_ref().map_or(0, dense)
                    }
                };
                let latent = layer.attention.latent.as_ref().map_or(0, |latent| {
                    let up = [&latent.key_up, &latent.value_up];
                    let up: usize = up.iter().map(|weight| elements(weight) * weight.shape.copies).sum();
                    up + latent.query_up.as_ref().map_or(0, projection)
                });
                projection(&layer.attention.input) + latent + projection(&layer.attention.output) + feed_forward
            })
            .sum();
        let head = self.head.as_ref().map_or_else(|| elements(&self.embedding), projection);
        2 * (layers * tokens + head * outputs)
    }
}
