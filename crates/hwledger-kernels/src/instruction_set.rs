//! What the processor can do, found at run time.

/// A set of instructions that kernels are written for, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstructionSet {
    /// Plain code that every processor runs: the twin that others are tested against.
    Scalar,
    /// NEON with the dot product of bytes (ARM since 2018: Apple M1, Neoverse N1, Cortex-A76).
    Neon,
    /// AVX2 with FMA and F16C (x86 since 2013).
    Avx2,
    /// The same with AVX-VNNI, the dot product of bytes without AVX-512 (Intel's desktops since 2021, Zen 5).
    AvxVnni,
    /// AVX-512 F, BW, DQ, VL with VNNI (x86 servers since 2019, Zen 4).
    Avx512,
    /// AVX-512 with AMX tiles for bfloat16 (x86 servers since 2023).
    Amx,
}

impl InstructionSet {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Scalar, Self::Neon, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Amx];

    /// Whether this processor has it and the operating system lets us use it.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Neon => false,
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            Self::AvxVnni => Self::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Self::Amx => Self::Avx512.is_available() && crate::product::amx_is_usable(),
        }
    }

    /// Whether this processor has it and the operating system lets us use it.
    #[cfg(target_arch = "aarch64")]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Neon => std::arch::is_aarch64_feature_detected!("dotprod"),
            Self::Avx2 | Self::AvxVnni | Self::Avx512 | Self::Amx => false,
        }
    }

    /// Whether this processor has it and the operating system lets us use it.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn is_available(self) -> bool {
        self == Self::Scalar
    }

    /// Those that this processor has, the least first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|set| set.is_available())
    }

    /// The best that this processor has and the operating system lets us use.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// The best that this processor has of those up to this one.
    pub fn or_less(self) -> Self {
        Self::available().take_while(|&set| set <= self).last().unwrap_or(Self::Scalar)
    }

    /// Its name: `scalar`, `neon`, `avx2`, `avx_vnni`, `avx512`, `amx`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Neon => "neon",
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_kept_and_the_best_is_available() {
        for set in InstructionSet::ALL {
            let found = set.or_less();
            assert!(found <= set && found.is_available());
            assert_eq!(found == set, set.is_available());
            assert_eq!(InstructionSet::named(set.name()), Some(set));
        }
        assert_eq!(InstructionSet::detect(), InstructionSet::Amx.or_less());
    }
}
