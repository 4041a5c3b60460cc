//! What the planner says that the engine takes, against what it takes; and what its steps read and compute.

use hwledger_core::settings::Engine;
use hwledger_core::{Assumptions, ElementType, Settings, engine::plan_memory};
use hwledger_engine::graph::{Outputs, Slice};
use hwledger_engine::{CacheFormat, InstructionSet, MemoryReport};

use crate::harness::{decoder_with, loaded};
use crate::logits::{BLOCKS, architectures, deepseek};
use crate::models::{Latent, Recipe};
use crate::noise::Noise;

/// The most that all of it may be off.
const TOLERANCE: f64 = 0.01;
/// Tiny models' buffers are smaller than the vectors beside them that no plan counts.
const TOLERANCE_BYTES: f64 = 4096.0;

/// Fewer tokens than a step of tiles takes.
const TOKENS_FEW: usize = 31;

/// Fills the context of several sequences, and compares each part.
fn check(recipe: &Recipe, format: CacheFormat, sequences: usize, context: usize) {
    let model = loaded(recipe.bytes(), context);
    let name = format!("{} {} {format:?} {sequences} x {context}", recipe.architecture, recipe.weight);
    let mut decoder = decoder_with(&model, format, InstructionSet::detect(), 1);
    let tokens = Noise(3).tokens(context, recipe.vocabulary);
    let ids: Vec<_> = (0..sequences).map(|_| decoder.cache_mut().create()).collect();
    // Prompts that fill their contexts, the last tokens again, which are too few for tiles, then the last token of each
    // sequence again, in a batch.
    for &sequence in &ids {
        decoder.step(&[Slice { sequence, tokens: &tokens, outputs: Outputs::Last }]).unwrap();
        decoder.cache_mut().truncate(sequence, context - TOKENS_FEW);
        let last = &tokens[context - TOKENS_FEW..];
        decoder.step(&[Slice { sequence, tokens: last, outputs: Outputs::Last }]).unwrap();
        decoder.cache_mut().truncate(sequence, context - 1);
    }
    let last: Vec<Slice<'_>> = ids
        .iter()
        .map(|&sequence| Slice { sequence, tokens: &tokens[context - 1..], outputs: Outputs::Last })
        .collect();
    decoder.step(&last).unwrap();
    let found = MemoryReport::of(&decoder);

    let settings = Settings {
        context: u64::try_from(context).ok(),
        sequences: u64::try_from(sequences).ok(),
        amx: Some(InstructionSet::detect() == InstructionSet::Amx),
        kv_type_k: (format == CacheFormat::Q8).then_some(ElementType::Q8_0),
        ..Settings::default()
    };
    let plan = plan_memory(Engine::Hwledger, &model.spec, &settings, &mut Assumptions::default()).unwrap();
    let part = |part: Option<hwledger_core::Estimate<hwledger_core::Bytes>>| part.unwrap().value.0 as f64;
    let planned = plan.summed();
    let (weights, cache) = (part(planned.weights), part(planned.kv_cache));
    assert!((weights - found.weights as f64).abs() < 1.0, "{name}: weights {weights}, {found:?}");
    assert!((cache - found.cache as f64).abs() < 1.0, "{name}: cache {cache}, {found:?}");
    let total = weights + cache + part(planned.compute) + part(planned.output);
    let error = (total - found.total() as f64).abs();
    println!("{name}: {total} planned, {} taken", found.total());
    // Experts' batches depend on which are chosen.
    if recipe.experts.is_none() {
        assert!(error < TOLERANCE * total + TOLERANCE_BYTES, "{name}: {total} planned, {found:?}");
    }
}

#[test]
fn weights_and_cache_are_planned_to_the_byte() {
    let types =
        [ElementType::F32, ElementType::F16, ElementType::Q8_0, ElementType::Q4_0, ElementType::Q4K, ElementType::Q6K];
    for recipe in architectures() {
        for weight in types {
            check(&recipe.clone().with_weights(weight), CacheFormat::F16, 1, 40);
        }
    }
    for &weight in BLOCKS {
        check(&Recipe::new("llama").with_weights(weight), CacheFormat::F16, 1, 40);
    }
}

#[test]
fn latent_attention_is_planned() {
    for query_rank in [0, 56] {
        for is_whole in [false, true] {
            let mut recipe = Recipe { experts: None, ..deepseek(query_rank) };
            recipe.latent = recipe.latent.map(|latent| Latent { is_whole, ..latent });
            for weight in [ElementType::F32, ElementType::BF16, ElementType::Q8_0, ElementType::Q4K] {
                let recipe = recipe.clone().with_weights(weight);
                check(&recipe, CacheFormat::F16, 1, 40);
                check(&Recipe { heads: 20, ..recipe.clone() }, CacheFormat::Q8, 3, 97);
            }
        }
    }
}

#[test]
fn caches_of_several_sequences_are_planned() {
    for format in [CacheFormat::F16, CacheFormat::Q8] {
        for (sequences, context) in [(1, 33), (3, 64), (5, 97)] {
            check(&Recipe::new("llama").with_weights(ElementType::Q8_0), format, sequences, context);
        }
    }
}

#[test]
fn operations_are_those_of_the_layers_and_of_the_wanted_logits() {
    let recipe = Recipe::new("llama");
    let model = loaded(recipe.bytes(), 8);
    let Recipe { layers, hidden, heads, kv_heads, key, width, vocabulary, .. } = recipe;
    let layer = hidden * (heads + 2 * kv_heads) * key + heads * key * hidden + 3 * hidden * width;
    for (tokens, outputs) in [(1, 1), (512, 1), (7, 0)] {
        let expected = 2 * (layers * layer * tokens + vocabulary * hidden * outputs);
        assert_eq!(model.step_operations(tokens, outputs), expected, "{tokens} tokens, {outputs} outputs");
    }
}
