//! Instruction sets of processors, as far as engines choose kernels and layouts by them.

use super::DeviceSpec;
use crate::Settings;
use crate::settings::DeviceKind;

/// The instructions that decide how weights are laid out and multiplied, the least of each kind of processor first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Instructions {
    /// None of those below: x86 before AVX2, ARM without the dot product of bytes, anything else.
    Scalar,
    /// NEON with the dot product of bytes (Cortex-A76, Neoverse N1, Apple M1).
    Neon,
    /// The same with products of matrices of bytes, `i8mm` (Armv8.6: Neoverse V1, Cortex-X2, Apple M2).
    NeonI8mm,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// The same with the dot product of bytes, AVX-VNNI.
    AvxVnni,
    /// AVX-512 with VNNI.
    Avx512,
    /// AVX-512 with the tiles of AMX.
    Amx,
}

impl Instructions {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Scalar, Self::Neon, Self::NeonI8mm, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Amx];

    /// Its name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
            Self::NeonI8mm => "neon_i8mm",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx_vnni",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// Whether it is one of x86 that has AVX2.
    pub const fn has_avx2(self) -> bool {
        matches!(self, Self::Avx2 | Self::AvxVnni | Self::Avx512 | Self::Amx)
    }

    /// Whether it has AVX-512.
    pub const fn has_avx512(self) -> bool {
        matches!(self, Self::Avx512 | Self::Amx)
    }

    /// Whether it is one of ARM that has the dot product of bytes.
    pub const fn has_dot_product(self) -> bool {
        matches!(self, Self::Neon | Self::NeonI8mm)
    }

    /// What processors of a microarchitecture have, by its name in the catalogue.
    ///
    /// **Source**: the makers' optimisation manuals: Intel's (December 2023, chapter 2), AMD's software optimisation
    /// guides of families 17h to 1Ah, Arm's technical reference manuals of each core, Apple's `FEAT_I8MM` (from A15
    /// and M2 on). Skylake stands for desktops; its servers have AVX-512 without VNNI.
    pub fn of_family(family: &str) -> Option<Self> {
        Some(match family {
            "p550" | "cortex-a53" | "cortex-a72" => Self::Scalar,
            "cortex-a76" | "cortex-x1" | "neoverse-n1" | "a12" | "a13" | "a14" | "m1" => Self::Neon,
            "cortex-a720" | "cortex-x2" | "cortex-x3" | "cortex-x4" | "cortex-x925" | "neoverse-v1" | "neoverse-v2"
            | "ampereone" | "olympus" | "oryon" | "a15" | "a16" | "a17" | "a18" | "a19" | "m2" | "m3" | "m4" | "m5" => {
                Self::NeonI8mm
            }
            "zen1" | "zen+" | "zen2" | "zen3" | "broadwell" | "skylake" => Self::Avx2,
            "alder-lake" | "raptor-lake" | "gracemont" | "arrow-lake" => Self::AvxVnni,
            "cascade-lake" | "ice-lake" | "rocket-lake" | "zen4" | "zen5" => Self::Avx512,
            "sapphire-rapids" | "emerald-rapids" | "granite-rapids" => Self::Amx,
            _ => return None,
        })
    }

    /// What the processor of a plan has: as asked, or by the microarchitecture of the processor or the machine that
    /// was named, or of the chip that the graphics are part of. `None`: nobody said.
    pub fn of(settings: &Settings) -> Option<Self> {
        let of_spec = |spec: &DeviceSpec| spec.family.as_deref().and_then(Self::of_family);
        let processor = |kind| settings.devices.iter().filter(move |device| device.kind == kind);
        settings
            .instructions
            .or_else(|| settings.amx.filter(|has_amx| *has_amx).map(|_| Self::Amx))
            .or_else(|| processor(DeviceKind::Cpu).find_map(|device| of_spec(device.spec.as_deref()?)))
            .or_else(|| of_spec(settings.host.as_ref()?.spec.as_deref()?))
            .or_else(|| processor(DeviceKind::Apple).find_map(|device| of_spec(device.spec.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{catalogue, find};

    #[test]
    fn names_are_read_back() {
        for set in Instructions::ALL {
            assert_eq!(Instructions::named(set.name()), Some(set));
        }
        assert_eq!(Instructions::named("sse2"), None);
    }

    #[test]
    fn the_catalogues_processors_are_known() {
        // Of RISC-V's vectors engines ask for the length, which the catalogue does not tell.
        let of = |kind: DeviceKind| catalogue().iter().filter(move |spec| spec.kind == kind);
        for spec in of(DeviceKind::Cpu).chain(of(DeviceKind::Apple)) {
            let family = spec.family.as_deref().unwrap_or_default();
            assert_eq!(Instructions::of_family(family).is_none(), family == "spacemit-x60", "{}: {family}", spec.name);
        }
    }

    #[test]
    fn what_was_said_counts_more_than_what_was_named() {
        let on = |name: &str| Settings {
            devices: vec![find(name, None).expect("it is in the catalogue").device],
            ..Settings::default()
        };
        assert_eq!(Instructions::of(&on("Ryzen 9 7950X")), Some(Instructions::Avx512));
        assert_eq!(Instructions::of(&on("Apple M1 Max")), Some(Instructions::Neon));
        assert_eq!(Instructions::of(&on("RTX 3090")), None);
        let asked = Settings { instructions: Some(Instructions::Avx2), ..on("Ryzen 9 7950X") };
        assert_eq!(Instructions::of(&asked), Some(Instructions::Avx2));
        let host = find("AMD EPYC 7302", None).expect("it is in the catalogue").device;
        assert_eq!(Instructions::of(&Settings { host: Some(host), ..on("RTX 3090") }), Some(Instructions::Avx2));
    }
}
