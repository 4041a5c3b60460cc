//! What each architecture does differently, where it moves memory.
//!
//! Only what changes sizes, lives or order of tensors is said here. Source: the
//! architecture files under `src/models` of llama.cpp 0.5.0 (autumn 2026). Names
//! are accepted in both spellings, Hugging Face's and GGUF's.

/// Layers of Gemma 3n, from the first on, whose feed-forward keeps only its largest activations.
pub(super) const SPARSE_LAYERS: usize = 10;

/// How attention and feed-forward share the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Residual {
    /// Attention, add, feed-forward, add.
    Sequential,
    /// Both read the layer's input; attention's output is projected first (Phi-2).
    AttentionFirst,
    /// As before, but the feed-forward is computed first and attention's output added to it (Falcon).
    FeedForwardFirst,
    /// As before, but the layer's input is added to the feed-forward first (Command R, GPT-NeoX).
    InputFirst,
}

/// Norms on query and key heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadNorm {
    /// None.
    None,
    /// On each head, before rotation.
    PerHead,
    /// On the whole projection, before it is split into heads.
    WholeProjection,
}

/// Which layers rotate queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    /// All.
    Every,
    /// None: positions are added to the embedding, or attention is biased by distance.
    Never,
    /// Those with a window, or all where no layer has one.
    Windowed,
    /// Three of every four (`SmolLM3`).
    ThreeOfFour,
}

/// What happens to the embedding before the first layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Embedding {
    /// Nothing, or something that runs in place.
    Plain,
    /// A `LayerNorm`.
    Normed,
    /// Learned positions are looked up and added.
    Positions,
    /// Token types (and learned positions) are added, and all is normed (BERT).
    Typed,
}

/// A gate on the output of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttentionGate {
    /// None.
    None,
    /// A projection of its own, as wide as the heads (`AFMoE`).
    Own,
    /// A projection of its own, one element per head (Step-3.5).
    PerHead,
    /// The second half of a query projection of double width (Qwen3-Next).
    WithQuery,
}

/// Where the rows whose logits are wanted are picked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputRows {
    /// In the last layer, between attention and feed-forward.
    LastLayer,
    /// Before the final norm; the last layer's output is kept for a draft head (GPT-OSS).
    BeforeNorm,
    /// After the final norm, which is kept for a draft head (Qwen3.5).
    AfterNorm,
}

/// How the chosen experts' weights are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpertWeights {
    /// The router's scores as they are.
    AsScored,
    /// Divided by their sum.
    Normalised,
    /// A softmax over the chosen ones (GPT-OSS).
    Softmax,
}

/// Facts about one architecture that shape its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about an architecture, each named")]
pub(super) struct Recipe {
    pub(super) residual: Residual,
    pub(super) head_norm: HeadNorm,
    pub(super) rotation: Rotation,
    pub(super) embedding: Embedding,
    pub(super) gate: AttentionGate,
    pub(super) output_rows: OutputRows,
    pub(super) expert_weights: ExpertWeights,
    /// Attention and feed-forward each have a norm although they run in parallel (GPT-NeoX).
    pub(super) own_norms: bool,
    /// Values are normed per head (Gemma 3n and 4).
    pub(super) value_norm: bool,
    /// `LayerNorm`, which cannot run in place, instead of `RMSNorm`.
    pub(super) layer_norm: bool,
    /// Norms on the sums after attention and feed-forward instead of before them (BERT).
    pub(super) norms_sums: bool,
    /// No norm before attention and feed-forward (OLMo 2).
    pub(super) no_input_norm: bool,
    /// Norms on the outputs of attention and feed-forward.
    pub(super) post_norms: bool,
    /// A norm between the heads' output and its projection (`BitNet`).
    pub(super) inner_norms: bool,
    /// The shared expert's output is scaled by a learned gate (Qwen2-MoE).
    pub(super) gates_shared: bool,
    /// Weights are applied to the experts' input instead of their output (Llama 4).
    pub(super) weighs_input: bool,
    /// The residual is the first source of the sums after attention and after the feed-forward, which
    /// then run over it instead of over the new part.
    pub(super) residual_first: [bool; 2],
    /// The router reads the layer's input, before attention's output is projected (`SmallThinker`).
    pub(super) routes_early: bool,
    /// The residual after the norm is what is added (MiniMax-01).
    pub(super) normed_residual: bool,
    /// A layer without a feed-forward computes its attention and forgets it, never to free it (Deci).
    pub(super) leaks_layers: bool,
    /// Layers, from the first on, that differ from their like.
    pub(super) first_layers: usize,
    /// Numbers that give one token's position: several where images have rows and columns.
    pub(super) position_width: u64,
    /// Features that the input carries per layer of images beside the embedding (Qwen3-VL).
    pub(super) deep_stack: u64,
}

impl Recipe {
    /// The recipe of Llama: what an unknown architecture is planned as.
    pub(super) const LLAMA: Self = Self {
        residual: Residual::Sequential,
        head_norm: HeadNorm::None,
        rotation: Rotation::Every,
        embedding: Embedding::Plain,
        gate: AttentionGate::None,
        output_rows: OutputRows::LastLayer,
        expert_weights: ExpertWeights::Normalised,
        own_norms: false,
        value_norm: false,
        layer_norm: false,
        norms_sums: false,
        no_input_norm: false,
        post_norms: false,
        inner_norms: false,
        gates_shared: false,
        weighs_input: false,
        residual_first: [false, false],
        routes_early: false,
        normed_residual: false,
        leaks_layers: false,
        first_layers: 0,
        position_width: 1,
        deep_stack: 0,
    };

    /// The recipe of an architecture.
    pub(super) fn of(architecture: &str) -> Self {
        Self::with_layer_norm(architecture)
            .or_else(|| Self::with_head_norm(architecture))
            .or_else(|| Self::with_state(architecture))
            .unwrap_or_else(|| Self::like_llama(architecture))
    }

    /// Decoders with `LayerNorm`.
    fn with_layer_norm(architecture: &str) -> Option<Self> {
        let base = Self { layer_norm: true, ..Self::LLAMA };
        Some(match architecture {
            "phi2" | "phi" => Self { residual: Residual::AttentionFirst, ..base },
            "falcon" => Self { residual: Residual::FeedForwardFirst, ..base },
            "command-r" | "cohere" => Self { residual: Residual::InputFirst, ..base },
            "cohere2" | "cohere2moe" | "cohere2_moe" => {
                let output_rows = if architecture == "cohere2" { OutputRows::LastLayer } else { OutputRows::AfterNorm };
                Self { residual: Residual::InputFirst, rotation: Rotation::Windowed, output_rows, ..base }
            }
            "gptneox" | "gpt_neox" => Self { residual: Residual::InputFirst, own_norms: true, ..base },
            "gpt2" | "starcoder" | "gpt_bigcode" => {
                Self { embedding: Embedding::Positions, rotation: Rotation::Never, ..base }
            }
            "bloom" => Self { embedding: Embedding::Normed, rotation: Rotation::Never, ..base },
            "mpt" | "jais" => Self { rotation: Rotation::Never, ..base },
            "bert" | "nomic-bert" | "nomic_bert" | "jina-bert-v2" | "jina-bert-v3" | "nomic-bert-moe" | "roberta"
            | "xlm-roberta" => Self {
                norms_sums: true,
                no_input_norm: true,
                embedding: Embedding::Typed,
                rotation: if architecture.starts_with("nomic") || architecture == "jina-bert-v3" {
                    Rotation::Every
                } else {
                    Rotation::Never
                },
                ..base
            },
            "modern-bert" | "modernbert" => Self { embedding: Embedding::Normed, ..base },
            "starcoder2" | "stablelm" | "codeshell" | "orion" | "nemotron" | "olmo" | "phimoe" | "dbrx" => base,
            _ => return None,
        })
    }

    /// Decoders with norms on their heads.
    fn with_head_norm(architecture: &str) -> Option<Self> {
        let base = Self { head_norm: HeadNorm::PerHead, ..Self::LLAMA };
        Some(match architecture {
            "qwen3" | "qwen3moe" | "qwen3_moe" | "apertus" | "dots1" | "bailingmoe2" | "bailing_moe_v2"
            | "grovemoe" | "plamo3" | "openelm" => {
                let first = architecture == "openelm";
                Self { residual_first: [first, false], post_norms: architecture == "plamo3", ..base }
            }
            "qwen3vl" | "qwen3vlmoe" | "qwen3_vl" | "qwen3_vl_moe" => {
                Self { position_width: 4, deep_stack: 3, first_layers: 3, ..base }
            }
            "exaone4" => Self { no_input_norm: true, post_norms: true, ..base },
            "exaone-moe" | "exaone_moe" => Self { rotation: Rotation::Windowed, ..base },
            "gemma3" | "gemma3_text" | "gemma-embedding" => Self { post_norms: true, ..base },
            "gemma3n" | "gemma3n_text" => {
                Self { post_norms: true, value_norm: true, first_layers: SPARSE_LAYERS, ..base }
            }
            "gemma4" | "gemma4_text" => {
                Self { post_norms: true, value_norm: true, output_rows: OutputRows::AfterNorm, ..base }
            }
            "olmo2" | "olmo3" => {
                Self { head_norm: HeadNorm::WholeProjection, no_input_norm: true, post_norms: true, ..base }
            }
            "olmoe" => Self { head_norm: HeadNorm::WholeProjection, expert_weights: ExpertWeights::AsScored, ..base },
            "minimax-m2" | "minimax_m2" => Self { head_norm: HeadNorm::WholeProjection, ..base },
            "afmoe" => Self { rotation: Rotation::Windowed, gate: AttentionGate::Own, post_norms: true, ..base },
            "step35" | "step3p5" | "laguna" => Self { gate: AttentionGate::PerHead, ..base },
            _ => return None,
        })
    }

    /// Models with recurrent layers.
    fn with_state(architecture: &str) -> Option<Self> {
        let base = Self::LLAMA;
        Some(match architecture {
            "qwen3next" | "qwen3_next" | "qwen35" | "qwen35moe" | "qwen3_5" | "qwen3_5_text" | "qwen3_5_moe"
            | "qwen3_5_moe_text" => Self {
                head_norm: HeadNorm::PerHead,
                gate: AttentionGate::WithQuery,
                output_rows: OutputRows::AfterNorm,
                gates_shared: true,
                position_width: if architecture.starts_with("qwen3n") || architecture == "qwen3_next" { 1 } else { 4 },
                ..base
            },
            "lfm2" | "lfm2moe" | "lfm2_moe" => {
                Self { head_norm: HeadNorm::PerHead, residual_first: [true, true], ..base }
            }
            "jamba" => Self {
                rotation: Rotation::Never,
                expert_weights: ExpertWeights::AsScored,
                residual_first: [true, false],
                ..base
            },
            "nemotron_h" | "nemotron_h_moe" => {
                Self { rotation: Rotation::Never, output_rows: OutputRows::AfterNorm, ..base }
            }
            "rwkv6" | "rwkv7" => Self { layer_norm: true, embedding: Embedding::Normed, ..base },
            "minimax-01" | "minimax" => Self { normed_residual: true, ..base },
            _ => return None,
        })
    }

    /// The many that differ from Llama in a detail or two.
    fn like_llama(architecture: &str) -> Self {
        let base = Self::LLAMA;
        match architecture {
            "qwen2vl" | "qwen2_vl" | "qwen2_5_vl" => Self { position_width: 4, ..base },
            "gemma2" | "glm4" | "grok" => Self { post_norms: true, ..base },
            "deci" => Self { leaks_layers: true, ..base },
            "baichuan" | "refact" | "t5" | "t5encoder" => Self { rotation: Rotation::Never, ..base },
            "bitnet" | "bitnet-25" => Self { inner_norms: true, ..base },
            "phi3" | "phi4mm" => Self { residual_first: [false, true], ..base },
            "llama4" | "llama4_text" => Self {
                // Where queries are not rotated they are scaled by position, to the same effect.
                weighs_input: true,
                expert_weights: ExpertWeights::AsScored,
                ..base
            },
            "gpt-oss" | "gpt_oss" => {
                Self { output_rows: OutputRows::BeforeNorm, expert_weights: ExpertWeights::Softmax, ..base }
            }
            "qwen2moe" | "qwen2_moe" => Self { gates_shared: true, expert_weights: ExpertWeights::AsScored, ..base },
            "deepseek" | "deepseek2" | "deepseek_v2" | "bailingmoe" => {
                Self { expert_weights: ExpertWeights::AsScored, ..base }
            }
            "smollm3" => Self { rotation: Rotation::ThreeOfFour, ..base },
            "smallthinker" => Self { rotation: Rotation::Windowed, routes_early: true, ..base },
            _ => base,
        }
    }
}
