//! What must hold for every server and MLX, whatever the model and the settings.

use super::{MemoryPlan, plan_memory};
use crate::device::find;
use crate::model::{ModelSpec, fixture};
use crate::settings::{Device, Engine};
use crate::{Assumptions, Settings};

const ENGINES: &[Engine] = &[
    Engine::Vllm,
    Engine::Sglang,
    Engine::TensorRtLlm,
    Engine::Tgi,
    Engine::MistralRs,
    Engine::Mlx,
    Engine::Transformers,
];

fn models() -> Vec<ModelSpec> {
    vec![
        fixture::llama_8b(),
        fixture::qwen2_7b(),
        fixture::deepseek_v3(),
        fixture::qwen35_27b(),
        fixture::gpt_oss_120b(),
    ]
}

fn card(name: &str) -> Device {
    find(name, None).expect("a known name").device
}

fn plan(engine: Engine, model: &ModelSpec, settings: &Settings) -> MemoryPlan {
    plan_memory(engine, model, settings, &mut Assumptions::default())
        .unwrap_or_else(|error| panic!("{} on {}: {error}", model.architecture, engine.name()))
}

#[test]
fn values_lie_in_their_intervals() {
    for model in models() {
        for &engine in ENGINES {
            for (name, count) in [("RTX 4090", 1_usize), ("H100", 4), ("Apple M2 Ultra", 1)] {
                for weights in [None, Some("FP8"), Some("AWQ-4bit"), Some("F32"), Some("Q4_K_M")] {
                    let settings = Settings {
                        weights: weights.map(str::to_owned),
                        context: Some(8192),
                        devices: vec![card(name); count],
                        ..Settings::default()
                    };
                    let plan = plan(engine, &model, &settings);
                    assert_eq!(plan.devices.len(), if engine == Engine::Mlx { 1 } else { count });
                    for part in plan.devices.iter().flat_map(|device| device.components.parts()) {
                        let part = part.expect("every part is known");
                        assert!(part.low <= part.value && part.value <= part.high, "{} {part:?}", engine.name());
                    }
                    if let Some(tokens) = plan.kv_cache_tokens {
                        assert!(tokens.low <= tokens.value && tokens.value <= tokens.high);
                    }
                }
            }
        }
    }
}

#[test]
fn a_longer_context_never_needs_less_cache() {
    for model in models() {
        for &engine in ENGINES {
            let cache = |context| {
                let settings = Settings { context: Some(context), ..Settings::default() };
                let summed = plan(engine, &model, &settings).summed();
                let known = summed.kv_cache.zip(summed.recurrent_state).expect("both are known");
                known.0.value + known.1.value
            };
            let sizes = [512, 4096, 5000, 32_768, 131_072].map(cache);
            assert!(sizes.is_sorted(), "{} on {}: {sizes:?}", model.architecture, engine.name());
        }
    }
}

#[test]
fn more_ranks_never_hold_more_each() {
    for model in models() {
        for engine in [Engine::Vllm, Engine::Sglang, Engine::TensorRtLlm] {
            let weights = |count: usize| {
                let settings = Settings {
                    context: Some(8192),
                    tensor_parallel: u64::try_from(count).ok(),
                    devices: vec![card("H200"); count],
                    ..Settings::default()
                };
                let plan = plan(engine, &model, &settings);
                plan.devices[0].components.weights.expect("weights are known").value
            };
            let sizes = [8, 4, 2, 1].map(weights);
            assert!(sizes.is_sorted(), "{} on {}: {sizes:?}", model.architecture, engine.name());
        }
    }
}

#[test]
fn too_few_devices_are_refused() {
    let settings = Settings { tensor_parallel: Some(4), devices: vec![card("H100"); 2], ..Settings::default() };
    for engine in [Engine::Vllm, Engine::Sglang, Engine::Tgi] {
        assert!(plan_memory(engine, &fixture::llama_8b(), &settings, &mut Assumptions::default()).is_err());
    }
}
