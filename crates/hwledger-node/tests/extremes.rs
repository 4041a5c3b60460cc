//! No request, however absurd, ends a run: every one gets a plan or one clear error.
//!
//! Tests are built with overflow checks, so arithmetic that would wrap panics here.

use hwledger_core::settings::Engine;
use hwledger_node::locate::LocateOptions;
use hwledger_node::{PlanRequest, Planner};

const MODELS: &[&str] = &[
    "llama-3.1-8b",
    "qwen3-30b-a3b",
    "gemma-3-27b-it",
    "deepseek-v3",
    "qwen3-next-80b-a3b-instruct",
    "gpt-oss-120b",
    "mamba-130m-hf",
    "whisper-small",
    "bge-m3",
];

const SETTINGS: &[&str] = &[
    r#""context": 1"#,
    r#""context": 4294967296"#,
    r#""context": 18446744073709551615"#,
    r#""context": 4294967296, "sequences": 65536, "kv_unified": false"#,
    r#""sequences": 65536, "ubatch": 16777216, "batch": 16777216"#,
    r#""max_batched_tokens": 16777216, "sequences": 65536"#,
    r#""tensor_parallel": 65536, "pipeline_parallel": 65536, "expert_parallel": 65536"#,
    r#""weights_bytes": 18446744073709551615"#,
    r#""weights_bytes": 0"#,
    r#""gpu_layers": 18446744073709551"#,
    r#""gpu_layers": 0, "cpu_moe_layers": 1000000"#,
    r#""kv_type": "q4_0", "flash_attention": "off""#,
    r#""kv_type": "nvfp4", "sequences": 3"#,
    r#""gpu_memory_utilization": 1e-300"#,
    r#""n_outputs_max": 18446744073709551615"#,
    r#""lora": {"rank": 65536, "count": 65536}"#,
    r#""split_mode": "row", "swa_full": true"#,
];

const DEVICES: &[&str] = &[
    "[]",
    r#"[{"name": "RTX 3090"}]"#,
    r#"[{"name": "H100 80GB", "count": 8}]"#,
    r#"[{"name": "Apple M2 Ultra"}]"#,
    r#"[{"name": "something unheard of", "memory_gib": 0.001, "count": 3}]"#,
    r#"[{"name": "something unheard of", "memory_gib": 1e8}]"#,
];

#[test]
fn absurd_requests_get_a_plan_or_an_error() {
    let planner = Planner::new(LocateOptions::default());
    let (mut plans, mut errors) = (0, 0);
    for model in MODELS {
        for engine in Engine::ALL {
            for settings in SETTINGS {
                for devices in DEVICES {
                    let name = engine.name();
                    let text =
                        format!(r#"{{"model": "{model}", "engine": "{name}", "devices": {devices}, {settings}}}"#);
                    let request: PlanRequest = serde_json::from_str(&text).unwrap();
                    match planner.plan(&request) {
                        Ok(_) => plans += 1,
                        Err(error) => {
                            assert!(!error.to_string().is_empty());
                            errors += 1;
                        }
                    }
                }
            }
        }
    }
    // Most of these are believable enough to be planned.
    assert!(plans > errors, "{plans} plans, {errors} errors");
}
