//! Machines that this one is not, from recorded trees (`tests/trees/PROVENANCE.md`).

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot start should stop at once")]

mod cards;
mod host;
mod nvml;
mod tree;

use std::fmt::Write as _;

use hwledger_probe::machine::{DeviceSnapshot, Snapshot};
use hwledger_probe::{Outcome, Reading};

/// The start of all tests, in nanoseconds since 1970.
const START: u64 = 1_800_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// The reading of a metric with a label of this value, or without any.
fn reading<'readings>(readings: &'readings [Reading], metric: &str, label: Option<&str>) -> &'readings Reading {
    let is_wanted = |reading: &&Reading| {
        reading.metric == metric && reading.labels.first().map(|(_, value)| value.as_str()) == label
    };
    readings.iter().find(is_wanted).unwrap_or_else(|| panic!("there is no {metric} {label:?}"))
}

fn of<'snapshot>(device: &'snapshot DeviceSnapshot, metric: &str) -> &'snapshot Outcome {
    &reading(&device.readings, metric, None).outcome
}

fn measured(value: f64) -> Outcome {
    Outcome::Measured { value }
}

fn derived(value: f64) -> Outcome {
    Outcome::Derived { value }
}

/// Everything in a snapshot, one reading per line.
fn picture(snapshot: &Snapshot) -> String {
    let host = &snapshot.host;
    let mut text = format!("{:?} {:?} {:?}\n", host.system, host.kernel, host.processor);
    // Trees of devices have no host: the reasons are the same in each.
    if host.readings.iter().any(|reading| reading.outcome.value().is_some()) {
        text.extend(host.readings.iter().map(line));
    }
    for one in &snapshot.devices {
        let device = &one.device;
        let driver = device.driver.as_deref().unwrap_or("-");
        let (id, name, memory) = (&device.id, &device.name, device.memory_kind);
        writeln!(text, "\n{id} {:?} {name} {driver} {memory:?} {:?}", device.vendor, device.pci_address).unwrap();
        text.extend(one.readings.iter().map(line));
    }
    text.extend(snapshot.notes.iter().map(|note| format!("\nnote {}: {}\n", note.source, note.text)));
    text
}

fn line(reading: &Reading) -> String {
    let labels: Vec<String> = reading.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let outcome = match &reading.outcome {
        Outcome::Measured { value } => format!("{value} measured"),
        Outcome::Derived { value } => format!("{value} derived"),
        Outcome::Unsupported { reason } => format!("unsupported: {reason}"),
        Outcome::Error { reason } => format!("error: {reason}"),
    };
    format!("  {}{{{}}} {:?} {outcome} [{}]\n", reading.metric, labels.join(","), reading.unit, reading.source)
}
