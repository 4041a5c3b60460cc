//! The loop from the command line: predicted, measured, compared, learnt from.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod home;

use std::path::{Path, PathBuf};

use home::Home;
use serde_json::Value;

fn bench(home: &Home, more: &[&str]) -> String {
    let bench = ["bench", "demo", "--prompt", "32", "--generate", "8", "--sequences", "2", "--repetitions", "1"];
    home.says(0, &[&bench, more].concat())
}

fn blobs(folder: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(folder.join("blobs")).unwrap();
    folders
        .flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_machine_did_is_told() {
    let home = Home::new("telemetry");
    bench(&home, &["--record"]);
    let log = home.json(&["ledger", "log", "--limit", "100"]);
    let entries = log["entries"].as_array().unwrap();
    for measured in entries.iter().filter(|row| row["kind"] == "EngineWindowRecorded") {
        let windows = entries
            .iter()
            .filter(|row| row["subject"] == measured["subject"] && row["kind"] == "TelemetryWindowRecorded");
        let index = windows.clone().find(|row| row["summary"].as_str().unwrap().contains("hwl_host_memory_used_bytes"));
        let shown = home.json(&["ledger", "show", &index.unwrap()["index"].to_string()]);
        let event = &shown["event"];
        let run = measured["subject"].as_str().unwrap().strip_prefix("run/").unwrap();
        assert_eq!(event["correlation_id"], run);
        let number = |field: &str| event["data"][field].as_str().unwrap().parse::<f64>().unwrap();
        assert!(number("samples") >= 1.0 && number("start_ns") < number("end_ns"), "{event}");
        assert!(number("minimum") <= number("mean") && number("mean") <= number("maximum"), "{event}");
        let raw = event["data"]["raw"].as_str().unwrap();
        let folder = home.0.join(".local/share/hwledger/ledger/blobs").join(&raw[..2]);
        let samples: Value = serde_json::from_slice(&std::fs::read(folder.join(raw)).unwrap()).unwrap();
        assert_eq!(samples["schema"], "hwledger.telemetry/1");
    }
    let observed = |kind: &str| home.says(0, &["ledger", "log", "--kind", kind]).matches(kind).count();
    let is_processor = |row: &&Value| row["kind"] == "DeviceObserved" && row["subject"] == "device/processor";
    assert_eq!(entries.iter().filter(is_processor).count(), 1);
    let before = observed("DeviceObserved");
    bench(&home, &[]);
    assert_eq!((observed("DeviceObserved"), observed("DeviceChanged")), (before, 0));
    home.says(0, &["ledger", "verify"]);
}

#[test]
fn predictions_come_before_runs_and_lessons_after() {
    let home = Home::new("loop");
    // Nothing is written where nobody began a ledger.
    bench(&home, &[]);
    assert!(!home.0.join(".local/share/hwledger/ledger").exists());
    bench(&home, &["--record"]);
    let log = home.json(&["ledger", "log", "--limit", "100"]);
    let entries = log["entries"].as_array().unwrap();
    let of_telemetry = |row: &&Value| row["kind"] == "TelemetryWindowRecorded";
    let others = entries.iter().filter(|row| !of_telemetry(row));
    let kinds: Vec<&str> =
        others.map(|row| row["kind"].as_str().unwrap()).filter(|kind| !kind.starts_with("Device")).collect();
    // One prefill, one decode, one for the memory of all: every prediction is there before the first measurement.
    let [predicted, measured] = ["PredictionMade", "EngineWindowRecorded"];
    assert_eq!(kinds, ["LedgerCreated", predicted, predicted, predicted, measured, measured, measured]);

    let table = home.0.join("figures.csv").display().to_string();
    let answer = home.json(&["reconcile", "--out", &table]);
    let runs = answer["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3);
    for run in runs {
        assert!(run["prediction"].as_u64() < run["measurement"].as_u64());
    }
    let memory = &runs[2]["residuals"];
    let row = |figure: &str| memory.as_array().unwrap().iter().find(|row| row["figure"] == figure).unwrap();
    assert_eq!(row("weights_bytes")["reason"], "the same to within 1 %");
    assert_eq!(row("kv_cache_bytes")["ratio"], 1.0);
    assert!(std::fs::read_to_string(&table).unwrap().contains("decode_tokens_per_s"));
    assert!(home.says(0, &["reconcile"]).contains("no run to compare"));
    assert_eq!(home.json(&["reconcile", "--all"])["runs"].as_array().unwrap().len(), 3);

    let learnt = home.json(&["calibrate", "--from-ledger"]);
    assert_eq!((learnt["runs"].as_u64(), learnt["excluded"].as_array().unwrap().len()), (Some(3), 0), "{learnt}");
    assert!(learnt["pairs_new"].as_u64() > Some(5));
    bench(&home, &[]);
    let later = home.json(&["reconcile"]);
    let decode =
        later["runs"][1]["residuals"].as_array().unwrap().iter().find(|row| row["figure"] == "decode_tokens_per_s");
    assert_eq!(decode.unwrap()["basis"], "measured", "{later}");
    assert!(home.says(0, &["ledger", "log", "--kind", "CalibrationUpdated"]).contains("decode_tokens_per_s"));
    home.says(0, &["ledger", "verify"]);

    // What a prediction rested on cannot be changed afterwards.
    for path in blobs(&home.0.join(".local/share/hwledger/ledger")) {
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("hwledger.prediction/1") {
            std::fs::write(&path, text.replace("\"formula\":", "\"formula\":1")).unwrap();
        }
    }
    let store = home.0.join("new").display().to_string();
    let text = home.says(1, &["calibrate", "--from-ledger", "--dry-run", "--store", &store, "--json"]);
    let learnt: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(learnt["pairs"].as_u64(), Some(0), "{learnt}");
    assert!(
        learnt["excluded"][0]["reason"].as_str().unwrap().contains("this is not what entry 2 refers to"),
        "{learnt}"
    );
}

#[test]
fn replies_are_recorded_without_a_word_of_them() {
    let home = Home::new("reply");
    home.says(0, &["ledger", "init"]);
    home.says(0, &["run", "demo", "Quixotic zebras", "-n", "12", "--temperature", "0"]);
    home.says(0, &["run", "demo", "Quixotic zebras", "-n", "12", "--temperature", "0", "--no-record"]);
    let answer = home.json(&["reconcile"]);
    assert_eq!(answer["runs"].as_array().unwrap().len(), 1);
    let folder = home.0.join(".local/share/hwledger/ledger");
    let mut files = blobs(&folder);
    files.push(folder.join("ledger.sqlite"));
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(8).any(|window| window == b"Quixotic"), "{}", path.display());
    }
    // A ledger that cannot be written stops no run.
    std::fs::remove_dir_all(home.0.join(".local/state")).unwrap();
    let text = home.says(0, &["run", "demo", "Hello", "-n", "3"]);
    assert!(text.contains("warning: not recorded"), "{text}");
}
