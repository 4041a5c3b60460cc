//! What NVML said about one device, and what readings follow from it.

use serde::{Deserialize, Serialize};

use crate::machine::collect::{Collector, Missing};
use crate::machine::device::{Device, DeviceKind, DeviceSnapshot, MemoryKind, Vendor};
use crate::machine::metric;
use crate::machine::rate::Rates;

/// Processes of one device that are told apart.
const PROCESSES_MAX: usize = 64;

/// Why NVML gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// This device does not offer it.
    NotSupported(String),
    /// This version of the driver does not know the question.
    Outdated(String),
    /// It failed.
    Failed(String),
}

/// An answer of NVML, or why there is none.
pub type Answer<T> = Result<T, Refusal>;

/// `nvmlDeviceGetMemoryInfo_v2`, in bytes. The four are told apart: `used` leaves out what the driver keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// What the driver keeps for itself.
    pub reserved: u64,
    /// What programs hold.
    pub used: u64,
    /// What is free.
    pub free: u64,
}

/// A process that holds memory of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub process: u32,
    /// Bytes that it holds; none where the system manages memory itself (Windows) or hides it (some containers).
    pub bytes: Option<u64>,
}

/// Everything that is asked of one device, in NVML's own units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// `nvmlDeviceGetUUID`.
    pub uuid: String,
    /// `nvmlDeviceGetName`.
    pub name: String,
    /// `nvmlSystemGetDriverVersion`.
    pub driver_version: Answer<String>,
    /// Bus address as NVML writes it, with eight digits of domain.
    pub bus: Answer<String>,
    /// Memory.
    pub memory: Answer<Memory>,
    /// Percent of the sample time in which a kernel ran.
    pub busy_percent: Answer<u32>,
    /// Percent of the sample time in which memory was read or written.
    pub memory_busy_percent: Answer<u32>,
    /// Power in milliwatts.
    pub power_mw: Answer<u32>,
    /// Enforced power limit in milliwatts.
    pub power_limit_mw: Answer<u32>,
    /// Energy since the driver was loaded, in millijoules.
    pub energy_mj: Answer<u64>,
    /// Temperature of the chip in degrees Celsius.
    pub temperature_c: Answer<u32>,
    /// Clock of the multiprocessors in MHz.
    pub sm_mhz: Answer<u32>,
    /// Clock of memory in MHz.
    pub memory_mhz: Answer<u32>,
    /// Percent of the fan's highest speed.
    pub fan_percent: Answer<u32>,
    /// Bits of `nvmlClocksThrottleReasons`.
    pub throttle_bits: Answer<u64>,
    /// Memory errors that were corrected, since the driver was loaded.
    pub ecc_corrected: Answer<u64>,
    /// Memory errors that were not.
    pub ecc_uncorrected: Answer<u64>,
    /// Processes that compute.
    pub processes: Answer<Vec<Process>>,
}

/// Bits of `nvmlClocksThrottleReasons` that hold clocks back: not idleness, and not settings that people made.
const THROTTLE: [(u64, &str); 5] = [
    (0x04, "power_cap"),
    (0x08, "hardware_slowdown"),
    (0x20, "software_thermal"),
    (0x40, "hardware_thermal"),
    (0x80, "power_brake"),
];

fn asked<T: Copy>(answer: &Answer<T>, convert: impl Fn(T) -> f64) -> Result<f64, Missing> {
    match answer {
        Ok(value) => Ok(convert(*value)),
        Err(refusal) => Err(missing(refusal)),
    }
}

fn missing(refusal: &Refusal) -> Missing {
    match refusal {
        Refusal::NotSupported(reason) | Refusal::Outdated(reason) => Missing::Absent(reason.clone()),
        Refusal::Failed(reason) => Missing::Failed(reason.clone()),
    }
}

/// `00000000:65:00.0`, as NVML writes it, to `0000:65:00.0`, as the kernel does.
pub(super) fn address(bus: &str) -> String {
    let lower = bus.to_ascii_lowercase();
    match lower.split_once(':') {
        Some((domain, rest)) if domain.len() == 8 => format!("{}:{rest}", &domain[4..]),
        _ => lower,
    }
}

fn device(answers: &Answers) -> Device {
    let memory_kind = match &answers.memory {
        Ok(_) => MemoryKind::Dedicated,
        // Devices that share the host's memory (Jetson, GB10) refuse this question.
        Err(Refusal::NotSupported(_)) => MemoryKind::Unified,
        Err(Refusal::Outdated(_) | Refusal::Failed(_)) => MemoryKind::Unknown,
    };
    Device {
        id: answers.uuid.clone(),
        vendor: Vendor::Nvidia,
        kind: DeviceKind::Gpu,
        name: answers.name.clone(),
        driver: Some("nvidia".to_owned()),
        driver_version: answers.driver_version.clone().ok(),
        pci_address: answers.bus.as_deref().ok().map(address),
        memory_kind,
    }
}

/// The device and its readings.
pub(crate) fn snapshot(answers: &Answers, rates: &mut Rates, at_ns: u64) -> DeviceSnapshot {
    let mut collector = Collector::new(at_ns);
    memory(answers, &mut collector);
    let percent = |percent: u32| f64::from(percent) / 100.0;
    let thousandth = |value: u32| f64::from(value) / 1e3;
    let mega = |value: u32| f64::from(value) * 1e6;
    let rows = [
        (metric::DEVICE_UTILIZATION, "nvmlDeviceGetUtilizationRates", asked(&answers.busy_percent, percent)),
        (
            metric::DEVICE_MEMORY_BANDWIDTH,
            "nvmlDeviceGetUtilizationRates",
            asked(&answers.memory_busy_percent, percent),
        ),
        (metric::DEVICE_POWER, "nvmlDeviceGetPowerUsage", asked(&answers.power_mw, thousandth)),
        (metric::DEVICE_POWER_LIMIT, "nvmlDeviceGetEnforcedPowerLimit", asked(&answers.power_limit_mw, thousandth)),
        (metric::DEVICE_FAN_RATIO, "nvmlDeviceGetFanSpeed_v2", asked(&answers.fan_percent, percent)),
    ];
    for (metric, source, found) in rows {
        collector.measured(metric, &[], source, found);
    }
    energy(answers, rates, &mut collector);
    let temperature = asked(&answers.temperature_c, f64::from);
    collector.measured(metric::DEVICE_TEMPERATURE, &[("sensor", "chip")], "nvmlDeviceGetTemperature", temperature);
    for (domain, clock) in [("graphics", &answers.sm_mhz), ("memory", &answers.memory_mhz)] {
        collector.measured(metric::DEVICE_CLOCK, &[("domain", domain)], "nvmlDeviceGetClockInfo", asked(clock, mega));
    }
    for (bit, reason) in THROTTLE {
        let is_set = asked(&answers.throttle_bits, |bits| f64::from(u8::from(bits & bit != 0)));
        let source = "nvmlDeviceGetCurrentClocksThrottleReasons";
        collector.measured(metric::DEVICE_THROTTLE, &[("reason", reason)], source, is_set);
    }
    for (kind, count) in [("corrected", &answers.ecc_corrected), ("uncorrected", &answers.ecc_uncorrected)] {
        let count = asked(count, |count| count as f64);
        collector.measured(metric::DEVICE_ECC_ERRORS, &[("kind", kind)], "nvmlDeviceGetTotalEccErrors", count);
    }
    processes(answers, &mut collector);
    DeviceSnapshot { device: device(answers), readings: collector.finish() }
}

/// The device and its readings at one moment, alone: what needs an earlier sample is not there.
pub fn read(answers: &Answers, at_ns: u64) -> DeviceSnapshot {
    snapshot(answers, &mut Rates::default(), at_ns)
}

fn memory(answers: &Answers, collector: &mut Collector) {
    let source = "nvmlDeviceGetMemoryInfo_v2";
    let mut part = |metric, part: fn(Memory) -> u64| {
        collector.measured(metric, &[], source, asked(&answers.memory, |memory| part(memory) as f64));
    };
    part(metric::DEVICE_MEMORY_TOTAL, |memory| memory.total);
    part(metric::DEVICE_MEMORY_USED, |memory| memory.used);
    part(metric::DEVICE_MEMORY_FREE, |memory| memory.free);
    part(metric::DEVICE_MEMORY_RESERVED, |memory| memory.reserved);
}

/// The device's own counter; devices before Volta have none, and their power is summed.
fn energy(answers: &Answers, rates: &mut Rates, collector: &mut Collector) {
    match (&answers.energy_mj, &answers.power_mw) {
        (Err(Refusal::NotSupported(_) | Refusal::Outdated(_)), Ok(milliwatts)) => {
            let key = format!("energy {}", answers.uuid);
            let joules = rates.joules(&key, f64::from(*milliwatts) / 1e3, collector.at_ns());
            collector.derived(metric::DEVICE_ENERGY, &[], "nvmlDeviceGetPowerUsage", joules);
        }
        (answer, _) => {
            let joules = asked(answer, |millijoules| millijoules as f64 / 1e3);
            collector.measured(metric::DEVICE_ENERGY, &[], "nvmlDeviceGetTotalEnergyConsumption", joules);
        }
    }
}

fn processes(answers: &Answers, collector: &mut Collector) {
    let source = "nvmlDeviceGetComputeRunningProcesses_v3";
    match &answers.processes {
        Ok(processes) => {
            for process in processes.iter().take(PROCESSES_MAX) {
                let bytes = process.bytes.map(|bytes| bytes as f64);
                let found = bytes.ok_or_else(|| Missing::absent("the system hides what a process holds"));
                let number = process.process.to_string();
                collector.measured(metric::PROCESS_DEVICE_MEMORY, &[("process", &number)], source, found);
            }
        }
        Err(refusal) => collector.measured(metric::PROCESS_DEVICE_MEMORY, &[], source, Err(missing(refusal))),
    }
}
