//! `Q4_K` times three tokens and more with AVX2 alone: eight rows at a time, whose numbers are unpacked while the tokens
//! of a tile are multiplied with them.

#![expect(unsafe_code, reason = "SIMD")]

use std::arch::x86_64::*;
use std::ops::Range;

use crate::activation::{Activations, SuperBlockParts};
use crate::weight::PackedFormat;

use super::super::{Matrix, Out};
use super::lines::nibbles;
use super::unit::{Places, ask, halves, pairs_of_eight, scales_of_eight};
use super::{loop_length, write_sums};

/// Fewest tokens of these products.
const TOKENS_MIN: usize = 3;
/// Where things lie in a unit.
const PLACES: Places = Places::of(4);
/// Lines of a unit.
const LINES: usize = PLACES.size / 64;

/// Sums of sixteen rows for each token.
type Sums<const M: usize> = [[__m256; 2]; M];

/// Whether products of such a batch with such weights are computed here.
pub(super) const fn is_for(format: PackedFormat, tokens: usize) -> bool {
    tokens >= TOKENS_MIN && matches!(format, PackedFormat::Q4K)
}

/// Groups of sixteen rows times the batch. The caller knows that the processor has AVX2, and that they are for here.
pub(super) fn groups(matrix: Matrix<'_>, groups: Range<usize>, activations: &Activations, out: Out) {
    for group in groups {
        let bytes = matrix.weight.group(matrix.copy, group);
        for parts in activations.super_blocks() {
            let run = match parts.tile.width {
                1 => group_of_rows::<1>,
                2 => group_of_rows::<2>,
                4 => group_of_rows::<4>,
                6 => group_of_rows::<6>,
                _ => group_of_rows::<8>,
            };
            // SAFETY: the group is whole, the tile has the columns of the matrix, the processor the instructions.
            unsafe { run(bytes, parts, group, out) };
        }
    }
}

/// A tile at the start of a unit of 256 columns.
#[derive(Clone, Copy)]
struct At {
    bytes: *const i8,
    scales: *const f32,
    sums: *const i32,
}

/// Sixteen rows times a tile of `M` tokens.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn group_of_rows<const M: usize>(group_bytes: &[u8], parts: SuperBlockParts<'_>, group: usize, out: Out) {
    let mut sums: Sums<M> = [[_mm256_setzero_ps(); 2]; M];
    for (index, unit) in group_bytes.chunks_exact(PLACES.size).enumerate() {
        let at = At {
            bytes: parts.bytes[index * 256 * M..].as_ptr(),
            scales: parts.scales[index * M..].as_ptr(),
            sums: parts.sums[index * 4 * M..].as_ptr(),
        };
        for register in 0..loop_length(2) {
            // SAFETY: the unit is whole, and the tile has its columns.
            unsafe { add_rows::<M>(unit.as_ptr(), register, at, &mut sums) };
        }
    }
    // SAFETY: the rows are the caller's.
    unsafe { write_sums(&sums, parts.tile, group, out) };
}

/// Adds the products of eight rows of a unit.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_rows<const M: usize>(unit: *const u8, register: usize, at: At, sums: &mut Sums<M>) {
    let mut whole = [_mm256_setzero_si256(); M];
    // A loop of four: written out, both registers' instructions are too many for the processor's cache of them.
    for pair in 0..loop_length(4) {
        // SAFETY: within the unit and the tile; a prefetch may point anywhere.
        unsafe {
            if register == 0 {
                ask(unit, pair * LINES / 4, LINES.div_ceil(4));
            }
            let lines = unit.add(pair * 512 + register * 32);
            let bytes = at.bytes.add(pair * 64 * M);
            let scales = unit.add(PLACES.scales + pair * 32 + register * 8);
            for block in 0..2 {
                let bytes = bytes.add(block * 32 * M);
                let dots =
                    if block == 0 { nibbles::<M, false>(lines, bytes) } else { nibbles::<M, true>(lines, bytes) };
                let scale = scales_of_eight(scales.add(block * 16));
                for slot in 0..M {
                    whole[slot] = _mm256_add_epi32(whole[slot], _mm256_madd_epi16(dots[slot], scale));
                }
            }
        }
    }
    // SAFETY: within the unit and the tile.
    unsafe {
        let factors = [0, 32].map(|kind| halves(unit.add(PLACES.factors + kind + register * 16)));
        let minima: [__m256i; 4] =
            std::array::from_fn(|pair| pairs_of_eight(unit.add(PLACES.minima + pair * 32 + register * 8)));
        for slot in 0..M {
            let mut least = _mm256_setzero_si256();
            for (pair, minima) in minima.iter().enumerate() {
                let totals = _mm256_set1_epi32(*at.sums.add(pair * M + slot));
                least = _mm256_add_epi32(least, _mm256_madd_epi16(*minima, totals));
            }
            let scale = _mm256_set1_ps(*at.scales.add(slot));
            let [factor, minimum_factor] = factors.map(|factor| _mm256_mul_ps(factor, scale));
            let sum = &mut sums[slot][register];
            *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole[slot]), factor, *sum);
            *sum = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(least), minimum_factor, *sum);
        }
    }
}
