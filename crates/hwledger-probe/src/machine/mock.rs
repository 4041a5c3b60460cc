//! A machine that does not exist, for tests and demonstrations: the same seed gives the same numbers, and its clock
//! moves only when it is asked for a snapshot.

use super::collect::{Collector, Missing};
use super::device::{Device, DeviceKind, DeviceSnapshot, Host, MemoryKind, Snapshot, Vendor};
use super::metric;
use super::rate::Rates;

const GIBIBYTE: f64 = 1_073_741_824.0;
/// 2026-01-01, in nanoseconds since 1970.
const START_NS: u64 = 1_767_225_600_000_000_000;

/// The machine: a card with memory of its own, and graphics that share the host's.
#[derive(Debug)]
pub struct Mock {
    seed: u64,
    interval_ns: u64,
    step: u64,
    /// Energy of the card so far, in joules.
    energy: f64,
    /// Time in which the host's processors were busy so far, in milliseconds.
    busy_ms: f64,
    rates: Rates,
}

impl Mock {
    /// A machine whose clock moves by `interval_ns` with each snapshot.
    pub fn new(seed: u64, interval_ns: u64) -> Self {
        Self { seed, interval_ns, step: 0, energy: 0.0, busy_ms: 0.0, rates: Rates::default() }
    }

    /// The next snapshot.
    pub fn snapshot(&mut self) -> Snapshot {
        let at_ns = START_NS + self.step * self.interval_ns;
        let devices = vec![self.card(at_ns), self.shared(at_ns)];
        let host = self.host(at_ns);
        self.step += 1;
        Snapshot { taken_at_ns: at_ns, host, devices, notes: Vec::new() }
    }

    /// A number from 0 to 1 that depends on the seed, the step and what it is for.
    fn noise(&self, purpose: u64) -> f64 {
        // SplitMix64.
        let mut state =
            self.seed ^ self.step.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose.wrapping_mul(0xd1b5_4a32_d192_ed03);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((state ^ (state >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How busy it is: requests come and go every 40 seconds or so, on 25 of them.
    fn load(&self) -> f64 {
        let seconds = (self.step.wrapping_mul(self.interval_ns) / 1_000_000_000) % 40;
        if seconds < 25 { 0.85 + 0.15 * self.noise(1) } else { 0.05 * self.noise(1) }
    }

    fn card(&mut self, at_ns: u64) -> DeviceSnapshot {
        let mut collector = Collector::new(at_ns);
        let load = (self.load() * 100.0).round() / 100.0;
        let watts = (25.0 + 300.0 * load + 5.0 * self.noise(2)).round();
        self.energy += watts * (self.interval_ns as f64 / 1e9);
        let used = (18.0 + 2.0 * load) * GIBIBYTE;
        let total = 24.0 * GIBIBYTE;
        let rows = [
            (metric::DEVICE_MEMORY_TOTAL, total),
            (metric::DEVICE_MEMORY_USED, used.round()),
            (metric::DEVICE_MEMORY_FREE, total - used.round()),
            (metric::DEVICE_UTILIZATION, load),
            (metric::DEVICE_POWER, watts),
            (metric::DEVICE_POWER_LIMIT, 350.0),
            (metric::DEVICE_ENERGY, self.energy),
        ];
        for (metric, value) in rows {
            collector.measured(metric, &[], "mock", Ok(value));
        }
        let degrees = (38.0 + 35.0 * load).round();
        collector.measured(metric::DEVICE_TEMPERATURE, &[("sensor", "chip")], "mock", Ok(degrees));
        let errors = Missing::absent("the device does not support it");
        collector.measured(metric::DEVICE_ECC_ERRORS, &[("kind", "corrected")], "mock", Err(errors));
        DeviceSnapshot {
            device: device("mock-0", "Mock Accelerator 24G", MemoryKind::Dedicated),
            readings: collector.finish(),
        }
    }

    fn shared(&mut self, at_ns: u64) -> DeviceSnapshot {
        let mut collector = Collector::new(at_ns);
        let load = (self.load() * 60.0).round() / 100.0;
        collector.derived(metric::DEVICE_MEMORY_TOTAL, &[], "mock", Ok(48.0 * GIBIBYTE));
        collector.derived(metric::DEVICE_MEMORY_USED, &[], "mock", Ok(((9.0 + load) * GIBIBYTE).round()));
        collector.measured(metric::DEVICE_UTILIZATION, &[], "mock", Ok(load));
        // Its sensor fails now and then; its energy is summed from what is read.
        let watts = if self.step % 17 == 16 {
            Err(Missing::Failed("the sensor did not answer".to_owned()))
        } else {
            Ok((4.0 + 40.0 * load).round())
        };
        let joules = watts.clone().and_then(|watts| self.rates.joules("shared", watts, at_ns));
        collector.measured(metric::DEVICE_POWER, &[], "mock", watts);
        collector.derived(metric::DEVICE_ENERGY, &[], "mock", joules);
        DeviceSnapshot {
            device: device("mock-1", "Mock Integrated", MemoryKind::Unified),
            readings: collector.finish(),
        }
    }

    fn host(&mut self, at_ns: u64) -> Host {
        let mut collector = Collector::new(at_ns);
        let (total, busy) = (64.0 * GIBIBYTE, 0.1 + 0.3 * self.load());
        // Its counter begins anew now and then, as counters do.
        if self.step % 60 == 45 {
            self.busy_ms = 0.0;
        } else {
            self.busy_ms += (busy * (self.interval_ns as f64 / 1e6)).round();
        }
        let available = ((50.0 - 4.0 * busy) * GIBIBYTE).round();
        collector.measured(metric::HOST_PROCESSORS, &[], "mock", Ok(16.0));
        let share = self.rates.per_second("busy", self.busy_ms, None, at_ns).map(|(rate, at_ns)| (rate / 1e3, at_ns));
        collector.held(metric::HOST_CPU_UTILIZATION, &[], "mock", share);
        collector.measured(metric::HOST_MEMORY_TOTAL, &[], "mock", Ok(total));
        collector.measured(metric::HOST_MEMORY_AVAILABLE, &[], "mock", Ok(available));
        collector.derived(metric::HOST_MEMORY_USED, &[], "mock", Ok(total - available));
        Host {
            system: Some("Mock system".to_owned()),
            kernel: Some("1.0".to_owned()),
            architecture: "mock".to_owned(),
            processor: Some("Mock Processor".to_owned()),
            readings: collector.finish(),
        }
    }
}

fn device(id: &str, name: &str, memory_kind: MemoryKind) -> Device {
    Device {
        id: id.to_owned(),
        vendor: Vendor::Other,
        kind: DeviceKind::Gpu,
        name: name.to_owned(),
        driver: Some("mock".to_owned()),
        driver_version: None,
        pci_address: None,
        memory_kind,
    }
}
