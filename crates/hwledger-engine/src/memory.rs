//! What the engine has taken, in bytes.

use crate::graph::Decoder;

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

    /// All of it.
    pub const fn total(&self) -> usize {
        self.weights + self.cache + self.activations
    }
}
