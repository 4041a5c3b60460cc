//! Small models of many kinds, and the layers that they must give.

use hwledger_core::ElementType;
use hwledger_core::model::{
    Activation, CacheOwner, Certainty, FeedForward, Layer, Mixer, RecurrentKind, Role, Span, Weight,
};

use super::{SpecError, model_spec};
use crate::diagnostic::Diagnostic;
use crate::gguf::read_header;
use crate::gguf::test_writer::{Writer, llama};
use hwledger_core::ModelSpec;

fn describe(writer: &Writer) -> (ModelSpec, Vec<Diagnostic>) {
    let header = read_header(&writer.bytes()[..], None).unwrap();
    let (spec, notes) = model_spec(&header).unwrap();
    assert_eq!(spec.stored_bytes(), Some(header.tensor_bytes()), "weights are the file's");
    assert_eq!(spec.file_bytes, Some(header.tensor_bytes()));
    (spec, notes)
}

fn layers(spec: &ModelSpec) -> Vec<&Layer> {
    spec.decoder.layers().collect()
}

/// A model of any architecture: keys without its prefix, and an attention layer's tensors.
fn model(architecture: &str, layers: u32, keys: &[(&str, u32)]) -> Writer {
    let mut writer = Writer::new(architecture);
    let defaults = [
        ("block_count", layers),
        ("embedding_length", 64),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("context_length", 4096),
    ];
    for (key, value) in defaults.iter().filter(|(key, _)| !keys.iter().any(|(other, _)| other == key)).chain(keys) {
        writer.number(&format!("{architecture}.{key}"), *value);
    }
    writer.tensor("token_embd.weight", 1, &[64, 100]);
    writer
}

fn spans(spec: &ModelSpec) -> Vec<Span> {
    layers(spec).iter().map(|layer| layer.mixer.attention().unwrap().span).collect()
}

#[test]
fn llama_is_described() {
    let (spec, notes) = describe(&llama(3));
    assert_eq!(notes, []);
    assert_eq!(spec.certainty, Certainty::Known);
    assert_eq!((spec.hidden_size, spec.vocabulary_size, spec.context_max), (512, 1000, Some(8192)));
    assert_eq!(spec.stored_format.as_deref(), Some("Q4_K_M"));
    assert!(spec.is_head_tied && spec.is_causal);
    assert_eq!((spec.decoder.len(), spec.decoder.kinds.len()), (3, 1));
    let layer = layers(&spec)[2];
    let attention = layer.mixer.attention().unwrap();
    assert_eq!((attention.heads, attention.kv_heads, attention.key_dim, attention.value_dim), (8, 2, 64, 64));
    assert_eq!(layer.feed_forward, FeedForward::Dense { width: 1024, activation: Activation::Gated });
    assert!(layer.weights.contains(&Weight::matrix(Role::Value, 128, 512).stored_as(ElementType::F16)));
}

#[test]
fn what_is_no_model_is_refused() {
    let mut adapter = Writer::new("llama");
    adapter.text("general.type", "adapter");
    let of = |writer: &Writer| model_spec(&read_header(&writer.bytes()[..], None).unwrap()).unwrap_err();
    assert_eq!(of(&adapter), SpecError::NotAModel("a LoRA adapter"));
    assert_eq!(of(&Writer::new("llama")), SpecError::MissingKey("llama.block_count".to_owned()));
    let mut writer = Writer::new("llama");
    writer.number("llama.block_count", u32::MAX);
    assert!(matches!(of(&writer), SpecError::Invalid { .. }));
}

#[test]
fn windows_follow_the_architecture() {
    let window = Span::Sliding(1024);
    let of = |architecture, count, keys: &[(&str, u32)]| spans(&describe(&model(architecture, count, keys)).0);
    let key = ("attention.sliding_window", 1024);
    assert_eq!(of("gemma3", 6, &[key]), [window, window, window, window, window, Span::Full]);
    assert_eq!(of("gemma3", 2, &[]), [Span::Full; 2]);
    assert_eq!(of("gemma2", 2, &[]), [Span::Sliding(4096), Span::Full]);
    assert_eq!(of("gpt-oss", 3, &[key]), [window, Span::Full, window]);
    assert_eq!(of("cohere2moe", 4, &[key]), [Span::Full, window, window, window]);
    assert_eq!(of("llama4", 4, &[]), [Span::Chunked(8192), Span::Chunked(8192), Span::Chunked(8192), Span::Full]);
    assert_eq!(of("llama4", 1, &[("attention.sliding_window", 0)]), [Span::Full]);
    assert_eq!(of("exaone4", 4, &[key]), [Span::Full; 4]);
    assert_eq!(of("exaone4", 64, &[key])[..4], [window, window, window, Span::Full]);
    assert_eq!(of("smallthinker", 2, &[key]), [Span::Full, Span::Sliding(4096)]);
    // A pattern in the file beats the built-in one.
    assert_eq!(of("gemma3", 2, &[key, ("attention.sliding_window_pattern", 2)]), [window, Span::Full]);
}

#[test]
fn listed_windows_have_their_own_head_lengths() {
    let mut writer = model(
        "gemma4",
        4,
        &[
            ("attention.sliding_window", 512),
            ("attention.key_length", 32),
            ("attention.value_length", 32),
            ("attention.key_length_swa", 16),
            ("attention.value_length_swa", 16),
            ("attention.shared_kv_layers", 2),
        ],
    );
    writer.numbers("gemma4.attention.sliding_window_pattern", &[1, 0, 1, 0]);
    let (spec, _) = describe(&writer);
    let seen: Vec<_> = layers(&spec)
        .iter()
        .map(|layer| layer.mixer.attention().unwrap())
        .map(|attention| (attention.span, attention.key_dim, attention.cache))
        .collect();
    let window = Span::Sliding(512);
    let expected = [
        (window, 16, CacheOwner::Own),
        (Span::Full, 32, CacheOwner::Own),
        (window, 16, CacheOwner::SharedWith(0)),
        (Span::Full, 32, CacheOwner::SharedWith(1)),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn phi3_ignores_its_window_and_says_so() {
    let (spec, notes) = describe(&model("phi3", 2, &[("attention.sliding_window", 2047)]));
    assert_eq!(spans(&spec), [Span::Full; 2]);
    assert_eq!(notes.len(), 1);
}

#[test]
fn latent_attention_caches_the_latent() {
    let keys = [
        ("attention.head_count_kv", 1),
        ("attention.key_length", 576),
        ("attention.value_length", 512),
        ("attention.key_length_mla", 192),
        ("attention.value_length_mla", 128),
        ("attention.kv_lora_rank", 512),
        ("attention.q_lora_rank", 1536),
    ];
    let (spec, _) = describe(&model("deepseek2", 1, &keys));
    let attention = layers(&spec)[0].mixer.attention().unwrap();
    assert_eq!(attention.cached_elements_per_token(), 576);
    let latent = attention.latent.unwrap();
    assert_eq!((latent.kv_rank, latent.rope_dim, latent.nope_dim, latent.query_rank), (512, 64, 128, Some(1536)));
    assert_eq!((attention.key_dim, attention.value_dim, attention.kv_heads), (192, 128, 4));

    // Files of before 2025-04 lack the lengths, and llama.cpp caches decompressed keys and values for them.
    let (old, _) = describe(&model("deepseek2", 1, &keys[5..]));
    let attention = layers(&old)[0].mixer.attention().unwrap();
    assert_eq!((attention.latent, attention.cached_elements_per_token()), (None, 2 * (16 + 16)));
}

#[test]
fn hybrid_layers_are_told_apart() {
    let ssm = [("ssm.conv_kernel", 4), ("ssm.inner_size", 128), ("ssm.state_size", 16), ("ssm.time_step_rank", 8)];
    let mut writer = model("qwen3next", 4, &[&ssm[..], &[("ssm.group_count", 2)]].concat());
    for layer in 0..4 {
        writer.tensor(&format!("blk.{layer}.attn_qkv.weight"), 1, &[64, 192]);
    }
    let (spec, _) = describe(&writer);
    let layers = layers(&spec);
    let recurrent = layers[0].mixer.recurrent().unwrap();
    assert_eq!(recurrent.kind, RecurrentKind::GatedDelta);
    assert_eq!((recurrent.state_elements, recurrent.convolution_elements()), (16 * 128, 3 * (128 + 2 * 2 * 16)));
    assert_eq!(layers[0].weights[0].role, Role::RecurrentIn);
    assert!(layers[3].mixer.attention().is_some() && layers[3].mixer.recurrent().is_none());
}

#[test]
fn head_counts_may_differ_by_layer() {
    let mut writer = Writer::new("nemotron_h");
    for (key, value) in [
        ("block_count", 3),
        ("embedding_length", 64),
        ("attention.key_length", 16),
        ("attention.value_length", 16),
        ("attention.head_count", 4),
        ("ssm.conv_kernel", 4),
        ("ssm.inner_size", 128),
        ("ssm.state_size", 16),
        ("ssm.time_step_rank", 8),
        ("ssm.group_count", 2),
    ] {
        writer.number(&format!("nemotron_h.{key}"), value);
    }
    writer
        .numbers("nemotron_h.attention.head_count_kv", &[0, 0, 2])
        .numbers("nemotron_h.feed_forward_length", &[0, 256, 0])
        .tensor("blk.1.ffn_up.weight", 1, &[64, 256])
        .tensor("blk.1.ffn_down.weight", 1, &[256, 64]);
    let (spec, _) = describe(&writer);
    let layers = layers(&spec);
    assert!(matches!(layers[0].mixer, Mixer::Recurrent(_)));
    assert_eq!(layers[1].mixer, Mixer::None);
    assert_eq!(layers[1].feed_forward, FeedForward::Dense { width: 256, activation: Activation::Plain });
    assert!(matches!(layers[2].mixer, Mixer::Attention(_)));
}

#[test]
fn expert_tensors_are_copies_stacked_or_not() {
    let keys = [("expert_count", 2), ("expert_used_count", 1)];
    let mut stacked = model("llama", 1, &keys);
    let mut single = stacked.clone();
    for (matrix, shape) in [("gate", [64, 96]), ("up", [64, 96]), ("down", [96, 64])] {
        stacked.tensor(&format!("blk.0.ffn_{matrix}_exps.weight"), 1, &[shape[0], shape[1], 2]);
        for expert in 0..2 {
            single.tensor(&format!("blk.0.ffn_{matrix}.{expert}.weight"), 1, &shape);
        }
    }
    let (stacked, single) = (describe(&stacked).0, describe(&single).0);
    assert_eq!(stacked, single);
    let FeedForward::Experts(moe) = &layers(&stacked)[0].feed_forward else { panic!("experts are found") };
    assert_eq!((moe.experts, moe.experts_per_token, moe.expert_width), (2, 1, 96));
    assert_eq!(moe.activation, Activation::Gated);
    assert_eq!(layers(&stacked)[0].active_parameters(), 3 * 64 * 96);
}

#[test]
fn fused_gates_are_recognised_by_shape() {
    let mut writer = model("phi3", 1, &[]);
    writer.tensor("blk.0.ffn_up.weight", 1, &[64, 192]).tensor("blk.0.ffn_down.weight", 1, &[96, 64]);
    let (spec, _) = describe(&writer);
    let layer = layers(&spec)[0];
    assert_eq!(layer.feed_forward, FeedForward::Dense { width: 96, activation: Activation::Gated });
    assert_eq!(layer.weights[0].role, Role::GateUp);
}

#[test]
fn layers_that_predict_further_tokens_are_apart() {
    let mut writer = model("glm4moe", 3, &[("nextn_predict_layers", 1)]);
    writer.tensor("blk.2.nextn.eh_proj.weight", 1, &[128, 64]);
    let (spec, _) = describe(&writer);
    assert_eq!((spec.decoder.len(), spec.draft_layers.len()), (2, 1));
    assert_eq!(spec.draft_layers[0].weights.len(), 1);
}

#[test]
fn encoders_keep_no_cache() {
    let (bert, _) = describe(&model("bert", 2, &[]));
    assert!(!bert.is_causal && !bert.is_head_tied);
    assert_eq!(layers(&bert)[0].mixer.attention().unwrap().cache, CacheOwner::Nobody);

    let mut writer = model("t5", 2, &[("decoder_block_count", 3)]);
    writer.tensor("enc.blk.1.attn_q.weight", 1, &[64, 64]).tensor("dec.blk.2.cross_attn_k.weight", 1, &[64, 64]);
    let (t5, _) = describe(&writer);
    assert_eq!((t5.decoder.len(), t5.encoder.as_ref().unwrap().len()), (3, 2));
    assert!(t5.is_causal);
}

#[test]
fn unknown_architectures_are_guessed_and_say_so() {
    let mut writer =
        model("newcomer", 2, &[("attention.sliding_window", 256), ("ssm.inner_size", 128), ("ssm.state_size", 8)]);
    writer.tensor("blk.0.attn_q.weight", 1, &[64, 64]).tensor("blk.1.ssm_in.weight", 1, &[64, 256]).tensor(
        "blk.7.surprise.weight",
        1,
        &[64, 64],
    );
    let (spec, notes) = describe(&writer);
    assert_eq!(spec.certainty, Certainty::Guessed);
    assert!(layers(&spec)[0].mixer.attention().is_some());
    assert!(layers(&spec)[1].mixer.recurrent().is_some() && layers(&spec)[1].mixer.attention().is_none());
    let places: Vec<_> = notes.iter().map(|note| &*note.place).collect();
    assert_eq!(places, ["general.architecture", "block_count", "newcomer.attention.sliding_window"]);
}

#[test]
fn projector_files_are_towers() {
    let mut writer = Writer::new("clip");
    for (key, value) in [("embedding_length", 32), ("block_count", 1), ("attention.head_count", 2), ("image_size", 56)]
    {
        writer.number(&format!("clip.vision.{key}"), value);
    }
    writer
        .number("clip.vision.patch_size", 14)
        .tensor("v.blk.0.attn_q.weight", 1, &[32, 32])
        .tensor("v.patch_embd.weight", 1, &[14, 14, 3, 32])
        .tensor("mm.0.weight", 1, &[32, 64]);
    let (projector, notes) = describe(&writer);
    assert_eq!(notes, []);
    assert_eq!((projector.towers.len(), projector.towers[0].positions), (1, Some(16)));
    let (mut spec, _) = describe(&llama(1));
    let bytes = spec.file_bytes.unwrap() + projector.file_bytes.unwrap();
    super::add_projector(&mut spec, projector);
    assert_eq!((spec.file_bytes, spec.stored_bytes()), (Some(bytes), Some(bytes)));
}
