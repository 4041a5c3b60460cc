//! What llama.cpp printed for the models and settings of the engine bench
//! (`bench/engines/results/llamacpp.jsonl.gz`, a real build on a processor), against the plan.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use hwledger_core::device::Instructions;
use hwledger_core::engine::{Components, MemoryPlan, plan_memory};
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

/// The buffers of weights that a plan names.
fn named(plan: &MemoryPlan) -> Vec<(String, Estimate<Bytes>)> {
    let all = plan.devices.iter().flat_map(|device| &device.weight_buffers);
    all.map(|buffer| (buffer.name.clone(), buffer.bytes)).collect()
}

#[test]
fn weights_are_where_a_processor_without_avx512_has_them() {
    let text = std::fs::read_to_string(bench().join("results/repack-avx2.jsonl")).unwrap();
    let mut tally = Tally::default();
    let mut repacked = 0;
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let name = row["model"].as_str().unwrap();
        let spec = model(name, row["file_bytes"].as_u64().unwrap());
        for (mode, mmap, repack) in [("repacked", true, true), ("mapped", true, false), ("read", false, true)] {
            let Some(buffers) = row[mode]["buffers_mib"].as_object() else { continue };
            let asked = Settings {
                instructions: Some(Instructions::Avx2),
                mmap: Some(mmap),
                repack: Some(repack),
                context: Some(512),
                gpu_layers: Some(LayerCount::Some(0)),
                backend: Some("CPU".to_owned()),
                ..Settings::default()
            };
            let plan = plan_memory(Engine::LlamaCpp, &spec, &asked, &mut Assumptions::default()).unwrap();
            repacked += usize::from(buffers.contains_key("CPU_REPACK"));
            for (buffer, bytes) in named(&plan) {
                let printed = buffers.get(&buffer).and_then(Value::as_f64).unwrap_or(0.0);
                tally.check(&format!("{name} {mode} {buffer}"), (printed, 1), Some(bytes));
            }
            assert_eq!(buffers.len(), plan.devices[0].weight_buffers.len(), "{name} {mode}: {buffers:?}");
        }
    }
    assert!(repacked >= 10, "{repacked} loads with repacked weights");
    assert!(tally.misses.is_empty(), "{}", tally.misses.join("\n"));
}

#[test]
fn every_printed_buffer_is_planned() {
    let text = results();
    let mut models: BTreeMap<String, ModelSpec> = BTreeMap::new();
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let printed = &row["printed"];
        if printed.is_null() {
            continue;
        }
        let is_repacked = row["id"].as_str().unwrap().ends_with("/repack");
        let name = row["model"].as_str().unwrap();
        let spec = models.entry(name.to_owned()).or_insert_with(|| model(name, row["file_bytes"].as_u64().unwrap()));
        let case = format!("{} {}", row["id"].as_str().unwrap(), row["request"]);
        // The machine had AVX-512; all but a few cases were made without repacking.
        let asked = Settings {
            instructions: Some(Instructions::Avx512),
            repack: Some(is_repacked),
            ..settings(&row["request"])
        };
        let plan = match plan_memory(Engine::LlamaCpp, spec, &asked, &mut Assumptions::default()) {
            Ok(plan) => plan,
            Err(error) => panic!("{case}: {error}"),
        };
        let parts: Components = plan.summed();
        let mut check = |what, printed, planned| tallies.entry(what).or_default().check(&case, printed, planned);
        check("attention cache", caches(printed, ["K", "V"]), parts.kv_cache);
        check("recurrent state", caches(printed, ["R", "S"]), parts.recurrent_state);
        check("output", sum(&printed["output_mib"]), parts.output);
        let buffers = row["load"]["model_buffers_mib"].as_object().unwrap();
        for (name, bytes) in named(&plan) {
            check("weights", (buffers.get(&name).and_then(Value::as_f64).unwrap_or(0.0), 1), Some(bytes));
        }
        assert_eq!(buffers.len(), plan.devices[0].weight_buffers.len(), "{case}");
    }
    let mut report = Vec::new();
    for (what, tally) in &tallies {
        println!("{what}: {} of {} equal", tally.cases - tally.misses.len(), tally.cases);
        report.extend(tally.misses.iter().map(|miss| format!("{what}: {miss}")));
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}
