//! Products of one or two tokens with AVX2 alone, which wait for weights from memory: a unit is passed over once, in the
//! order of memory as far as its form has one, and as many lines are asked for ahead as are used.

#![expect(unsafe_code, reason = "SIMD")]

use std::arch::x86_64::*;
use std::ops::Range;

use crate::activation::{Activations, QuantisedTile, SuperBlockParts, TileParts};
use crate::weight::PackedFormat;

use super::super::{Matrix, Out};
use super::unit::{Places, ask, halves, load, nibbles, numbers, pairs_of_eight, scales_of_eight, spread};
use super::{OFFSET_BITS_LESS, twice, write_sums};

/// Most tokens of these products.
const TOKENS_MAX: usize = 2;

/// Sums of sixteen rows for each token.
type Sums<const M: usize> = [[__m256; 2]; M];

/// Whether products of such a batch with such weights are computed here.
pub(super) const fn is_for(format: PackedFormat, tokens: usize) -> bool {
    tokens <= TOKENS_MAX
        && matches!(
            format,
            PackedFormat::Q4K | PackedFormat::Q5K | PackedFormat::Q6K | PackedFormat::Q3K | PackedFormat::Q8
        )
}

/// Groups of sixteen rows times the batch. The caller knows that the processor has AVX2, and that they are for here.
pub(super) fn groups(matrix: Matrix<'_>, groups: Range<usize>, activations: &Activations, out: Out) {
    let format = matrix.weight.format;
    let tiles = activations.quantised_tiles(format);
    for group in groups {
        let bytes = matrix.weight.group(matrix.copy, group);
        for &parts in &tiles {
            let run = if parts.tile().width == 1 { one_tile::<1> } else { one_tile::<2> };
            // SAFETY: the group is whole, the tile has the columns of the matrix, the processor the instructions.
            unsafe { run(format, bytes, parts, group, out) };
        }
    }
}

/// Sixteen rows times a tile of `M` tokens.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn one_tile<const M: usize>(
    format: PackedFormat,
    group_bytes: &[u8],
    parts: QuantisedTile<'_>,
    group: usize,
    out: Out,
) {
    // SAFETY: as the caller says.
    unsafe {
        let sums: Sums<M> = match parts {
            QuantisedTile::Blocks(parts) => q8(group_bytes, parts),
            QuantisedTile::SuperBlocks(parts) => match format {
                PackedFormat::Q4K => super_blocks::<M, 4>(group_bytes, parts),
                PackedFormat::Q5K => super_blocks::<M, 5>(group_bytes, parts),
                PackedFormat::Q3K => super_blocks::<M, 3>(group_bytes, parts),
                _ => super_blocks::<M, 6>(group_bytes, parts),
            },
        };
        write_sums(&sums, parts.tile(), group, out);
    }
}

/// A tile at the start of a unit of 256 columns.
#[derive(Clone, Copy)]
struct At {
    bytes: *const i8,
    sums: *const i32,
    offsets: *const i32,
}

/// K-quants: `Q4_K` (`BITS` 4), `Q5_K`, `Q6_K` and `Q3_K`.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn super_blocks<const M: usize, const BITS: u32>(group_bytes: &[u8], parts: SuperBlockParts<'_>) -> Sums<M> {
    let has_minima = matches!(BITS, 4 | 5);
    let Places { size, minima, factors, .. } = const { Places::of(BITS) };
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    for (index, unit) in group_bytes.chunks_exact(size).enumerate() {
        // SAFETY: the unit is whole, and the tile has its columns.
        unsafe {
            let unit = unit.as_ptr();
            let at = At {
                bytes: parts.bytes.as_ptr().add(index * 256 * M),
                sums: parts.sums.as_ptr().add(index * 4 * M),
                offsets: parts.offsets.as_ptr().add(index * 16 * M),
            };
            let whole = whole_sums::<M, BITS>(unit, at);
            for register in 0..2 {
                let factor = halves(unit.add(factors + register * 16));
                for slot in 0..M {
                    let scale = _mm256_set1_ps(parts.scales[index * M + slot]);
                    let sum = &mut sums[slot][register];
                    let value = _mm256_cvtepi32_ps(whole[slot][register]);
                    *sum = _mm256_fmadd_ps(value, _mm256_mul_ps(factor, scale), *sum);
                }
                if has_minima {
                    let factor = halves(unit.add(factors + 32 + register * 16));
                    let mut least = [_mm256_setzero_si256(); M];
                    for pair in 0..4 {
                        let minima = pairs_of_eight(unit.add(minima + pair * 32 + register * 8));
                        for slot in 0..M {
                            let totals = _mm256_set1_epi32(*at.sums.add(pair * M + slot));
                            least[slot] = _mm256_add_epi32(least[slot], _mm256_madd_epi16(minima, totals));
                        }
                    }
                    for slot in 0..M {
                        let scale = _mm256_set1_ps(parts.scales[index * M + slot]);
                        let sum = &mut sums[slot][register];
                        let value = _mm256_cvtepi32_ps(least[slot]);
                        *sum = _mm256_fnmadd_ps(value, _mm256_mul_ps(factor, scale), *sum);
                    }
                }
            }
        }
    }
    sums
}

/// The sums of a unit's products times the parts' scales, exact. Sums of a part's products fit 16 bits as
/// [`super::several`] says.
#[inline(always)]
unsafe fn whole_sums<const M: usize, const BITS: u32>(unit: *const u8, at: At) -> [[__m256i; 2]; M] {
    let Places { size, scales, parts: shared, .. } = const { Places::of(BITS) };
    // Steps of four columns until sums are scaled: 4-bit numbers have room for eight.
    let steps = if BITS == 4 { 8 } else { 4 };
    let lines = size / 64;
    // SAFETY: within the unit and the tile; a prefetch may point anywhere.
    unsafe {
        let mut whole = [[_mm256_setzero_si256(); 2]; M];
        for pair in 0..4 {
            let asked = pair * lines / 4;
            for first in (0..8).step_by(steps) {
                // [block][token][register]
                let mut dots = [[[_mm256_setzero_si256(); 2]; M]; 2];
                // The first of the parts of 16 columns, of each block.
                let parts = [4 * pair + first / 4, 4 * pair + 2 + first / 4];
                if matches!(BITS, 3 | 6) {
                    for block in 0..2 {
                        for slot in 0..M {
                            let mut start = _mm256_set1_epi32(*at.offsets.add(parts[block] * M + slot));
                            if BITS == 3 {
                                start = _mm256_srai_epi16::<OFFSET_BITS_LESS>(start);
                            }
                            dots[block][slot] = [start; 2];
                        }
                    }
                }
                for step in first..first + steps {
                    ask(unit, asked + step, 1);
                    for register in 0..2 {
                        let both = numbers::<BITS>(unit, pair, step, register);
                        for block in 0..2 {
                            for slot in 0..M {
                                let four = spread(at.bytes, (pair * 16 + block * 8 + step) * M + slot);
                                let products = _mm256_maddubs_epi16(both[block], four);
                                let dot = &mut dots[block][slot][register];
                                *dot = _mm256_add_epi16(*dot, products);
                            }
                        }
                    }
                }
                for block in 0..2 {
                    for register in 0..2 {
                        let from = unit.add(scales + parts[block] / shared * 16 + register * 8);
                        let scale = if matches!(BITS, 3 | 6) {
                            twice(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())))
                        } else {
                            scales_of_eight(from)
                        };
                        for slot in 0..M {
                            let scaled = _mm256_madd_epi16(dots[block][slot][register], scale);
                            whole[slot][register] = _mm256_add_epi32(whole[slot][register], scaled);
                        }
                    }
                }
            }
            ask(unit, asked + 8, ((pair + 1) * lines / 4).saturating_sub(asked + 8));
        }
        whole
    }
}

/// `Q8_0`: numbers are two of four bits.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q8<const M: usize>(group_bytes: &[u8], parts: TileParts<'_>) -> Sums<M> {
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    for (index, unit) in group_bytes.chunks_exact(const { PackedFormat::Q8.unit_bytes() }).enumerate() {
        let unit = unit.as_ptr();
        for half in 0..2 {
            let part = 2 * index + half;
            let zero = [[_mm256_setzero_si256(); 2]; M];
            let (mut low, mut high) = (zero, zero);
            // SAFETY: within the unit and the tile; a prefetch may point anywhere.
            unsafe {
                for step in 0..8 {
                    let line = half * 8 + step;
                    ask(unit, line, 1);
                    for register in 0..2 {
                        let [lows, highs] = nibbles(load(unit, line, register));
                        for slot in 0..M {
                            let four = spread(parts.bytes.as_ptr(), (part * 8 + step) * M + slot);
                            let (low, high) = (&mut low[slot][register], &mut high[slot][register]);
                            *low = _mm256_add_epi16(*low, _mm256_maddubs_epi16(lows, four));
                            *high = _mm256_add_epi16(*high, _mm256_maddubs_epi16(highs, four));
                        }
                    }
                }
                for register in 0..2 {
                    let scale = halves(unit.add(1024 + half * 32 + register * 16));
                    let minimum = _mm256_mul_ps(scale, _mm256_set1_ps(128.0));
                    for slot in 0..M {
                        let ones = _mm256_madd_epi16(low[slot][register], _mm256_set1_epi16(1));
                        let sixteens = _mm256_madd_epi16(high[slot][register], _mm256_set1_epi16(16));
                        let dot = _mm256_cvtepi32_ps(_mm256_add_epi32(ones, sixteens));
                        let value = _mm256_mul_ps(dot, _mm256_set1_ps(parts.scales[part * M + slot]));
                        let with = _mm256_fmadd_ps(value, scale, sums[slot][register]);
                        let total = _mm256_set1_ps(parts.sums[part * M + slot]);
                        sums[slot][register] = _mm256_fnmadd_ps(minimum, total, with);
                    }
                }
            }
        }
        // SAFETY: a prefetch may point anywhere.
        unsafe { ask(unit, 16, 1) };
    }
    sums
}
