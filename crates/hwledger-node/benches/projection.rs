//! Time of one speed projection from a parsed model: `cargo bench -p hwledger-node --bench projection`.
//!
//! Budget: 10 µs (median, one core) for every engine and model below: what a request takes, taken
//! apart and priced at the embedded efficiencies, memory left out.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot start should stop at once")]

use divan::{Bencher, black_box};
use hwledger_core::projection::{Efficiencies, Projection};
use hwledger_core::settings::{Engine, LayerCount, Settings};
use hwledger_core::{Assumptions, ModelSpec, device};
use hwledger_node::catalogue;

fn main() {
    divan::main();
}

const MODELS: &[&str] = &[
    "llama-3.1-8b",
    "llama-3.1-70b",
    "qwen3-30b-a3b",
    "gemma-3-27b-it",
    "deepseek-v3",
    "qwen3-next-80b-a3b-instruct",
    "gpt-oss-120b",
];

fn model(name: &str) -> ModelSpec {
    let entry = catalogue::find(name).unwrap();
    hwledger_formats::huggingface::read_config(entry.config()).unwrap().0
}

fn settings(engine: Engine, card: &str, count: usize) -> Settings {
    let card = device::find(card, None).unwrap().device;
    Settings {
        engine: Some(engine),
        weights: matches!(engine, Engine::LlamaCpp).then(|| "Q4_K_M".to_owned()),
        context: Some(32768),
        prompt: Some(1024),
        generate: Some(256),
        tensor_parallel: u64::try_from(count).ok(),
        devices: vec![card; count],
        ..Settings::default()
    }
}

fn run(bencher: Bencher<'_, '_>, name: &str, engine: Engine, settings: &Settings) {
    let model = model(name);
    let efficiencies = Efficiencies::embedded();
    bencher.bench(|| {
        let mut assumptions = Assumptions::default();
        Projection::resolve(
            black_box(engine),
            black_box(&model),
            None,
            black_box(settings),
            None,
            efficiencies,
            &mut assumptions,
        )
        .map(|projection| projection.speed(efficiencies))
    });
}

#[divan::bench(args = MODELS)]
fn llamacpp_on_one_card(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, name, Engine::LlamaCpp, &settings(Engine::LlamaCpp, "RTX 4090", 1));
}

#[divan::bench(args = MODELS)]
fn llamacpp_with_experts_on_the_host(bencher: Bencher<'_, '_>, name: &str) {
    let mut settings = settings(Engine::LlamaCpp, "RTX 4090", 1);
    settings.cpu_moe_layers = Some(LayerCount::All);
    run(bencher, name, Engine::LlamaCpp, &settings);
}

#[divan::bench(args = MODELS)]
fn vllm_on_eight_cards(bencher: Bencher<'_, '_>, name: &str) {
    let mut settings = settings(Engine::Vllm, "H100", 8);
    settings.concurrency = Some(64);
    run(bencher, name, Engine::Vllm, &settings);
}

#[divan::bench(args = MODELS)]
fn mlx_on_apple(bencher: Bencher<'_, '_>, name: &str) {
    run(bencher, name, Engine::Mlx, &settings(Engine::Mlx, "Apple M2 Ultra", 1));
}
