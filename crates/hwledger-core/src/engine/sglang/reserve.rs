//! `mem_fraction_static` and the sizes that it is derived from, as `server_args.py` sets them.

/// Default sizes of one card: the prefill chunk and the largest batch of CUDA graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Defaults {
    /// `chunked_prefill_size`.
    pub(super) chunk: u64,
    /// `cuda_graph_max_bs`.
    pub(super) graph_batch: u64,
}

impl Defaults {
    /// By the memory of the card in MiB and the number of tensor ranks.
    pub(super) const fn of(memory_mib: u64, tensor: u64) -> Self {
        const GB: u64 = 1024;
        let (chunk, few, many) = match memory_mib {
            mib if mib < 20 * GB => (2048, 8, 8),
            mib if mib < 35 * GB => (2048, 24, 80),
            mib if mib < 60 * GB => (4096, 32, 160),
            mib if mib < 160 * GB => (8192, 256, 512),
            _ => (16384, 512, 512),
        };
        Self { chunk, graph_batch: if tensor < 4 { few } else { many } }
    }
}

/// MiB kept free for activations and graphs where nobody sets a fraction.
///
/// **Formula**: 512 + 1.5 x max(chunk, 2048) + 2 x graph batch + 128 x ranks (+ 3 x data-parallel
/// ranks x graph batch, half as much again above 300), at least 10 GiB on cards above 60 GiB.
/// **Source**: `server_args.py` of SGLang, early 2026.
pub(super) fn reserve_mib(memory_mib: u64, chunk: u64, graph_batch: u64, ranks: u64, attention_data: u64) -> u64 {
    let mut reserve = 512 + chunk.max(2048) * 3 / 2 + 2 * graph_batch + 1024 * ranks / 8;
    if attention_data > 1 {
        let per_rank = 3 * attention_data * graph_batch;
        reserve += if graph_batch > 300 { per_rank * 3 / 2 } else { per_rank };
    }
    if memory_mib > 60 * 1024 { reserve.max(10 * 1024) } else { reserve }
}

/// The default of `mem_fraction_static`: what the reserve leaves, to three decimals.
pub(super) fn fraction(memory_mib: u64, reserve: u64) -> f64 {
    let share = memory_mib.saturating_sub(reserve) as f64 / memory_mib.max(1) as f64;
    (share * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `engine-memory` vectors, SGLang: default reserve and fraction by card.
    #[test]
    fn sglang_vector_default_reserve() {
        let check = |memory_mib, tensor, reserve, expected: f64| {
            let defaults = Defaults::of(memory_mib, tensor);
            let given = reserve_mib(memory_mib, defaults.chunk, defaults.graph_batch, tensor, 1);
            assert_eq!(given, reserve, "{memory_mib} MiB");
            assert!((fraction(memory_mib, given) - expected).abs() < 1e-9, "{memory_mib} MiB");
        };
        check(15_360, 1, 3728, 0.757); // T4
        check(24_564, 1, 3760, 0.847); // RTX 4090
        check(40_960, 1, 6848, 0.833); // A100 40 GB
        check(81_559, 1, 13_440, 0.835); // H100
        check(143_771, 1, 13_440, 0.907); // H200
        check(143_771, 8, 14_848, 0.897);
        check(183_359, 1, 26_240, 0.857); // B200
    }
}
