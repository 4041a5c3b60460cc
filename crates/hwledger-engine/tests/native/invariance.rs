//! The same logits however a sequence is computed: alone or beside others, at once or in parts, forked, by any number
//! of threads, with or without vector instructions.

use std::sync::Arc;

use hwledger_core::ElementType;
use hwledger_engine::InstructionSet;
use hwledger_engine::cache::SequenceId;
use hwledger_engine::graph::{Decoder, Outputs, Slice};
use hwledger_engine::model::Model;

use crate::harness::{best_without_tiles, bits, decoder, loaded, logits};
use crate::logits::deepseek;
use crate::models::{Biases, Experts, Recipe, VOCABULARY};
use crate::noise::Noise;

/// More than two pages, and more than the window.
const TOKENS: usize = 70;
/// Fewer tokens than a step of tiles takes.
const TOKENS_FEW: usize = 31;
/// Steps of 32 tokens and more multiply tiles of bfloat16 where the processor has them: operands lose 16 of their 24
/// bits, some 0.4 % of a typical output per product. The root mean square, as a part of the logits' standard deviation.
const TOLERANCE_TILES: f64 = 0.05;

/// Bytes and single precision, windows, sinks, experts.
fn models() -> Vec<(&'static str, Arc<Model>)> {
    let llama = Recipe { heads: 6, kv_heads: 2, ..Recipe::new("llama") };
    let gpt_oss = Recipe {
        architecture: "gpt-oss",
        biases: Biases::All,
        has_head: true,
        expert_weight: Some(ElementType::Mxfp4),
        experts: Some(Experts { count: 5, used: 2, shared: 0 }),
        integers: vec![("attention.sliding_window", 20)],
        ..llama.clone()
    };
    let load = |recipe: Recipe| loaded(recipe.bytes(), 256);
    vec![
        ("llama in q8_0", load(llama.clone().with_weights(ElementType::Q8_0))),
        ("llama in q4_k", load(Recipe { layers: 1, ..llama.with_weights(ElementType::Q4K) })),
        ("gpt-oss in bf16 and mxfp4", load(gpt_oss.with_weights(ElementType::BF16))),
        ("latent attention in q8_0", load(Recipe { heads: 19, ..deepseek(56) }.with_weights(ElementType::Q8_0))),
    ]
}

fn alone(model: &Arc<Model>, set: InstructionSet, threads: usize, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
    let mut decoder = decoder(model, set, threads);
    let sequence = decoder.cache_mut().create();
    logits(&mut decoder, sequence, tokens, chunk)
}

/// Tokens of the largest logits.
fn greedy(decoder: &mut Decoder, sequence: SequenceId, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut next = prompt.to_vec();
    let mut reply = Vec::new();
    for _ in 0..count {
        let logits = decoder.step(&[Slice { sequence, tokens: &next, outputs: Outputs::Last }]).unwrap();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        next = vec![u32::try_from(best).unwrap()];
        reply.extend(&next);
    }
    reply
}

#[test]
fn parts_threads_and_instructions_change_no_bit() {
    let tokens = Noise(3).tokens(TOKENS, VOCABULARY);
    for (name, model) in models() {
        let set = best_without_tiles();
        let whole = bits(&alone(&model, set, 1, &tokens, TOKENS));
        for chunk in [1, 7, 32] {
            assert_eq!(bits(&alone(&model, set, 1, &tokens, chunk)), whole, "{name}: in parts of {chunk}");
        }
        assert_eq!(bits(&alone(&model, set, 3, &tokens, TOKENS)), whole, "{name}: by three threads");
        let few = &tokens[..TOKENS_FEW];
        let expected = &whole[..TOKENS_FEW * VOCABULARY];
        let plain = bits(&alone(&model, InstructionSet::Scalar, 1, few, TOKENS_FEW));
        assert!(plain == expected, "{name}: without vector instructions");
        let best = bits(&alone(&model, InstructionSet::detect(), 3, few, 7));
        assert!(best == expected, "{name}: with tiles at hand, in steps too small for them");
    }
}

#[test]
fn neighbours_change_no_bit() {
    for (name, model) in models() {
        let texts = [23, 5, 41].map(|count| Noise(count).tokens(usize::try_from(count).unwrap(), VOCABULARY));
        let mut decoder = decoder(&model, best_without_tiles(), 2);
        let sequences = [(); 3].map(|()| decoder.cache_mut().create());
        let mut found: [Vec<Vec<f32>>; 3] = Default::default();
        // Each sequence gets parts of another size, so that batches are mixed in all ways.
        let mut chunks = [texts[0].chunks(4), texts[1].chunks(1), texts[2].chunks(9)];
        loop {
            let parts: Vec<(usize, &[u32])> =
                chunks.iter_mut().enumerate().filter_map(|(index, chunks)| Some((index, chunks.next()?))).collect();
            if parts.is_empty() {
                break;
            }
            let slice = |&(index, tokens)| Slice { sequence: sequences[index], tokens, outputs: Outputs::All };
            let slices: Vec<Slice<'_>> = parts.iter().map(slice).collect();
            let mut rows = decoder.step(&slices).unwrap().chunks_exact(VOCABULARY);
            for (index, tokens) in parts {
                found[index].extend(rows.by_ref().take(tokens.len()).map(<[f32]>::to_vec));
            }
        }
        for (text, found) in texts.iter().zip(&found) {
            let expected = alone(&model, best_without_tiles(), 1, text, text.len());
            assert!(bits(found) == bits(&expected), "{name}: {} tokens beside others", text.len());
        }
    }
}

#[test]
fn forks_go_on_as_if_they_were_alone() {
    for (name, model) in models() {
        let start = Noise(5).tokens(40, VOCABULARY);
        let ends = [6, 7, 8].map(|seed| Noise(seed).tokens(30, VOCABULARY));
        let mut decoder = decoder(&model, best_without_tiles(), 1);
        let first = decoder.cache_mut().create();
        logits(&mut decoder, first, &start, 40);
        let sequences = [first, decoder.cache_mut().fork(first), decoder.cache_mut().fork(first)];
        let mut found: [Vec<Vec<f32>>; 3] = Default::default();
        // Taking turns: each writes to a page that the others had, and must have copied it.
        for at in (0..30).step_by(5) {
            for ((sequence, end), found) in sequences.iter().zip(&ends).zip(&mut found) {
                found.extend(logits(&mut decoder, *sequence, &end[at..at + 5], 5));
            }
        }
        for (end, found) in ends.iter().zip(&found) {
            let whole = [start.as_slice(), end].concat();
            let expected = alone(&model, best_without_tiles(), 1, &whole, 70);
            assert!(bits(found) == bits(&expected[40..]), "{name}");
        }
        for sequence in sequences {
            decoder.cache_mut().remove(sequence);
        }
        assert_eq!((decoder.cache().pages_used(), decoder.cache().sequences()), (0, 0));
    }
}

#[test]
fn what_was_taken_back_leaves_no_trace() {
    let (_, model) = models().remove(0);
    let tokens = Noise(9).tokens(50, VOCABULARY);
    let mut decoder = decoder(&model, best_without_tiles(), 1);
    let sequence = decoder.cache_mut().create();
    let first = greedy(&mut decoder, sequence, &tokens, 20);
    decoder.cache_mut().truncate(sequence, 33);
    assert_eq!(greedy(&mut decoder, sequence, &tokens[33..], 20), first);
    // A step that fails changes nothing.
    let before = decoder.cache().tokens(sequence);
    let slices = [
        Slice { sequence, tokens: &tokens, outputs: Outputs::All },
        Slice { sequence, tokens: &[4096], outputs: Outputs::All },
    ];
    decoder.step(&slices).unwrap_err();
    assert_eq!(decoder.cache().tokens(sequence), before);
}

#[test]
fn tiles_are_near() {
    if InstructionSet::detect() != InstructionSet::Amx {
        println!("skipped: this processor has no tiles of bfloat16");
        return;
    }
    let tokens = Noise(3).tokens(TOKENS, VOCABULARY);
    for (name, model) in models() {
        let exact = alone(&model, InstructionSet::Avx512, 1, &tokens, TOKENS);
        let tiles = alone(&model, InstructionSet::Amx, 1, &tokens, TOKENS);
        assert!(bits(&exact) != bits(&tiles), "{name}: tiles are used");
        assert_eq!(bits(&alone(&model, InstructionSet::Amx, 3, &tokens, TOKENS)), bits(&tiles), "{name}: by threads");
        let count = (TOKENS * VOCABULARY) as f64;
        let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
            let pairs = exact.iter().flatten().zip(tiles.iter().flatten());
            pairs.map(|(&exact, &tiles)| term(f64::from(exact), f64::from(tiles))).sum::<f64>() / count
        };
        let mean = sum(&|exact, _| exact);
        let deviation = sum(&|exact, _| (exact - mean) * (exact - mean)).sqrt();
        let error = sum(&|exact, tiles| (exact - tiles) * (exact - tiles)).sqrt() / deviation;
        println!("{name}: {error:.5}");
        assert!(error < TOLERANCE_TILES, "{name}: {error}");
    }
}
