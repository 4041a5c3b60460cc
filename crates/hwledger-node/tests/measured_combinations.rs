//! What was measured runs: no rule calls a combination impossible that somebody timed.

use std::collections::BTreeSet;
use std::io::Read;

use hwledger_core::Bytes;
use hwledger_core::device::{DeploymentPath, find};
use hwledger_core::engine::deployment::deployment;
use hwledger_core::engine::support::{format_obstacle, obstacle};
use hwledger_core::settings::Engine;
use serde_json::Value;

#[test]
fn every_measured_combination_is_possible() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/efficiency/measurements.jsonl.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let mut combinations = BTreeSet::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let request = &record["request"];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for device in request["devices"].as_array().unwrap() {
            let memory = device["memory_gib"].as_f64().map(Bytes::from_gibibytes);
            combinations.insert((word(&request["engine"]), word(&device["name"]), memory, word(&request["weights"])));
        }
    }
    assert!(combinations.len() > 100, "{}", combinations.len());
    for (engine, name, memory, weights) in combinations {
        let engine = Engine::ALL.iter().copied().find(|own| own.name() == engine).unwrap();
        let device = find(&name, memory).unwrap().device;
        let told = format!("{} on {name} with {weights}", engine.name());
        assert_eq!(obstacle(engine, &device), None, "{told}");
        let path = deployment(engine, &device, Some(&weights), None).map(|found| (found.path, found.reason));
        assert!(path.is_none_or(|(path, _)| path != DeploymentPath::Unsupported), "{told}: {path:?}");
        // A label that nobody can read says nothing against the engine.
        if let Ok(format) = weights.parse() {
            assert_eq!(format_obstacle(engine, &weights, &format), None, "{told}");
        }
    }
}
