//! States against the reference's, and the same states whatever is computed beside them.

use std::sync::Arc;

use hwledger_core::ElementType;
use hwledger_engine::graph::{Encoder, Machine};
use hwledger_engine::model::{EncoderModel, LoadOptions, Tensors, load_encoder};
use hwledger_engine::{InstructionSet, LoadError, Pool};

use crate::decoder::{Reference, Rounding};
use crate::harness::{best_without_tiles, file};
use crate::noise::Noise;

use super::models::{EncoderRecipe, VOCABULARY};
use super::reference;

/// Single-precision sums against double precision, as a part of the states' standard deviation; and GELU's error
/// function.
const TOLERANCE_FLOAT: f64 = 1e-4;
/// The reference rounds activations to bytes as the engine does; now and then one falls on the other side.
const TOLERANCE_BYTES: f64 = 0.1;
/// The same with activations and weights in bfloat16.
const TOLERANCE_TILES: f64 = 0.1;
/// The root mean square of all differences is below this part of the largest that there may be.
const TYPICAL: f64 = 0.15;

pub(crate) fn try_load(bytes: Vec<u8>) -> Result<Arc<EncoderModel>, LoadError> {
    let tensors = Tensors::new(vec![file(bytes)])?;
    let options = LoadOptions { context: 80, packed_directory: None };
    load_encoder(&tensors, &options, &Pool::new(1).unwrap()).map(Arc::new)
}

pub(crate) fn encoder(model: &Arc<EncoderModel>, set: InstructionSet, threads: usize) -> Encoder {
    Encoder::new(Arc::clone(model), Machine { pool: Pool::new(threads).unwrap(), set }).unwrap()
}

/// Texts of one token, of less than a step of tiles, of two pages and more.
fn texts() -> Vec<Vec<u32>> {
    [1, 9, 33, 70].map(|count| Noise(count).tokens(usize::try_from(count).unwrap(), VOCABULARY)).into()
}

/// Compares the states of texts.
pub(crate) fn compare(name: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let count = expected.len() as f64;
    let mean = expected.iter().sum::<f64>() / count;
    let deviation = (expected.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    assert!(deviation > 0.1, "{name}: the model says something");
    let errors = found.iter().zip(expected).map(|(&found, expected)| (f64::from(found) - expected).abs() / deviation);
    let (worst, squares) = errors.fold((0.0_f64, 0.0), |(worst, sum), error| (worst.max(error), sum + error * error));
    let typical = (squares / count).sqrt();
    println!("{name}: at most {worst:.7}, typically {typical:.7}");
    assert!(worst < tolerance && typical < TYPICAL * tolerance, "{name}: at most {worst}, typically {typical}");
}

fn check(name: &str, recipe: &EncoderRecipe, set: InstructionSet, rounding: Rounding, tolerance: f64) {
    let bytes = recipe.bytes();
    let reference = Reference::new(&bytes, 80).rounding(rounding);
    let texts = texts();
    let expected: Vec<f64> = texts.iter().flat_map(|text| reference::states(&reference, text)).flatten().collect();
    let model = try_load(bytes.clone()).unwrap();
    let slices: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let mut encoder = encoder(&model, set, 1);
    compare(name, encoder.states(&slices).unwrap(), &expected, tolerance);
}

#[test]
fn states_are_those_of_double_precision() {
    let types = [
        (ElementType::F32, TOLERANCE_FLOAT),
        (ElementType::F16, TOLERANCE_FLOAT),
        (ElementType::BF16, TOLERANCE_FLOAT),
        (ElementType::Q5_0, TOLERANCE_FLOAT),
        (ElementType::Q8_0, TOLERANCE_BYTES),
        (ElementType::Q4_0, TOLERANCE_BYTES),
        (ElementType::Q4K, TOLERANCE_BYTES),
        (ElementType::Q5K, TOLERANCE_BYTES),
        (ElementType::Q6K, TOLERANCE_BYTES),
    ];
    for recipe in [EncoderRecipe::bert(), EncoderRecipe::nomic()] {
        for (weight, tolerance) in types {
            let recipe = recipe.clone().with_weights(weight);
            let name = format!("{} in {weight}", recipe.architecture);
            check(&name, &recipe, best_without_tiles(), Rounding::Bytes, tolerance);
        }
    }
}

#[test]
fn one_matrix_of_heads_or_three() {
    let fused = EncoderRecipe { is_fused: true, ..EncoderRecipe::bert() };
    check("bert with one matrix", &fused, best_without_tiles(), Rounding::Bytes, TOLERANCE_FLOAT);
    let apart = EncoderRecipe { is_fused: false, ..EncoderRecipe::nomic() };
    check("nomic-bert with three", &apart, best_without_tiles(), Rounding::Bytes, TOLERANCE_FLOAT);
}

#[test]
fn tiles_are_near() {
    if InstructionSet::detect() != InstructionSet::Amx {
        println!("skipped: this processor has no tiles of bfloat16");
        return;
    }
    for recipe in [EncoderRecipe::bert(), EncoderRecipe::nomic()] {
        for weight in [ElementType::BF16, ElementType::Q8_0, ElementType::Q4K] {
            let recipe = recipe.clone().with_weights(weight);
            let name = format!("{} in {weight} by tiles", recipe.architecture);
            check(&name, &recipe, InstructionSet::Amx, Rounding::Tiles, TOLERANCE_TILES);
        }
    }
}

fn bits(states: &[f32]) -> Vec<u32> {
    states.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn neighbours_threads_and_instructions_change_no_bit() {
    let texts = texts();
    let slices: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    for recipe in [EncoderRecipe::bert(), EncoderRecipe::nomic()] {
        for weight in [ElementType::F32, ElementType::BF16, ElementType::Q8_0, ElementType::Q4K] {
            let model = try_load(recipe.clone().with_weights(weight).bytes()).unwrap();
            let name = format!("{} in {weight}", recipe.architecture);
            let width = model.embedding.shape.columns;
            for set in [InstructionSet::detect(), best_without_tiles()] {
                let together = bits(encoder(&model, set, 1).states(&slices).unwrap());
                let by_three = bits(encoder(&model, set, 3).states(&slices).unwrap());
                assert!(by_three == together, "{name}: by three threads");
                // One encoder for all, so that buffers hold what others left.
                let mut alone = encoder(&model, set, 1);
                let mut start = 0;
                for text in &slices {
                    let end = start + text.len() * width;
                    let states = bits(alone.states(&[text]).unwrap());
                    assert!(states == together[start..end], "{name}: {} tokens alone, {set:?}", text.len());
                    start = end;
                }
            }
            let few = [slices[1], slices[0]];
            let vector = bits(encoder(&model, best_without_tiles(), 1).states(&few).unwrap());
            let plain = bits(encoder(&model, InstructionSet::Scalar, 1).states(&few).unwrap());
            assert!(vector == plain, "{name}: without vector instructions");
        }
    }
}

#[test]
fn the_order_of_tokens_and_each_of_them_matters() {
    for recipe in [EncoderRecipe::bert(), EncoderRecipe::nomic()] {
        let model = try_load(recipe.bytes()).unwrap();
        let mut encoder = encoder(&model, best_without_tiles(), 1);
        let width = model.embedding.shape.columns;
        let first = |states: &[f32]| states[..width].to_vec();
        let base = first(encoder.states(&[&[5, 6, 7, 8]]).unwrap());
        // The first token's state sees all that comes after it.
        for other in [[5, 6, 8, 7], [5, 6, 7, 9]] {
            let changed = first(encoder.states(&[&other]).unwrap());
            let most = base.iter().zip(&changed).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
            assert!(most > 1e-2, "{}: {most}", recipe.architecture);
        }
    }
}
