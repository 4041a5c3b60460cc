//! The device catalogue: what people own or rent, as data.
//!
//! Names are read as people and drivers write them ([`find`]). The facts are in
//! the tables of `catalogue/`, a row per device with its source; what a device can do with a type
//! of number follows from them ([`DeviceSpec::capability`]).

mod capability;
mod catalogue;
pub mod custom;
mod instructions;
mod memory;
mod name;
mod spec;

pub use capability::{Capability, CapabilityLevel, DataType, DeploymentPath, Fp4Maturity, KernelSource};
pub use catalogue::catalogue;
pub use custom::{CustomDevice, CustomDeviceError};
pub use instructions::Instructions;
pub use memory::{MemoryError, MemoryType};
pub use name::{DeviceError, FoundDevices, find};
pub use spec::{DeviceSpec, Month, Peaks, Price, SpecReference, Stock};

use crate::settings::{Device, DeviceKind};
use crate::units::GIBIBYTE;
use crate::{Bytes, Estimate};

/// Share of the nominal memory that a driver reports as total, where the catalogue has no figure
/// for the device: low, usual, high. From the spread of the catalogue's own rows of that kind;
/// shared memory loses what the firmware and the system keep.
const fn reported_share(kind: DeviceKind) -> (f64, f64, f64) {
    match kind {
        DeviceKind::Nvidia => (0.965, 0.982, 1.0),
        DeviceKind::Amd | DeviceKind::Other => (0.98, 0.995, 1.0),
        DeviceKind::Intel | DeviceKind::Cpu | DeviceKind::SharedMemory => (0.92, 0.97, 1.0),
        DeviceKind::Apple => (1.0, 1.0, 1.0),
    }
}

impl Device {
    /// The memory that the device's driver reports as total, where its size is known.
    ///
    /// A size that is no size sold (79.19 GiB, or 119 GiB of a device of 128) was read from the
    /// driver and is taken as it is.
    pub fn total(&self) -> Option<Estimate<Bytes>> {
        let memory = self.memory?;
        let is_whole = memory.0.is_multiple_of(GIBIBYTE);
        let is_sold = self.spec.as_ref().is_none_or(|spec| {
            spec.memory_sizes.contains(&memory) || spec.standard_size().is_none_or(|standard| memory > standard)
        });
        if !(is_whole && is_sold) {
            return Some(Estimate::exact(memory));
        }
        if let Some((standard, (low, high))) =
            self.spec.as_ref().and_then(|spec| spec.standard_size().zip(spec.total_gib))
        {
            let scale = memory.0 as f64 / standard.0 as f64;
            let at = |gib: f64| Bytes::from_gibibytes(gib).scaled(scale);
            return Some(Estimate::formula(at(low), at(f64::midpoint(low, high)), at(high)));
        }
        let (low, usual, high) = reported_share(self.kind);
        Some(Estimate::formula(memory.scaled(low), memory.scaled(usual), memory.scaled(high)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total_gib(name: &str, memory: Option<f64>) -> (f64, f64) {
        let found = find(name, memory.map(Bytes::from_gibibytes)).expect("the name is in the catalogue");
        let total = found.device.total().expect("its memory is known");
        (total.low.gibibytes(), total.high.gibibytes())
    }

    #[test]
    fn totals_are_what_drivers_report() {
        let holds = |name, truth: f64| {
            let (low, high) = total_gib(name, None);
            assert!(low <= truth && truth <= high, "{name}: {truth} outside {low}..{high}");
        };
        holds("RTX 4090", 23.64);
        holds("H100 80GB", 79.19);
        holds("A100 80GB", 79.25);
        holds("T4", 14.74);
        holds("NVIDIA L4", 22.16);
        holds("RTX 3090", 23.57);
    }

    #[test]
    fn a_reading_from_the_driver_stands() {
        assert_eq!(total_gib("NVIDIA H100 80GB HBM3", Some(79.19)), total_gib("H100", Some(79.19)));
        let (low, high) = total_gib("H100", Some(79.19));
        assert!(high - low < 1e-9);
        let (low, high) = total_gib("NVIDIA GB10", Some(119.0));
        assert!((low - 119.0).abs() < 1e-9 && (high - 119.0).abs() < 1e-9);
    }
}
