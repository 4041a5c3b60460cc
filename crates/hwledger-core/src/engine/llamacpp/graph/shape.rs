//! What a context's settings make of a graph's sizes.

use crate::ElementType;

/// Sizes of the graphs that a llama.cpp context reserves, from its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphShape {
    /// Tokens of the largest micro-batch: min(context, `n_ubatch`), a multiple of `sequences`.
    pub tokens: u64,
    /// Tokens of it whose logits are computed: min(tokens, `n_outputs_max`).
    pub outputs: u64,
    /// Sequences that one micro-batch holds.
    pub sequences: u64,
    /// Cells of the full cache, per stream.
    pub cells: u64,
    /// Cells of the windowed cache, per stream, where the architecture keeps one.
    pub window_cells: Option<u64>,
    /// Separate caches: 1 when unified, else one per sequence.
    pub streams: u64,
    /// Whether attention runs as one fused operation.
    pub flash_attention: bool,
    /// Mebibytes that one part of an attention may take, `None` is no bound (the fork's `-amb`).
    pub attention_max_batch_mib: Option<u64>,
    /// Element type of cached keys.
    pub key_type: ElementType,
    /// Element type of cached values.
    pub value_type: ElementType,
    /// What this build's graphs do differently.
    pub build: BuildRules,
    /// Tokens that an encoder hands over to cross-attention: the trained context.
    pub encoder_tokens: u64,
}

/// Rules that changed between releases, and what the fork `ik_llama.cpp` does otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildRules {
    /// A graph of tokens also holds the unused input for embeddings (pull request 18550, January 2026).
    pub holds_embedding_input: bool,
    /// The mask is an input of 32 bits that fused attention casts to 16 (until late 2025).
    pub casts_mask: bool,
    /// Under fused attention, prompts decompress cached latents into keys and values of all heads
    /// (the fork with `-mla 2` and `-mla 3`).
    pub decompresses_latents: bool,
}

impl BuildRules {
    /// The newest build.
    pub const NEWEST: Self = Self { holds_embedding_input: true, casts_mask: false, decompresses_latents: false };
}

/// What one context's graphs need, per backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputeBuffers {
    /// Bytes per card, in the order of the placement.
    pub devices: Vec<u64>,
    /// Bytes on the host.
    pub host: u64,
}

/// Where the parts of a model run.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphPlacement {
    /// Cards in use.
    pub devices: usize,
    /// For each layer of the decoder, its card; `None` is the host. Shorter than the
    /// decoder: the rest is on the host.
    pub layers: Vec<Option<usize>>,
    /// The card that holds the output layer; `None` is the host.
    pub output: Option<usize>,
    /// Layers, from the first on, whose routed experts stay on the host.
    pub host_expert_layers: u64,
    /// Whether the caches lie beside their layers rather than all on the host.
    pub offloads_cache: bool,
    /// Whether large batches borrow a card for weights that lie on the host.
    pub offloads_operations: bool,
    /// Mean bytes of one element of a weight, for copies of borrowed weights.
    pub bytes_per_weight: f64,
    /// Copies of every graph input that pipelined cards keep; 1 without pipelining.
    pub input_copies: u64,
}

impl GraphPlacement {
    /// Everything on the host, no card in use.
    pub const fn host_only() -> Self {
        Self {
            devices: 0,
            layers: Vec::new(),
            output: None,
            host_expert_layers: 0,
            offloads_cache: true,
            offloads_operations: false,
            bytes_per_weight: 0.0,
            input_copies: 1,
        }
    }

    /// Everything but the token embedding on one card.
    pub fn one_device(layers: usize) -> Self {
        Self { devices: 1, layers: vec![Some(0); layers], output: Some(0), ..Self::host_only() }
    }
}
