//! What the engine has taken, in bytes.

use crate::graph::{Decoder, Encoder};

/// Bytes that the engine has taken from the system, by what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryReport {
    /// Repacked weights.
    pub weights: usize,
    /// Pages of the cache that there is memory for, used or not.
    pub cache: usize,
    /// Buffers of activations and logits.
    pub activations: usize,
}

impl MemoryReport {
    /// What a decoder has taken until now.
    pub fn of(decoder: &Decoder) -> Self {
        Self {
            weights: decoder.model().weight_bytes(),
            cache: decoder.cache().bytes(),
            activations: decoder.workspace_bytes(),
        }
    }

    /// What an encoder has taken until now.
    pub fn of_encoder(encoder: &Encoder) -> Self {
        Self { weights: encoder.model().weight_bytes(), cache: 0, activations: encoder.workspace_bytes() }
    }

    /// All of it.
    pub const fn total(&self) -> usize {
        self.weights + self.cache + self.activations
    }

    /// Bytes that the process holds beside these: the program, the tokenizer, whatever else. Measured now, as the
    /// resident set less what is counted here; none where the system does not tell it.
    ///
    /// Weights that are mapped from disk, and pages that were never written, are resident only once they were used: before
    /// the first reply this says too little.
    pub fn overhead(&self) -> Option<usize> {
        resident_bytes().map(|resident| resident.saturating_sub(self.total()))
    }
}

/// Bytes of this process that lie in memory now, as the system counts them: its resident set. None where the system
/// does not say so in a file (all but Linux).
pub fn resident_bytes() -> Option<usize> {
    resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// **Source** `proc_pid_status(5)`: `VmRSS`, in units of 1024 bytes that it calls kB.
fn resident(status: &str) -> Option<usize> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let count: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    count.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_set_is_read_from_the_status() {
        assert_eq!(resident("Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t    1234 kB\nThreads:\t1\n"), Some(1234 << 10));
        for wrong in ["", "VmRSS:", "VmRSS:\tmany kB", "VmRSS:\t1234", "VmRSS:\t18446744073709551615 kB"] {
            assert_eq!(resident(wrong), None, "{wrong}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_used_is_counted() {
        const TAKEN: usize = 64 << 20;
        let taken = vec![1_u8; TAKEN];
        assert!(resident_bytes().unwrap() > taken.len());
    }
}
