//! Logits against the reference decoder's.

use std::path::Path;

use hwledger_core::ElementType;
use hwledger_engine::{CacheFormat, InstructionSet};

use crate::decoder::{Reference, Rounding, takes_bytes};
use crate::harness::{best_without_tiles, decoder_with, loaded, logits};
use crate::models::{Biases, Experts, Latent, Recipe, VOCABULARY};
use crate::noise::Noise;

/// More than two pages of the cache, and more than any window here.
const TOKENS: usize = 70;
/// Fewest that are compared where two experts are nearly tied.
const TOKENS_MIN: usize = 8;
/// Single-precision sums against double precision, and now and then a key that rounds the other way to half precision.
/// Every tolerance is a part of the standard deviation of the reference's logits.
const TOLERANCE_FLOAT: f64 = 1e-3;
/// The same over some fifty layers.
const TOLERANCE_DEEP: f64 = 5e-3;
/// The reference rounds activations to bytes as the engine does; now and then one falls on the other side.
const TOLERANCE_BYTES: f64 = 0.15;
/// The same with activations and weights in bfloat16.
const TOLERANCE_TILES: f64 = 6e-2;
/// Without such rounding in the reference: every product is off by some 0.4 % of a typical output, and layers add up.
const TOLERANCE_ROUNDING: f64 = 0.3;
/// The root mean square of all differences is below this part of the largest that there may be.
const TYPICAL: f64 = 0.15;
/// Keys and values in 8 bits.
const TOLERANCE_CACHE: f64 = 0.1;

struct Check<'a> {
    name: &'a str,
    recipe: &'a Recipe,
    context: usize,
    set: InstructionSet,
    format: CacheFormat,
    rounding: Rounding,
    tolerance: f64,
}

impl<'a> Check<'a> {
    fn new(name: &'a str, recipe: &'a Recipe, tolerance: f64) -> Self {
        let (set, format) = (best_without_tiles(), CacheFormat::F16);
        Self { name, recipe, context: 256, set, format, rounding: Rounding::Bytes, tolerance }
    }

    /// Compares all logits.
    fn run(&self) {
        let bytes = self.recipe.bytes();
        let tokens = Noise(11).tokens(TOKENS, VOCABULARY);
        let reference = Reference::new(&bytes, self.context).rounding(self.rounding);
        let expected = reference.logits(&tokens);
        let first_tie = reference.first_tie();
        if let Some(folder) = std::env::var_os("HWLEDGER_REFERENCE_DUMP") {
            dump(Path::new(&folder), self, &bytes, &tokens);
        }
        let model = loaded(bytes, self.context);
        let mut decoder = decoder_with(&model, self.format, self.set, 1);
        let sequence = decoder.cache_mut().create();
        let found = logits(&mut decoder, sequence, &tokens, TOKENS);
        // From a tie on, roundings may have chosen another expert than the reference did.
        let until = first_beyond(&found, &expected, self.tolerance);
        let comparable = if until >= first_tie { until } else { TOKENS };
        assert!(comparable >= TOKENS_MIN, "{}: another expert after {comparable} tokens", self.name);
        compare(self.name, &found[..comparable], &expected[..comparable], self.tolerance);
    }
}

/// Writes a model, its tokens, and the logits that the reference computes without rounding of the cache.
fn dump(folder: &Path, check: &Check<'_>, bytes: &[u8], tokens: &[u32]) {
    let base = folder.join(check.name.replace('/', "_"));
    std::fs::write(base.with_extension("gguf"), bytes).unwrap();
    let ids: Vec<String> = tokens.iter().map(u32::to_string).collect();
    std::fs::write(base.with_extension("txt"), format!("{} {}", check.context, ids.join(" "))).unwrap();
    let logits = Reference::new(bytes, check.context).with_exact_cache().logits(tokens);
    let raw: Vec<u8> = logits.iter().flatten().flat_map(|logit| logit.to_le_bytes()).collect();
    std::fs::write(base.with_extension("f64"), raw).unwrap();
}

fn deviation(expected: &[Vec<f64>]) -> f64 {
    let count = expected.iter().map(Vec::len).sum::<usize>() as f64;
    let mean = expected.iter().flatten().sum::<f64>() / count;
    (expected.iter().flatten().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count).sqrt()
}

/// The first position with a logit that is not within the tolerance.
fn first_beyond(found: &[Vec<f32>], expected: &[Vec<f64>], tolerance: f64) -> usize {
    let bound = tolerance * deviation(expected);
    let is_beyond = |(&found, &expected): (&f32, &f64)| (f64::from(found) - expected).abs() >= bound;
    let beyond = |(found, expected): (&Vec<f32>, &Vec<f64>)| found.iter().zip(expected).any(is_beyond);
    found.iter().zip(expected).position(beyond).unwrap_or(found.len())
}

/// Every logit is within the tolerance, and the likeliest token is the same where the reference is sure of it.
fn compare(name: &str, found: &[Vec<f32>], expected: &[Vec<f64>], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let count = expected.iter().map(Vec::len).sum::<usize>() as f64;
    let deviation = deviation(expected);
    assert!(deviation > 0.01, "{name}: the model says something");
    let (mut worst, mut squares, mut sure) = (0.0_f64, 0.0, 0);
    for (position, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{name}: a row of the vocabulary's length");
        for (token, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let error = (f64::from(found) - expected).abs() / deviation;
            assert!(error < tolerance, "{name}: token {token} after {position}: {found} for {expected}, {error:.5}");
            worst = worst.max(error);
            squares += error * error;
        }
        let mut order: Vec<usize> = (0..expected.len()).collect();
        order.sort_by(|&a, &b| expected[b].total_cmp(&expected[a]));
        if expected[order[0]] - expected[order[1]] > tolerance * deviation {
            sure += 1;
            let best = (0..found.len()).max_by(|&a, &b| found[a].total_cmp(&found[b])).unwrap();
            assert_eq!(best, order[0], "{name}: the likeliest token after {position}");
        }
    }
    assert!(sure > 0, "{name}: the reference is sure of some token");
    let typical = (squares / count).sqrt();
    assert!(typical < TYPICAL * tolerance, "{name}: differences of {typical:.5} are typical");
    println!("{name}: at most {worst:.6}, typically {typical:.6}");
}

/// Every architecture in its plainest form that has all of its conventions.
pub(crate) fn architectures() -> Vec<Recipe> {
    let llama = Recipe { heads: 6, kv_heads: 2, ..Recipe::new("llama") };
    let experts = |shared| Some(Experts { count: 5, used: 2, shared });
    vec![
        llama.clone(),
        Recipe {
            floats: vec![
                ("embedding_scale", 3.0),
                ("residual_scale", 0.4),
                ("logit_scale", 2.5),
                ("attention.scale", 0.09),
            ],
            architecture: "granite",
            embedding: 0.4,
            ..llama.clone()
        },
        Recipe {
            floats: vec![("embedding_scale", 3.0), ("residual_scale", 0.4), ("logit_scale", 2.5)],
            architecture: "granitemoe",
            embedding: 0.4,
            experts: experts(72),
            ..llama.clone()
        },
        Recipe { architecture: "smollm3", layers: 4, ..llama.clone() },
        Recipe { integers: vec![("rope.dimension_count", 16)], ..Recipe { architecture: "glm4", ..llama.clone() } },
        Recipe { biases: Biases::Heads, has_head: true, ..Recipe::new("qwen2") },
        Recipe { biases: Biases::Heads, has_head: true, experts: experts(72), ..Recipe::new("qwen2moe") },
        Recipe { architecture: "qwen3", ..llama.clone() },
        Recipe { architecture: "qwen3moe", has_head: true, experts: experts(0), ..llama.clone() },
        Recipe { has_head: true, ..Recipe::new("olmo2") },
        Recipe { has_head: true, kv_heads: 3, experts: experts(0), ..Recipe::new("olmoe") },
        Recipe { integers: vec![("rope.dimension_count", 24)], ..Recipe::new("phi3") },
        Recipe { embedding: 0.1, ..Recipe::new("gemma") },
        Recipe {
            embedding: 0.1,
            floats: vec![("attn_logit_softcapping", 1.5), ("final_logit_softcapping", 4.0)],
            integers: vec![("attention.sliding_window", 20)],
            ..Recipe::new("gemma2")
        },
        Recipe {
            architecture: "gemma3",
            embedding: 0.1,
            layers: 6,
            floats: vec![("rope.freq_base", 1_000_000.0), ("rope.scaling.factor", 8.0)],
            integers: vec![("attention.sliding_window", 20)],
            texts: vec![("rope.scaling.type", "linear")],
            ..llama.clone()
        },
        Recipe {
            architecture: "gpt-oss",
            biases: Biases::All,
            has_head: true,
            experts: experts(0),
            floats: vec![("rope.freq_base", 150_000.0), ("rope.scaling.factor", 32.0)],
            integers: vec![("attention.sliding_window", 20), ("rope.scaling.original_context_length", 256)],
            texts: vec![("rope.scaling.type", "yarn")],
            ..llama
        },
        deepseek(0),
    ]
}

/// DeepSeek-V2-Lite, or, with a latent of queries, what is larger.
pub(crate) fn deepseek(query_rank: usize) -> Recipe {
    Recipe {
        has_head: true,
        experts: Some(Experts { count: 6, used: 2, shared: 72 }),
        latent: Some(Latent { query_rank, ..Latent::AWKWARD }),
        floats: vec![("rope.scaling.factor", 4.0), ("rope.scaling.yarn_log_multiplier", 0.0707)],
        integers: vec![
            ("leading_dense_block_count", 1),
            ("expert_shared_count", 1),
            ("rope.scaling.original_context_length", 64),
        ],
        texts: vec![("rope.scaling.type", "yarn")],
        ..Recipe::new("deepseek2")
    }
}

#[test]
fn every_architecture_in_single_precision() {
    for recipe in architectures() {
        Check::new(recipe.architecture, &recipe, TOLERANCE_FLOAT).run();
    }
}

/// How far off products with weights of this type may be.
fn tolerance(weight: ElementType) -> f64 {
    if takes_bytes(weight) { TOLERANCE_BYTES } else { TOLERANCE_FLOAT }
}

/// Architectures with layers that their weights' type changes nothing in left out.
fn few_layers() -> impl Iterator<Item = Recipe> {
    architectures().into_iter().map(|mut recipe| {
        if recipe.architecture == "gemma3" {
            recipe.layers = 2;
            recipe.integers.push(("attention.sliding_window_pattern", 2));
        }
        recipe
    })
}

fn check_types(weights: &[ElementType], recipes: impl Iterator<Item = Recipe>) {
    for recipe in recipes {
        for &weight in weights {
            let recipe = recipe.clone().with_weights(weight);
            let name = format!("{}/{weight}", recipe.architecture);
            Check::new(&name, &recipe, tolerance(weight)).run();
        }
    }
}

#[test]
fn every_architecture_in_halves() {
    check_types(&[ElementType::F16, ElementType::BF16], few_layers());
}

#[test]
fn every_architecture_in_bytes_and_nibbles() {
    check_types(&[ElementType::Q8_0, ElementType::Q4_0], few_layers());
}

#[test]
fn every_architecture_in_q4_k() {
    check_types(&[ElementType::Q4K], few_layers());
}

#[test]
fn every_architecture_in_q5_k() {
    check_types(&[ElementType::Q5K], few_layers());
}

#[test]
fn every_architecture_in_q6_k() {
    check_types(&[ElementType::Q6K], few_layers());
}

/// Types of blocks that few architectures are tried with.
pub(crate) const BLOCKS: &[ElementType] = &[
    ElementType::Q1_0,
    ElementType::Q2_0,
    ElementType::Q4_1,
    ElementType::Q5_0,
    ElementType::Q5_1,
    ElementType::Q2K,
    ElementType::Q3K,
    ElementType::Iq1S,
    ElementType::Iq1M,
    ElementType::Iq2Xxs,
    ElementType::Iq2Xs,
    ElementType::Iq2S,
    ElementType::Iq3Xxs,
    ElementType::Iq3S,
    ElementType::Iq4Nl,
    ElementType::Iq4Xs,
    ElementType::Tq1_0,
    ElementType::Tq2_0,
    ElementType::Mxfp4,
    ElementType::Nvfp4,
];

#[test]
fn every_type_of_blocks() {
    let llama = || Recipe { heads: 6, kv_heads: 2, ..Recipe::new("llama") };
    check_types(BLOCKS, [llama()].into_iter());
    let experts = Some(Experts { count: 5, used: 2, shared: 0 });
    let with = |expert_weight, weight| {
        let recipe = Recipe { expert_weight: Some(expert_weight), has_head: true, experts, ..llama() };
        Recipe { architecture: "gpt-oss", biases: Biases::All, ..recipe }.with_weights(weight)
    };
    for (recipe, tolerance) in [
        (with(ElementType::Mxfp4, ElementType::Q8_0), TOLERANCE_BYTES),
        (with(ElementType::Mxfp4, ElementType::BF16), TOLERANCE_BYTES),
        (with(ElementType::Q5_0, ElementType::Q4K), TOLERANCE_BYTES),
    ] {
        let name = format!("gpt-oss/{}/{}", recipe.weight, recipe.expert_weight.unwrap());
        Check::new(&name, &recipe, tolerance).run();
    }
}

#[test]
fn the_plain_twin_and_tiles_and_a_small_cache() {
    let llama = Recipe { heads: 6, kv_heads: 2, ..Recipe::new("llama") };
    for weight in [ElementType::F32, ElementType::BF16, ElementType::Q8_0, ElementType::Q4K, ElementType::Iq4Nl] {
        let recipe = llama.clone().with_weights(weight);
        let [scalar, exact, tiles] = ["scalar", "exact", "tiles"].map(|kind| format!("llama/{weight}/{kind}"));
        Check { set: InstructionSet::Scalar, ..Check::new(&scalar, &recipe, tolerance(weight)) }.run();
        let exact = Check::new(&exact, &recipe, TOLERANCE_ROUNDING.max(tolerance(weight)));
        Check { rounding: Rounding::None, ..exact }.run();
        if InstructionSet::detect() == InstructionSet::Amx {
            let check = Check::new(&tiles, &recipe, TOLERANCE_TILES);
            Check { set: InstructionSet::Amx, rounding: Rounding::Tiles, ..check }.run();
        }
    }
    Check { format: CacheFormat::Q8, ..Check::new("llama/cache of 8 bits", &llama, TOLERANCE_CACHE) }.run();
}

/// What only some files of an architecture have.
fn variants() -> Vec<(&'static str, Recipe, usize)> {
    let llama = Recipe { heads: 6, kv_heads: 2, ..Recipe::new("llama") };
    let scaled = |kind: &[(&'static str, &'static str)], floats: &[(&'static str, f32)]| Recipe {
        texts: kind.to_vec(),
        floats: floats.to_vec(),
        ..llama.clone()
    };
    let yarn = [("rope.scaling.type", "yarn")];
    let factor = ("rope.scaling.factor", 4.0);
    let phi3 = Recipe {
        integers: vec![("rope.dimension_count", 24), ("rope.scaling.original_context_length", 256)],
        texts: vec![("rope.scaling.type", "longrope")],
        floats: vec![("rope.scaling.attn_factor", 1.19)],
        factors: vec![("rope_factors_long.weight", 16.0), ("rope_factors_short.weight", 2.0)],
        ..Recipe::new("phi3")
    };
    let gemma2 = Recipe { embedding: 0.1, integers: vec![("attention.sliding_window", 20)], ..Recipe::new("gemma2") };
    let gemma3 = Recipe { architecture: "gemma3", layers: 6, ..gemma2.clone() };
    let granite = Recipe { floats: vec![("logit_scale", 2.5)], architecture: "granite", ..llama.clone() };
    let narrow = |recipe: &Recipe, layers| Recipe { layers, hidden: 32, heads: 2, width: 24, ..recipe.clone() };
    vec![
        ("llama/biases", Recipe { biases: Biases::All, has_head: true, ..llama.clone() }, 256),
        ("llama/factors", Recipe { factors: vec![("rope_freqs.weight", 8.0)], ..llama.clone() }, 256),
        ("llama/linear", scaled(&[("rope.scaling.type", "linear")], &[factor]), 256),
        ("llama/linear_untold", scaled(&[], &[factor]), 256),
        ("llama/linear_old", scaled(&[], &[("rope.scale_linear", 4.0)]), 256),
        ("llama/unscaled", scaled(&[("rope.scaling.type", "none")], &[factor]), 256),
        ("llama/louder", scaled(&[], &[("rope.scaling.attn_factor", 1.3)]), 256),
        ("llama/yarn", scaled(&yarn, &[factor, ("rope.scaling.attn_factor", 1.3)]), 256),
        ("llama/yarn_factors", Recipe { factors: vec![("rope_freqs.weight", 8.0)], ..scaled(&yarn, &[factor]) }, 256),
        ("llama/experts", Recipe { experts: Some(Experts { count: 5, used: 3, shared: 0 }), ..llama.clone() }, 256),
        ("phi3/biases", Recipe { biases: Biases::Heads, ..Recipe::new("phi3") }, 256),
        ("phi3/biases_apart", Recipe { biases: Biases::HeadsApart, ..Recipe::new("phi3") }, 256),
        ("phi3/long", phi3.clone(), 512),
        ("phi3/short", phi3, 256),
        ("phi3/window", Recipe { integers: vec![("attention.sliding_window", 20)], ..Recipe::new("phi3") }, 256),
        ("gemma2/uncapped", gemma2.clone(), 256),
        ("gemma2/base", Recipe { floats: vec![("rope.freq_base_swa", 500.0)], ..gemma2.clone() }, 256),
        ("gemma2/deep", narrow(&gemma2, 46), 256),
        ("gemma3/same_base", gemma3.clone(), 256),
        ("gemma3/base", Recipe { floats: vec![("rope.freq_base_swa", 500.0), factor], ..gemma3.clone() }, 256),
        (
            "gemma3/pattern",
            {
                let integers = vec![("attention.sliding_window", 20), ("attention.sliding_window_pattern", 2)];
                Recipe { integers, layers: 2, ..gemma3.clone() }
            },
            256,
        ),
        ("gemma3/full", Recipe { integers: Vec::new(), ..gemma3.clone() }, 256),
        ("gemma3/deep", narrow(&gemma3, 62), 256),
        (
            "olmo2/window",
            Recipe {
                integers: vec![("attention.sliding_window", 20)],
                texts: yarn.to_vec(),
                floats: vec![factor, ("rope.scaling.attn_factor", 1.2)],
                has_head: true,
                layers: 4,
                ..Recipe::new("olmo2")
            },
            256,
        ),
        (
            "gpt-oss/base",
            Recipe {
                biases: Biases::All,
                has_head: true,
                experts: Some(Experts { count: 4, used: 2, shared: 0 }),
                floats: vec![factor, ("rope.freq_base_swa", 500.0)],
                texts: yarn.to_vec(),
                integers: vec![("attention.sliding_window", 20)],
                ..Recipe::new("gpt-oss")
            },
            256,
        ),
        ("granite/unturned", Recipe { flags: vec![("rope.scaling.finetuned", false)], ..granite.clone() }, 256),
        (
            "granite/zeros",
            Recipe {
                floats: vec![
                    ("logit_scale", 2.5),
                    ("embedding_scale", 0.0),
                    ("residual_scale", 0.0),
                    ("attention.scale", 0.0),
                ],
                ..granite
            },
            256,
        ),
        (
            "glm4/sections",
            Recipe {
                architecture: "glm4",
                integers: vec![("rope.dimension_count", 16)],
                lists: vec![("rope.dimension_sections", vec![4, 2, 2, 0])],
                ..llama
            },
            256,
        ),
    ]
}

/// Scales beside matrices, in single precision and in the type that has them. llama.cpp's graph of Qwen2-MoE leaves out
/// those of experts.
fn scaled_variants() -> Vec<(&'static str, Recipe, usize)> {
    let with = |recipe| Recipe { has_scales: true, ..recipe };
    let experts = |shared| Some(Experts { count: 6, used: 2, shared });
    let qwen3 = Recipe { has_head: true, experts: experts(0), ..Recipe::new("qwen3moe") };
    let qwen2 = Recipe { has_head: true, experts: experts(64), biases: Biases::Heads, ..Recipe::new("qwen2moe") };
    vec![
        ("llama/scales", with(Recipe { heads: 6, kv_heads: 2, ..Recipe::new("llama") }), 256),
        ("qwen3moe/scales", with(qwen3).with_weights(ElementType::Nvfp4), 256),
        ("qwen2moe/scales", with(qwen2).with_weights(ElementType::Nvfp4), 256),
    ]
}

/// What only some files of latent attention have.
fn latent_variants() -> Vec<(&'static str, Recipe)> {
    let with = |query_rank, integers: &[(&'static str, u32)], floats: &[(&'static str, f32)]| {
        let mut recipe = deepseek(query_rank);
        recipe.integers.extend_from_slice(integers);
        recipe.floats.extend_from_slice(floats);
        recipe
    };
    let whole = |recipe: Recipe| {
        let latent = recipe.latent.map(|latent| Latent { is_whole: true, ..latent });
        Recipe { latent, ..recipe }
    };
    let groups = [("expert_group_count", 3), ("expert_group_used_count", 2)];
    let sigmoid = [("expert_gating_func", 2), groups[0], groups[1]];
    let flag = |recipe: Recipe| Recipe { flags: vec![("expert_weights_norm", true)], ..recipe };
    let unscaled = |recipe| Recipe { floats: Vec::new(), texts: Vec::new(), ..recipe };
    // As many layers as llama.cpp knows a model without a latent of queries by.
    let experts = Some(Experts { count: 6, used: 2, shared: 24 });
    let deep = Recipe { layers: 26, hidden: 32, heads: 2, width: 24, embedding: 3.0, experts, ..deepseek(0) };
    vec![
        ("deepseek2/query latent", deepseek(56)),
        ("deepseek2/whole up-projection", whole(deepseek(56))),
        ("deepseek2/deep", deep.clone()),
        ("deepseek2/deep, whole up-projection", whole(deep)),
        ("deepseek2/unscaled", unscaled(deepseek(56))),
        ("deepseek2/factor", with(56, &[], &[("rope.scaling.attn_factor", 1.2)])),
        ("deepseek2/many heads", Recipe { heads: 19, ..deepseek(56) }),
        ("deepseek2/groups", with(0, &groups, &[("expert_weights_scale", 2.0)])),
        ("deepseek2/sigmoid", flag(with(56, &sigmoid, &[("expert_weights_scale", 2.5)]))),
        ("deepseek2/sigmoid of all", with(56, &sigmoid[..1], &[])),
    ]
}

#[test]
fn every_setting_of_latent_attention() {
    for (name, recipe) in latent_variants() {
        let tolerance = if recipe.layers > 20 { TOLERANCE_DEEP } else { TOLERANCE_FLOAT };
        Check::new(name, &recipe, tolerance).run();
    }
}

#[test]
fn latent_attention_with_every_type_of_weights() {
    let types = [
        ElementType::F16,
        ElementType::BF16,
        ElementType::Q8_0,
        ElementType::Q4_0,
        ElementType::Q4_1,
        ElementType::Q5_0,
        ElementType::Q5_1,
        ElementType::Q2K,
        ElementType::Q3K,
        ElementType::Q4K,
        ElementType::Q5K,
        ElementType::Q6K,
        ElementType::Iq2Xs,
        ElementType::Iq4Nl,
        ElementType::Iq4Xs,
        ElementType::Mxfp4,
        ElementType::Nvfp4,
    ];
    for is_whole in [false, true] {
        // Without experts, of which a token may take others where two are nearly as good.
        let mut recipe = Recipe { experts: None, ..deepseek(56) };
        recipe.latent = recipe.latent.map(|latent| Latent { is_whole, ..latent });
        for weight in types {
            let recipe = recipe.clone().with_weights(weight);
            let name = format!("deepseek2/{weight}{}", if is_whole { "/whole" } else { "" });
            // Keys' up-projection is of bytes beside long blocks.
            let is_mixed = weight.block().0 > 32 && !is_whole;
            let tolerance = if is_mixed { TOLERANCE_BYTES } else { tolerance(weight) };
            Check::new(&name, &recipe, tolerance).run();
        }
    }
}

#[test]
fn latent_attention_without_vectors_with_tiles_and_a_small_cache() {
    for weight in [ElementType::F32, ElementType::BF16, ElementType::Q8_0, ElementType::Q4K] {
        let recipe = deepseek(56).with_weights(weight);
        let [scalar, exact, tiles] = ["scalar", "exact", "tiles"].map(|kind| format!("deepseek2/{weight}/{kind}"));
        Check { set: InstructionSet::Scalar, ..Check::new(&scalar, &recipe, tolerance(weight)) }.run();
        let exact = Check::new(&exact, &recipe, TOLERANCE_ROUNDING.max(tolerance(weight)));
        Check { rounding: Rounding::None, ..exact }.run();
        if InstructionSet::detect() == InstructionSet::Amx {
            let check = Check::new(&tiles, &recipe, TOLERANCE_TILES);
            Check { set: InstructionSet::Amx, rounding: Rounding::Tiles, ..check }.run();
        }
    }
    let (name, recipe) = ("deepseek2/cache of 8 bits", deepseek(56));
    Check { format: CacheFormat::Q8, ..Check::new(name, &recipe, TOLERANCE_CACHE) }.run();
}

#[test]
fn every_setting_that_a_file_may_have() {
    let mut wrong = Vec::new();
    for (name, recipe, context) in variants().into_iter().chain(scaled_variants()) {
        let tolerance = if recipe.layers > 40 { TOLERANCE_DEEP } else { TOLERANCE_FLOAT };
        let check = Check { context, ..Check::new(name, &recipe, tolerance) };
        if std::panic::catch_unwind(|| check.run()).is_err() {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
