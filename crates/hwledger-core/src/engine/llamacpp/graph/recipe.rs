//! What each architecture does differently, where it moves memory.

use crate::ModelSpec;

/// How attention and feed-forward share the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Residual {
    /// Attention, add, feed-forward, add.
    Sequential,
    /// Both read the same norm; their sum is added (Phi-2, Falcon, Command R).
    SharedNorm,
    /// Both read the layer's input, each through its own norm (GPT-NeoX, Falcon-40B).
    OwnNorms,
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
    /// Those with a window.
    Windowed,
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
}

/// A gate on the output of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttentionGate {
    /// None.
    None,
    /// A projection of its own, as wide as the heads (AFMoE).
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

/// How the shared expert joins the routed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SharedExpert {
    /// Computed after them and added.
    After,
    /// Added under a learned gate (Qwen2-MoE).
    Gated,
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
    pub(super) shared: SharedExpert,
    /// Values are normed per head (Gemma 3n and 4).
    pub(super) value_norm: bool,
    /// `LayerNorm`, which cannot run in place, instead of `RMSNorm`.
    pub(super) layer_norm: bool,
    /// No norm before attention and feed-forward (OLMo 2).
    pub(super) no_input_norm: bool,
    /// Norms on the outputs of attention and feed-forward.
    pub(super) post_norms: bool,
    /// The chosen experts' weights are made to sum to one.
    pub(super) normalises_weights: bool,
    /// The router picks by scores to which a bias was added (DeepSeek-V3).
    pub(super) biases_choice: bool,
    /// Weights are applied to the experts' input instead of their output (Llama 4).
    pub(super) weighs_input: bool,
    /// Numbers that give one token's position: several where images have rows and columns.
    pub(super) position_width: u64,
}

impl Recipe {
    /// The recipe of Llama: what an unknown architecture is planned as.
    const LLAMA: Self = Self {
        residual: Residual::Sequential,
        head_norm: HeadNorm::None,
        rotation: Rotation::Every,
        embedding: Embedding::Plain,
        gate: AttentionGate::None,
        output_rows: OutputRows::LastLayer,
        shared: SharedExpert::After,
        value_norm: false,
        layer_norm: false,
        no_input_norm: false,
        post_norms: false,
        normalises_weights: true,
        biases_choice: false,
        weighs_input: false,
        position_width: 1,
    };

    /// The recipe of a model, by its architecture's name in either ecosystem.
    pub(super) fn of(model: &ModelSpec) -> Self {
        let base = Self::LLAMA;
        let layer_norm = Self { layer_norm: true, ..base };
        let per_head = Self { head_norm: HeadNorm::PerHead, ..base };
        match model.architecture.as_str() {
            "qwen3" | "qwen3moe" | "qwen3_moe" | "hunyuan-dense" | "hunyuan-moe" | "apertus" => per_head,
            "qwen3vl" | "qwen3vlmoe" | "qwen3_vl" | "qwen3_vl_moe" => Self { position_width: 4, ..per_head },
            "qwen2vl" | "qwen2_vl" | "qwen2_5_vl" => Self { position_width: 4, ..base },
            "gemma3" | "gemma3_text" => Self { post_norms: true, ..per_head },
            "gemma2" | "glm4" => Self { post_norms: true, ..base },
            "olmo2" | "olmo3" => {
                Self { head_norm: HeadNorm::WholeProjection, no_input_norm: true, post_norms: true, ..base }
            }
            "olmoe" => Self { head_norm: HeadNorm::WholeProjection, ..base },
            "afmoe" => Self {
                rotation: Rotation::Windowed,
                gate: AttentionGate::Own,
                post_norms: true,
                biases_choice: true,
                ..per_head
            },
            "llama4" | "llama4_text" => Self { rotation: Rotation::Windowed, weighs_input: true, ..base },
            "gpt-oss" | "gpt_oss" => Self { output_rows: OutputRows::BeforeNorm, ..base },
            "qwen2moe" | "qwen2_moe" => Self { shared: SharedExpert::Gated, ..base },
            _ => Self::of_older(&model.architecture, layer_norm).unwrap_or(base),
        }
    }

    fn of_older(architecture: &str, layer_norm: Self) -> Option<Self> {
        Some(match architecture {
            "phi2" | "phi" | "falcon" | "command-r" | "cohere" => Self { residual: Residual::SharedNorm, ..layer_norm },
            "gptneox" | "gpt_neox" => Self { residual: Residual::OwnNorms, ..layer_norm },
            "gpt2" | "starcoder" | "gpt_bigcode" => {
                Self { embedding: Embedding::Positions, rotation: Rotation::Never, ..layer_norm }
            }
            "bloom" => Self { embedding: Embedding::Normed, rotation: Rotation::Never, ..layer_norm },
            "mpt" | "refact" => Self { rotation: Rotation::Never, ..layer_norm },
            "cohere2" => Self { residual: Residual::SharedNorm, rotation: Rotation::Windowed, ..layer_norm },
            "starcoder2" | "stablelm" | "codeshell" | "orion" | "nemotron" | "olmo" | "phimoe" | "jais" => layer_norm,
            _ => return None,
        })
    }
}
