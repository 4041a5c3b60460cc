//! Asking NVML. This part needs an NVIDIA driver; what it hands on is tested from recorded answers.

use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::answers::{self, Answer, Answers, Memory, Process, Refusal};
use crate::machine::device::{DeviceSnapshot, Note};
use crate::machine::rate::Rates;

/// The name that drivers install; the one without a number comes with development files only.
const LIBRARY: &str = "libnvidia-ml.so.1";
/// Devices that are looked at.
const DEVICES_MAX: u32 = 64;

/// The library, or why it is not there.
#[derive(Debug)]
pub(crate) struct Nvidia {
    library: Result<Nvml, String>,
    addresses: Vec<String>,
}

impl Nvidia {
    /// Opens the library, if there is one.
    pub(crate) fn open() -> Self {
        let named =
            if cfg!(target_os = "linux") { Nvml::builder().lib_path(LIBRARY.as_ref()).init() } else { Nvml::init() };
        let library = named.map_err(|error| match error {
            NvmlError::LibloadingError(_) => {
                "the library NVML, which comes with NVIDIA's driver, is not installed".to_owned()
            }
            other => format!("the library NVML does not start: {other}"),
        });
        let mut opened = Self { library, addresses: Vec::new() };
        opened.addresses =
            opened.ask().iter().filter_map(|one| one.bus.as_deref().ok().map(answers::address)).collect();
        opened
    }

    /// No library, for this reason.
    pub(crate) fn absent(reason: &str) -> Self {
        Self { library: Err(reason.to_owned()), addresses: Vec::new() }
    }

    /// Bus addresses of the devices that the library knows.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// What to tell people: the library's absence matters only where there is a device for it.
    pub(crate) fn note(&self, is_needed: bool) -> Option<Note> {
        let text = self.library.as_ref().err().filter(|_| is_needed)?.clone();
        Some(Note { source: "NVML".to_owned(), text })
    }

    /// All devices and their readings.
    pub(crate) fn read(&self, rates: &mut Rates, at_ns: u64) -> Vec<DeviceSnapshot> {
        self.ask().iter().map(|one| answers::snapshot(one, rates, at_ns)).collect()
    }

    fn ask(&self) -> Vec<Answers> {
        let Ok(library) = &self.library else { return Vec::new() };
        let count = library.device_count().unwrap_or(0).min(DEVICES_MAX);
        (0..count).filter_map(|index| Some(ask(library, &library.device_by_index(index).ok()?, index))).collect()
    }
}

fn ask(library: &Nvml, device: &Device, index: u32) -> Answers {
    let utilization = device.utilization_rates();
    let errors = |kind| answer(device.total_ecc_errors(kind, EccCounter::Volatile));
    Answers {
        // A device that does not even say who it is (it fell off the bus) keeps its place in the list.
        uuid: device.uuid().unwrap_or_else(|_| format!("nvidia-{index}")),
        name: device.name().unwrap_or_else(|_| "NVIDIA device".to_owned()),
        driver_version: answer(library.sys_driver_version()),
        bus: answer(device.pci_info().map(|info| info.bus_id)),
        memory: answer(device.memory_info().map(|memory| Memory {
            total: memory.total,
            reserved: memory.reserved,
            used: memory.used,
            free: memory.free,
        })),
        busy_percent: utilization.as_ref().map(|rates| rates.gpu).map_err(refusal),
        memory_busy_percent: utilization.as_ref().map(|rates| rates.memory).map_err(refusal),
        power_mw: answer(device.power_usage()),
        power_limit_mw: answer(device.enforced_power_limit()),
        energy_mj: answer(device.total_energy_consumption()),
        temperature_c: answer(device.temperature(TemperatureSensor::Gpu)),
        sm_mhz: answer(device.clock_info(Clock::SM)),
        memory_mhz: answer(device.clock_info(Clock::Memory)),
        fan_percent: answer(device.fan_speed(0)),
        throttle_bits: answer(device.current_throttle_reasons().map(|reasons| reasons.bits())),
        ecc_corrected: errors(MemoryError::Corrected),
        ecc_uncorrected: errors(MemoryError::Uncorrected),
        processes: answer(device.running_compute_processes().map(|all| all.iter().map(process).collect())),
    }
}

fn process(info: &nvml_wrapper::struct_wrappers::device::ProcessInfo) -> Process {
    let bytes = match info.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    Process { process: info.pid, bytes }
}

fn answer<T>(result: Result<T, NvmlError>) -> Answer<T> {
    result.map_err(|error| refusal(&error))
}

fn refusal(error: &NvmlError) -> Refusal {
    match error {
        NvmlError::NotSupported => Refusal::NotSupported("the device does not support it".to_owned()),
        NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_) => {
            Refusal::Outdated("the driver is too old for it".to_owned())
        }
        other => Refusal::Failed(other.to_string()),
    }
}
