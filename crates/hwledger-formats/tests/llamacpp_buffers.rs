//! What llama.cpp printed for the models and settings of the engine bench
//! (`bench/engines/results/llamacpp.jsonl.gz`, a real build on a processor), against the plan.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use hwledger_core::engine::{Components, plan_memory};
use hwledger_core::settings::{Engine, LayerCount, Switch};
use hwledger_core::{Assumptions, Bytes, Estimate, ModelSpec, Settings};
use hwledger_formats::gguf::{model_spec, read_header};
use serde_json::Value;

/// The log rounds every figure to hundredths of a mebibyte.
const ROUNDING: f64 = 0.0051;

fn bench() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/engines")
}

fn model(name: &str, file_bytes: u64) -> ModelSpec {
    let file = File::open(bench().join(format!("headers/{name}.gguf.gz"))).unwrap();
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    let header = read_header(&bytes[..], Some(file_bytes)).unwrap();
    model_spec(&header).unwrap().0
}

fn settings(request: &Value) -> Settings {
    let count = |key: &str| request[key].as_u64();
    let element_type = |key: &str| request[key].as_str().map(|name| name.parse().unwrap());
    Settings {
        engine: Some(Engine::LlamaCpp),
        backend: request["backend"].as_str().map(str::to_owned),
        gpu_layers: Some(LayerCount::Some(0)),
        context: count("context"),
        sequences: count("sequences"),
        batch: count("batch"),
        ubatch: count("ubatch"),
        n_outputs_max: count("n_outputs_max"),
        kv_unified: request["kv_unified"].as_bool(),
        swa_full: request["swa_full"].as_bool(),
        embeddings: request["embeddings"].as_bool(),
        kv_type_k: element_type("kv_type_k").or_else(|| element_type("kv_type")),
        kv_type_v: element_type("kv_type_v").or_else(|| element_type("kv_type")),
        flash_attention: request["flash_attention"].as_str().map(|word| match word {
            "on" => Switch::On,
            "off" => Switch::Off,
            _ => Switch::Auto,
        }),
        ..Settings::default()
    }
}

/// Sum of an object's figures in mebibytes, and how many there are.
fn sum(printed: &Value) -> (f64, usize) {
    printed.as_object().map_or((0.0, 0), |parts| (parts.values().filter_map(Value::as_f64).sum(), parts.len()))
}

/// Sum of the caches' parts of the given names (`K` and `V`, or `R` and `S`), and how many there are.
/// Buffers that were only simulated print no size, their caches do.
fn caches(printed: &Value, names: [&str; 2]) -> (f64, usize) {
    let all = printed["caches"].as_array().unwrap();
    let parts = all.iter().flat_map(|cache| names.map(|name| cache["parts"][name]["mib"].as_f64()));
    parts.flatten().fold((0.0, 0), |(total, count), part| (total + part, count + 1))
}

#[derive(Default)]
struct Tally {
    cases: usize,
    misses: Vec<String>,
}

impl Tally {
    fn check(&mut self, case: &str, printed: (f64, usize), planned: Option<Estimate<Bytes>>) {
        self.cases += 1;
        let found = planned.map(|planned| planned.value.mebibytes());
        let tolerance = ROUNDING * (printed.1 as f64).max(1.0);
        if !found.is_some_and(|found| (found - printed.0).abs() <= tolerance) {
            self.misses.push(format!("{case}: printed {:.2} MiB, planned {found:.2?}", printed.0));
        }
    }
}

/// Every recorded case, a line each.
fn results() -> String {
    let file = File::open(bench().join("results/llamacpp.jsonl.gz")).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn every_printed_buffer_is_planned() {
    let text = results();
    let mut models: BTreeMap<String, ModelSpec> = BTreeMap::new();
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let printed = &row["printed"];
        // Repacked copies of weights depend on the processor's instructions: three cases show them.
        let is_repacked = row["id"].as_str().unwrap().ends_with("/repack");
        if printed.is_null() || is_repacked {
            continue;
        }
        let name = row["model"].as_str().unwrap();
        let spec = models.entry(name.to_owned()).or_insert_with(|| model(name, row["file_bytes"].as_u64().unwrap()));
        let case = format!("{} {}", row["id"].as_str().unwrap(), row["request"]);
        let plan = plan_memory(Engine::LlamaCpp, spec, &settings(&row["request"]), &mut Assumptions::default());
        let parts: Components = match plan {
            Ok(plan) => plan.summed(),
            Err(error) => panic!("{case}: {error}"),
        };
        let mut check = |what, printed, planned| tallies.entry(what).or_default().check(&case, printed, planned);
        check("attention cache", caches(printed, ["K", "V"]), parts.kv_cache);
        check("recurrent state", caches(printed, ["R", "S"]), parts.recurrent_state);
        check("output", sum(&printed["output_mib"]), parts.output);
        check("weights", sum(&row["load"]["model_buffers_mib"]), parts.weights);
    }
    let mut report = Vec::new();
    for (what, tally) in &tallies {
        println!("{what}: {} of {} equal", tally.cases - tally.misses.len(), tally.cases);
        report.extend(tally.misses.iter().map(|miss| format!("{what}: {miss}")));
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}
