//! This machine's readings beside those of engines: for Prometheus and OpenTelemetry.

use std::sync::{Mutex, OnceLock, PoisonError};

use hwledger_ledger::store::clock_ns;
use hwledger_probe::machine::{Device, Machine, Snapshot};

use crate::metrics::LabelledReading;

/// A machine that is read each time somebody asks. Rates are over the time between two questions.
#[derive(Debug)]
pub struct MachineReadings(Mutex<Machine>);

impl MachineReadings {
    /// This machine, read once so that the next reading has rates.
    pub fn local() -> Self {
        let mut machine = Machine::local();
        machine.snapshot(clock_ns());
        Self(Mutex::new(machine))
    }

    fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).snapshot(clock_ns())
    }

    /// What the machine and its devices are doing now.
    pub fn readings(&self) -> Vec<LabelledReading> {
        let snapshot = self.snapshot();
        let of_host = snapshot.host.readings.into_iter().map(|reading| LabelledReading { labels: Vec::new(), reading });
        let of_devices = snapshot.devices.into_iter().flat_map(|device| {
            let labels = labels(&device.device);
            device.readings.into_iter().map(move |reading| LabelledReading { labels: labels.clone(), reading })
        });
        of_host.chain(of_devices).collect()
    }
}

/// What tells devices apart: few values, which stay the same.
fn labels(device: &Device) -> Vec<(String, String)> {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![label("device_uuid", &device.id), label("vendor", device.vendor.name()), label("model", &device.name)]
}

/// A snapshot of this machine. Vendors' libraries are opened once per process, however often somebody asks.
pub(crate) fn own_snapshot() -> Snapshot {
    static OWN: OnceLock<MachineReadings> = OnceLock::new();
    OWN.get_or_init(MachineReadings::local).snapshot()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::MachineReadings;
    use crate::metrics::exposition;

    #[test]
    fn this_machine_stands_beside_engines() {
        let readings = MachineReadings::local().readings();
        let text = exposition(&readings);
        let line = text.lines().find(|line| line.starts_with("hwl_host_memory_total_bytes")).unwrap();
        let bytes: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!(bytes > 1e8, "{line}");
        assert!(text.contains("# HELP hwl_host_memory_total_bytes Memory of the host"), "{text}");
    }
}
