//! Cache, state and output figures of llama.cpp, worked out by hand from its rules and confirmed on
//! its start-up log (`llama_kv_cache: size = …`, `llama_memory_recurrent: size = …`).

mod support;

use hwledger_core::engine::{Components, EngineError, llamacpp};
use hwledger_core::settings::{Engine, Switch};
use hwledger_core::{Assumptions, Bytes, ElementType, ModelSpec, Settings};

fn settings(context: u64) -> Settings {
    Settings {
        engine: Some(Engine::LlamaCpp),
        context: Some(context),
        flash_attention: Some(Switch::On),
        ..Settings::default()
    }
}

fn of_type(context: u64, element_type: ElementType) -> Settings {
    Settings { kv_type_k: Some(element_type), kv_type_v: Some(element_type), ..settings(context) }
}

/// llama-server without `-np`: four slots that share one stream.
fn auto_slots(context: u64) -> Settings {
    Settings { sequences: Some(4), kv_unified: Some(true), ..settings(context) }
}

fn separate(context: u64, sequences: u64) -> Settings {
    Settings { sequences: Some(sequences), kv_unified: Some(false), ..settings(context) }
}

fn plan(model: &ModelSpec, settings: &Settings) -> Result<Components, EngineError> {
    llamacpp::plan(model, settings, &mut Assumptions::default()).map(|plan| plan.summed())
}

fn mebibytes(bytes: Option<hwledger_core::Estimate<Bytes>>) -> f64 {
    bytes.expect("caches are always known").value.mebibytes()
}

#[track_caller]
fn check_cache(model: &ModelSpec, settings: &Settings, expected: f64) {
    let found = mebibytes(plan(model, settings).expect("the engine starts").kv_cache);
    assert!((found - expected).abs() < 0.05, "expected {expected} MiB of cache, found {found}");
}

#[track_caller]
fn check_state(model: &ModelSpec, settings: &Settings, expected: f64) {
    let found = mebibytes(plan(model, settings).expect("the engine starts").recurrent_state);
    assert!((found - expected).abs() < 0.05, "expected {expected} MiB of state, found {found}");
}

#[test]
fn llama_3_1_8b_at_32768_in_every_cache_type() {
    let model = support::llama_3_1_8b();
    check_cache(&model, &settings(32_768), 4096.0);
    check_cache(&model, &of_type(32_768, ElementType::Q8_0), 2176.0);
    check_cache(&model, &of_type(32_768, ElementType::Q5_1), 1536.0);
    check_cache(&model, &of_type(32_768, ElementType::Q4_0), 1152.0);
}

#[test]
fn qwen3_0_6b_at_5000_is_rounded_up_to_5120() {
    check_cache(&support::qwen3_0_6b(), &settings(5000), 560.0);
}

#[test]
fn gemma_3_27b_windows_grow_with_the_sequences_of_a_stream() {
    let model = support::gemma_3_27b();
    check_cache(&model, &auto_slots(16_384), 1280.0 + 1872.0);
    check_cache(&model, &separate(16_384, 4), 1280.0 + 2496.0);
    check_cache(&model, &settings(32_768), 2560.0 + 624.0);
}

#[test]
fn gemma_3_27b_contexts_that_do_not_divide_are_rounded_up_per_sequence() {
    check_cache(&support::gemma_3_27b(), &separate(10_000, 3), 840.0 + 1872.0);
    let plan = llamacpp::plan(&support::gemma_3_27b(), &separate(10_000, 3), &mut Assumptions::default()).unwrap();
    assert_eq!(plan.kv_cache_tokens.map(|tokens| tokens.value), Some(10_752));
}

#[test]
fn gemma_3_27b_full_windows_keep_every_cell() {
    let full = Settings { swa_full: Some(true), ..settings(32_768) };
    check_cache(&support::gemma_3_27b(), &full, 15_872.0);
}

#[test]
fn gpt_oss_120b_window_of_128() {
    let model = support::gpt_oss_120b();
    check_cache(&model, &settings(32_768), 1152.0 + 27.0);
    check_cache(&model, &auto_slots(32_768), 1152.0 + 36.0);
}

#[test]
fn deepseek_v3_caches_one_latent() {
    let model = support::deepseek_v3();
    check_cache(&model, &settings(32_768), 2196.0);
    check_cache(&model, &of_type(32_768, ElementType::Q8_0), 1166.6);
}

#[test]
fn deepseek_v3_stored_the_value_half_before_2026() {
    // 61 layers x (576 + 512) elements x 2 bytes x 32,768 cells.
    let old = Settings { engine_version: Some("b6000".to_owned()), ..settings(32_768) };
    check_cache(&support::deepseek_v3(), &old, 4148.0);
}

#[test]
fn qwen3_next_80b_keeps_a_state_per_sequence() {
    let model = support::qwen3_next_80b();
    check_cache(&model, &settings(32_768), 768.0);
    check_state(&model, &settings(32_768), 75.4);
    check_cache(&model, &auto_slots(32_768), 768.0);
    check_state(&model, &auto_slots(32_768), 301.5);
}

#[test]
fn qwen3_5_27b_keeps_a_state_per_sequence() {
    let model = support::qwen3_5_27b();
    check_cache(&model, &settings(32_768), 2048.0);
    check_state(&model, &settings(32_768), 149.6);
    check_state(&model, &auto_slots(32_768), 598.5);
}

#[test]
fn granite_4_h_small_keeps_mamba_states() {
    let model = support::granite_4_h_small();
    check_cache(&model, &settings(32_768), 512.0);
    check_state(&model, &settings(32_768), 147.5);
}

#[test]
fn llama_3_output_of_four_slots() {
    let found = mebibytes(plan(&support::llama_3_1_8b(), &auto_slots(32_768)).unwrap().output);
    assert!((found - 1.957).abs() < 0.001, "{found}");
}

/// The logits' part of the compute buffer: what doubling the vocabulary adds to it.
#[test]
fn logits_of_a_micro_batch_of_512_stand_in_the_compute_buffer() {
    let compute = |vocabulary: u64| {
        let model = ModelSpec { vocabulary_size: vocabulary, ..support::llama_3_1_8b() };
        mebibytes(plan(&model, &settings(4096)).unwrap().compute)
    };
    for (vocabulary, expected) in [(128_256, 250.5), (151_936, 296.75), (262_144, 512.0)] {
        let part = compute(2 * vocabulary) - compute(vocabulary);
        assert!((part - expected).abs() < 0.01, "{vocabulary}: expected {expected}, found {part}");
    }
}

#[test]
fn quantised_values_need_flash_attention() {
    let without = Settings { flash_attention: Some(Switch::Off), ..of_type(4096, ElementType::Q8_0) };
    let error = plan(&support::llama_3_1_8b(), &without).unwrap_err();
    assert!(matches!(error, EngineError::Refused { setting: "kv_type_v", .. }), "{error}");
}

#[test]
fn without_flash_attention_values_are_as_wide_as_the_widest() {
    let layers = (0..4).map(|index| support::attention(16, if index == 0 { 8 } else { 2 }, 128));
    let model = support::model("deci", 32_000, layers);
    // Keys of 8 + 3 x 2 heads; values of 8 heads in every layer.
    let without = Settings { flash_attention: Some(Switch::Off), ..settings(4096) };
    check_cache(&model, &without, f64::from((8 + 6 + 4 * 8) * 128 * 2 * 4096 / 1024) / 1024.0);
    check_cache(&model, &settings(4096), f64::from((8 + 6) * 2 * 128 * 2 * 4096 / 1024) / 1024.0);
}

#[test]
fn given_weight_bytes_are_kept_to_the_byte() {
    let given =
        Settings { weights_bytes: Some(Bytes(1_234_567_891)), weights: Some("Q4_K_M".into()), ..settings(4096) };
    let weights = plan(&support::llama_3_1_8b(), &given).unwrap().weights.unwrap();
    assert_eq!(weights.value, Bytes(1_234_567_891));
}

#[test]
fn formats_that_gguf_cannot_hold_are_refused() {
    let asked = Settings { weights: Some("AWQ-4bit".into()), ..settings(4096) };
    let error = plan(&support::llama_3_1_8b(), &asked).unwrap_err();
    assert_eq!(error.to_string(), "llama.cpp refuses `weights`: `AWQ-4bit` is no GGUF weight format");
}

#[test]
fn the_log_has_the_names_that_the_engine_prints() {
    let asked = Settings { backend: Some("CPU".into()), ..settings(32_768) };
    let lines = llamacpp::log_lines(&support::llama_3_1_8b(), &asked).unwrap();
    let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "{text} is not in {lines:#?}");
    has("CPU_Mapped model buffer size =");
    has("llama_kv_cache:        CPU KV buffer size =  4096.00 MiB");
    has("size = 4096.00 MiB ( 32768 cells,  32 layers,  1/1 seqs), K (f16): 2048.00 MiB, V (f16): 2048.00 MiB");
    has("CPU compute buffer size =");
}
