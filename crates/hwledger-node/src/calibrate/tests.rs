use std::ffi::OsString;
use std::fs;

use hwledger_core::calibration::{Calibration, Figure};
use hwledger_core::{Assumptions, Basis, Estimate};
use hwledger_formats::measurement::{self, to_line};

use super::*;
use crate::locate::LocateOptions;
use crate::locate::tests::Scratch;
use crate::request::{DeviceRequest, PlanRequest};
use hwledger_core::projection::Speed;

const BENCH: &str = include_str!("../../../hwledger-formats/testdata/measurements/llama-bench.json");
const SERVING: &str = include_str!("../../../hwledger-formats/testdata/measurements/vllm-serving.json");

fn planner() -> Planner {
    Planner::new(LocateOptions { is_offline: true, ..LocateOptions::default() })
}

fn plan_request() -> PlanRequest {
    PlanRequest {
        model: "llama-3.1-8b".to_owned(),
        engine: Some("llama.cpp".to_owned()),
        engine_version: Some("b6976".to_owned()),
        weights: Some("Q4_K_M".to_owned()),
        context: Some(8192),
        devices: vec![DeviceRequest { name: "RTX 3090".to_owned(), count: Some(1), ..DeviceRequest::default() }],
        ..PlanRequest::default()
    }
}

fn request(scratch: &Scratch, files: &[&str]) -> CalibrateRequest {
    CalibrateRequest {
        files: files.iter().map(|name| scratch.path().join(name)).collect(),
        store: Some(scratch.path().join("data/calibration.json")),
        ..CalibrateRequest::default()
    }
}

#[test]
fn the_lines_that_we_print_are_what_we_predict() {
    let scratch = Scratch::new();
    let lines = planner().log(&plan_request()).unwrap();
    scratch.write("start.log", format!("build: 6976 (x) with cc\n{}\n", lines.join("\n")));
    let asked = CalibrateRequest {
        model: Some("llama-3.1-8b".to_owned()),
        device: Some("RTX 3090".to_owned()),
        ..request(&scratch, &["start.log"])
    };
    let answer = planner().calibrate(&asked).unwrap();
    assert_eq!(answer.excluded, []);
    assert_eq!((answer.runs, answer.pairs_renewed), (1, 0));
    for figure in [Figure::KvCacheBytes, Figure::ComputeBytes] {
        let row = answer.errors.iter().find(|row| row.figure == figure && row.key.is_none()).unwrap();
        assert!(row.median_error_before < 0.001, "{row:?}");
    }
    let store = Store::read(answer.store.as_ref().unwrap()).unwrap().unwrap();
    assert_eq!(store.samples.len(), answer.pairs);
    let key = &store.samples[0].key;
    assert_eq!((key.engine.as_deref(), key.engine_version.as_deref()), (Some("llama.cpp"), Some("6976")));
    assert_eq!((key.device.as_deref(), key.backend.as_deref()), (Some("NVIDIA GeForce RTX 3090"), Some("cuda")));
    // The same file again teaches nothing new.
    let again = planner().calibrate(&asked).unwrap();
    assert_eq!((again.pairs_new, again.pairs_renewed, again.pairs), (0, answer.pairs, answer.pairs));
}

#[test]
fn weights_laid_out_anew_are_compared_with_those_of_the_log() {
    for (instructions, copies) in [("avx2", "CPU_REPACK"), ("amx", "AMX"), ("scalar", "")] {
        let plan = PlanRequest {
            devices: Vec::new(),
            backend: Some("CPU".to_owned()),
            engine_version: None,
            instructions: Some(instructions.to_owned()),
            ..plan_request()
        };
        let lines = planner().log(&plan).unwrap();
        assert_eq!(lines.iter().any(|line| line.contains(&format!(" {copies} model buffer"))), !copies.is_empty());
        let read = measurement::read(lines.join("\n").as_bytes(), "start.log", None).unwrap();
        let said = predicted_memory("llama.cpp", &planner().plan(&plan).unwrap());
        let weights = |found: Vec<(Figure, f64)>| found.into_iter().find(|(figure, _)| *figure == Figure::WeightsBytes);
        let measured = weights(measured(&read.runs[0]).into_iter().map(|(figure, value, _)| (figure, value)).collect());
        let predicted = weights(said.into_iter().map(|(figure, estimate)| (figure, estimate.value)).collect());
        let ratio = measured.unwrap().1 / predicted.unwrap().1;
        assert!((ratio - 1.0).abs() < 1e-4, "{instructions}: {ratio}");
    }
}

#[test]
fn every_run_is_used_or_named() {
    let scratch = Scratch::new();
    scratch.write("bench.json", BENCH);
    scratch.write("serving.json", SERVING);
    let answer = planner().calibrate(&request(&scratch, &["bench.json", "serving.json"])).unwrap();
    assert_eq!(answer.runs, 3);
    for excluded in &answer.excluded {
        assert!(excluded.reason.starts_with("no prediction of"), "{excluded:?}");
    }
    let paired: HashSet<String> = Store::read(answer.store.as_ref().unwrap())
        .unwrap()
        .unwrap()
        .samples
        .into_iter()
        .map(|one| one.place)
        .collect();
    assert!(paired.len() + answer.excluded.len() >= 2);
}

#[test]
fn runs_that_cannot_be_planned_say_why() {
    let scratch = Scratch::new();
    let cases = [
        ("models/Qwen2.5-7B-Instruct-Q4_K_M.gguf", "models/model.gguf", "name it with `--model`"),
        ("\"gpu_info\": \"NVIDIA GeForce RTX 4080\"", "\"gpu_info\": \"Voodoo 5\"", "name it with `--device`"),
        ("\"gpu_info\": \"NVIDIA GeForce RTX 4080\"", "\"gpu_info\": \"NVIDIA A100\"", "name it with `--device`"),
        ("\"model_n_params\": 7615616512", "\"model_n_params\": 14000000000", "another model"),
        ("\"type_k\": \"f16\"", "\"type_k\": \"f99\"", "`kv_type_k` cannot be `f99`"),
    ];
    for (from, to, reason) in cases {
        assert!(BENCH.contains(from), "{from}");
        scratch.write("bench.json", BENCH.replace(from, to));
        let answer = planner().calibrate(&request(&scratch, &["bench.json"])).unwrap();
        assert_eq!(answer.excluded.len(), 2, "{to}");
        assert!(answer.excluded[0].reason.contains(reason), "{to}: {}", answer.excluded[0].reason);
        assert_eq!(answer.excluded[0].place.file, "bench.json");
    }
    scratch.write("serving.json", SERVING.replace("\"request_rate\": \"inf\"", "\"request_rate\": 4"));
    let answer = planner().calibrate(&request(&scratch, &["serving.json"])).unwrap();
    assert!(answer.excluded[0].reason.contains("measures the load"), "{:?}", answer.excluded);
}

#[test]
fn files_and_names_that_are_wrong_are_failures() {
    let scratch = Scratch::new();
    scratch.write("bench.json", BENCH);
    scratch.write("other.txt", "nothing here");
    scratch.write("data/calibration.json", "{\"schema\": \"hwledger.calibration/9\"}");
    let fails = |request: CalibrateRequest| planner().calibrate(&request).unwrap_err();
    let good = CalibrateRequest { store: Some(scratch.path().join("none")), ..request(&scratch, &["bench.json"]) };
    assert!(matches!(fails(request(&scratch, &["bench.json"])), CalibrateFailure::Store(StoreError::Schema { .. })));
    assert!(matches!(fails(request(&scratch, &[])), CalibrateFailure::Store(_)));
    let failure = fails(CalibrateRequest { format: Some("word".to_owned()), ..good.clone() });
    assert!(failure.hint().unwrap().contains("vllm-serving"));
    let other = CalibrateRequest { files: vec![scratch.path().join("other.txt")], ..good.clone() };
    assert!(fails(other).to_string().starts_with("`other.txt`: nothing in the file says"));
    let missing = CalibrateRequest { files: vec![scratch.path().join("missing")], ..good.clone() };
    assert!(matches!(fails(missing), CalibrateFailure::File(_)));
    let failure = fails(CalibrateRequest { model: Some("no such model".to_owned()), ..good });
    assert!(matches!(failure, CalibrateFailure::Plan(_)));
}

#[test]
fn lengths_that_are_alike_share_a_class() {
    let class = |figure, prompt, depth, concurrency| {
        let request = PlanRequest { prompt, depth, concurrency, ..plan_request() };
        key(&planner().prepare(&request).unwrap(), figure).workload.unwrap_or_default()
    };
    assert_eq!(class(Figure::PrefillTokensPerS, Some(512), None, None), "prompt 256-1023");
    assert_eq!(class(Figure::PrefillTokensPerS, Some(1), Some(4096), None), "prompt 1-3 after 4096-16383");
    assert_eq!(class(Figure::DecodeTokensPerS, Some(512), None, Some(1)), "decode after 256-1023");
    assert_eq!(class(Figure::DecodeTokensPerS, None, None, None), "decode");
    assert_eq!(class(Figure::OutputTokensPerS, Some(1024), None, Some(32)), "request 1024-4095 by 16-63");
    assert_eq!(class(Figure::WeightsBytes, Some(512), None, None), "");
    assert!(class(Figure::TtftMs, Some(u64::MAX), None, None).starts_with("prompt 46116"));
}

#[test]
fn a_dry_run_writes_nothing() {
    let scratch = Scratch::new();
    scratch.write("bench.json", BENCH);
    let asked = CalibrateRequest { is_dry_run: true, ..request(&scratch, &["bench.json"]) };
    let answer = planner().calibrate(&asked).unwrap();
    assert_eq!(answer.store, None);
    assert!(!asked.store.unwrap().exists());
}

#[test]
fn the_store_is_private_and_comes_back() {
    let scratch = Scratch::new();
    let path = scratch.path().join("a/b/calibration.json");
    assert_eq!(Store::read(&path).unwrap(), None);
    let mut store = Store::of(vec![sample(0.8, true)]);
    store.write(&path).unwrap();
    store.write(&path).unwrap();
    assert_eq!(Store::read(&path).unwrap().unwrap(), store);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }
    for content in ["", "{", "[]", "{\"schema\": 3}"] {
        fs::write(&path, content).unwrap();
        assert!(matches!(Store::read(&path), Err(StoreError::Content { .. })), "{content}");
    }
}

#[test]
fn a_store_named_as_a_table_is_one() {
    let scratch = Scratch::new();
    let path = scratch.path().join("pairs.parquet");
    let mut store = Store::of(vec![sample(0.8, true), sample(1.5, false)]);
    store.write(&path).unwrap();
    assert_eq!(Store::read(&path).unwrap().unwrap(), store);
    assert!(fs::read(&path).unwrap().starts_with(b"PAR1"));
    // Bytes cut off or changed anywhere are an error or the pairs, never a panic.
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        fs::write(&path, &whole[..at]).unwrap();
        assert!(matches!(Store::read(&path), Err(StoreError::Table { .. })), "cut at {at}");
    }
    for at in 0..whole.len() {
        for flipped in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flipped;
            fs::write(&path, &damaged).unwrap();
            // Some bytes mean nothing; the rest are an error.
            let _ = Store::read(&path).map_err(|error| assert!(matches!(error, StoreError::Table { .. })));
        }
    }
    fs::write(&path, b"{}").unwrap();
    assert!(matches!(Store::read(&path), Err(StoreError::Table { .. })));
}

#[test]
fn the_store_is_where_the_data_directory_says() {
    let path = |variables: &[(&str, &str)]| {
        Store::path_from(|asked| {
            variables.iter().find(|(name, _)| *name == asked).map(|(_, value)| OsString::from(value))
        })
    };
    assert_eq!(path(&[("XDG_DATA_HOME", "/d")]), Some("/d/hwledger/calibration.json".into()));
    assert_eq!(path(&[("HOME", "/h")]), Some("/h/.local/share/hwledger/calibration.json".into()));
    assert_eq!(path(&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]), path(&[("HOME", "/h")]));
    assert_eq!(path(&[]), None);
}

fn prepared() -> crate::planner::Prepared {
    planner().prepare(&PlanRequest { generate: Some(128), ..plan_request() }).unwrap()
}

/// A decoding speed of the plan of [`prepared`], `ratio` of the predicted one.
fn sample(ratio: f64, is_own: bool) -> Sample {
    let prepared = prepared();
    Sample {
        key: key(&prepared, Figure::DecodeTokensPerS),
        subject: subject(&prepared, Figure::DecodeTokensPerS),
        is_own,
        predicted: 100.0,
        measured: 100.0 * ratio,
        spread: Some(0.01),
        weight: 1.0,
        share_left: None,
        place: "bench.json:1".to_owned(),
    }
}

fn formula() -> Speed {
    let estimate = |value: f64| Some(Estimate::formula(value * 0.8, value, value * 1.2));
    Speed { decode_tokens_per_s: estimate(100.0), tpot_ms: estimate(10.0), ..Speed::default() }
}

#[test]
fn plans_are_corrected_by_what_was_measured() {
    let store = Store::of(vec![sample(0.5, false); 20]);
    let learned = Learned::new(store);
    let mut assumptions = Assumptions::default();
    let speed = learned.apply(&prepared(), &formula(), &mut assumptions).unwrap();
    let decode = speed.decode_tokens_per_s.unwrap();
    assert_eq!(decode.basis, Basis::Calibrated);
    assert!(decode.value < 60.0 && decode.value > 49.0, "{decode:?}");
    // Nobody measured the time per token, but it is the same thing the other way round.
    let tpot = speed.tpot_ms.unwrap();
    assert!((tpot.value * decode.value - 1000.0).abs() < 1e-6, "{tpot:?}");
    assert_eq!(speed.prefill_tokens_per_s, None);
    assert!(assumptions.0.iter().any(|one| one.what == "speed.decode_tokens_per_s" && one.value == "calibrated"));
}

#[test]
fn only_ones_own_run_of_the_very_thing_is_measured() {
    let learned = Learned::new(Store::of(vec![sample(0.5, true)]));
    let mut assumptions = Assumptions::default();
    let basis = |prepared: &crate::planner::Prepared, assumptions: &mut Assumptions| {
        learned.apply(prepared, &formula(), assumptions).unwrap().decode_tokens_per_s.unwrap()
    };
    let same = basis(&prepared(), &mut assumptions);
    assert_eq!(same.basis, Basis::Measured);
    assert!((same.value - 50.0).abs() < 1e-9);
    let deeper = planner().prepare(&PlanRequest { generate: Some(128), depth: Some(4096), ..plan_request() }).unwrap();
    assert_eq!(basis(&deeper, &mut assumptions).basis, Basis::Calibrated);
    let none = Learned::new(Store::default());
    assert!(none.apply(&prepared(), &formula(), &mut assumptions).is_none());
}

#[test]
fn an_answer_without_corrections_does_not_mention_them() {
    let planner = planner().with_calibration(Learned::new(Store::default()));
    let answer = planner.plan(&plan_request()).unwrap();
    assert!(answer.speed_formula.is_none());
    assert!(!serde_json::to_string(&answer).unwrap().contains("speed_formula"));
}

#[test]
fn errors_shrink_when_runs_agree() {
    let samples: Vec<Sample> = (0..20).map(|index| sample(0.7 + 0.002 * f64::from(index), true)).collect();
    let touched = HashSet::from([samples[0].key.clone()]);
    let rows = summary::rows(&Calibration::new(samples), &touched);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].n, rows[0].key.is_none(), rows[1].key.is_some()), (20, true, true));
    assert!(rows[0].median_error_before > 0.3 && rows[0].median_error_after < 0.06, "{rows:?}");
    assert!(rows[0].within_quarter_before < 0.1 && rows[0].within_quarter_after > 0.99, "{rows:?}");
}

#[test]
fn our_own_lines_calibrate_as_the_outputs_that_they_came_from() {
    let scratch = Scratch::new();
    let found = measurement::read(BENCH.as_bytes(), "bench.json", None).unwrap();
    let lines: Vec<String> = found.runs.iter().map(to_line).collect();
    scratch.write("own.jsonl", lines.join("\n"));
    scratch.write("bench.json", BENCH);
    let one = planner().calibrate(&request(&scratch, &["own.jsonl"])).unwrap();
    let other = planner().calibrate(&request(&scratch, &["bench.json"])).unwrap();
    assert_eq!(one.excluded.len(), other.excluded.len());
    assert_eq!(other.pairs_renewed, one.pairs_new);
}
