//! What a device can do with a type of number, derived from its row.

use super::spec::{DeviceSpec, Peaks};
use crate::settings::DeviceKind;
use crate::units::FlopsPerSecond;

/// Types of number that matrix products are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataType {
    /// 32-bit floating point.
    Fp32,
    /// 16-bit IEEE floating point.
    Fp16,
    /// bfloat16.
    Bf16,
    /// 8-bit floating point (E4M3 or E5M2).
    Fp8,
    /// 8-bit integers on both sides.
    Int8,
    /// 4-bit floating point with a power of two per 32 values.
    Mxfp4,
    /// 4-bit floating point with an 8-bit floating-point scale per 16 values.
    Nvfp4,
    /// Weights packed in blocks (`Q4_K`, AWQ, GPTQ) and unpacked on the way to the arithmetic: a
    /// format of memory, computed in another type.
    BlockQuantised,
}

impl DataType {
    /// All of them.
    pub const ALL: &'static [Self] =
        &[Self::Fp32, Self::Fp16, Self::Bf16, Self::Fp8, Self::Int8, Self::Mxfp4, Self::Nvfp4, Self::BlockQuantised];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Mxfp4 => "mxfp4",
            Self::Nvfp4 => "nvfp4",
            Self::BlockQuantised => "block_quantised",
        }
    }

    /// Whether it is one of the 4-bit floating-point types.
    pub const fn is_fp4(self) -> bool {
        matches!(self, Self::Mxfp4 | Self::Nvfp4)
    }

    /// Types that can stand in for it without loss that engines refuse, the best first.
    const fn stand_ins(self) -> &'static [Self] {
        match self {
            Self::Fp32 => &[Self::Bf16, Self::Fp16],
            Self::Fp16 => &[Self::Bf16, Self::Fp32],
            Self::Bf16 => &[Self::Fp32],
            Self::Int8 => &[Self::Fp16, Self::Bf16, Self::Fp32],
            Self::Fp8 | Self::Mxfp4 | Self::Nvfp4 => &[Self::Bf16, Self::Fp16, Self::Fp32],
            Self::BlockQuantised => &[Self::Fp16, Self::Bf16, Self::Int8, Self::Fp32],
        }
    }
}

impl Peaks {
    /// The device's own rate in that type; none for a type that is always computed in another.
    pub const fn of(&self, data_type: DataType) -> Option<FlopsPerSecond> {
        match data_type {
            DataType::Fp32 => self.fp32,
            DataType::Fp16 => self.fp16,
            DataType::Bf16 => self.bf16,
            DataType::Fp8 => self.fp8,
            DataType::Int8 => self.int8,
            DataType::Mxfp4 | DataType::Nvfp4 => self.fp4,
            DataType::BlockQuantised => None,
        }
    }
}

/// How well a device computes in a type, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapabilityLevel {
    /// No path at all.
    Unsupported,
    /// General vector code.
    Fallback,
    /// Through an older instruction or a wider type.
    Compat,
    /// On the units made for it.
    Native,
}

impl CapabilityLevel {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Fallback => "fallback",
            Self::Compat => "compat",
            Self::Native => "native",
        }
    }
}

/// What a device can do with a type, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// How well.
    pub level: CapabilityLevel,
    /// Why that level.
    pub reason: &'static str,
    /// The type whose rate bounds the work; none where there is no path.
    pub executes_as: Option<DataType>,
}

impl Capability {
    const UNSUPPORTED: Self = Self {
        level: CapabilityLevel::Unsupported,
        reason: "neither this type nor a wider one has arithmetic on the device",
        executes_as: None,
    };

    const fn new(level: CapabilityLevel, executes_as: DataType, reason: &'static str) -> Self {
        Self { level, reason, executes_as: Some(executes_as) }
    }
}

/// Families whose 16- and 8-bit rates are those of vector units.
const VECTOR_FAMILIES: &[&str] = &[
    "kepler", "maxwell", "pascal", "vega", "rdna1", "rdna2", "gen9", "gen9.5", "gen11", "gen12", "xe-lp", "xe-lpg",
    "m1", "m2", "m3", "m4", "a14", "a15", "a16", "a17", "a18",
];

/// Processors whose 16- or 8-bit rate is more than this times the 32-bit one have matrix units:
/// vector instructions give 2 to 4, AMX 16 and more.
const PROCESSOR_VECTOR_RATIO: f64 = 8.0;

impl DeviceSpec {
    /// Whether it multiplies matrices on units of their own, as far as its row tells.
    ///
    /// Turing came with and without: only chips with tensor cores have a rate of 16-bit sums. A
    /// processor has such units for the types whose rate no vector instruction could reach.
    pub fn has_matrix_units(&self) -> bool {
        if self.kind == DeviceKind::Cpu {
            return [DataType::Fp16, DataType::Bf16, DataType::Int8]
                .into_iter()
                .any(|narrow| self.is_matrix_type(narrow));
        }
        match self.family.as_deref() {
            Some("turing") => self.peaks.fp16_acc16.is_some(),
            Some(family) if family.starts_with("gcn") => false,
            Some(family) => !VECTOR_FAMILIES.contains(&family),
            None => true,
        }
    }

    /// Whether its rate for a type is that of matrix units.
    fn is_matrix_type(&self, data_type: DataType) -> bool {
        if self.kind == DeviceKind::Cpu {
            let rates = self.peaks.of(data_type).zip(self.peaks.fp32);
            return rates.is_some_and(|(narrow, fp32)| narrow.ratio(fp32) > PROCESSOR_VECTOR_RATIO);
        }
        self.has_matrix_units()
    }

    /// What the device can do with a type of number; `None` where no rate of it is known.
    ///
    /// A type with a rate of its own runs on the matrix units (`native`), through older
    /// instructions (`compat`) or on vector units (`fallback`). Without one, a wider type stands
    /// in: `compat` on matrix units, `fallback` on vector units.
    pub fn capability(&self, data_type: DataType) -> Option<Capability> {
        if self.peaks.is_unknown() {
            return None;
        }
        let own = self.own(data_type);
        if let Some(own) = own.filter(|own| own.level >= CapabilityLevel::Compat) {
            return Some(own);
        }
        let through = data_type.stand_ins().iter().filter_map(|&wide| self.through(data_type, wide));
        // Strictly better only: earlier stand-ins, and the type itself first, win ties.
        let best = own.into_iter().chain(through).reduce(|best, next| {
            let rate = |capability: Capability| capability.executes_as.and_then(|wide| self.peaks.of(wide));
            let is_faster = next.level == CapabilityLevel::Fallback && rate(next) > rate(best);
            if next.level > best.level || (next.level == best.level && is_faster) { next } else { best }
        });
        Some(best.unwrap_or(Capability::UNSUPPORTED))
    }

    /// The rate that bounds work in a type: its own, or that of the type which stands in.
    pub fn peak(&self, data_type: DataType) -> Option<FlopsPerSecond> {
        self.peaks.of(self.capability(data_type)?.executes_as?)
    }

    /// What its own rate for a type amounts to.
    fn own(&self, data_type: DataType) -> Option<Capability> {
        use CapabilityLevel::{Compat, Fallback, Native};
        self.peaks.of(data_type)?;
        let is_compute = |versions: &[&str]| self.compute.as_deref().is_some_and(|compute| versions.contains(&compute));
        let capability = |level, reason| Some(Capability::new(level, data_type, reason));
        match data_type {
            DataType::Fp32 => capability(Native, "vector units compute in 32 bits"),
            DataType::Nvfp4 if self.kind == DeviceKind::Amd => None,
            _ if !self.is_matrix_type(data_type) => capability(Fallback, "no matrix units for this type: vector code"),
            DataType::Int8 if is_compute(&["7.0"]) => {
                capability(Fallback, "tensor cores without integers: vector dot products")
            }
            DataType::Int8 if is_compute(&["10.3", "12.0", "12.1"]) => {
                capability(Compat, "no integer path in the kernels of this generation: older binaries (sm_80) only")
            }
            _ => capability(Native, "matrix units compute in this type"),
        }
    }

    /// What computing in `wide` amounts to.
    fn through(&self, data_type: DataType, wide: DataType) -> Option<Capability> {
        use CapabilityLevel::{Compat, Fallback, Native};
        let path = self.own(wide)?;
        let (level, reason) = match (data_type, wide, path.level) {
            (DataType::Fp32, _, Native) => (Compat, "composed of several 16-bit products"),
            (_, DataType::Fp32, _) => (Fallback, "widened to 32 bits on the vector units"),
            (DataType::BlockQuantised, _, Native) => (Native, "weights are unpacked on the way to the matrix units"),
            (DataType::BlockQuantised, _, level) => (level, "weights are unpacked on the way to the arithmetic"),
            (_, _, Native) => (Compat, "widened to 16 bits on the way to the matrix units"),
            (_, _, level) => (level, "widened to 16 bits on the vector units"),
        };
        Some(Capability::new(level, wide, reason))
    }

    /// How work in a type ends up on the device; `None` where no rate of it is known.
    pub fn deployment_path(
        &self,
        data_type: DataType,
        kernels: KernelSource,
        fp4: Fp4Maturity,
    ) -> Option<DeploymentPath> {
        Some(DeploymentPath::of(&self.capability(data_type)?, data_type, kernels, fp4))
    }
}

/// Where the kernels come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelSource {
    /// Binaries as shipped, which may hold code for older devices.
    Precompiled,
    /// Compiled for the device.
    FreshCompile,
}

/// Whether the runtime's 4-bit kernels reach the units made for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fp4Maturity {
    /// They do.
    Mature,
    /// They widen to 16 bits instead.
    Immature,
}

/// How work ends up on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeploymentPath {
    /// On the units made for it.
    NativeFast,
    /// The units are there, the runtime does not use them for 4-bit types yet.
    Fp4RuntimeImmature,
    /// Through binaries for an older device, or widened.
    CompatFast,
    /// Only older binaries would do, and the kernels are compiled afresh.
    CompatBlocked,
    /// General vector code.
    VectorFallback,
    /// Not at all.
    Unsupported,
}

impl DeploymentPath {
    /// The path of a type, given what the device can do with it.
    ///
    /// A type that is widened can be compiled afresh; one that needs older binaries cannot.
    pub fn of(capability: &Capability, data_type: DataType, kernels: KernelSource, fp4: Fp4Maturity) -> Self {
        let is_widened = capability.executes_as != Some(data_type);
        match (capability.level, kernels, fp4) {
            (CapabilityLevel::Native, _, Fp4Maturity::Immature) if data_type.is_fp4() => Self::Fp4RuntimeImmature,
            (CapabilityLevel::Native, ..) => Self::NativeFast,
            (CapabilityLevel::Compat, KernelSource::FreshCompile, _) if !is_widened => Self::CompatBlocked,
            (CapabilityLevel::Compat, ..) => Self::CompatFast,
            (CapabilityLevel::Fallback, ..) => Self::VectorFallback,
            (CapabilityLevel::Unsupported, ..) => Self::Unsupported,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NativeFast => "native_fast",
            Self::Fp4RuntimeImmature => "fp4_runtime_immature",
            Self::CompatFast => "compat_fast",
            Self::CompatBlocked => "compat_blocked",
            Self::VectorFallback => "vector_fallback",
            Self::Unsupported => "unsupported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CustomDevice, find};
    use super::*;
    use CapabilityLevel::{Compat, Fallback, Native, Unsupported};

    fn check(name: &str, data_type: DataType, level: CapabilityLevel, executes_as: DataType) {
        let found = find(name, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        let spec = found.device.spec.unwrap_or_else(|| panic!("{name} has no row"));
        let capability = spec.capability(data_type).unwrap_or_else(|| panic!("{name} has no rates"));
        assert_eq!((capability.level, capability.executes_as), (level, Some(executes_as)), "{name} {data_type:?}");
        assert!(spec.peak(data_type).is_some(), "{name} {data_type:?}");
    }

    #[test]
    fn generations_differ_as_published() {
        check("RTX 4090", DataType::Fp8, Native, DataType::Fp8);
        check("RTX 4090", DataType::Nvfp4, Compat, DataType::Bf16);
        check("RTX 3090", DataType::Fp8, Compat, DataType::Bf16);
        check("RTX 5090", DataType::Nvfp4, Native, DataType::Nvfp4);
        check("RTX 5090", DataType::Int8, Compat, DataType::Int8);
        check("B200", DataType::Int8, Native, DataType::Int8);
        check("T4", DataType::Int8, Native, DataType::Int8);
        check("T4", DataType::Bf16, Fallback, DataType::Fp32);
        check("V100-SXM2-32GB", DataType::Int8, Compat, DataType::Fp16);
        check("GTX 1660", DataType::Fp16, Fallback, DataType::Fp16);
        check("Xeon Platinum 8480+", DataType::Bf16, Native, DataType::Bf16);
        check("Xeon Platinum 8480+", DataType::Fp16, Compat, DataType::Bf16);
        check("Ryzen 9 9950X", DataType::BlockQuantised, Fallback, DataType::Int8);
        check("Radeon RX 7900 XTX", DataType::Bf16, Native, DataType::Bf16);
        check("Radeon RX 6900 XT", DataType::Fp16, Fallback, DataType::Fp16);
        check("MI355X", DataType::Mxfp4, Native, DataType::Mxfp4);
        check("MI355X", DataType::Nvfp4, Compat, DataType::Bf16);
        check("Apple M3 Max", DataType::Bf16, Fallback, DataType::Fp32);
        // 1/64 of the 32-bit rate is slower than widening.
        check("P40", DataType::Fp16, Fallback, DataType::Fp32);
        check("P40", DataType::BlockQuantised, Fallback, DataType::Int8);
        check("H100", DataType::BlockQuantised, Native, DataType::Fp16);
    }

    fn custom(change: impl FnOnce(&mut CustomDevice)) -> DeviceSpec {
        let mut device = CustomDevice::new("edge unit");
        change(&mut device);
        device.build().expect("the figures are sane")
    }

    #[test]
    fn integer_units_run_packed_weights_and_no_floats() {
        let spec = custom(|device| device.int8_tops = Some(2.0));
        let level = |data_type| spec.capability(data_type).map(|capability| capability.level);
        assert_eq!(level(DataType::Int8), Some(Native));
        assert_eq!(level(DataType::BlockQuantised), Some(Native));
        assert_eq!(spec.peak(DataType::BlockQuantised), spec.peaks.int8);
        for data_type in [DataType::Fp32, DataType::Fp16, DataType::Bf16, DataType::Fp8, DataType::Nvfp4] {
            assert_eq!(level(data_type), Some(Unsupported), "{data_type:?}");
        }
    }

    #[test]
    fn no_rates_is_no_claim() {
        let spec = custom(|_| ());
        assert!(DataType::ALL.iter().all(|&data_type| spec.capability(data_type).is_none()));
    }

    #[test]
    fn paths_follow_from_capability_kernels_and_maturity() {
        let path = |name: &str, data_type, kernels, fp4| {
            let spec = find(name, None).expect("a known name").device.spec.expect("it has a row");
            spec.deployment_path(data_type, kernels, fp4).map(DeploymentPath::name)
        };
        let (shipped, fresh) = (KernelSource::Precompiled, KernelSource::FreshCompile);
        let (mature, immature) = (Fp4Maturity::Mature, Fp4Maturity::Immature);
        assert_eq!(path("RTX 5090", DataType::Bf16, fresh, immature), Some("native_fast"));
        assert_eq!(path("RTX 5090", DataType::Nvfp4, fresh, mature), Some("native_fast"));
        assert_eq!(path("RTX 5090", DataType::Mxfp4, shipped, immature), Some("fp4_runtime_immature"));
        assert_eq!(path("RTX 5090", DataType::Int8, shipped, mature), Some("compat_fast"));
        assert_eq!(path("RTX 5090", DataType::Int8, fresh, mature), Some("compat_blocked"));
        assert_eq!(path("RTX 3090", DataType::Fp8, fresh, mature), Some("compat_fast"));
        assert_eq!(path("GTX 1080", DataType::Fp16, shipped, mature), Some("vector_fallback"));
        let integers = custom(|device| device.int8_tops = Some(2.0));
        assert_eq!(integers.deployment_path(DataType::Fp8, fresh, mature), Some(DeploymentPath::Unsupported));
    }
}
