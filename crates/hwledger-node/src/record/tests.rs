//! The loop with a machine whose counters are known: predicted, counted, compared, learnt.

use std::path::Path;

use hwledger_core::Basis;
use hwledger_core::calibration::Figure;
use hwledger_formats::measurement::MeasuredRun;
use hwledger_ledger::event::{Event, Payload};
use hwledger_probe::machine::{Machine as Probed, Mock, Replay, Source};

use super::telemetry::Sampler;
use super::{LearnRequest, ReconcileRequest, Recorder, learn, reconcile};
use crate::Planner;
use crate::calibrate::{Learned, Store};
use crate::ledger::temporary::Temporary;
use crate::ledger::{Ledger, init, open};
use crate::locate::LocateOptions;
use crate::machine::Machine;
use crate::native::{NativeOptions, reply_run};

const SECOND: u64 = 1_000_000_000;

/// A machine that may draw 65 W.
fn machine() -> Machine {
    Machine {
        schema: "hwledger.machine/1".to_owned(),
        processor: "Example Processor 9000".to_owned(),
        threads: 2,
        instructions: "avx2".to_owned(),
        memory_bytes: Some(32 << 30),
        read_bandwidth: Some(30e9),
        float_rate: Some(200e9),
        integer_rate: Some(500e9),
        power_limit: Some(65.0),
        measured_at_ns: 1,
    }
}

fn planner(store: Option<&Path>) -> Planner {
    let planner = Planner::new(LocateOptions { is_offline: true, ..LocateOptions::default() });
    match store {
        Some(path) => planner.with_calibration(Learned::new(Store::read(path).unwrap().unwrap())),
        None => planner,
    }
}

/// A recording of a machine whose processors take 30 W, a snapshot per second.
fn recording(folder: &Path) -> Source {
    let zone = folder.join("tree/sys/class/powercap/intel-rapl:0");
    std::fs::create_dir_all(&zone).unwrap();
    std::fs::write(zone.join("name"), "package-0\n").unwrap();
    let mut probed = None;
    let path = folder.join("recording.jsonl");
    let _ = std::fs::remove_file(&path);
    let mut recorder = crate::probe::Recorder::create(&path).unwrap();
    for second in 1..2000 {
        std::fs::write(zone.join("energy_uj"), format!("{}\n", second * 30_000_000)).unwrap();
        let probed = probed.get_or_insert_with(|| Probed::recorded(&folder.join("tree")));
        recorder.write(&probed.snapshot(second * SECOND)).unwrap();
    }
    drop(recorder);
    Source::Replay(Replay::open(&path).unwrap())
}

fn run(threads: usize) -> MeasuredRun {
    reply_run("llama-3.2-1b", &NativeOptions::default(), threads, 64, 32)
}

/// Predicts a run and measures it on `source`; the joules of its window.
fn measured(ledger: &Ledger, planner: Planner, source: Source, work: Result<f64, &str>) -> Option<f64> {
    let mut recorder = Recorder::new(ledger, planner, Some(machine())).unwrap();
    recorder.sampler = Sampler::new(source);
    let prediction = recorder.predict(&run(2), "llama-3.2-1b").unwrap();
    let mut surroundings = recorder.watch(true);
    surroundings.set_work(work);
    let index = recorder.measure(&prediction, &run(2), &surroundings, "test").unwrap();
    let reader = ledger.reader().unwrap();
    let of_power = (index + 1..reader.size().unwrap()).find_map(|index| {
        let bytes = reader.entry(index).unwrap().bytes.unwrap();
        match Event::parse(&bytes).unwrap().payload().unwrap() {
            Some(Payload::TelemetryWindowRecorded(window)) if window.metric == "hwl_host_power_watts" => Some(window),
            _ => None,
        }
    });
    of_power?.joules.map(|joules| joules.value())
}

#[test]
fn energy_is_predicted_counted_compared_and_learnt() {
    let folder = Temporary::new("loop-energy");
    let options = folder.options();
    init(&options, Some("example.com/energy"), None).unwrap();
    let figure = "request_joules";
    let of =
        |answer: &super::ReconcileAnswer| answer.runs[0].residuals.iter().find(|row| row.figure == figure).cloned();
    let joules = {
        let ledger = open(&options).unwrap();
        measured(&ledger, planner(None), recording(&folder.0), Ok(2.0)).unwrap()
    };
    let row = of(&reconcile(&options, &ReconcileRequest::default()).unwrap()).unwrap();
    assert!((row.measured - joules / 2.0).abs() < 1e-9 && joules >= 30.0, "{row:?} {joules}");
    assert_eq!(row.basis, "formula");
    // Between idle and the limit, times the time of a request: more than nothing, less than an hour at full power.
    assert!(row.predicted > 0.1 && row.predicted < 65.0 * 3600.0, "{row:?}");

    let store = folder.0.join("calibration.json");
    let learnt = learn(&options, &LearnRequest { store: Some(store.clone()), is_dry_run: false }).unwrap();
    assert!(learnt.errors.iter().any(|row| row.figure == Figure::RequestJoules), "{learnt:?}");
    let later = {
        let ledger = open(&options).unwrap();
        let recorder = Recorder::new(&ledger, planner(Some(&store)), Some(machine())).unwrap();
        recorder.predict(&run(2), "llama-3.2-1b").unwrap()
    };
    let (_, estimate) = later.estimates.iter().find(|(figure, _)| *figure == Figure::RequestJoules).unwrap();
    assert_eq!(estimate.basis, Basis::Measured);
    assert!((estimate.value / row.measured - 1.0).abs() < 1e-9, "{estimate:?}");
}

#[test]
fn energy_that_is_not_counted_is_missing_with_its_reason() {
    for (source, work, expected) in [
        (Some(()), Err("the cache was filled meanwhile"), "the cache was filled meanwhile"),
        (None, Ok(1.0), "the processor has no counter of energy that this system shows"),
    ] {
        let folder = Temporary::new(if source.is_some() { "loop-filled" } else { "loop-uncounted" });
        let options = folder.options();
        init(&options, Some("example.com/energy"), None).unwrap();
        let source = source.map_or_else(|| Source::Mock(Mock::new(1, SECOND)), |()| recording(&folder.0));
        let ledger = open(&options).unwrap();
        measured(&ledger, planner(None), source, work);
        drop(ledger);
        let answer = reconcile(&options, &ReconcileRequest::default()).unwrap();
        let missing = &answer.runs[0].missing;
        assert!(missing.contains(&format!("request_joules: {expected}")), "{missing:?}");
    }
}
