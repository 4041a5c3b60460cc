//! Answers of NVML.

use std::path::Path;

use crate::{START, derived, measured, of, picture, reading};
use hwledger_probe::Outcome;
use hwledger_probe::machine::nvidia::{Answers, read};
use hwledger_probe::machine::{DeviceSnapshot, Host, MemoryKind, Snapshot};

fn answered(name: &str) -> DeviceSnapshot {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees/nvml").join(format!("{name}.json"));
    let answers: Answers = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    read(&answers, START)
}

fn alone(device: &DeviceSnapshot) -> String {
    let devices = vec![device.clone()];
    picture(&Snapshot { taken_at_ns: START, host: Host::default(), devices, notes: Vec::new() })
}

#[test]
fn a_data_centre_device_counts_its_energy() {
    let device = answered("data-centre");
    assert_eq!(device.device.pci_address.as_deref(), Some("0000:65:00.0"));
    assert_eq!(of(&device, "hwl_device_energy_joules_total"), &measured(987_654_321.0));
    let reason = |name| &reading(&device.readings, "hwl_device_throttle", Some(name)).outcome;
    assert_eq!((reason("power_cap"), reason("software_thermal")), (&measured(1.0), &measured(1.0)));
    assert_eq!(reason("hardware_thermal"), &measured(0.0));
    insta::assert_snapshot!(alone(&device));
}

#[test]
fn an_old_card_has_its_power_summed() {
    let device = answered("old-card");
    assert_eq!(of(&device, "hwl_device_energy_joules_total"), &derived(0.0), "nothing before the first sample");
    let errors = reading(&device.readings, "hwl_device_ecc_errors_total", Some("corrected"));
    assert!(matches!(errors.outcome, Outcome::Unsupported { .. }), "a card without correction has not zero errors");
    insta::assert_snapshot!(alone(&device));
}

#[test]
fn memory_that_is_shared_is_told_from_memory_that_failed() {
    let device = answered("shared-memory");
    assert_eq!(device.device.memory_kind, MemoryKind::Unified);
    assert!(matches!(of(&device, "hwl_device_memory_total_bytes"), Outcome::Unsupported { .. }));
    assert!(matches!(of(&device, "hwl_device_energy_joules_total"), Outcome::Error { .. }), "a failure is no absence");
    insta::assert_snapshot!(alone(&device));
}
