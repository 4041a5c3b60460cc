//! What the planner says that an encoder takes, against what it takes.

use hwledger_core::settings::Engine;
use hwledger_core::{Assumptions, ElementType, Settings, engine::plan_memory};
use hwledger_engine::{InstructionSet, MemoryReport};

use crate::noise::Noise;

use super::models::{EncoderRecipe, VOCABULARY};
use super::states::{encoder, try_load};

/// The most that all of it may be off.
const TOLERANCE: f64 = 0.01;
/// Tiny models' buffers are smaller than what no plan counts beside them.
const TOLERANCE_BYTES: f64 = 4096.0;

/// Fills the context of one text, then steps of several.
fn check(recipe: &EncoderRecipe, texts: usize) {
    let model = try_load(recipe.bytes()).unwrap();
    let name = format!("{} {} {texts} x {}", recipe.architecture, recipe.weight, recipe.context);
    let mut encoder = encoder(&model, InstructionSet::detect(), 1);
    let tokens = Noise(3).tokens(recipe.context, VOCABULARY);
    let slices = vec![tokens.as_slice(); texts.min(512 / recipe.context).max(1)];
    encoder.states(&slices).unwrap();
    let found = MemoryReport::of_encoder(&encoder);
    assert_eq!(found.cache, 0);

    let settings = Settings {
        context: u64::try_from(recipe.context).ok(),
        sequences: u64::try_from(texts).ok(),
        amx: Some(InstructionSet::detect() == InstructionSet::Amx),
        ..Settings::default()
    };
    let plan = plan_memory(Engine::Hwledger, &model.spec, &settings, &mut Assumptions::default()).unwrap();
    let part = |part: Option<hwledger_core::Estimate<hwledger_core::Bytes>>| part.unwrap().value.0 as f64;
    let planned = plan.summed();
    let weights = part(planned.weights);
    assert!((weights - found.weights as f64).abs() < 1.0, "{name}: weights {weights}, {found:?}");
    assert!(part(planned.kv_cache) + part(planned.output) < 1.0, "{name}: nothing is kept");
    let total = weights + part(planned.compute);
    println!("{name}: {total} planned, {} taken", found.total());
    let error = (total - found.total() as f64).abs();
    assert!(error < TOLERANCE * total + TOLERANCE_BYTES, "{name}: {total} planned, {found:?}");
}

#[test]
fn weights_and_buffers_are_planned() {
    let types = [ElementType::F32, ElementType::F16, ElementType::BF16, ElementType::Q8_0, ElementType::Q4K];
    for recipe in [EncoderRecipe::bert(), EncoderRecipe::nomic()] {
        for weight in types {
            for (context, texts) in [(80, 1), (128, 4), (300, 1), (700, 1)] {
                check(&EncoderRecipe { context, ..recipe.clone() }.with_weights(weight), texts);
            }
        }
    }
}
