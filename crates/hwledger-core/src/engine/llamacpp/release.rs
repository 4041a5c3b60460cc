//! Which rules a build follows.
//!
//! Build numbers are those of the release in which the named pull request first
//! appeared, or the nearest known one around its merge date; a version that is
//! no build number is taken for the newest.

/// A build of llama.cpp or of its fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The build number; `None` is the newest.
    build: Option<u64>,
    /// The fork `ik_llama.cpp`, which left the main line in June 2024.
    is_fork: bool,
}

impl Release {
    /// The release of an engine version such as `b5863` or `5863`.
    pub fn parse(version: Option<&str>, is_fork: bool) -> Self {
        let build = version.and_then(|text| text.trim().trim_start_matches('b').parse().ok());
        Self { build, is_fork }
    }

    /// Whether it is that build of llama.cpp or a later one.
    pub(super) fn is_at_least(self, build: u64) -> bool {
        !self.is_fork && self.is_since(build)
    }

    /// Whether it is that build of `ik_llama.cpp` or a later one.
    fn is_fork_since(self, build: u64) -> bool {
        self.is_fork && self.is_since(build)
    }

    fn is_since(self, build: u64) -> bool {
        self.build.is_none_or(|own| own >= build)
    }

    /// Whether it is `ik_llama.cpp`.
    pub const fn is_fork(self) -> bool {
        self.is_fork
    }

    /// Sliding-window layers have a cache of their own (pull request 13194, May 2025).
    pub fn has_window_cache(self) -> bool {
        self.is_at_least(5432)
    }

    /// Sequences can have a stream each, and unified is a choice (pull request 14363, July 2025).
    pub fn has_streams(self) -> bool {
        self.is_at_least(5913)
    }

    /// Latent attention caches latents at all (pull request 12801, April 2025; the fork throughout).
    pub fn has_latent_cache(self) -> bool {
        self.is_fork || self.is_at_least(5140)
    }

    /// The latent's value half is a view of its key and not stored again
    /// (pull request 19067, January 2026; the fork with `-mla 2` and `-mla 3`).
    pub fn stores_latent_once(self) -> bool {
        self.is_fork || self.is_at_least(7826)
    }

    /// Flash attention is chosen by the engine where nobody says (pull request 15434, August 2025).
    pub fn chooses_flash_attention(self) -> bool {
        self.is_at_least(6325)
    }

    /// The total context is itself rounded up to 256 (pull request 17046, November 2025).
    pub fn pads_context(self) -> bool {
        self.is_at_least(6976)
    }

    /// Flash attention is on where nobody says (pull request 863 of the fork, October 2025).
    pub fn starts_with_flash_attention(self) -> bool {
        self.is_fork_since(3930)
    }

    /// Mebibytes that one part of an attention may take where nobody says; `None` is no bound
    /// (pull request 2312 of the fork, August 2026).
    pub fn attention_max_batch_mib(self) -> Option<u64> {
        self.is_fork_since(4735).then_some(256)
    }

    /// To what number of cells a cache is rounded up (pull requests 7257, 16812, 17046).
    pub fn cell_padding(self, flash_attention: bool) -> u64 {
        if self.pads_context() {
            256
        } else if self.is_at_least(6897) {
            1
        } else if flash_attention {
            256
        } else {
            32
        }
    }

    /// Graphs of tokens also hold the input for embeddings (pull request 18550, January 2026).
    pub fn holds_embedding_input(self) -> bool {
        self.is_at_least(7628)
    }

    /// Fused attention casts a mask of 32 bits to 16 (until pull request 19056 or so, January 2026; the fork throughout).
    pub fn casts_mask(self) -> bool {
        !self.is_at_least(7826)
    }

    /// Weights can be in buffers of a layout of the processor's own (pull request 10446, December 2024; the fork
    /// repacks only where asked).
    pub fn has_extra_buffers(self) -> bool {
        self.is_at_least(4283)
    }

    /// Such a buffer's name (until pull request 13892, June 2025, that of the first processors that had it).
    pub fn interleaved_name(self) -> &'static str {
        if self.is_at_least(5618) { "CPU_REPACK" } else { "CPU_AARCH64" }
    }

    /// Tensors that were moved to the processor can be in them too (pull request 14990, July 2025).
    pub fn repacks_moved_tensors(self) -> bool {
        self.is_at_least(6050)
    }

    /// The layers' own embeddings are projected where the first layer is, not where the output is (pull request 21612,
    /// April 2026).
    pub fn mixes_embeddings_in_first_layer(self) -> bool {
        self.is_at_least(8738)
    }

    /// The number of outputs of one step can be bounded below the batch (summer 2026).
    pub fn has_output_bound(self) -> bool {
        !self.is_fork
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_order_the_rules() {
        let newest = Release::parse(None, false);
        assert!(newest.has_streams() && newest.stores_latent_once() && newest.pads_context());
        let july_2025 = Release::parse(Some("b5863"), false);
        assert!(july_2025.has_window_cache() && !july_2025.has_streams() && !july_2025.stores_latent_once());
        assert_eq!((july_2025.cell_padding(true), july_2025.cell_padding(false)), (256, 32));
        let fork = Release::parse(Some("b3613"), true);
        assert!(fork.stores_latent_once() && !fork.has_window_cache() && !fork.pads_context());
        assert!(!fork.starts_with_flash_attention() && fork.attention_max_batch_mib().is_none());
        let newest_fork = Release::parse(None, true);
        assert!(newest_fork.starts_with_flash_attention() && !newest_fork.has_window_cache());
        assert_eq!(newest_fork.attention_max_batch_mib(), Some(256));
        assert!(newest.attention_max_batch_mib().is_none() && !newest.starts_with_flash_attention());
    }
}
