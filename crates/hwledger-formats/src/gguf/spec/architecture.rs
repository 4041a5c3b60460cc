//! What llama.cpp's loaders decide by the architecture's name alone.
//!
//! Source: `llama-arch.cpp`, `llama-model.cpp` and `models/*.cpp` of llama.cpp, autumn 2026
//! (the version that llama-cpp-python 0.3.36 carries).

use hwledger_core::model::RecurrentKind;

/// Every architecture that llama.cpp loads.
const KNOWN: &[&str] = &[
    "llama",
    "llama4",
    "deci",
    "falcon",
    "grok",
    "gpt2",
    "gptj",
    "gptneox",
    "mpt",
    "baichuan",
    "starcoder",
    "refact",
    "bert",
    "modern-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "bloom",
    "stablelm",
    "qwen",
    "qwen2",
    "qwen2moe",
    "qwen2vl",
    "qwen3",
    "qwen3moe",
    "qwen3next",
    "qwen3vl",
    "qwen3vlmoe",
    "qwen35",
    "qwen35moe",
    "qwen4exp",
    "phi2",
    "phi3",
    "phimoe",
    "plamo",
    "plamo2",
    "plamo3",
    "codeshell",
    "orion",
    "internlm2",
    "minicpm",
    "minicpm3",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3n",
    "gemma4",
    "gemma4-assistant",
    "gemma-embedding",
    "starcoder2",
    "mamba",
    "mamba2",
    "maple",
    "jamba",
    "falcon-h1",
    "xverse",
    "command-r",
    "cohere2",
    "cohere2moe",
    "dbrx",
    "olmo",
    "olmo2",
    "olmoe",
    "muse-glimmer",
    "openelm",
    "arctic",
    "deepseek",
    "deepseek2",
    "deepseek2-ocr",
    "deepseek32",
    "deepseek4",
    "chatglm",
    "glm4",
    "glm4moe",
    "glm-dsa",
    "bitnet",
    "t5",
    "t5encoder",
    "jais",
    "jais2",
    "nemotron",
    "nemotron_h",
    "nemotron_h_moe",
    "exaone",
    "exaone4",
    "exaone-moe",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "arwkv7",
    "granite",
    "granitemoe",
    "granitehybrid",
    "graniteswitch",
    "granite_swa",
    "chameleon",
    "wavtokenizer-dec",
    "plm",
    "bailingmoe",
    "bailingmoe2",
    "bailingmoe3",
    "dots1",
    "dots3note",
    "arcee",
    "afmoe",
    "laguna",
    "ernie4_5",
    "ernie4_5-moe",
    "hunyuan-moe",
    "hunyuan-dense",
    "hunyuan_vl",
    "hy_v3",
    "hy_v4",
    "smollm3",
    "gpt-oss",
    "lfm2",
    "lfm2moe",
    "dream",
    "smallthinker",
    "llada",
    "llada-moe",
    "seed_oss",
    "grovemoe",
    "apertus",
    "minimax-01",
    "hrm_text",
    "minimax-m2",
    "minimax-m3",
    "cogvlm",
    "rnd1",
    "pangu-embedded",
    "mistral3",
    "eagle3",
    "dflash",
    "mistral4",
    "paddleocr",
    "mimo2",
    "step35",
    "spark2_5",
    "llama-embed",
    "maincoder",
    "kimi-linear",
    "kimi-k3",
    "glm5-next",
    "talkie",
    "mellum",
    "nanbeige",
    "qwen3tts",
    "pockettts",
];

/// Whether llama.cpp loads this architecture.
pub(super) fn is_known(architecture: &str) -> bool {
    KNOWN.contains(&architecture)
}

/// Where the size of the attention window comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowSize {
    /// The key; no window without it.
    Key,
    /// The key, or this.
    KeyOr(u64),
    /// This, wherever the key is not zero.
    FixedUnlessZero(u64),
    /// This, wherever the key is there and not zero.
    FixedIfStated(u64),
}

/// Which layers attend over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowRule {
    /// None. A stated window is ignored, and that is reported.
    Never,
    /// A repeating pattern unless the file lists the layers: of `period` layers one is full,
    /// the last, or the first where `is_dense_first`.
    Pattern {
        /// Where the window's size comes from.
        size: WindowSize,
        /// The pattern's default length.
        period: u64,
        /// Whether the first layer of each period is the full one.
        is_dense_first: bool,
        /// Whether windows are aligned chunks (Llama 4).
        is_chunked: bool,
    },
    /// Those that the file lists.
    Listed,
    /// All.
    Every,
    /// All with attention, if the file states a window (LFM2).
    EveryAttention,
}

const fn pattern(size: WindowSize, period: u64) -> WindowRule {
    WindowRule::Pattern { size, period, is_dense_first: false, is_chunked: false }
}

const fn pattern_dense_first(size: WindowSize, period: u64) -> WindowRule {
    WindowRule::Pattern { size, period, is_dense_first: true, is_chunked: false }
}

/// The window rule of an architecture with `layers` layers.
pub(super) fn window_rule(architecture: &str, layers: u64) -> WindowRule {
    use WindowSize::{FixedIfStated, FixedUnlessZero, Key, KeyOr};
    match architecture {
        "gemma2" => pattern(KeyOr(4096), 2),
        "gpt-oss" => pattern(Key, 2),
        "afmoe" | "cohere2" | "mellum" | "muse-glimmer" | "olmo2" => pattern(Key, 4),
        "exaone-moe" => pattern(KeyOr(128), 4),
        // The loader recognises only the 32B model, by its 64 layers, as windowed.
        "exaone4" if layers == 64 => pattern(KeyOr(4096), 4),
        "gemma3n" => pattern(Key, 5),
        "gemma3" | "gemma-embedding" => pattern(Key, 6),
        "plamo3" => pattern(Key, 8),
        "modern-bert" => pattern_dense_first(Key, 3),
        "cohere2moe" | "laguna" => pattern_dense_first(Key, 4),
        "smallthinker" => pattern_dense_first(FixedIfStated(4096), 4),
        "llama4" => {
            WindowRule::Pattern { size: FixedUnlessZero(8192), period: 4, is_dense_first: false, is_chunked: true }
        }
        "dflash" | "dots3note" | "gemma4" | "gemma4-assistant" | "granite_swa" | "maple" | "mimo2" | "spark2_5"
        | "step35" => WindowRule::Listed,
        "deepseek4" => WindowRule::Every,
        "lfm2" => WindowRule::EveryAttention,
        _ => WindowRule::Never,
    }
}

/// Which layers are recurrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecurrentRule {
    /// None.
    Never,
    /// All.
    Every,
    /// All, beside attention in the same layer.
    EveryBesideAttention,
    /// Those without key-value heads.
    WithoutKvHeads,
    /// Those with neither key-value heads nor feed-forward; layers with a feed-forward have nothing else.
    WithoutKvHeadsAndFeedForward,
    /// Those that the file lists, or all but the last of every so many.
    Interval(u64),
}

/// The recurrence rule of an architecture.
pub(super) fn recurrent_rule(architecture: &str) -> RecurrentRule {
    match architecture {
        "mamba" | "mamba2" | "rwkv6" | "rwkv6qwen2" | "rwkv7" | "arwkv7" => RecurrentRule::Every,
        "falcon-h1" => RecurrentRule::EveryBesideAttention,
        "jamba" | "granitehybrid" | "plamo2" | "lfm2" | "lfm2moe" | "kimi-linear" | "kimi-k3" | "bailingmoe3"
        | "glm5-next" => RecurrentRule::WithoutKvHeads,
        "nemotron_h" | "nemotron_h_moe" => RecurrentRule::WithoutKvHeadsAndFeedForward,
        "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" => RecurrentRule::Interval(4),
        "minimax-01" => RecurrentRule::Interval(8),
        _ => RecurrentRule::Never,
    }
}

/// The recurrence of an architecture's recurrent layers.
pub(super) fn recurrent_kind(architecture: &str) -> Option<RecurrentKind> {
    Some(match architecture {
        "mamba" | "jamba" => RecurrentKind::Mamba1,
        "mamba2" | "falcon-h1" | "granitehybrid" | "plamo2" | "nemotron_h" | "nemotron_h_moe" => RecurrentKind::Mamba2,
        "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" => RecurrentKind::GatedDelta,
        "kimi-linear" | "kimi-k3" | "bailingmoe3" | "glm5-next" => RecurrentKind::KimiDelta,
        "minimax-01" => RecurrentKind::Lightning,
        "rwkv6" | "rwkv6qwen2" => RecurrentKind::Rwkv6,
        "rwkv7" | "arwkv7" => RecurrentKind::Rwkv7,
        "lfm2" | "lfm2moe" => RecurrentKind::ShortConvolution,
        _ => return None,
    })
}

/// Encoders and diffusion models, for which llama.cpp keeps no cache at all.
pub(super) fn keeps_no_cache(architecture: &str) -> bool {
    matches!(
        architecture,
        "bert"
            | "modern-bert"
            | "nomic-bert"
            | "nomic-bert-moe"
            | "neo-bert"
            | "jina-bert-v2"
            | "jina-bert-v3"
            | "eurobert"
            | "gemma-embedding"
            | "wavtokenizer-dec"
            | "dream"
            | "llada"
            | "llada-moe"
            | "rnd1"
    )
}

/// Models that turn hidden states into something other than logits over the vocabulary.
pub(super) fn has_no_language_head(architecture: &str) -> bool {
    matches!(
        architecture,
        "bert"
            | "modern-bert"
            | "nomic-bert"
            | "nomic-bert-moe"
            | "neo-bert"
            | "jina-bert-v2"
            | "jina-bert-v3"
            | "eurobert"
            | "gemma-embedding"
            | "wavtokenizer-dec"
            | "t5encoder"
            | "llama-embed"
    )
}

/// Layers whose sparse attention owns an index, by the architecture's loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexerRule {
    /// None.
    Never,
    /// All with attention.
    Every,
    /// Those with sparse attention: all after the leading dense ones (MiniMax-M3).
    AfterLeadingDense,
    /// Those that the file lists as owners; all where it lists none.
    ListedOrEvery,
    /// Those with the compression ratio 4 (DeepSeek-V4).
    CompressedByFour,
}

/// The indexer rule of an architecture.
pub(super) fn indexer_rule(architecture: &str) -> IndexerRule {
    match architecture {
        "deepseek32" | "qwen4exp" => IndexerRule::Every,
        "glm-dsa" | "glm5-next" | "hy_v4" | "dots3note" => IndexerRule::ListedOrEvery,
        "minimax-m3" => IndexerRule::AfterLeadingDense,
        "deepseek4" => IndexerRule::CompressedByFour,
        _ => IndexerRule::Never,
    }
}
