//! A model as data: stacks of layers, each with its mixer, its feed-forward and its weights.

mod count;
#[cfg(test)]
pub(crate) mod fixture;
mod layer;
mod weight;

pub use count::ParameterCount;
pub use layer::{
    Activation, Attention, CacheOwner, Compression, FeedForward, Indexer, Latent, Layer, Mixer, MixtureOfExperts,
    Recurrent, RecurrentKind, Span, Stack,
};
pub use weight::{Role, Weight};

/// Everything that planning needs to know about one model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The architecture as its ecosystem spells it: `qwen3_moe` (Hugging Face), `qwen3moe` (GGUF).
    pub architecture: String,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Rows of the output projection.
    pub vocabulary_size: u64,
    /// Longest context that the model was trained for, where the files say.
    pub context_max: Option<u64>,
    /// The layers that generate text (or, for an encoder-only model, that read it).
    pub decoder: Stack,
    /// The encoder of an encoder-decoder model.
    pub encoder: Option<Stack>,
    /// What stands before the first layer: token, position and type embeddings, their norms.
    pub embedding: Vec<Weight>,
    /// What stands after the last layer: final norm, output projection (absent when tied).
    pub head: Vec<Weight>,
    /// The output projection reuses the token embedding.
    pub is_head_tied: bool,
    /// Whether tokens attend only backwards and so keep a cache.
    pub is_causal: bool,
    /// Vision and audio towers with their projectors.
    pub towers: Vec<Tower>,
    /// Multi-token-prediction layers, unused unless speculation is on.
    pub draft_layers: Vec<Layer>,
    /// What stands before and after the layers in the file, where one file was read whose tensors are in order.
    pub file_order: Option<FileOrder>,
    /// Bytes of tensor data in the files, where they were read rather than a configuration.
    pub file_bytes: Option<u64>,
    /// How the files hold the weights, where they say: `bfloat16`, `fp8`, `Q4_K_M`, `awq-4bit`.
    pub stored_format: Option<String>,
    /// Whether the layers are understood, or planned within bounds by analogy.
    pub certainty: Certainty,
}

/// Tensors that belong to no layer, by their place in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileOrder {
    /// Before the first layer.
    pub before: Vec<Weight>,
    /// After the last layer.
    pub after: Vec<Weight>,
}

/// A part that turns images or sound into embeddings.
#[derive(Clone, Debug, PartialEq)]
pub struct Tower {
    /// What goes in.
    pub modality: Modality,
    /// Width of the tower's residual stream.
    pub hidden_size: u64,
    /// Attention heads per layer.
    pub heads: u64,
    /// Width of the feed-forward.
    pub feed_forward_width: u64,
    /// Number of layers.
    pub layers: u64,
    /// Positions that one image or clip gives at its standard size, where known.
    pub positions: Option<u64>,
    /// All weights, the projector's included.
    pub weights: Vec<Weight>,
}

/// What a tower reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    /// Images or video.
    Vision,
    /// Sound.
    Audio,
}

/// How far the description can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The architecture is known and its rules were applied.
    Known,
    /// The architecture is unknown; shapes were read as for the nearest family.
    Guessed,
}
