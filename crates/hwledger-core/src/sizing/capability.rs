//! What silicon can run, at what level, and in which arithmetic.

use serde::{Deserialize, Serialize};

use super::precision::{Dtype, Precision, PrecisionRung};
use super::tier::Peaks;

/// How well a precision runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// On units made for it.
    TensorNative,
    /// Only through binaries built for an older architecture.
    TensorCompat,
    /// On general-purpose cores.
    CudaCore,
    /// Not at all.
    Unsupported,
}

impl Level {
    /// Whether it runs at all.
    pub const fn is_executable(self) -> bool {
        !matches!(self, Self::Unsupported)
    }
}

/// One precision on one kind of silicon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// How well it runs.
    pub level: Level,
    /// What the arithmetic runs in: GGUF blocks are widened to whatever the silicon computes in, and
    /// it is this peak, not the model's nominal type, that bounds the speed.
    pub path: Dtype,
    /// Why, in words.
    pub reason: &'static str,
}

/// The capability table of a family of silicon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityTable {
    /// Neutron-class units: 8-bit integers and what can be widened to them.
    Int8Only,
    /// NPUs with 8-bit integers, 8-bit floats and 16-bit floats.
    FullNpu,
    /// The same with 4-bit floats. Looks ahead: no tier of the registry has it, nothing was measured.
    NpuFp4,
    /// Blackwell cards of compute capability 12.0.
    Sm120,
}

impl CapabilityTable {
    /// All tables.
    pub const ALL: [Self; 4] = [Self::Int8Only, Self::FullNpu, Self::NpuFp4, Self::Sm120];

    /// Its name in data files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Int8Only => "int8_only",
            Self::FullNpu => "full_npu",
            Self::NpuFp4 => "npu_fp4",
            Self::Sm120 => "sm120",
        }
    }

    /// The table of a precision rung.
    pub const fn of_rung(rung: PrecisionRung) -> Self {
        match rung {
            PrecisionRung::Int8 => Self::Int8Only,
            PrecisionRung::Int8Fp8 => Self::FullNpu,
            PrecisionRung::Int8Fp8Fp4 => Self::NpuFp4,
        }
    }

    /// The entry of a precision.
    pub const fn entry(self, precision: Precision) -> Capability {
        use Dtype::{Bf16, Fp4, Fp8, Int8};
        use Level::{TensorCompat, TensorNative, Unsupported};
        let (level, path, reason) = match (self, precision) {
            (Self::Int8Only, Precision::Int8) => (TensorNative, Int8, "the units multiply 8-bit integers"),
            (Self::Int8Only, Precision::Q4Km) => {
                (TensorNative, Int8, "blocks are widened to 8-bit integers before the product")
            }
            (Self::Int8Only, Precision::Fp8) => (Unsupported, Fp8, "the units have no floating-point arithmetic"),
            (Self::Int8Only, Precision::Bf16) => (Unsupported, Bf16, "the units have no floating-point arithmetic"),
            (Self::Sm120, Precision::Int8) => {
                (TensorCompat, Int8, "only through binaries built for sm80; a fresh compilation finds no instruction")
            }
            (_, Precision::Int8) => (TensorNative, Int8, "8-bit integers are native"),
            (_, Precision::Fp8) => (TensorNative, Fp8, "8-bit floats are native"),
            (_, Precision::Bf16) => (TensorNative, Bf16, "16-bit floats are native"),
            (_, Precision::Q4Km) => (TensorNative, Bf16, "blocks are widened to 16-bit floats before the product"),
            (Self::Int8Only | Self::FullNpu, Precision::Nvfp4) => {
                (Unsupported, Fp4, "there are no units for 4-bit floats")
            }
            (Self::NpuFp4, Precision::Nvfp4) => {
                (TensorNative, Fp4, "assumed of silicon that does not exist yet; nothing was measured")
            }
            (Self::Sm120, Precision::Nvfp4) => {
                (TensorNative, Fp4, "4-bit floats are native; what they win depends on the runtime's kernels")
            }
        };
        Capability { level, path, reason }
    }
}

/// The entry of a precision where no table is known: native wherever there is a peak for it.
pub(super) fn probed(peaks: &Peaks, precision: Precision) -> Capability {
    // Blocks are widened to integers where there are units for those.
    let widened = if peaks.int8_tops > 0.0 { Dtype::Int8 } else { Dtype::Bf16 };
    let path = match precision {
        Precision::Int8 => Dtype::Int8,
        Precision::Fp8 => Dtype::Fp8,
        Precision::Bf16 => Dtype::Bf16,
        Precision::Nvfp4 => Dtype::Fp4,
        Precision::Q4Km => widened,
    };
    if peaks.of(path) > 0.0 {
        Capability { level: Level::TensorNative, path, reason: "no table is known; the tier states a peak for it" }
    } else {
        Capability { level: Level::Unsupported, path, reason: "no table is known, and the tier states no peak for it" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unsupported_does_not_run() {
        assert!(Level::TensorCompat.is_executable() && Level::CudaCore.is_executable());
        assert!(!Level::Unsupported.is_executable());
    }

    #[test]
    fn tables_answer_as_the_reference_does() {
        use Level::{TensorCompat, TensorNative, Unsupported};
        let levels = |table: CapabilityTable| Precision::ALL.map(|precision| table.entry(precision).level);
        // int8, fp8, bf16/fp16, q4_km, nvfp4
        assert_eq!(
            levels(CapabilityTable::Int8Only),
            [TensorNative, Unsupported, Unsupported, TensorNative, Unsupported]
        );
        assert_eq!(
            levels(CapabilityTable::FullNpu),
            [TensorNative, TensorNative, TensorNative, TensorNative, Unsupported]
        );
        assert_eq!(levels(CapabilityTable::NpuFp4), [TensorNative; 5]);
        assert_eq!(
            levels(CapabilityTable::Sm120),
            [TensorCompat, TensorNative, TensorNative, TensorNative, TensorNative]
        );
    }
}
