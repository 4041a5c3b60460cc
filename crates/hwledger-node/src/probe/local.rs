//! This machine in place of the name `local` in a request.

use hwledger_core::device::Instructions;
use hwledger_core::units::GIBIBYTE;

use super::metric::{DEVICE_MEMORY_TOTAL, HOST_MEMORY_LIMIT};
use super::{DeviceSnapshot, Outcome, Snapshot, SourceName, snapshot};
use crate::machine::own_instructions;
use crate::planner::PlanFailure;
use crate::request::{DeviceRequest, HostRequest, PlanRequest};

/// What stands for this machine's devices.
const LOCAL: &str = "local";

/// The request with this machine's devices, memory and instructions in the place of the device `local`; any other as it is.
///
/// Devices are named as their drivers name them and have the memory that these report; one that does not answer is left
/// out. A machine without devices has
/// its host only: the memory that a process may use, whatever of it others use now.
pub fn with_this_machine(request: PlanRequest) -> Result<PlanRequest, PlanFailure> {
    if !request.devices.iter().any(|device| is_local(&device.name)) {
        return Ok(request);
    }
    let snapshot = snapshot(&SourceName::Live).map_err(|error| PlanFailure::NotARequest(error.to_string()))?;
    Ok(with_machine(request, &snapshot, own_instructions()))
}

fn is_local(name: &str) -> bool {
    name.trim().eq_ignore_ascii_case(LOCAL)
}

/// Whether a device does not answer: nothing runs on it.
fn is_lost(device: &DeviceSnapshot) -> bool {
    device
        .readings
        .iter()
        .any(|reading| reading.metric == DEVICE_MEMORY_TOTAL.name && matches!(reading.outcome, Outcome::Error { .. }))
}

fn with_machine(mut request: PlanRequest, machine: &Snapshot, instructions: Instructions) -> PlanRequest {
    let asked = std::mem::take(&mut request.devices);
    for device in asked {
        if !is_local(&device.name) {
            request.devices.push(device);
            continue;
        }
        for one in machine.devices.iter().filter(|one| !is_lost(one)) {
            let total = one.value(DEVICE_MEMORY_TOTAL.name).map(|bytes| bytes / GIBIBYTE as f64);
            let found = DeviceRequest {
                name: one.device.name.clone(),
                count: Some(1),
                // What was said counts more than what was read.
                memory_gib: device.memory_gib.or(total),
                memory: device.memory.clone(),
                ..DeviceRequest::default()
            };
            match request.devices.last_mut() {
                Some(last) if DeviceRequest { count: Some(1), ..last.clone() } == found => {
                    last.count = last.count.map(|count| count + 1);
                }
                _ => request.devices.push(found),
            }
        }
    }
    let memory_gib = machine.host.value(HOST_MEMORY_LIMIT.name).map(|bytes| bytes / GIBIBYTE as f64);
    let host = request.host.get_or_insert_with(HostRequest::default);
    host.memory_gib = host.memory_gib.or(memory_gib);
    request.instructions.get_or_insert_with(|| instructions.name().to_owned());
    request
}

#[cfg(test)]
mod tests {
    use super::{GIBIBYTE, Instructions, with_machine};
    use crate::probe::{Device, DeviceSnapshot, Host, MemoryKind, Outcome, Reading, Snapshot, Unit};
    use crate::request::{DeviceRequest, HostRequest, PlanRequest};
    use hwledger_probe::machine::{DeviceKind, Vendor};

    fn reading(metric: &str, gib: f64) -> Reading {
        Reading {
            metric: metric.to_owned(),
            labels: Vec::new(),
            unit: Unit::Bytes,
            source: "test".to_owned(),
            taken_at_ns: 0,
            outcome: Outcome::Measured { value: gib * GIBIBYTE as f64 },
        }
    }

    fn machine(names: &[&str]) -> Snapshot {
        let device = |(index, name): (usize, &&str)| DeviceSnapshot {
            device: Device {
                id: format!("GPU-{index}"),
                vendor: Vendor::Nvidia,
                kind: DeviceKind::Gpu,
                name: (*name).to_owned(),
                driver: None,
                driver_version: None,
                pci_address: None,
                memory_kind: MemoryKind::Dedicated,
            },
            readings: vec![reading("hwl_device_memory_total_bytes", 23.69)],
        };
        let host = Host { readings: vec![reading("hwl_host_memory_limit_bytes", 62.5)], ..Host::default() };
        Snapshot { taken_at_ns: 0, host, devices: names.iter().enumerate().map(device).collect(), notes: Vec::new() }
    }

    fn request(names: &[&str]) -> PlanRequest {
        let device = |name: &&str| DeviceRequest { name: (*name).to_owned(), ..DeviceRequest::default() };
        PlanRequest { devices: names.iter().map(device).collect(), ..PlanRequest::default() }
    }

    #[test]
    fn equal_devices_are_counted_and_have_the_memory_that_was_read() {
        let cards = machine(&["NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 3060"]);
        let found = with_machine(request(&["Local"]), &cards, Instructions::Avx2);
        let told: Vec<_> = found.devices.iter().map(|one| (one.name.as_str(), one.count, one.memory_gib)).collect();
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].0, told[0].1), ("NVIDIA GeForce RTX 3090", Some(2)));
        assert!((told[0].2.expect("it was read") - 23.69).abs() < 1e-9);
        assert_eq!((told[1].0, told[1].1), ("NVIDIA GeForce RTX 3060", Some(1)));
        assert_eq!(found.host.and_then(|host| host.memory_gib), Some(62.5));
    }

    #[test]
    fn a_machine_without_devices_is_its_host() {
        let found = with_machine(request(&["local"]), &machine(&[]), Instructions::Avx2);
        assert!(found.devices.is_empty());
        assert_eq!(found.instructions.as_deref(), Some("avx2"));
        assert_eq!(found.host.and_then(|host| host.memory_gib), Some(62.5));
    }

    #[test]
    fn what_was_said_counts_more_than_what_was_read() {
        let mut asked = request(&["local", "H100"]);
        asked.devices[0].memory_gib = Some(20.0);
        asked.host = Some(HostRequest { memory_gib: Some(8.0), ..HostRequest::default() });
        asked.instructions = Some("amx".to_owned());
        let found = with_machine(asked, &machine(&["NVIDIA GeForce RTX 3090"]), Instructions::Avx2);
        assert_eq!(found.instructions.as_deref(), Some("amx"));
        assert_eq!(found.devices[0].memory_gib, Some(20.0));
        assert_eq!(found.devices[1].name, "H100");
        assert_eq!(found.host.and_then(|host| host.memory_gib), Some(8.0));
    }
}
