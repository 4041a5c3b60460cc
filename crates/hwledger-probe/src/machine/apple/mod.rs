//! Apple Silicon. What is sampled (`sampler`, on macOS only) and what readings follow from it ([`Answers`]) are apart, so
//! that the second part is tested everywhere.
//!
//! **This has never been run on a Mac**: the sampler was written from the documentation of the crate `macmon`, and no
//! machine with macOS was at hand to build or try it on.

#[cfg(target_os = "macos")]
mod sampler;

use serde::{Deserialize, Serialize};

use super::collect::{Collector, Missing};
use super::device::{Device, DeviceKind, DeviceSnapshot, MemoryKind, Vendor};
use super::metric::{self, Metric};
use super::rate::Rates;
#[cfg(target_os = "macos")]
pub(crate) use sampler::Apple;

/// What was sampled at one moment, in the units of its sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answers {
    /// Name of the chip (`Apple M2 Max`).
    pub(crate) chip: String,
    /// Bytes of memory.
    pub(crate) memory_total: u64,
    /// Bytes of memory in use.
    pub(crate) memory_used: u64,
    /// Bytes of swap space, and of it in use.
    pub(crate) swap: (u64, u64),
    /// `iogpu.wired_limit_mb` in MiB: what graphics may hold at most; zero where the system decides.
    pub(crate) wired_limit_mib: Option<u64>,
    /// Share of time in which graphics were busy.
    pub(crate) gpu_active: f32,
    /// Clock of graphics in MHz.
    pub(crate) gpu_mhz: u32,
    /// Watts of graphics.
    pub(crate) gpu_watts: f32,
    /// Degrees Celsius of graphics, where sensors answer.
    pub(crate) gpu_celsius: Option<f32>,
    /// Share of time in which processors were busy.
    pub(crate) processors_active: f32,
    /// Watts of processors.
    pub(crate) processors_watts: f32,
    /// Degrees Celsius of processors, where sensors answer.
    pub(crate) processors_celsius: Option<f32>,
    /// Whether the machine is virtual: then clocks and power read zero, and mean nothing.
    pub(crate) is_virtual: bool,
}

const SOURCE: &str = "IOReport";
const SYSTEM: &str = "sysctl";

impl Answers {
    /// What a virtual machine cannot know is missing, not zero.
    fn sensed(&self, value: f64) -> Result<f64, Missing> {
        if self.is_virtual { Err(Missing::absent("a virtual machine has no such sensor")) } else { Ok(value) }
    }

    /// What graphics may hold: the limit that is set, or the system's own: two thirds of memory up to 36 GiB, three
    /// quarters above.
    fn graphics_memory(&self) -> f64 {
        match self.wired_limit_mib {
            Some(limit) if limit > 0 => (limit << 20) as f64,
            _ if self.memory_total > 36 << 30 => self.memory_total as f64 * 0.75,
            _ => self.memory_total as f64 * 2.0 / 3.0,
        }
    }
}

fn celsius(value: Option<f32>) -> Result<f64, Missing> {
    value.map(f64::from).ok_or_else(|| Missing::absent("no sensor answers"))
}

/// The graphics and their readings. `at_ns` is when the sample was taken.
pub(crate) fn device(answers: &Answers, rates: &mut Rates, at_ns: u64) -> DeviceSnapshot {
    let mut collector = Collector::new(at_ns);
    let limit = Ok(answers.graphics_memory());
    collector.derived(metric::DEVICE_MEMORY_TOTAL, &[], "iogpu.wired_limit_mb", limit);
    let shared = Missing::absent("memory is shared, and the system does not say what of it graphics hold");
    collector.measured(metric::DEVICE_MEMORY_USED, &[], SYSTEM, Err(shared));
    collector.measured(metric::DEVICE_UTILIZATION, &[], SOURCE, answers.sensed(f64::from(answers.gpu_active)));
    let watts = answers.sensed(f64::from(answers.gpu_watts));
    // The source counts energy over each sample and hands on power.
    let joules = watts.clone().and_then(|watts| rates.joules("energy apple", watts, at_ns));
    collector.derived(metric::DEVICE_POWER, &[], SOURCE, watts);
    collector.derived(metric::DEVICE_ENERGY, &[], SOURCE, joules);
    let degrees = celsius(answers.gpu_celsius);
    collector.measured(metric::DEVICE_TEMPERATURE, &[("sensor", "chip")], "SMC", degrees);
    let hertz = answers.sensed(f64::from(answers.gpu_mhz) * 1e6);
    collector.measured(metric::DEVICE_CLOCK, &[("domain", "graphics")], SOURCE, hertz);
    let device = Device {
        id: "apple-gpu".to_owned(),
        vendor: Vendor::Apple,
        kind: DeviceKind::Gpu,
        name: answers.chip.clone(),
        driver: None,
        driver_version: None,
        pci_address: None,
        memory_kind: MemoryKind::Unified,
    };
    DeviceSnapshot { device, readings: collector.finish() }
}

/// What the sample says about the host.
pub(crate) fn host(answers: &Answers, rates: &mut Rates, collector: &mut Collector) {
    let (total, used) = (answers.memory_total as f64, answers.memory_used as f64);
    let (swap, swap_used) = (answers.swap.0 as f64, answers.swap.1 as f64);
    let rows: [(Metric, f64); 3] =
        [(metric::HOST_MEMORY_TOTAL, total), (metric::HOST_MEMORY_LIMIT, total), (metric::HOST_SWAP_TOTAL, swap)];
    for (metric, value) in rows {
        collector.measured(metric, &[], SYSTEM, Ok(value));
    }
    collector.derived(metric::HOST_MEMORY_AVAILABLE, &[], SYSTEM, Ok((total - used).max(0.0)));
    collector.measured(metric::HOST_MEMORY_USED, &[], SYSTEM, Ok(used));
    collector.derived(metric::HOST_SWAP_FREE, &[], SYSTEM, Ok((swap - swap_used).max(0.0)));
    let busy = Ok(f64::from(answers.processors_active));
    collector.measured(metric::HOST_CPU_UTILIZATION, &[], SOURCE, busy);
    let watts = answers.sensed(f64::from(answers.processors_watts));
    let joules = watts.clone().and_then(|watts| rates.joules("energy processors", watts, collector.at_ns()));
    collector.derived(metric::HOST_POWER, &[("domain", "processors")], SOURCE, watts);
    collector.derived(metric::HOST_ENERGY, &[("domain", "processors")], SOURCE, joules);
    let degrees = celsius(answers.processors_celsius);
    collector.measured(metric::HOST_TEMPERATURE, &[("chip", "processors"), ("sensor", "mean")], "SMC", degrees);
}

#[cfg(test)]
mod tests {
    use super::{Answers, device, host};
    use crate::machine::collect::Collector;
    use crate::machine::metric;
    use crate::machine::rate::Rates;

    fn answers() -> Answers {
        Answers {
            chip: "Apple M2 Max".to_owned(),
            memory_total: 64 << 30,
            memory_used: 20 << 30,
            swap: (2 << 30, 1 << 30),
            wired_limit_mib: Some(0),
            gpu_active: 0.5,
            gpu_mhz: 1398,
            gpu_watts: 12.5,
            gpu_celsius: Some(51.0),
            processors_active: 0.25,
            processors_watts: 8.0,
            processors_celsius: None,
            is_virtual: false,
        }
    }

    #[test]
    fn graphics_may_hold_what_the_limit_allows() {
        let total =
            |answers: &Answers| device(answers, &mut Rates::default(), 1).value(metric::DEVICE_MEMORY_TOTAL.name);
        assert_eq!(total(&answers()), Some(48.0 * f64::from(1 << 30)));
        let small = Answers { memory_total: 24 << 30, wired_limit_mib: None, ..answers() };
        assert_eq!(total(&small), Some(16.0 * f64::from(1 << 30)));
        let set = Answers { wired_limit_mib: Some(57_344), ..answers() };
        assert_eq!(total(&set), Some(56.0 * f64::from(1 << 30)));
    }

    #[test]
    fn what_a_virtual_machine_says_is_not_zero_watts() {
        let made = device(&Answers { is_virtual: true, gpu_watts: 0.0, ..answers() }, &mut Rates::default(), 1);
        assert_eq!(made.value(metric::DEVICE_POWER.name), None);
        assert_eq!(made.value(metric::DEVICE_ENERGY.name), None);
        assert!(made.value(metric::DEVICE_MEMORY_TOTAL.name).is_some());
    }

    #[test]
    fn energy_is_summed_from_power() {
        let mut rates = Rates::default();
        let _ = device(&answers(), &mut rates, 1_000_000_000);
        let second = device(&answers(), &mut rates, 3_000_000_000);
        assert_eq!(second.value(metric::DEVICE_ENERGY.name), Some(25.0));
        let mut collector = Collector::new(3_000_000_000);
        host(&answers(), &mut rates, &mut collector);
        assert_eq!(collector.value(metric::HOST_MEMORY_AVAILABLE), Some(44.0 * f64::from(1 << 30)));
        assert_eq!(collector.value(metric::HOST_TEMPERATURE), None);
    }
}
