//! What differs between releases of vLLM.

use crate::settings::{Device, DeviceKind};

/// A release, as far as its memory differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct Release {
    major: u64,
    minor: u64,
}

impl Release {
    /// The newest release whose rules are known.
    pub(in crate::engine) const NEWEST: Self = Self { major: 0, minor: 22 };

    const fn minor(minor: u64) -> Self {
        Self { major: 0, minor }
    }

    /// `0.19.0`, `v0.11.2`, `0.10.2rc1`.
    pub(in crate::engine) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().trim_start_matches(['v', 'V']).split('.');
        let major = parts.next()?.parse().ok()?;
        let digits = parts.next()?;
        let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
        Some(Self { major, minor: digits[..end].parse().ok()? })
    }

    /// The engine before its rewrite (V0): default until 0.8, and until 0.10 on cards older than Ampere.
    pub(in crate::engine) fn is_version_zero(self, device: Option<&Device>) -> bool {
        let is_old_card = device.is_some_and(|device| {
            device.kind == DeviceKind::Nvidia
                && device.spec.as_ref().and_then(|spec| spec.compute_capability()).is_some_and(|compute| compute < 8.0)
        });
        self < Self::minor(8) || (is_old_card && self < Self::minor(10))
    }

    /// Default of `gpu_memory_utilization`: 0.90, and 0.92 from 0.22.
    pub(in crate::engine) fn utilization(self) -> f64 {
        if self >= Self::minor(22) { 0.92 } else { 0.9 }
    }

    /// Top-k and top-p by a Triton kernel in place of a sort of all logits (0.17).
    pub(in crate::engine) fn has_sampling_kernel(self) -> bool {
        self >= Self::minor(17)
    }

    /// Expert workspaces come from a manager that keeps them (0.12).
    pub(in crate::engine) fn keeps_expert_workspace(self) -> bool {
        self >= Self::minor(12)
    }

    /// Different kinds of cache share one pool by groups; before, windows were cached in full (0.10).
    pub(in crate::engine) fn has_cache_groups(self) -> bool {
        self >= Self::minor(10)
    }

    /// The memory of CUDA graphs is estimated and taken off the cache by default (0.21).
    pub(in crate::engine) fn subtracts_graphs(self) -> bool {
        self >= Self::minor(21)
    }

    /// Memory outside torch on one card, in GiB: low, usual, high. Kernels' code, cuBLAS and
    /// Triton state that load during the profile run; the driver's context is there before it.
    ///
    /// Source: `Free memory on device` and profile lines of start-up logs: 0.03 to 0.05 with V0,
    /// 0.13 to 0.14 with 0.15 and 0.17, 0.24 to 0.27 with 0.18 and 0.19.
    pub(in crate::engine) fn non_torch_gib(self, is_version_zero: bool) -> (f64, f64, f64) {
        if is_version_zero {
            (0.02, 0.04, 0.1)
        } else if self < Self::minor(18) {
            (0.08, 0.13, 0.25)
        } else {
            (0.22, 0.255, 0.3)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_they_are_written() {
        for (text, minor) in [("0.19.0", 19), ("v0.11.2", 11), ("0.10.2rc1", 10), ("0.9rc1", 9)] {
            assert_eq!(Release::parse(text), Some(Release::minor(minor)), "{text}");
        }
        assert_eq!(Release::parse("nightly"), None);
    }
}
