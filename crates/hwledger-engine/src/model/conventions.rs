//! What an architecture's name alone decides: which pairs turn, which activation gates, which norms stand where.
//!
//! Source: the graphs of llama.cpp (`models/*.cpp`, autumn 2026) and the modelling files of transformers.

use hwledger_kernels::elementwise::{Gate, RotaryPairs};

/// How a router turns logits into the weights of experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Routing {
    /// Softmax over all experts, then the largest.
    SoftmaxThenChoose,
    /// The largest logits, then softmax over those.
    ChooseThenSoftmax,
    /// The logistic function of each logit, then the largest (DeepSeek-V3).
    SigmoidThenChoose,
}

/// Experts are chosen among those of the best groups only (DeepSeek-V2, section 2.2.2; DeepSeek-V3, section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertGroups {
    /// Groups of consecutive experts.
    pub count: usize,
    /// Groups that the experts of one token come from.
    pub used: usize,
}

/// How layers with a window turn, beside those without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WindowRotary {
    /// As the others, by a base of their own where the file states one.
    Scaled,
    /// By the others' base, never scaled (OLMo 3).
    Unscaled,
    /// By the base that the file states for them, or else this; never scaled (Gemma 3).
    UnscaledAt(f32),
}

/// What the name decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conventions {
    /// Which elements of a head turn together.
    pub pairs: RotaryPairs,
    /// The activation of the feed-forward.
    pub gate: Gate,
    /// Token embeddings are multiplied by the square root of their width (Gemma).
    pub scales_embedding: bool,
    /// `post_attention_norm` stands before the feed-forward, not after attention (gpt-oss).
    pub post_attention_norm_is_feed_forward_norm: bool,
    /// How layers with a window turn.
    pub window_rotary: WindowRotary,
    /// The cap of attention scores where the file does not say.
    pub score_cap: Option<f32>,
    /// The cap of logits where the file does not say.
    pub logit_cap: Option<f32>,
    /// Every so many layers, the last has no positions (`SmolLM3`).
    pub no_rope_period: Option<usize>,
    /// How experts are chosen.
    pub routing: Routing,
    /// Whether the weights of the chosen experts are made to sum to one where the file does not say.
    pub normalises_experts: bool,
}

/// Llama as its publishers hold it.
pub(super) const PLAIN: Conventions = Conventions {
    pairs: RotaryPairs::Halves,
    gate: Gate::Silu,
    scales_embedding: false,
    post_attention_norm_is_feed_forward_norm: false,
    window_rotary: WindowRotary::Scaled,
    score_cap: None,
    logit_cap: None,
    no_rope_period: None,
    routing: Routing::SoftmaxThenChoose,
    normalises_experts: true,
};

/// The conventions of an architecture in GGUF; none for those that the engine does not run.
pub(super) fn conventions(architecture: &str) -> Option<Conventions> {
    let neighbours = Conventions { pairs: RotaryPairs::Neighbours, ..PLAIN };
    let gemma = Conventions { gate: Gate::GeluTanh, scales_embedding: true, ..PLAIN };
    Some(match architecture {
        "llama" | "granite" | "granitemoe" | "glm4" => neighbours,
        "smollm3" => Conventions { no_rope_period: Some(4), ..neighbours },
        "qwen2" | "qwen3" | "qwen3moe" | "phi3" => PLAIN,
        "olmo2" => Conventions { window_rotary: WindowRotary::Unscaled, ..PLAIN },
        "qwen2moe" | "olmoe" => Conventions { normalises_experts: false, ..PLAIN },
        "gemma" => gemma,
        "gemma2" => Conventions { score_cap: Some(50.0), logit_cap: Some(30.0), ..gemma },
        "gemma3" => Conventions { window_rotary: WindowRotary::UnscaledAt(10_000.0), ..gemma },
        "deepseek2" => Conventions { normalises_experts: false, ..neighbours },
        "gpt-oss" => Conventions {
            gate: Gate::ClampedSwish { limit: 7.0 },
            post_attention_norm_is_feed_forward_norm: true,
            routing: Routing::ChooseThenSoftmax,
            ..PLAIN
        },
        _ => return None,
    })
}
