//! What people see: standard output, standard error and exit status together.
//!
//! After a change that is meant, `INSTA_UPDATE=always cargo test -p hwledger --test command_line`
//! writes the new pictures; read them before committing.

#![expect(clippy::unwrap_used, reason = "a test that cannot start should stop at once")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs the program in an empty environment: no store, no cache, no network.
fn run(arguments: &[&str], input: &str) -> Output {
    let home = std::env::temp_dir().join("hwledger-no-home");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hwledger"))
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn picture(arguments: &[&str]) -> String {
    let output = run(arguments, "");
    format!(
        "$ hwledger {}\n{}\n--- standard error\n{}\n--- exit status {}",
        arguments.join(" "),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap()
    )
}

macro_rules! pictures {
    ($($name:ident: [$($argument:literal),* $(,)?];)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(picture(&[$($argument),*]));
        })*
    };
}

pictures! {
    plan_that_fits: ["plan", "llama-3.1-8b", "--offline", "--engine", "llama.cpp", "--weights", "Q4_K_M",
        "--context", "32K", "--device", "RTX 3090"];
    plan_with_windows: ["plan", "gemma-3-27b-it", "--offline", "--engine", "llama.cpp", "--weights", "Q4_K_M",
        "--context", "32K", "--device", "RTX 4090"];
    plan_that_does_not_fit: ["plan", "qwen3-30b-a3b", "--offline", "--engine", "llama.cpp", "--weights", "Q8_0",
        "--context", "32K", "--device", "RTX 3060"];
    plan_of_a_server: ["plan", "deepseek-v3", "--offline", "--engine", "vllm", "--context", "32K",
        "--tensor-parallel", "8", "--device", "8x H200"];
    plan_as_log: ["plan", "gpt-oss-20b", "--offline", "--engine", "llama.cpp", "--context", "8K", "--as-log",
        "--device", "RTX 4090"];
    plan_with_a_draft: ["plan", "llama-3.1-70b", "--offline", "--engine", "llama.cpp", "--weights", "Q4_K_M",
        "--context", "8K", "--device", "2x RTX 3090", "--draft-model", "llama-3.2-1b", "--draft-weights", "Q4_K_M",
        "--draft-tokens", "4"];
    search_of_a_workstation: ["search", "qwen3-30b-a3b", "--offline", "--users", "4", "--prompt", "4K", "--generate",
        "512", "--tpot-ms", "40", "--budget-usd", "4000", "--device", "RTX 3060", "--device", "RTX 3090", "--device",
        "RTX 4090", "--device", "RTX 5090", "--device", "RX 7900 XTX", "--device", "Tesla P40", "--device",
        "M2 Max 64GB", "--device", "H100", "--count", "1,2", "--offload"];
    search_without_an_answer: ["search", "deepseek-v3", "--offline", "--device", "RTX 3060"];
    devices_by_words: ["devices", "rtx", "50", "--kind", "nvidia", "--memory-gib", "24"];
    device_in_full: ["devices", "--show", "RTX", "3090"];
    device_that_may_mean_several: ["devices", "--show", "A100"];
    plan_with_other_memory: ["plan", "llama-3.1-8b", "--offline", "--engine", "llama.cpp", "--weights", "Q4_K_M",
        "--context", "8K", "--device", "RTX 4090", "--device-memory", "GDDR7:384:28"];
    sweep_of_two_settings: ["sweep", "llama-3.1-8b", "--offline", "--engine", "llama.cpp", "--vary",
        "device=RTX 3060,2x RTX 3090", "--vary", "weights=Q4_K_M,AWQ-4bit", "--context", "8K"];
    sweep_refuses_an_unknown_key: ["sweep", "llama-3.1-8b", "--offline", "--vary", "contxt=1K"];
    search_refuses_nonsense: ["search", "llama-3.1-8b", "--offline", "--tpot-ms=-1"];
    plan_with_cost: ["plan", "llama-3.1-8b", "--offline", "--engine", "vllm", "--context", "8K", "--device", "H100",
        "--concurrency", "16", "--cost-energy-usd-per-kwh", "0.1", "--cost-requests", "10000",
        "--cost-requests-per-s", "20"];
    plan_with_an_impossible_cost: ["plan", "llama-3.1-8b", "--offline", "--device", "H100", "--cost-pue", "0.5"];
    price_of_an_unknown_device: ["price", "RTX 9999"];
    fit_on_a_card: ["fit", "llama-3.1-8b", "--offline", "--engine", "llama.cpp", "--device", "RTX 3090"];
    compare_engines: ["compare", "qwen3-8b", "--offline", "--context", "8K", "--device", "RTX 4090"];
    export_vllm: ["export", "qwen3-8b", "--offline", "--engine", "vllm", "--context", "8K", "--kv-type", "fp8"];
    export_llamacpp: ["export", "qwen3-8b", "--offline", "--engine", "llama.cpp", "--context", "8K",
        "--kv-type", "q8_0", "--gpu-layers", "all"];
    export_modelfile: ["export", "qwen3-8b", "--offline", "--engine", "ollama", "--context", "8K"];
    train_with_adapters: ["train", "llama-3.1-8b", "--offline", "--method", "qlora", "--device", "RTX 3090"];
    chip_tiers: ["chip", "tiers"];
    chip_project: ["chip", "project", "qwen3_30b_a3b", "--tier", "Mid", "--tier", "High", "--tier", "i.MX 93"];
    chip_project_of_the_reference: ["chip", "project", "qwen3_30b_a3b", "--tier", "Mid", "--memory", "LPDDR6@14",
        "--reference"];
    chip_precision_that_does_not_run: ["chip", "project", "qwen2_5_7b", "--weights", "FP8", "--tier", "Mid"];
    chip_point: ["chip", "point", "qwen2_5_7b", "--tier", "High", "--set", "target_rate=20"];
    chip_sweep_as_csv: ["chip", "sweep", "qwen2_5_7b", "--tier", "High", "--slider", "memory_rate", "--steps", "3",
        "--csv"];
    chip_pareto: ["chip", "pareto", "qwen2_5_7b", "--tier", "High", "--slider", "memory_width", "--slider",
        "memory_rate", "--steps", "4", "--objective", "min:memory_bandwidth_gb_s", "--objective",
        "max:decode_tokens_per_second", "--objective", "min:memory_rate"];
    chip_partial_channel: ["chip", "project", "qwen2_5_7b", "--tier", "Mid", "--memory", "LPDDR6@14"];
    chip_unknown_tier: ["chip", "point", "qwen2_5_7b", "--tier", "NPU Med"];
    unknown_model: ["plan", "lama-3.1-8b", "--offline"];
    unknown_engine: ["plan", "llama-3.1-8b", "--offline", "--engine", "vlm"];
    unknown_weights: ["plan", "llama-3.1-8b", "--offline", "--weights", "Q4_K_X"];
    ambiguous_device: ["plan", "llama-3.1-8b", "--offline", "--device", "A100"];
    no_such_file: ["plan", "./nothing/config.json", "--offline"];
    no_model: ["plan", "--offline"];
    fit_without_a_device: ["fit", "llama-3.1-8b", "--offline"];
    quantised_values_without_flash_attention: ["plan", "llama-3.1-8b", "--offline", "--engine", "llama.cpp",
        "--kv-type", "q8_0", "--flash-attention", "off"];
}

#[test]
fn requests_are_answered_in_order_and_errors_stay_on_their_line() {
    let input = concat!(
        r#"{"id": "a", "model": "llama-3.1-8b", "engine": "llama.cpp", "context": 4096}"#,
        "\n",
        r#"{"id": "b", "model": "no such model"}"#,
        "\n\n",
        r#"{"id": 3, "model": 4}"#,
        "\n",
        "not json\n",
        r#"{"id": "e", "model": "qwen3-8b", "engine": "vllm", "context": 4096, "devices": [{"name": "H100"}]}"#,
    );
    let output = run(&["plan", "--requests", "-", "--json"], input);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 5);
    assert_eq!(answers[0]["id"], "a");
    assert_eq!(answers[0]["schema"], "hwledger.plan/1");
    assert_eq!(answers[0]["kv"]["bytes_per_token"], 131_072);
    assert_eq!(answers[0]["memory"]["kv_cache"]["value"], 536_870_912);
    assert_eq!(answers[1]["error"]["code"], "model_not_found");
    assert_eq!(answers[2]["id"], 3);
    assert_eq!(answers[2]["error"]["code"], "bad_request");
    assert_eq!(answers[3]["error"]["code"], "bad_request");
    assert_eq!(answers[4]["id"], "e");
    assert!(answers[4]["memory"]["max_concurrency"]["value"].as_f64().unwrap() > 1.0);
}

#[test]
fn a_missing_file_of_requests_is_an_error() {
    let output = run(&["plan", "--requests", "/no/such/file", "--json"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}

#[test]
fn help_of_every_command_fits_the_contract() {
    for command in ["plan", "fit", "compare", "export", "train", "calibrate", "search"] {
        let output = run(&[command, "--help"], "");
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("--json"), "{command}");
    }
    for command in ["tiers", "project", "point", "sweep", "pareto"] {
        let output = run(&["chip", command, "--help"], "");
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("--csv"), "{command}");
    }
}

/// A folder of one test, removed at its end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hwledger-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_a_log_measured_is_learnt_and_plans_read_the_store() {
    let folder = Folder::new("calibrate");
    let model = ["llama-3.1-8b", "--offline", "--engine", "llama.cpp", "--weights", "Q4_K_M", "--context", "8K"];
    let log = run(&[&["plan"], &model[..], &["--device", "RTX 3090", "--as-log"]].concat(), "");
    std::fs::write(folder.path("start.log"), log.stdout).unwrap();
    let (file, store) = (folder.path("start.log"), folder.path("calibration.json"));
    let calibrate =
        ["calibrate", &file, "--model", "llama-3.1-8b", "--device", "RTX 3090", "--offline", "--store", &store];
    let output = run(&calibrate, "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("kv_cache_bytes") && text.contains("store: "), "{text}");
    let json = run(&[&calibrate[..], &["--json", "--dry-run"]].concat(), "");
    let answer: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(answer["schema"], "hwledger.calibrate/1");
    assert_eq!((answer["pairs_new"].as_u64(), answer["store"].is_null()), (Some(0), true));
    let plan = run(&[&["plan"], &model[..], &["--calibration", &store, "--json"]].concat(), "");
    assert_eq!(plan.status.code(), Some(0));
}

#[test]
fn a_store_that_was_named_must_be_one() {
    let folder = Folder::new("store");
    std::fs::write(folder.path("odd.json"), "{}").unwrap();
    for path in [folder.path("missing.json"), folder.path("odd.json")] {
        let output = run(&["plan", "llama-3.1-8b", "--offline", "--calibration", &path], "");
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: `"));
    }
    let output = run(&["plan", "llama-3.1-8b", "--offline", "--calibration", "none"], "");
    assert_eq!(output.status.code(), Some(0));
    let output = run(&["calibrate", &folder.path("odd.json"), "--store", &folder.path("new.json")], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("hint: name the format"));
}

#[test]
fn prices_of_a_file_stand_in_and_bad_rows_are_named() {
    let directory = std::env::temp_dir().join(format!("hwledger-prices-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("prices.tsv");
    let path = file.to_str().unwrap();
    let header = "provider\tdevice\tusd_per_device_hour\tdate\n";
    std::fs::write(&file, format!("{header}mine\tL40S\t0.25\t2026-01\n")).unwrap();
    let output = run(&["price", "L40S", "--json", "--prices", path], "");
    assert_eq!(output.status.code(), Some(0));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["offers"][0]["provider"], "mine");
    assert_eq!(answer["offers"][0]["microdollars_per_device_hour"], 250_000);
    std::fs::write(&file, format!("{header}mine\tL40S\tcheap\t2026-01\n")).unwrap();
    let output = run(&["price", "L40S", "--prices", path], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("line 2"));
    std::fs::remove_dir_all(&directory).unwrap();
}
