//! What the processor can do, found at run time.

/// A set of instructions that kernels are written for, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstructionSet {
    /// Plain code that every processor runs: the twin that others are tested against.
    Scalar,
    /// AVX2 with FMA and F16C (x86 since 2013).
    Avx2,
    /// AVX-512 F, BW, DQ, VL with VNNI (x86 servers since 2019, Zen 4).
    Avx512,
    /// AVX-512 with AMX tiles for bfloat16 (x86 servers since 2023).
    Amx,
}

impl InstructionSet {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Amx];

    /// The best that this processor has and the operating system lets us use.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni");
            if has_avx512 {
                return if crate::product::amx_is_usable() { Self::Amx } else { Self::Avx512 };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
                return Self::Avx2;
            }
        }
        Self::Scalar
    }

    /// Its name: `scalar`, `avx2`, `avx512`, `amx`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }
}
