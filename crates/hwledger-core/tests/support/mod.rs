//! Models whose public shapes the tests quote, built by hand: only what caches depend on.

use hwledger_core::ModelSpec;
use hwledger_core::model::{
    Activation, Attention, CacheOwner, Certainty, FeedForward, Latent, Layer, Mixer, Recurrent, RecurrentKind, Role,
    Span, Stack, Weight,
};

pub(crate) fn layer(mixer: Mixer) -> Layer {
    Layer { mixer, feed_forward: FeedForward::Dense { width: 1, activation: Activation::Gated }, weights: Vec::new() }
}

pub(crate) fn model(architecture: &str, vocabulary: u64, layers: impl IntoIterator<Item = Layer>) -> ModelSpec {
    let mut decoder = Stack::default();
    for layer in layers {
        decoder.push(layer);
    }
    let hidden = 1024;
    ModelSpec {
        architecture: architecture.to_owned(),
        hidden_size: hidden,
        vocabulary_size: vocabulary,
        context_max: Some(131_072),
        decoder,
        encoder: None,
        embedding: vec![Weight::matrix(Role::TokenEmbedding, vocabulary, hidden)],
        head: vec![Weight::vector(Role::Norm, hidden), Weight::matrix(Role::LanguageHead, vocabulary, hidden)],
        is_head_tied: false,
        is_causal: true,
        towers: Vec::new(),
        draft_layers: Vec::new(),
        file_order: None,
        file_bytes: None,
        stored_format: None,
        certainty: Certainty::Known,
    }
}

pub(crate) fn attention(heads: u64, kv_heads: u64, head_dim: u64) -> Layer {
    layer(Mixer::Attention(Attention::full(heads, kv_heads, head_dim)))
}

pub(crate) fn sliding(heads: u64, kv_heads: u64, head_dim: u64, window: u64) -> Layer {
    let span = Span::Sliding(window);
    layer(Mixer::Attention(Attention { span, ..Attention::full(heads, kv_heads, head_dim) }))
}

pub(crate) fn llama_3_1_8b() -> ModelSpec {
    model("llama", 128_256, (0..32).map(|_| attention(32, 8, 128)))
}

pub(crate) fn qwen3_0_6b() -> ModelSpec {
    model("qwen3", 151_936, (0..28).map(|_| attention(16, 8, 128)))
}

/// 62 layers, every sixth looks at all tokens.
pub(crate) fn gemma_3_27b() -> ModelSpec {
    let layers = (0..62).map(|index| if index % 6 == 5 { attention(32, 16, 128) } else { sliding(32, 16, 128, 1024) });
    model("gemma3", 262_208, layers)
}

/// 36 layers, alternating, the first with a window.
pub(crate) fn gpt_oss_120b() -> ModelSpec {
    let layers = (0..36).map(|index| if index % 2 == 1 { attention(64, 8, 64) } else { sliding(64, 8, 64, 128) });
    model("gpt_oss", 201_088, layers)
}

pub(crate) fn deepseek_v3() -> ModelSpec {
    let latent = Latent { kv_rank: 512, rope_dim: 64, query_rank: Some(1536), nope_dim: 128 };
    let attention = Attention {
        key_dim: 192,
        value_dim: 128,
        latent: Some(latent),
        cache: CacheOwner::Own,
        ..Attention::full(128, 128, 192)
    };
    model("deepseek_v3", 129_280, (0..61).map(|_| layer(Mixer::Attention(attention.clone()))))
}

fn gated_delta(value_heads: u64, key_heads: u64) -> Layer {
    layer(Mixer::Recurrent(Recurrent {
        kind: RecurrentKind::GatedDelta,
        heads: value_heads,
        inner_size: value_heads * 128,
        state_size: 128,
        groups: key_heads,
        convolution_channels: value_heads * 128 + 2 * key_heads * 128,
        convolution_taps: 4,
        state_elements: value_heads * 128 * 128,
        shift_elements: 0,
    }))
}

pub(crate) fn qwen3_next_80b() -> ModelSpec {
    let layers = (0..48).map(|index| if index % 4 == 3 { attention(16, 2, 256) } else { gated_delta(32, 16) });
    model("qwen3_next", 151_936, layers)
}

pub(crate) fn qwen3_5_27b() -> ModelSpec {
    let layers = (0..64).map(|index| if index % 4 == 3 { attention(24, 4, 256) } else { gated_delta(48, 16) });
    model("qwen3_5", 248_320, layers)
}

/// Four attention layers among 36 of Mamba-2.
pub(crate) fn granite_4_h_small() -> ModelSpec {
    let mamba = || {
        layer(Mixer::Recurrent(Recurrent {
            kind: RecurrentKind::Mamba2,
            heads: 128,
            inner_size: 8192,
            state_size: 128,
            groups: 1,
            convolution_channels: 8192 + 2 * 128,
            convolution_taps: 4,
            state_elements: 8192 * 128,
            shift_elements: 0,
        }))
    };
    let layers = (0..40).map(|index| if [5, 15, 25, 35].contains(&index) { attention(32, 8, 128) } else { mamba() });
    model("granitemoehybrid", 100_352, layers)
}
