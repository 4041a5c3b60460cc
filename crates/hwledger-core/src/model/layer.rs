//! One layer: how it mixes tokens, what it remembers, what it computes.

use super::{Role, Weight};

/// Layers in order, each distinct one kept once: sums cost as much as there
/// are different layers, not as many as there are layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stack {
    /// The distinct layers.
    pub kinds: Vec<Layer>,
    /// For each layer, its index in `kinds`.
    pub order: Vec<u16>,
}

impl Stack {
    /// Appends a layer.
    ///
    /// # Panics
    ///
    /// With more than 65,535 distinct layers; readers refuse such models first.
    pub fn push(&mut self, layer: Layer) {
        // Equal layers come in runs or in a short cycle, so the search from the end is brief.
        let index = self.kinds.iter().rposition(|known| *known == layer).unwrap_or_else(|| {
            self.kinds.push(layer);
            self.kinds.len() - 1
        });
        self.order.push(u16::try_from(index).expect("readers refuse models with more layers than this"));
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no layer.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The layers in order.
    pub fn layers(&self) -> impl DoubleEndedIterator<Item = &Layer> + ExactSizeIterator {
        self.order.iter().map(|&kind| &self.kinds[usize::from(kind)])
    }

    /// Each distinct layer with the number of times it occurs.
    pub fn counted(&self) -> impl Iterator<Item = (&Layer, u64)> {
        let mut counts = vec![0_u64; self.kinds.len()];
        for &kind in &self.order {
            counts[usize::from(kind)] += 1;
        }
        self.kinds.iter().zip(counts)
    }
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// How it mixes information between tokens.
    pub mixer: Mixer,
    /// What it computes on each token alone.
    pub feed_forward: FeedForward,
    /// All its tensors.
    pub weights: Vec<Weight>,
}

impl Layer {
    /// The latent of its attention: as stated, or, for files that hold the projections and do not state it (GGUF
    /// before 2025-04), as these have it. Engines that read such files in the older way cache whole keys and values.
    pub fn latent(&self) -> Option<Latent> {
        let attention = self.mixer.attention()?;
        if attention.latent.is_some() {
            return attention.latent;
        }
        let matrix = |role| self.weights.iter().find(|weight| weight.role == role && !weight.is_vector());
        let (down, up) = (matrix(Role::LatentDown)?, matrix(Role::LatentUp)?);
        let rope_dim = down.rows.checked_sub(up.columns)?;
        Some(Latent {
            kv_rank: up.columns,
            rope_dim,
            query_rank: matrix(Role::QueryDown).map(|down| down.rows),
            nope_dim: attention.key_dim.checked_sub(rope_dim)?,
        })
    }
}

/// How a layer mixes information between tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Mixer {
    /// Not at all (feed-forward-only layers of Nemotron-H).
    None,
    /// By attention over a cache.
    Attention(Attention),
    /// By a state of fixed size.
    Recurrent(Recurrent),
    /// By both at once (Falcon-H1, Zamba).
    Both(Attention, Recurrent),
}

impl Mixer {
    /// Its attention, if any.
    pub const fn attention(&self) -> Option<&Attention> {
        match self {
            Self::Attention(attention) | Self::Both(attention, _) => Some(attention),
            Self::None | Self::Recurrent(_) => None,
        }
    }

    /// Its recurrence, if any.
    pub const fn recurrent(&self) -> Option<&Recurrent> {
        match self {
            Self::Recurrent(recurrent) | Self::Both(_, recurrent) => Some(recurrent),
            Self::None | Self::Attention(_) => None,
        }
    }
}

/// Attention, with what its cache holds per token.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Elements of one key head.
    pub key_dim: u64,
    /// Elements of one value head.
    pub value_dim: u64,
    /// How far back it looks.
    pub span: Span,
    /// Multi-head latent attention: what is cached is the latent, not keys and values.
    pub latent: Option<Latent>,
    /// Learned sink logits take part in the softmax (they store no keys or values).
    pub has_sinks: bool,
    /// Whose cache it reads.
    pub cache: CacheOwner,
    /// A sparse-attention index with a key cache of its own.
    pub indexer: Option<Indexer>,
    /// The cache is compressed along the sequence (DeepSeek-V4).
    pub compression: Option<Compression>,
}

impl Attention {
    /// Plain causal attention over its own cache.
    pub const fn full(heads: u64, kv_heads: u64, head_dim: u64) -> Self {
        Self {
            heads,
            kv_heads,
            key_dim: head_dim,
            value_dim: head_dim,
            span: Span::Full,
            latent: None,
            has_sinks: false,
            cache: CacheOwner::Own,
            indexer: None,
            compression: None,
        }
    }

    /// Cached elements per token: the latent and its rotary key, or all key and value heads.
    /// Nothing where the layer reads another layer's cache or only an encoder's output.
    pub const fn cached_elements_per_token(&self) -> u64 {
        match (self.cache, self.latent) {
            (CacheOwner::Own, Some(latent)) => latent.kv_rank + latent.rope_dim,
            (CacheOwner::Own, None) => self.kv_heads * (self.key_dim + self.value_dim),
            (CacheOwner::SharedWith(_) | CacheOwner::Encoder | CacheOwner::Nobody, _) => 0,
        }
    }
}

/// How far back attention looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// To the first token.
    Full,
    /// At the last `n` tokens.
    Sliding(u64),
    /// To the start of the current chunk of `n` tokens.
    Chunked(u64),
}

impl Span {
    /// The most tokens that need to be kept, where bounded.
    pub const fn window(self) -> Option<u64> {
        match self {
            Self::Full => None,
            Self::Sliding(tokens) | Self::Chunked(tokens) => Some(tokens),
        }
    }

    /// Tokens kept of a sequence of `context` tokens.
    pub const fn tokens_kept(self, context: u64) -> u64 {
        match self.window() {
            Some(window) if window < context => window,
            _ => context,
        }
    }
}

/// Multi-head latent attention (DeepSeek-V2, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latent {
    /// Rank of the joint key-value latent.
    pub kv_rank: u64,
    /// Elements of the decoupled rotary key, shared by all heads.
    pub rope_dim: u64,
    /// Rank of the query latent, if queries have one.
    pub query_rank: Option<u64>,
    /// Elements of a head's key that carry no position.
    pub nope_dim: u64,
}

/// Whose keys and values a layer attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheOwner {
    /// Its own, cached.
    Own,
    /// Those of the layer with this index (Gemma 3n and 4).
    SharedWith(usize),
    /// Those computed from an encoder's or tower's output, of that length.
    Encoder,
    /// None are kept: the layer sees all tokens at once (encoders).
    Nobody,
}

/// The index of sparse attention (DeepSeek-V3.2): one small key per token picks the tokens attended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexer {
    /// Index query heads.
    pub heads: u64,
    /// Elements of the index key of one token.
    pub head_dim: u64,
    /// Tokens attended to.
    pub top_k: u64,
    /// Whether this layer computes and caches index keys, or reuses another's choice.
    pub is_owner: bool,
}

/// A cache compressed along the sequence (DeepSeek-V4): one entry per `ratio` tokens beside a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Tokens per compressed entry; 0 where the layer has only its window.
    pub ratio: u64,
    /// Elements of one compressed entry.
    pub entry_elements: u64,
}

/// A mixer with a state of fixed size per sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    /// Which recurrence.
    pub kind: RecurrentKind,
    /// Heads (or 1).
    pub heads: u64,
    /// Inner width: heads x value elements of a head.
    pub inner_size: u64,
    /// Elements of state per inner channel (`d_state`; the key dimension of linear attention).
    pub state_size: u64,
    /// Groups that share the input and output maps (Mamba-2) or key heads (delta net).
    pub groups: u64,
    /// Channels that pass through the causal convolution.
    pub convolution_channels: u64,
    /// Taps of that convolution; 0 where there is none.
    pub convolution_taps: u64,
    /// Elements of the recurrent state per sequence.
    pub state_elements: u64,
    /// Elements of further per-sequence state kept at activation precision (RWKV token shift).
    pub shift_elements: u64,
}

impl Recurrent {
    /// Elements that the convolution remembers: all taps but the current one.
    pub const fn convolution_elements(&self) -> u64 {
        self.convolution_channels * self.convolution_taps.saturating_sub(1)
    }
}

/// Kinds of recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecurrentKind {
    /// Selective scan of Mamba.
    Mamba1,
    /// State-space duality of Mamba-2.
    Mamba2,
    /// Gated delta net (Qwen3-Next, Qwen3.5).
    GatedDelta,
    /// Kimi delta attention.
    KimiDelta,
    /// Linear attention with fixed decay (MiniMax-01).
    Lightning,
    /// RWKV, version 4.
    Rwkv4,
    /// RWKV, version 6.
    Rwkv6,
    /// RWKV, version 7.
    Rwkv7,
    /// Gated linear recurrence (`RecurrentGemma`).
    GatedLinear,
    /// A gated short convolution alone (LFM2).
    ShortConvolution,
}

/// What a layer computes on each token alone.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedForward {
    /// Nothing.
    None,
    /// One network for every token.
    Dense {
        /// Inner width.
        width: u64,
        /// The activation between its projections.
        activation: Activation,
    },
    /// A router chooses among experts.
    Experts(MixtureOfExperts),
}

/// The activation of a feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Two input projections, one gating the other (`SwiGLU`, `GeGLU`).
    Gated,
    /// One input projection.
    Plain,
}

/// A mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureOfExperts {
    /// Routed experts, all resident.
    pub experts: u64,
    /// Routed experts that one token passes through.
    pub experts_per_token: u64,
    /// Inner width of one routed expert.
    pub expert_width: u64,
    /// Inner width of all shared experts together; 0 without.
    pub shared_width: u64,
    /// Inner width of a dense feed-forward beside the experts (Gemma 4, Arctic); 0 without.
    pub dense_width: u64,
    /// Their activation.
    pub activation: Activation,
}
