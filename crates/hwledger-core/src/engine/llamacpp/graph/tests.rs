//! Printed compute buffers of real contexts, reproduced.
//!
//! Provenance: llama.cpp of llama-cpp-python 0.3.36 (library 0.5.0, ggml 0.25.3) on x86-64 Linux,
//! contexts of 4,096 cells and micro-batches of 512 unless said otherwise, sparse files with the
//! shapes below; `bench/engines/results` holds the printed lines, rounded to 0.01 MiB. The bytes
//! here are what the allocator of the same build handed out.

use super::builder::Builder;
use super::*;
use crate::ElementType;
use crate::model::{
    Activation, Attention, Certainty, FeedForward, Latent, Layer, Mixer, MixtureOfExperts, ModelSpec, Recurrent,
    RecurrentKind, Role, Span, Stack, Weight,
};

const SHAPE: GraphShape = GraphShape {
    tokens: 512,
    outputs: 512,
    sequences: 1,
    cells: 4096,
    window_cells: None,
    streams: 1,
    flash_attention: true,
    attention_max_batch_mib: None,
    key_type: ElementType::F16,
    value_type: ElementType::F16,
    build: BuildRules::NEWEST,
    encoder_tokens: 512,
};

fn model(architecture: &str, hidden_size: u64, vocabulary_size: u64, layers: Vec<Layer>) -> ModelSpec {
    let mut decoder = Stack::default();
    for layer in layers {
        decoder.push(layer);
    }
    ModelSpec {
        architecture: architecture.to_owned(),
        hidden_size,
        vocabulary_size,
        context_max: None,
        decoder,
        encoder: None,
        embedding: Vec::new(),
        head: Vec::new(),
        is_head_tied: true,
        is_causal: true,
        towers: Vec::new(),
        draft_layers: Vec::new(),
        file_order: None,
        file_bytes: None,
        stored_format: None,
        certainty: Certainty::Known,
    }
}

fn layer(attention: Attention, feed_forward: FeedForward) -> Layer {
    Layer { mixer: Mixer::Attention(attention), feed_forward, weights: Vec::new() }
}

fn gated(width: u64) -> FeedForward {
    FeedForward::Dense { width, activation: Activation::Gated }
}

fn experts(experts: u64, experts_per_token: u64, expert_width: u64, shared_width: u64) -> FeedForward {
    FeedForward::Experts(MixtureOfExperts {
        experts,
        experts_per_token,
        expert_width,
        shared_width,
        dense_width: 0,
        activation: Activation::Gated,
    })
}

fn llama_3_1_8b() -> ModelSpec {
    model("llama", 4096, 128_256, vec![layer(Attention::full(32, 8, 128), gated(14336)); 32])
}

/// Bytes on the host with fused attention, and without.
fn check(model: &ModelSpec, shape: &GraphShape, expected: [u64; 2]) {
    let host = |flash_attention| {
        compute_buffers(model, &GraphShape { flash_attention, ..*shape }, &GraphPlacement::host_only()).host
    };
    assert_eq!([host(true), host(false)], expected, "{}", model.architecture);
}

#[test]
fn llama_3_1_8b_needs_what_the_engine_printed() {
    check(&llama_3_1_8b(), &SHAPE, [279_447_552, 322_971_648]);
}

/// 244.01, 564.07, 140.09 and 572.01 MiB in the engine's log.
#[test]
fn llama_3_1_8b_follows_the_settings() {
    let printed = |shape: GraphShape| {
        let bytes = compute_buffers(&llama_3_1_8b(), &shape, &GraphPlacement::host_only()).host;
        (bytes as f64 / 1_048_576.0 * 100.0).round() / 100.0
    };
    let close = |left: f64, right: f64| assert!((left - right).abs() < 0.006, "{left} is not {right}");
    close(printed(GraphShape { cells: 131_072, outputs: 1, ..SHAPE }), 244.01);
    let keys_only = GraphShape { cells: 8192, flash_attention: false, key_type: ElementType::Q8_0, ..SHAPE };
    close(printed(keys_only), 564.07);
    let quantised = GraphShape {
        cells: 32768,
        outputs: 4,
        sequences: 4,
        key_type: ElementType::Q8_0,
        value_type: ElementType::Q8_0,
        ..SHAPE
    };
    close(printed(quantised), 140.09);
    let unified = GraphShape { cells: 8192, sequences: 4, flash_attention: false, ..SHAPE };
    close(printed(unified), 572.01);
}

#[test]
fn mixtures_of_experts_need_what_the_engine_printed() {
    let mixtral = vec![layer(Attention::full(32, 8, 128), experts(8, 2, 14336, 0)); 8];
    check(&model("llama", 4096, 32000, mixtral), &SHAPE, [213_923_840, 322_971_648]);
    let qwen3 = vec![layer(Attention::full(32, 4, 128), experts(128, 8, 768, 0)); 12];
    check(&model("qwen3moe", 2048, 151_936, qwen3), &SHAPE, [319_555_584, 319_555_584]);
}

#[test]
fn latent_attention_needs_what_the_engine_printed() {
    let attention = Attention {
        value_dim: 128,
        latent: Some(Latent { kv_rank: 512, rope_dim: 64, query_rank: Some(1536), nope_dim: 128 }),
        ..Attention::full(128, 1, 192)
    };
    let mut layers = vec![layer(attention.clone(), gated(18432)); 3];
    let mut sparse = layer(attention, experts(256, 8, 2048, 2048));
    sparse.weights.push(Weight::vector(Role::Router, 256));
    layers.extend(vec![sparse; 5]);
    check(&model("deepseek2", 7168, 129_280, layers), &SHAPE, [432_023_552, 1_509_959_680]);
}

#[test]
fn windows_have_masks_of_their_own() {
    let layers = (1..=62)
        .map(|index| {
            let span = if index % 6 == 0 { Span::Full } else { Span::Sliding(1024) };
            layer(Attention { span, ..Attention::full(32, 16, 128) }, gated(21504))
        })
        .collect();
    let shape = GraphShape { window_cells: Some(1536), ..SHAPE };
    check(&model("gemma3", 5376, 262_208, layers), &shape, [559_024_128, 559_024_128]);
}

#[test]
fn scans_need_what_the_engine_printed() {
    let recurrent = Recurrent {
        kind: RecurrentKind::Mamba2,
        heads: 80,
        inner_size: 5120,
        state_size: 128,
        groups: 1,
        convolution_channels: 5376,
        convolution_taps: 4,
        state_elements: 655_360,
        shift_elements: 0,
    };
    let layer = Layer { mixer: Mixer::Recurrent(recurrent), feed_forward: FeedForward::None, weights: Vec::new() };
    check(&model("mamba2", 2560, 50288, vec![layer; 64]), &SHAPE, [118_722_592, 118_722_592]);
}

/// A parallel layer builds its feed-forward before attention's last projection.
#[test]
fn parallel_layers_need_what_the_engine_printed() {
    let plain = FeedForward::Dense { width: 18176, activation: Activation::Plain };
    let mut falcon = layer(Attention::full(71, 1, 64), plain);
    falcon.weights.push(Weight::matrix(Role::QueryKeyValue, 4672, 4544));
    check(&model("falcon", 4544, 65024, vec![falcon; 32]), &SHAPE, [151_783_424, 651_044_864]);
}

/// With everything on a card the host keeps the inputs and the looked-up embedding.
#[test]
fn a_card_takes_the_graph_and_the_host_keeps_the_inputs() {
    let model = llama_3_1_8b();
    let buffers = compute_buffers(&model, &SHAPE, &GraphPlacement::one_device(32));
    let on_host = compute_buffers(&model, &SHAPE, &GraphPlacement::host_only()).host;
    assert!(buffers.host < 32 << 20, "{}", buffers.host);
    assert!(buffers.devices[0] > on_host * 9 / 10, "{:?}", buffers.devices);
    assert!(buffers.devices[0] < on_host * 11 / 10, "{:?}", buffers.devices);
}

/// Cards that work on consecutive batches keep four copies of what crosses between them.
#[test]
fn pipelining_keeps_copies_of_inputs() {
    let model = llama_3_1_8b();
    let layers: Vec<Option<usize>> = (0..32).map(|index| Some(index / 16)).collect();
    let one = GraphPlacement { devices: 2, layers, output: Some(1), ..GraphPlacement::host_only() };
    let four = GraphPlacement { input_copies: 4, ..one.clone() };
    let (one, four) = (compute_buffers(&model, &SHAPE, &one), compute_buffers(&model, &SHAPE, &four));
    let stream = 4096 * 512 * 4;
    assert!(four.devices[1] >= one.devices[1] + 2 * stream, "{four:?} {one:?}");
    assert!(four.host > one.host, "{four:?} {one:?}");
}

/// Sizes of an absurd header saturate instead of wrapping.
#[test]
fn absurd_sizes_stay_large() {
    let attention = Attention::full(u64::from(u32::MAX), 1, 1 << 20);
    let model = model("llama", 1 << 40, 1 << 40, vec![layer(attention, gated(1 << 40))]);
    let shape = GraphShape { tokens: 1 << 20, cells: 1 << 40, ..SHAPE };
    assert!(compute_buffers(&model, &shape, &GraphPlacement::host_only()).host > 1 << 60);
}

/// The fork's graphs.
const FORK: BuildRules = BuildRules { holds_embedding_input: false, casts_mask: true, decompresses_latents: true };

fn latent_model(heads: u64) -> ModelSpec {
    let latent = Latent { query_rank: Some(1536), kv_rank: 512, nope_dim: 128, rope_dim: 64 };
    let attention = Attention {
        heads,
        kv_heads: heads,
        key_dim: 192,
        value_dim: 128,
        latent: Some(latent),
        ..Attention::full(1, 1, 1)
    };
    model("deepseek2", 7168, 129_280, (0..4).map(|_| layer(attention.clone(), gated(2048))).collect())
}

/// The fork's bound takes heads in parts, so that the buffer of a long context shrinks with it, but not below
/// what a single head needs.
#[test]
fn a_bound_takes_attention_in_parts() {
    for flash_attention in [true, false] {
        let shape = GraphShape { cells: 32_768, flash_attention, build: FORK, ..SHAPE };
        let bytes = |bound| {
            let shape = GraphShape { attention_max_batch_mib: bound, ..shape };
            compute_buffers(&latent_model(128), &shape, &GraphPlacement::host_only()).host
        };
        let bounds = [None, Some(1 << 40), Some(2048), Some(1024), Some(256), Some(64), Some(1)].map(bytes);
        assert_eq!(bounds[0], bounds[1], "a bound that is never reached changes nothing");
        assert!(bounds.is_sorted_by(|looser, tighter| looser >= tighter), "{bounds:?}");
        // 4 GiB of keys and values, or 8 GiB of scores, against 1/128 of it.
        assert!(bounds[0] > 4 << 30 && bounds[6] < 1 << 30, "{bounds:?}");
    }
}

/// Twenty heads have no half of five: parts are whole fractions of their number, one head at last.
#[test]
fn parts_are_whole_fractions_of_the_heads() {
    let shape = GraphShape { cells: 32_768, build: FORK, ..SHAPE };
    // One head's keys and values at 32 bits are 256 x 32,768 x 4 bytes: 32 MiB.
    for (bound, heads) in [(640, 20), (639, 10), (320, 10), (319, 5), (128, 4), (127, 2), (63, 1), (1, 1)] {
        let shape = GraphShape { attention_max_batch_mib: Some(bound), ..shape };
        let (model, placement) = (latent_model(20), GraphPlacement::host_only());
        let builder = Builder::new(&model, &shape, &placement);
        assert_eq!(20 / builder.decompressed_parts(20, (20 * 32) << 20), heads, "within {bound} MiB");
    }
    let shape = GraphShape { attention_max_batch_mib: Some(100), ..shape };
    let (model, placement) = (latent_model(20), GraphPlacement::host_only());
    let builder = Builder::new(&model, &shape, &placement);
    assert_eq!([builder.score_parts(1 << 40, 1 << 20), builder.score_parts(4096, 1 << 40)], [1, 4096]);
    assert_eq!([1, 5, 6, 30, 1000].map(|mebibytes| builder.score_parts(20, mebibytes << 20)), [1, 1, 2, 6, 20]);
}
