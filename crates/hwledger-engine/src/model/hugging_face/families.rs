//! What a `model_type` alone decides, beside what the configuration says.
//!
//! Source: the modelling files of transformers 5 (`models/*/modeling_*.py`).

use hwledger_kernels::elementwise::{Gate, RotaryPairs};

use crate::model::conventions::{Conventions, PLAIN, Routing};

use super::encoder::EncoderNames;
use super::names::NormNames;

/// One family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// What the name decides for every container.
    pub(super) conventions: Conventions,
    /// Where norms stand.
    pub(super) norms: NormNames,
    /// Norms multiply by one more than their weights (Gemma).
    pub(super) adds_one_to_norms: bool,
    /// Experts hold gate and up in turns, and inputs before outputs (gpt-oss).
    pub(super) interleaves_experts: bool,
    /// The base of rotary positions where a configuration has none.
    pub(super) rope_base: f64,
    /// The share of a head that turns where a configuration says nothing.
    pub(super) rotary_share: f64,
    /// Whether layers with a window have plain positions of their own base.
    pub(super) window_positions: WindowPositions,
    /// Whether attention scores are scaled by `query_pre_attn_scalar`.
    pub(super) has_query_scalar: bool,
    /// How experts are chosen where a configuration does not say (`topk_method`); none for families without the key.
    pub(super) expert_choice: Option<ExpertChoice>,
    /// Of encoders, how they name their tensors.
    pub(super) encoder: Option<EncoderNames>,
}

/// Which experts compete for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpertChoice {
    /// All of them (`greedy`).
    All,
    /// Those of the best groups (`group_limited_greedy`, `noaux_tc`).
    OfGroups,
}

/// The positions of layers with a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowPositions {
    /// As in the others.
    Same,
    /// Unscaled, with the base `rope_local_base_freq` (Gemma 3).
    LocalBase,
    /// Unscaled, with the same base (`OLMo` 3).
    Unscaled,
}

const LLAMA: Family = Family {
    // Published files keep what turns together half a head apart, also where GGUF files have it side by side.
    conventions: PLAIN,
    norms: NormNames::Before,
    adds_one_to_norms: false,
    interleaves_experts: false,
    rope_base: 10_000.0,
    rotary_share: 1.0,
    window_positions: WindowPositions::Same,
    has_query_scalar: false,
    expert_choice: None,
    encoder: None,
};

/// The family of a `model_type`; none for those that the engine does not run.
pub(super) fn family(model_type: &str) -> Option<Family> {
    let gemma = Family {
        // The first configurations said `gelu`, and the reference took the tanh form all the same.
        conventions: Conventions { gate: Gate::GeluTanh, scales_embedding: true, ..PLAIN },
        adds_one_to_norms: true,
        ..LLAMA
    };
    let gemma2 = Family { norms: NormNames::AboutGemma, has_query_scalar: true, ..gemma };
    let deepseek = Family {
        conventions: Conventions { pairs: RotaryPairs::Neighbours, normalises_experts: false, ..PLAIN },
        ..LLAMA
    };
    let olmo2 = Family { norms: NormNames::After, ..LLAMA };
    Some(match model_type {
        "llama" | "mistral" | "granite" | "granitemoe" | "granitemoeshared" | "qwen2" | "qwen3" | "phi3" => LLAMA,
        "mixtral" => Family { rope_base: 1e6, ..LLAMA },
        "qwen2_moe" | "qwen3_moe" | "olmoe" => {
            Family { conventions: Conventions { normalises_experts: false, ..PLAIN }, ..LLAMA }
        }
        "smollm3" => Family { conventions: Conventions { no_rope_period: Some(4), ..PLAIN }, rope_base: 2e6, ..LLAMA },
        "gemma" => gemma,
        "gemma2" => gemma2,
        "gemma3_text" => Family { rope_base: 1e6, window_positions: WindowPositions::LocalBase, ..gemma2 },
        "olmo2" => olmo2,
        "olmo3" => Family { rope_base: 5e5, window_positions: WindowPositions::Unscaled, ..olmo2 },
        "glm4" => Family {
            conventions: Conventions { pairs: RotaryPairs::Neighbours, ..PLAIN },
            norms: NormNames::AboutGlm,
            rotary_share: 0.5,
            ..LLAMA
        },
        "deepseek_v2" => Family { expert_choice: Some(ExpertChoice::All), ..deepseek },
        "deepseek_v3" | "glm4_moe_lite" => Family {
            conventions: Conventions {
                routing: Routing::SigmoidThenChoose,
                normalises_experts: true,
                ..deepseek.conventions
            },
            expert_choice: Some(ExpertChoice::OfGroups),
            ..deepseek
        },
        "gpt_oss" => Family {
            conventions: Conventions {
                gate: Gate::ClampedSwish { limit: 7.0 },
                routing: Routing::ChooseThenSoftmax,
                ..PLAIN
            },
            interleaves_experts: true,
            rope_base: 150_000.0,
            ..LLAMA
        },
        "bert" => Family { encoder: Some(EncoderNames::Bert), ..LLAMA },
        "roberta" | "xlm-roberta" | "camembert" => Family { encoder: Some(EncoderNames::Roberta), ..LLAMA },
        "nomic_bert" => Family { encoder: Some(EncoderNames::Nomic), ..LLAMA },
        _ => return None,
    })
}
