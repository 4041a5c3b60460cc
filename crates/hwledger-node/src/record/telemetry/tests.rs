use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hwledger_ledger::event::{Event, Payload, TelemetryWindowRecorded};
use hwledger_probe::machine::{Machine, Mock, Source};
use serde_json::Value;

use super::summary::summarize_source;
use super::*;
use crate::ledger::Ledger;
use crate::ledger::temporary::Temporary;
use crate::probe::metric::{HOST_ENERGY, HOST_MEMORY_USED};
use crate::probe::{Host, Outcome, Reading, Snapshot};
use crate::record::blob;

const SECOND: u64 = 1_000_000_000;

fn reading(metric: hwledger_probe::machine::Metric, at_ns: u64, outcome: Outcome) -> Reading {
    Reading {
        metric: metric.name.to_owned(),
        labels: Vec::new(),
        unit: metric.unit,
        source: "/sys/test".to_owned(),
        taken_at_ns: at_ns,
        outcome,
    }
}

fn snapshot(at_ns: u64, readings: Vec<Reading>) -> Snapshot {
    Snapshot { taken_at_ns: at_ns, host: Host { readings, ..Host::default() }, devices: Vec::new(), notes: Vec::new() }
}

fn of_memory(at_ns: u64, value: f64) -> Snapshot {
    snapshot(at_ns, vec![reading(HOST_MEMORY_USED, at_ns, Outcome::Measured { value })])
}

#[test]
fn values_count_by_the_time_that_they_stand_for() {
    let mut samples = Samples::default();
    // What was there at the beginning is of the time before it.
    for (at_s, value) in [(10, 99.0), (11, 1.0), (29, 2.0), (30, 5.0)] {
        samples.push(&of_memory(at_s * SECOND, value));
    }
    // A clock that was set back, and a reading that only still stands, say nothing.
    samples.push(&of_memory(20 * SECOND, 1000.0));
    let stale = reading(HOST_MEMORY_USED, 30 * SECOND, Outcome::Derived { value: 1000.0 });
    samples.push(&snapshot(31 * SECOND, vec![stale]));
    let windows = samples.windows();
    assert_eq!(windows.len(), 1, "{windows:?}");
    let window = &windows[0];
    assert_eq!((window.device.as_str(), window.metric.as_str(), window.unit), ("host", HOST_MEMORY_USED.name, "bytes"));
    assert_eq!((window.start_ns, window.end_ns, window.samples), (10 * SECOND, 31 * SECOND, 3));
    assert!((window.mean - (1.0 + 2.0 * 18.0 + 5.0) / 20.0).abs() < 1e-12, "{window:?}");
    let close = |left: f64, right: f64| (left - right).abs() < 1e-12;
    assert!(close(window.minimum, 1.0) && close(window.percentile_95, 2.0) && close(window.maximum, 5.0));
    assert_eq!(window.joules, None);

    let raw: Value = serde_json::from_slice(&samples.raw()).unwrap();
    assert_eq!(raw["after_ms"], serde_json::json!([0, 1000, 19000, 20000, 21000]));
    assert_eq!(raw["series"][0]["values"], serde_json::json!([99.0, 1.0, 2.0, 5.0, null]));
}

#[test]
fn what_is_not_told_makes_no_window() {
    let mut mock = Mock::new(7, SECOND);
    let mut samples = Samples::default();
    let snapshots: Vec<Snapshot> = (0..50).map(|_| mock.snapshot()).collect();
    for snapshot in &snapshots {
        samples.push(snapshot);
    }
    let windows = samples.windows();
    let names: Vec<(&str, &str)> =
        windows.iter().map(|window| (window.device.as_str(), window.metric.as_str())).collect();
    for expected in [
        ("host", "hwl_host_cpu_utilization_ratio"),
        ("mock-0", "hwl_device_power_watts"),
        ("mock-0", "hwl_device_temperature_celsius"),
        ("mock-1", "hwl_device_memory_used_bytes"),
    ] {
        assert!(names.contains(&expected), "{names:?}");
    }
    assert!(!names.iter().any(|(_, metric)| metric.contains("ecc") || metric.contains("energy")), "{names:?}");
    assert!(!names.contains(&("host", "hwl_host_power_watts")), "{names:?}");
    assert!(!names.contains(&("mock-1", "hwl_device_temperature_celsius")), "{names:?}");
    for window in &windows {
        let order = [window.minimum, window.percentile_95, window.maximum];
        assert!(order.is_sorted() && (window.minimum..=window.maximum).contains(&window.mean), "{window:?}");
    }
    let power = |device: &str| {
        let is_it = |window: &&Window| window.device == device && window.metric == "hwl_device_power_watts";
        windows.iter().find(is_it).unwrap()
    };
    // A counter tells the energy; the sensor that fails now and then has fewer samples.
    let counter = |snapshot: &Snapshot| snapshot.devices[0].value("hwl_device_energy_joules_total").unwrap();
    let gained = counter(&snapshots[49]) - counter(&snapshots[0]);
    assert!((power("mock-0").joules.unwrap() - gained).abs() < 1e-6);
    assert_eq!((power("mock-0").samples, power("mock-1").samples), (49, 47));
    let by_name = |name: &'static str| samples.devices_energy(move |found| found == name);
    assert!(matches!(by_name("Mock Accelerator 24G"), Some(Ok((joules, true))) if (joules - gained).abs() < 1e-6));
    assert!(by_name("Mock Integrated").unwrap().unwrap_err().contains("the sensor did not answer"));
    assert_eq!(by_name("RTX 3090"), None);
    assert_eq!(samples.since(50).windows(), Vec::new());
}

/// The counter of one package of a machine's tree.
fn set_counter(root: &Path, microjoules: u64) {
    let zone = root.join("sys/class/powercap/intel-rapl:0");
    std::fs::create_dir_all(&zone).unwrap();
    std::fs::write(zone.join("name"), "package-0\n").unwrap();
    std::fs::write(zone.join("max_energy_range_uj"), "262143000000\n").unwrap();
    std::fs::write(zone.join("energy_uj"), format!("{microjoules}\n")).unwrap();
}

#[test]
fn energy_of_processors_is_counted_past_the_end_of_their_counters() {
    let folder = Temporary::new("telemetry-rapl");
    set_counter(&folder.0, 262_100_000_000);
    let mut machine = Machine::recorded(&folder.0);
    let mut samples = Samples::default();
    for (at_s, microjoules) in [(1, 262_100_000_000), (2, 262_130_000_000), (3, 17_000_000), (5, 77_000_000)] {
        set_counter(&folder.0, microjoules);
        samples.push(&machine.snapshot(at_s * SECOND));
    }
    // 30 J, 13 J up to the end and 17 J after it, 60 J.
    let (joules, is_counter) = samples.processor_energy().unwrap();
    assert!((joules - 120.0).abs() < 1e-6 && is_counter, "{joules}");
    let windows = samples.windows();
    let power = windows.iter().find(|window| window.metric == "hwl_host_power_watts").unwrap();
    assert!((power.joules.unwrap() - 120.0).abs() < 1e-6 && (power.mean - 30.0).abs() < 1e-9, "{power:?}");
}

#[test]
fn what_cannot_be_read_has_a_reason() {
    let none = Samples::default().processor_energy();
    assert!(none.is_err());
    let mut samples = Samples::default();
    samples.push(&of_memory(SECOND, 1.0));
    assert!(samples.processor_energy().unwrap_err().contains("no counter of energy"));
    let refused = |at_ns| {
        let mut reading = reading(HOST_ENERGY, at_ns, Outcome::Error { reason: "permission denied".to_owned() });
        reading.labels.push(("domain".to_owned(), "package-0".to_owned()));
        snapshot(at_ns, vec![reading])
    };
    samples.push(&refused(2 * SECOND));
    let reason = samples.processor_energy().unwrap_err();
    assert_eq!(reason, "the processor's counter of energy is readable by root only (/sys/test)");
}

fn telemetry(ledger: &Ledger) -> Vec<(String, TelemetryWindowRecorded)> {
    let reader = ledger.reader().unwrap();
    let mut found = Vec::new();
    for index in 0..reader.size().unwrap() {
        let bytes = reader.entry(index).unwrap().bytes.unwrap();
        let event = Event::parse(&bytes).unwrap();
        if let Some(Payload::TelemetryWindowRecorded(window)) = event.payload().unwrap() {
            found.push((event.subject.into_owned(), window));
        }
    }
    found
}

#[test]
fn windows_are_written_one_after_another() {
    let folder = Temporary::new("telemetry-summary");
    let ledger = folder.create();
    let options = SummarizeOptions { count: Some(2), ..SummarizeOptions::default() };
    let mut told = Vec::new();
    let source = || Source::Mock(Mock::new(3, 10 * SECOND));
    let go_on = AtomicBool::new(false);
    summarize_source(&ledger, source(), &options, &go_on, |summarized| {
        told.push(summarized.clone());
        true
    })
    .unwrap();
    let span = 900 * SECOND;
    let ends: Vec<(u64, u64)> = told.iter().map(|one| (one.start_ns % span, one.end_ns - one.start_ns)).collect();
    assert_eq!(ends, [(0, span), (0, span)]);
    assert_eq!(told[0].end_ns, told[1].start_ns);
    let found = telemetry(&ledger);
    assert_eq!(found.len(), told[0].windows.len() + told[1].windows.len());
    let (subject, window) = &found[0];
    assert_eq!((subject.as_str(), window.device.as_str(), window.samples.0), ("telemetry/host", "host", 90));
    let raw = blob::fetch(ledger.folder(), window.raw.unwrap(), 0).unwrap();
    let raw: Value = serde_json::from_slice(&raw).unwrap();
    assert_eq!(raw["after_ms"].as_array().unwrap().len(), 91);

    // Whoever ends it loses nothing of the window under way.
    let before = found.len();
    let mut count = 0;
    let ended = AtomicBool::new(false);
    let short = SummarizeOptions { span: Duration::from_hours(1), ..SummarizeOptions::default() };
    let mut mock = Mock::new(3, SECOND);
    let path = folder.0.join("recording.jsonl");
    let mut recorder = crate::probe::Recorder::create(&path).unwrap();
    (0..30).for_each(|_| recorder.write(&mock.snapshot()).unwrap());
    drop(recorder);
    let replay = Source::Replay(hwledger_probe::machine::Replay::open(&path).unwrap());
    summarize_source(&ledger, replay, &short, &ended, |summarized| {
        count += 1;
        assert_eq!(summarized.end_ns - summarized.start_ns, 29 * SECOND);
        true
    })
    .unwrap();
    assert_eq!(count, 1);
    assert!(telemetry(&ledger).len() > before);
}

#[test]
fn what_is_watched_has_samples_at_both_ends() {
    let sampler = Sampler::new(Source::Mock(Mock::new(5, SECOND)));
    for _ in 0..2 {
        let whole = sampler.watch();
        let part = sampler.watch();
        let (part, whole) = (part.samples(), whole.samples());
        assert!(part.len() >= 2 && whole.len() > part.len(), "{} {}", part.len(), whole.len());
        let windows = part.windows();
        assert!(windows.iter().any(|window| window.metric == HOST_MEMORY_USED.name && window.samples > 0));
    }
    // One that nobody asks for its samples ends too.
    drop(sampler.watch());
}
