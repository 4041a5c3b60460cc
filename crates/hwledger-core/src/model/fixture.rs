//! Published models, layer by layer, for tests. Hyper-parameters from each model's `config.json`.

use super::{
    Activation, Attention, Certainty, FeedForward, Latent, Layer, Mixer, MixtureOfExperts, ModelSpec, Recurrent,
    RecurrentKind, Role, Span, Stack, Weight,
};

/// A decoder of `layers` around the usual embedding, final norm and head.
pub(crate) fn model(architecture: &str, hidden: u64, vocabulary: u64, context: u64, layers: Vec<Layer>) -> ModelSpec {
    let mut decoder = Stack::default();
    for layer in layers {
        decoder.push(layer);
    }
    ModelSpec {
        architecture: architecture.to_owned(),
        hidden_size: hidden,
        vocabulary_size: vocabulary,
        context_max: Some(context),
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

/// A layer of plain attention and a gated feed-forward.
pub(crate) fn dense_layer(hidden: u64, attention: Attention, width: u64) -> Layer {
    let (query, key) = (attention.heads * attention.key_dim, attention.kv_heads * attention.key_dim);
    Layer {
        weights: vec![
            Weight::vector(Role::Norm, hidden),
            Weight::matrix(Role::Query, query, hidden),
            Weight::matrix(Role::Key, key, hidden),
            Weight::matrix(Role::Value, key, hidden),
            Weight::matrix(Role::AttentionOutput, hidden, query),
            Weight::vector(Role::Norm, hidden),
            Weight::matrix(Role::Gate, width, hidden),
            Weight::matrix(Role::Up, width, hidden),
            Weight::matrix(Role::Down, hidden, width),
        ],
        mixer: Mixer::Attention(attention),
        feed_forward: FeedForward::Dense { width, activation: Activation::Gated },
    }
}

/// Llama-3.1-8B.
pub(crate) fn llama_8b() -> ModelSpec {
    let layer = dense_layer(4096, Attention::full(32, 8, 128), 14336);
    model("llama", 4096, 128_256, 131_072, vec![layer; 32])
}

/// Qwen2.5-7B.
pub(crate) fn qwen2_7b() -> ModelSpec {
    let mut layer = dense_layer(3584, Attention::full(28, 4, 128), 18944);
    layer.weights.extend([
        Weight::vector(Role::Query, 3584),
        Weight::vector(Role::Key, 512),
        Weight::vector(Role::Value, 512),
    ]);
    model("qwen2", 3584, 152_064, 32_768, vec![layer; 28])
}

/// The attention of DeepSeek-V3 without its weights, 61 layers.
pub(crate) fn deepseek_v3() -> ModelSpec {
    let latent = Latent { kv_rank: 512, rope_dim: 64, query_rank: Some(1536), nope_dim: 128 };
    let attention = Attention { value_dim: 128, latent: Some(latent), ..Attention::full(128, 128, 192) };
    let layer = Layer {
        mixer: Mixer::Attention(attention),
        feed_forward: FeedForward::Experts(MixtureOfExperts {
            experts: 256,
            experts_per_token: 8,
            expert_width: 2048,
            shared_width: 2048,
            dense_width: 0,
            activation: Activation::Gated,
        }),
        weights: vec![
            Weight::matrix(Role::QueryDown, 1536, 7168),
            Weight::matrix(Role::QueryUp, 24576, 1536),
            Weight::matrix(Role::LatentDown, 576, 7168),
            Weight::matrix(Role::LatentUp, 32768, 512),
            Weight::matrix(Role::AttentionOutput, 7168, 16384),
            Weight::matrix(Role::ExpertGate, 2048, 7168).stacked(256),
            Weight::matrix(Role::ExpertUp, 2048, 7168).stacked(256),
            Weight::matrix(Role::ExpertDown, 7168, 2048).stacked(256),
        ],
    };
    model("deepseek_v3", 7168, 129_280, 163_840, vec![layer; 61])
}

/// Qwen3.5-27B: three gated-delta layers, then one of attention, sixteen times.
pub(crate) fn qwen35_27b() -> ModelSpec {
    let (key_heads, value_heads, dim) = (16, 48, 128);
    let recurrent = Recurrent {
        kind: RecurrentKind::GatedDelta,
        heads: value_heads,
        inner_size: value_heads * dim,
        state_size: dim,
        groups: key_heads,
        convolution_channels: 2 * key_heads * dim + value_heads * dim,
        convolution_taps: 4,
        state_elements: value_heads * dim * dim,
        shift_elements: 0,
    };
    let attention = dense_layer(5120, Attention::full(24, 4, 256), 17408);
    let linear = Layer { mixer: Mixer::Recurrent(recurrent), ..attention.clone() };
    let layers = (0..64).map(|index| if index % 4 == 3 { attention.clone() } else { linear.clone() }).collect();
    model("qwen3_5", 5120, 248_320, 262_144, layers)
}

/// gpt-oss-120b: sliding and full attention in turn.
pub(crate) fn gpt_oss_120b() -> ModelSpec {
    let layer = |span| {
        let attention = Attention { span, has_sinks: true, ..Attention::full(64, 8, 64) };
        Layer {
            feed_forward: FeedForward::Experts(MixtureOfExperts {
                experts: 128,
                experts_per_token: 4,
                expert_width: 2880,
                shared_width: 0,
                dense_width: 0,
                activation: Activation::Gated,
            }),
            weights: vec![
                Weight::matrix(Role::Query, 4096, 2880),
                Weight::matrix(Role::Key, 512, 2880),
                Weight::matrix(Role::Value, 512, 2880),
                Weight::matrix(Role::AttentionOutput, 2880, 4096),
                Weight::matrix(Role::Router, 128, 2880),
                Weight::matrix(Role::ExpertGateUp, 5760, 2880).stacked(128),
                Weight::matrix(Role::ExpertDown, 2880, 2880).stacked(128),
            ],
            mixer: Mixer::Attention(attention),
        }
    };
    let layers = (0..36).map(|index| layer(if index % 2 == 0 { Span::Sliding(128) } else { Span::Full })).collect();
    model("gpt_oss", 2880, 201_088, 131_072, layers)
}
