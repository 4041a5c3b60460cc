//! Files and weights that are wrong: one clear error each, and no panic.

use std::error::Error;

use hwledger_core::ElementType;
use hwledger_engine::sampling::{ResponseFormat, SamplingSettings};
use hwledger_engine::scheduler::{Event, Request};
use hwledger_engine::{Engine, EngineOptions, LoadError};
use hwledger_formats::gguf::read_header;

use crate::gguf::Writer;
use crate::harness::file;
use crate::logits::deepseek;
use crate::models::{Recipe, VOCABULARY, tokenizer};
use crate::noise::Noise;

fn open(bytes: Vec<u8>, context: Option<usize>) -> Result<Engine, LoadError> {
    let options = EngineOptions { context, threads: 1, ..EngineOptions::default() };
    Engine::open(vec![file(bytes)], &options)
}

/// Words of an error and of what caused it.
fn words(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", words(source)),
        None => error.to_string(),
    }
}

fn check(bytes: Vec<u8>, context: Option<usize>, expected: &str) {
    let error = open(bytes, context).unwrap_err();
    assert_eq!(words(&error), expected);
}

/// Overwrites a number of a tensor of single precision.
fn put(bytes: &mut [u8], name: &str, index: usize, value: f32) {
    let header = read_header(&*bytes, Some(bytes.len() as u64)).unwrap();
    let start = usize::try_from(header.data_offset + header.tensor(name).unwrap().offset).unwrap();
    bytes[start + 4 * index..][..4].copy_from_slice(&value.to_le_bytes());
}

fn llama() -> Recipe {
    Recipe { has_head: true, layers: 1, ..Recipe::new("llama") }
}

#[test]
fn a_sound_file_is_taken() {
    let engine = open(llama().bytes(), None).unwrap();
    assert_eq!((engine.context, engine.tokenizer.vocabulary_size()), (512, VOCABULARY));
    assert_eq!(engine.tokenizer.encode("abc", false).unwrap(), [256, u32::from(b'c')]);
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let mut bytes = llama().bytes();
    put(&mut bytes, "blk.0.ffn_up.weight", 96 * 3, f32::NAN);
    check(
        bytes,
        None,
        "the tensor `blk.0.ffn_up.weight` cannot be used: the tensor holds a value that is not a finite number, in row 3",
    );
    let mut bytes = llama().bytes();
    put(&mut bytes, "output_norm.weight", 5, f32::INFINITY);
    check(
        bytes,
        None,
        "the tensor `output_norm.weight` cannot be used: the tensor holds a value that is not a finite number, in row 5",
    );
}

#[test]
fn settings_that_cannot_be_are_refused() {
    check(llama().bytes(), Some(513), "a context of 513 tokens is beyond the model's 512");
    let unknown = Recipe { architecture: "llamx", ..llama() };
    check(unknown.bytes(), None, "the native engine does not run models of the architecture `llamx`");
    let text = Recipe { texts: vec![("rope.scaling.type", "spiral")], ..llama() };
    check(text.bytes(), None, "the native engine does not run positions scaled by `spiral`");
    let float = Recipe { floats: vec![("rope.freq_base", f32::NAN)], ..llama() };
    check(float.bytes(), None, "the key `llama.rope.freq_base` is NaN, which cannot be; it must be a finite number");
    let heads = Recipe { kv_heads: 2, ..llama() };
    check(heads.bytes(), None, "the native engine does not run query heads that do not share key heads evenly");
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let bytes = Recipe { vocabulary: 259, ..llama() }.bytes();
    check(bytes, None, "the tokenizer has 261 tokens, but the model only 259 embeddings: it is another model's");
}

#[test]
fn a_scale_beside_a_matrix_that_takes_none_is_refused() {
    let bytes = Recipe { factors: vec![("token_embd.scale", 2.0)], ..llama() }.bytes();
    check(bytes, None, "the native engine does not run a scale beside this matrix (`token_embd.scale`)");
}

#[test]
fn scales_of_another_number_are_refused() {
    let bytes = Recipe { factors: vec![("blk.0.attn_q.scale", 2.0)], ..llama() }.bytes();
    check(bytes, None, "the tensor `blk.0.attn_q.scale` has the shape [16, 1, 1, 1] where the model asks for [1]");
}

#[test]
fn a_head_of_another_vocabulary_is_refused() {
    let mut writer = Writer::default();
    writer.text("general.architecture", "llama");
    for (key, value) in [
        ("block_count", 0),
        ("context_length", 64),
        ("embedding_length", 32),
        ("attention.head_count", 1),
        ("feed_forward_length", 32),
    ] {
        writer.integer(&format!("llama.{key}"), value);
    }
    writer.float("llama.attention.layer_norm_rms_epsilon", 1e-5);
    tokenizer(&mut writer, VOCABULARY);
    writer.tensor("token_embd.weight", ElementType::F32, &[32, 261], &vec![0; 4 * 32 * 261]);
    // No layers: refused, whatever the words.
    open(writer.bytes(), None).unwrap_err();
    let mut recipe = llama();
    recipe.head_rows = Some(300);
    check(
        recipe.bytes(),
        None,
        "the tensor `output.weight` has the shape [96, 300, 1, 1] where the model asks for [96, 261, 1, 1]",
    );
}

#[test]
fn a_file_that_was_cut_off_is_refused_wherever_the_cut_is() {
    let bytes = llama().bytes();
    let header = read_header(&*bytes, Some(bytes.len() as u64)).unwrap();
    let data = usize::try_from(header.data_offset).unwrap();
    let cuts =
        (0..data).step_by(97).chain((data..bytes.len() - 32).step_by(bytes.len() / 40)).chain([bytes.len() - 33]);
    for cut in cuts {
        let error = open(bytes[..cut].to_vec(), None).unwrap_err();
        assert!(matches!(error, LoadError::Header { .. }), "cut at {cut}: {error:?}");
    }
}

/// Changes one byte of a header at a time; says how many files were refused.
fn change_bytes(bytes: &[u8], count: usize) -> usize {
    let header = read_header(bytes, Some(bytes.len() as u64)).unwrap();
    let data = usize::try_from(header.data_offset).unwrap();
    let mut noise = Noise(21);
    let mut refused = 0;
    for _ in 0..count {
        let mut bytes = bytes.to_vec();
        bytes[noise.below(data)] = noise.next().to_le_bytes()[0];
        match open(bytes, None) {
            Err(_) => refused += 1,
            Ok(mut engine) => {
                let request = request(&[1, 2, 3], 2);
                if engine.scheduler.submit(request).is_ok() {
                    engine.scheduler.run(drop);
                }
            }
        }
    }
    refused
}

#[test]
fn wrong_bytes_in_the_header_never_panic() {
    for bytes in [llama().bytes(), deepseek(56).bytes()] {
        let refused = change_bytes(&bytes, 150);
        assert!(refused > 20, "{refused}");
    }
}

/// A model of latent attention with one of its keys changed.
fn latent_with(key: &'static str, value: u32) -> Vec<u8> {
    let mut bytes = deepseek(56).bytes();
    let name = format!("deepseek2.{key}");
    // The key's text, the number of its type, then its value.
    let place = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap() + name.len() + 4;
    bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn latents_that_cannot_be_are_refused() {
    let check = |key, value, expected: &str| {
        check(latent_with(key, value), None, &format!("the native engine does not run {expected}"));
    };
    let absurd = "latent attention of no or absurd extents";
    check("attention.q_lora_rank", 1 << 30, absurd);
    check("attention.key_length_mla", 16, absurd);
    check("attention.key_length_mla", u32::MAX, absurd);
    check("attention.value_length_mla", u32::MAX, absurd);
    check("attention.head_count", u32::MAX, absurd);
    let pairs = "latent attention whose keys are not a part without position and pairs that turn";
    check("attention.key_length", 57, pairs);
    check("rope.dimension_count", 18, "latent attention whose rotary key is shorter than what turns");
    for (key, value) in [
        ("attention.q_lora_rank", 57),
        ("attention.q_lora_rank", 0),
        ("attention.kv_lora_rank", 0),
        ("attention.kv_lora_rank", 41),
        ("attention.kv_lora_rank", u32::MAX),
        ("attention.key_length", 58),
        ("attention.key_length_mla", 42),
        ("attention.value_length_mla", 21),
        ("attention.value_length_mla", 0),
        ("attention.head_count", 4),
    ] {
        assert!(open(latent_with(key, value), None).is_err(), "{key} {value}");
    }
}

#[test]
fn experts_that_cannot_be_chosen_are_refused() {
    let check = |integers: &[(&'static str, u32)], floats: &[(&'static str, f32)], expected: &str| {
        let mut recipe = deepseek(0);
        recipe.integers.extend_from_slice(integers);
        recipe.floats.extend_from_slice(floats);
        check(recipe.bytes(), None, &format!("the native engine does not run {expected}"));
    };
    check(&[("expert_gating_func", 4)], &[], "experts behind a router of the kind 4");
    check(&[], &[("attention.temperature_scale", 0.1)], "attention whose temperature depends on the position");
    let groups = |count, used| [("expert_group_count", count), ("expert_group_used_count", used)];
    check(&groups(4, 2), &[], "6 experts of which 2 of 4 groups are chosen");
    check(&groups(3, 4), &[], "6 experts of which 4 of 3 groups are chosen");
    check(&groups(6, 1), &[], "6 experts of which 1 of 6 groups are chosen");
    check(&groups(3, 0), &[], "6 experts of which 0 of 3 groups are chosen");
}

fn request(prompt: &[u32], tokens_max: usize) -> Request {
    Request {
        prompt: prompt.to_vec(),
        tokens_max: Some(tokens_max),
        sampling: SamplingSettings::default(),
        format: ResponseFormat::Text,
        stops: Vec::new(),
        ignores_end: true,
    }
}

/// A token whose embedding overflows ends the sequences that have it, and no others of the same batch.
#[test]
fn numbers_that_overflow_end_their_own_request() {
    for weight in [ElementType::F32, ElementType::Q8_0] {
        let recipe = Recipe { floats: vec![("embedding_scale", 1e20), ("logit_scale", 1.0)], ..llama() };
        let recipe = Recipe { architecture: "granite", embedding: 1e-5, ..recipe }.with_weights(weight);
        let mut bytes = recipe.bytes();
        if weight == ElementType::F32 {
            put(&mut bytes, "token_embd.weight", 5 * 96 + 7, 1e30);
        } else {
            // Blocks of a scale and 32 bytes, three to a row: the scale of one becomes 60000, and squares overflow.
            let header = read_header(&*bytes, Some(bytes.len() as u64)).unwrap();
            let start = header.data_offset + header.tensor("token_embd.weight").unwrap().offset;
            let at = usize::try_from(start).unwrap() + 5 * 3 * 34;
            bytes[at..at + 2].copy_from_slice(&0x7b53_u16.to_le_bytes());
        }
        let mut engine = open(bytes, None).unwrap();
        let good = engine.scheduler.submit(request(&[1, 2], 4)).unwrap();
        let bad = engine.scheduler.submit(request(&[1, 5, 2], 4)).unwrap();
        let mut ends = Vec::new();
        engine.scheduler.run(|event| match event {
            Event::Failed { request, error } => ends.push((request, error.to_string())),
            Event::Finished { request, reason, .. } => ends.push((request, reason.name().to_owned())),
            Event::Token { .. } => {}
        });
        let expected = [
            (bad, "the model computed values that are not numbers; its weights or its input are broken".to_owned()),
            (good, "length".to_owned()),
        ];
        assert_eq!(ends, expected, "{weight}");
        assert_eq!(engine.scheduler.decoder().cache().pages_used(), 0);
    }
}
