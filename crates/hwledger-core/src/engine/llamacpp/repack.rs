//! Weights that a processor's backend lays out anew: which tensors, in which buffer, at what size.
//!
//! A matrix whose type has kernels over interleaved rows is copied into a buffer of its own while the file is read
//! (`CPU_REPACK`, or `AMX` for the tiles). Under `mmap` the mapped file stays beside the copies: its pages of these
//! tensors are never read again, and the system may drop them.
//!
//! **Source**: `ggml-cpu/repack.cpp` (`ggml_repack_get_optimal_repack_type`, `extra_buffer_type::supports_op`),
//! `ggml-cpu/amx/amx.cpp` and `amx/mmq.cpp` (`get_row_size`), `llama-model.cpp` (`make_cpu_buft_list`) and
//! `llama-model-loader.cpp` (`create_tensor`, `get_mapping_range`) of llama.cpp 0.5.0.

use super::placement::Placement;
use super::release::Release;
use crate::device::Instructions;
use crate::model::{Role, Weight};
use crate::settings::DeviceKind;
use crate::units::round_up;
use crate::{Assumptions, ElementType as E, Settings};

/// Every tensor begins at a multiple of so many bytes in a buffer of the processor's (`TENSOR_ALIGNMENT` of ggml).
const ALIGNMENT: u64 = 32;

/// What a rule asks of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Avx2,
    Avx512,
    DotProduct,
    I8mm,
}

impl Needs {
    const fn are_met_by(self, set: Instructions) -> bool {
        match self {
            Self::Avx2 => set.has_avx2(),
            Self::Avx512 => set.has_avx512(),
            Self::DotProduct => set.has_dot_product(),
            Self::I8mm => matches!(set, Instructions::NeonI8mm),
        }
    }
}

/// A type, what its kernels need, the number that its rows must be a multiple of, and the first build that has them:
/// that of the pull request named, or the nearest known around its merge.
type Rule = (E, Needs, u64, u64);

/// The rules of `ggml_repack_get_optimal_repack_type`.
const RULES: &[Rule] = &[
    // Pull request 10446, December 2024, which also brought the buffer to x86.
    (E::Q4_0, Needs::Avx2, 8, 4283),
    (E::Q4_0, Needs::DotProduct, 4, 4283),
    (E::Iq4Nl, Needs::DotProduct, 4, 4283),
    // 12332, March 2025.
    (E::Q4K, Needs::Avx2, 8, 4927),
    // 14373 and 14904, August 2025.
    (E::Q2K, Needs::Avx512, 8, 6068),
    (E::Iq4Nl, Needs::Avx2, 8, 6149),
    // 16739 and 17494, November 2025.
    (E::Q4K, Needs::I8mm, 8, 7058),
    (E::Q4K, Needs::DotProduct, 8, 7180),
    // 18096, December 2025.
    (E::Q8_0, Needs::DotProduct, 4, 7445),
    // 18860 and 18888, January 2026; 19356 and 19360, February.
    (E::Q5K, Needs::I8mm, 8, 7820),
    (E::Q6K, Needs::I8mm, 8, 7850),
    (E::Q5K, Needs::DotProduct, 8, 8000),
    (E::Q6K, Needs::DotProduct, 8, 8000),
    // 19738, around the end of February 2026.
    (E::Mxfp4, Needs::Avx2, 8, 8170),
    (E::Mxfp4, Needs::DotProduct, 4, 8170),
    // 23492, September 2026.
    (E::Q1_0, Needs::DotProduct, 4, 10_930),
];

/// Types with tiles of AMX: the number that columns must be a multiple of, and bytes that a block grows by (sums for
/// the offset of signed products, scales unpacked).
const TILES: &[(E, u64, u64)] = &[
    (E::Q4_0, 32, 0),
    (E::Q4_1, 32, 0),
    (E::Q8_0, 32, 4),
    (E::Q4K, 256, 4),
    (E::Q5K, 256, 4),
    (E::Q6K, 256, 0),
    (E::Iq4Xs, 256, 2),
    (E::F16, 16, 0),
];

/// Rows of a matrix in tiles come in multiples of two tiles.
const TILE_ROWS: u64 = 32;

/// Bytes of weights in the processor's own layouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// In rows interleaved (`CPU_REPACK`).
    pub interleaved: u64,
    /// In tiles (`AMX`).
    pub tiles: u64,
    /// What these tensors take in the file.
    pub source: u64,
    /// The most that they and others could take, where the processor's instructions are not known.
    pub most: u64,
}

impl Packed {
    /// Bytes of all copies.
    pub const fn bytes(self) -> u64 {
        self.interleaved.saturating_add(self.tiles)
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            interleaved: self.interleaved.saturating_add(other.interleaved),
            tiles: self.tiles.saturating_add(other.tiles),
            source: self.source.saturating_add(other.source),
            most: self.most.saturating_add(other.most),
        }
    }

    pub(super) fn each(&mut self, change: impl Fn(u64) -> u64) {
        for part in [&mut self.interleaved, &mut self.tiles, &mut self.source, &mut self.most] {
            *part = change(*part);
        }
    }
}

/// What the backend of the processor that computes does with weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repacker {
    instructions: Instructions,
    /// Nobody said which processor it is.
    is_assumed: bool,
    release: Release,
}

impl Repacker {
    /// What happens to weights on the host, where anything does.
    ///
    /// Weights on the host go to the first card's pinned buffer type before any other is asked, and under `mmap` from
    /// there to the plain one: beside CUDA, HIP, SYCL and Vulkan nothing is laid out anew. Metal, `OpenCL`, `WebGPU` and
    /// remote devices have no such type.
    pub(super) fn resolve(
        settings: &Settings,
        placement: &Placement,
        release: Release,
        assumptions: &mut Assumptions,
    ) -> Option<Self> {
        if settings.repack == Some(false) || !release.has_extra_buffers() || has_host_buffer(settings, placement) {
            return None;
        }
        let known = Instructions::of(settings);
        if known.is_none() {
            assumptions.note("instructions", Instructions::Avx2.name(), "nobody said which processor it is");
        }
        Some(Self { instructions: known.unwrap_or(Instructions::Avx2), is_assumed: known.is_none(), release })
    }

    /// Whether the processor was not named, and another could lay out more or nothing.
    pub(super) const fn is_assumed(&self) -> bool {
        self.is_assumed
    }

    /// What `weight` takes beside the file, as `element_type`.
    ///
    /// Only operands of products qualify: matrices, and experts stacked; tables that are read by row do not.
    pub(super) fn packed(&self, weight: &Weight, element_type: E) -> Packed {
        let mut packed = self.packed_for(self.instructions, weight, element_type);
        packed.most = packed.bytes();
        if self.is_assumed {
            let of = |set| self.packed_for(set, weight, element_type).bytes();
            packed.most = Instructions::ALL.into_iter().map(of).max().unwrap_or(0);
        }
        packed
    }

    fn packed_for(&self, set: Instructions, weight: &Weight, element_type: E) -> Packed {
        let is_stacked = weight.copies > 1;
        let is_operand = !weight.is_vector() && !weight.role.is_lookup() && weight.role != Role::Auxiliary;
        // Of stacked matrices only experts have a product (`mul_mat_id`); heads of latent attention stay as they are.
        if !is_operand || (is_stacked && !weight.role.is_routed_expert()) {
            return Packed::default();
        }
        let source = weight.bytes_as(element_type);
        if set == Instructions::Amx
            && !is_stacked
            && let Some(bytes) = tile_bytes(weight, element_type)
        {
            return Packed { tiles: round_up(bytes, ALIGNMENT), source, ..Packed::default() };
        }
        let is_interleaved = RULES.iter().any(|&(known, needs, rows, build)| {
            known == element_type
                && needs.are_met_by(set)
                && weight.rows.is_multiple_of(rows)
                && self.release.is_at_least(build)
        });
        if is_interleaved {
            Packed { interleaved: round_up(source, ALIGNMENT), source, ..Packed::default() }
        } else {
            Packed::default()
        }
    }
}

/// Bytes of a matrix in tiles, where its type and shape allow.
fn tile_bytes(weight: &Weight, element_type: E) -> Option<u64> {
    let &(_, multiple, growth) = TILES.iter().find(|(known, ..)| *known == element_type)?;
    let fits = weight.rows.is_multiple_of(TILE_ROWS) && weight.columns.is_multiple_of(multiple);
    let blocks = weight.elements() / element_type.block().0;
    fits.then(|| weight.bytes_as(element_type).saturating_add(blocks.saturating_mul(growth)))
}

/// Whether any card's backend pins memory of the host.
fn has_host_buffer(settings: &Settings, placement: &Placement) -> bool {
    let is_without = |name: &str| ["opencl", "webgpu", "rpc"].iter().any(|own| name.eq_ignore_ascii_case(own));
    placement.cards.iter().any(|card| card.kind != DeviceKind::Apple)
        && !settings.backend.as_deref().is_some_and(is_without)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repacker(instructions: Instructions, build: Option<&str>) -> Repacker {
        Repacker { instructions, is_assumed: false, release: Release::parse(build, false) }
    }

    fn matrix(role: Role) -> Weight {
        Weight::matrix(role, 4096, 4096)
    }

    #[test]
    fn types_are_interleaved_where_their_kernels_are() {
        let is = |set, element_type| repacker(set, None).packed(&matrix(Role::Up), element_type).interleaved > 0;
        let of = |set| [E::Q4_0, E::Q4K, E::Q2K, E::Q5K, E::Q6K, E::Q8_0, E::Iq4Nl, E::Mxfp4].map(|own| is(set, own));
        assert_eq!(of(Instructions::Scalar), [false; 8]);
        assert_eq!(of(Instructions::Avx2), [true, true, false, false, false, false, true, true]);
        assert_eq!(of(Instructions::AvxVnni), of(Instructions::Avx2));
        assert_eq!(of(Instructions::Avx512), [true, true, true, false, false, false, true, true]);
        assert_eq!(of(Instructions::NeonI8mm), [true, true, false, true, true, true, true, true]);
        assert_eq!(of(Instructions::Neon), of(Instructions::NeonI8mm));
    }

    #[test]
    fn older_builds_know_fewer_types() {
        let is = |build: &str, set, own| repacker(set, Some(build)).packed(&matrix(Role::Up), own).bytes() > 0;
        assert!(is("b4465", Instructions::Avx2, E::Q4_0) && !is("b4465", Instructions::Avx2, E::Q4K));
        assert!(is("b5200", Instructions::Avx2, E::Q4K) && !is("b5200", Instructions::NeonI8mm, E::Q4K));
        assert!(!is("b7300", Instructions::NeonI8mm, E::Q8_0));
    }

    #[test]
    fn only_operands_of_products_are_laid_out_anew() {
        let of = |weight: Weight| repacker(Instructions::Avx2, None).packed(&weight, E::Q4_0).interleaved;
        assert_eq!(of(matrix(Role::Query)), 4096 * 4096 / 32 * 18);
        assert_eq!(of(matrix(Role::TokenEmbedding)), 0);
        assert_eq!(of(matrix(Role::ExpertUp).stacked(8)), 8 * of(matrix(Role::Up)));
        assert_eq!(of(matrix(Role::LatentKeyUp).stacked(8)), 0);
        assert_eq!(of(Weight::matrix(Role::Up, 4100, 4096)), 0, "rows come in eights");
    }

    #[test]
    fn tiles_take_what_they_can_and_leave_the_experts() {
        let amx = repacker(Instructions::Amx, None);
        // A block of Q8_0 and the four bytes of its sum.
        assert_eq!(amx.packed(&matrix(Role::Up), E::Q8_0).tiles, 4096 * 4096 / 32 * 38);
        assert_eq!(amx.packed(&matrix(Role::Up), E::F16).tiles, 4096 * 4096 * 2);
        let experts = amx.packed(&matrix(Role::ExpertUp).stacked(8), E::Q4K);
        assert_eq!((experts.tiles, experts.interleaved), (0, 8 * 4096 * 4096 / 256 * 144));
        assert_eq!(amx.packed(&matrix(Role::Up), E::Iq4Nl).interleaved, 4096 * 4096 / 32 * 18);
    }

    #[test]
    fn an_unknown_processor_has_bounds() {
        let unknown = Repacker { is_assumed: true, ..repacker(Instructions::Avx2, None) };
        let eight_bits = unknown.packed(&matrix(Role::Up), E::Q8_0);
        assert_eq!((eight_bits.bytes(), eight_bits.most), (0, 4096 * 4096 / 32 * 38));
    }
}
