//! K-quants but `Q4_K` times activations in super-blocks.

use std::arch::x86_64::*;

use crate::activation::{QuantisedTile, SuperBlockParts};
use crate::weight::PackedFormat;

use super::super::OFFSET_BITS_LESS;
use super::super::unit::{Places, ask, halves, numbers, pairs, scales, signed_scales, spread};
use super::{Ahead, TileSums, Unpacked};

/// Parts of a unit, of 16 columns each.
const PARTS: usize = 16;
/// Lines of four columns of a part.
const LINES: usize = 4;

/// A unit of 256 columns and sixteen rows, its numbers in bytes.
#[repr(align(64))]
pub(super) struct Unit {
    /// `[column / 4][row / 8]`: four numbers without sign per row.
    numbers: [[__m256i; 2]; PARTS * LINES],
    /// `[part][row / 8]`: a part's scale per row, twice in 16 bits.
    scales: [[__m256i; 2]; PARTS],
    /// `[column / 64][row / 8]`: the minima of two parts of 32 columns per row, in 16 bits.
    minima: [[__m256i; 2]; 4],
    /// `[row / 8]`.
    factor: [__m256; 2],
    /// `[row / 8]`.
    minimum_factor: [__m256; 2],
}

/// A tile of some width at the start of a unit.
#[derive(Clone, Copy)]
struct At {
    bytes: *const i8,
    scales: *const f32,
    sums: *const i32,
    offsets: *const i32,
}

impl Unpacked for Unit {
    const PIECES: usize = PARTS;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the kernels run where the processor has the set.
        let (integers, floats) = unsafe { (_mm256_setzero_si256(), _mm256_setzero_ps()) };
        Self {
            numbers: [[integers; 2]; PARTS * LINES],
            scales: [[integers; 2]; PARTS],
            minima: [[integers; 2]; 4],
            factor: [floats; 2],
            minimum_factor: [floats; 2],
        }
    }

    #[inline(always)]
    unsafe fn read(&mut self, format: PackedFormat, unit: *const u8) {
        // SAFETY: as the caller says.
        unsafe { unpack(format, unit, self) }
    }

    #[inline(always)]
    unsafe fn add(
        &self,
        format: PackedFormat,
        parts: &QuantisedTile<'_>,
        index: usize,
        sums: &mut TileSums,
        ahead: Ahead,
    ) {
        let QuantisedTile::SuperBlocks(parts) = parts else { return };
        // SAFETY: as the caller says.
        unsafe { tile(format, self, at_unit(parts, index), parts.tile.width, sums, ahead) }
    }
}

/// A tile at its unit `unit`.
fn at_unit(parts: &SuperBlockParts<'_>, unit: usize) -> At {
    let width = parts.tile.width;
    At {
        bytes: parts.bytes[unit * 256 * width..].as_ptr(),
        scales: parts.scales[unit * width..].as_ptr(),
        sums: parts.sums[unit * 4 * width..].as_ptr(),
        offsets: parts.offsets[unit * 16 * width..].as_ptr(),
    }
}

/// The numbers, scales and minima of a unit.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack(format: PackedFormat, unit: *const u8, to: &mut Unit) {
    // SAFETY: the unit is one of the format.
    unsafe {
        match format {
            PackedFormat::Q5K => unpack_numbers::<5>(unit, to),
            PackedFormat::Q3K => unpack_numbers::<3>(unit, to),
            _ => unpack_numbers::<6>(unit, to),
        }
        unpack_scales(format, unit, to);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack_numbers<const BITS: u32>(unit: *const u8, to: &mut Unit) {
    for pair in 0..4 {
        for step in 0..8 {
            for register in 0..2 {
                // SAFETY: the unit is whole.
                let [low, high] = unsafe { numbers::<BITS>(unit, pair, step, register) };
                to.numbers[pair * 16 + step][register] = low;
                to.numbers[pair * 16 + 8 + step][register] = high;
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack_scales(format: PackedFormat, unit: *const u8, to: &mut Unit) {
    let Places { scales: tail, minima, factors, .. } = Places::of(match format {
        PackedFormat::Q5K => 5,
        PackedFormat::Q3K => 3,
        _ => 6,
    });
    // SAFETY: all is within the unit.
    unsafe {
        for register in 0..2 {
            to.factor[register] = halves(unit.add(factors + register * 16));
        }
        match format {
            PackedFormat::Q5K => {
                for register in 0..2 {
                    to.minimum_factor[register] = halves(unit.add(factors + 32 + register * 16));
                }
                for part in 0..8 {
                    let own = scales(unit.add(tail + part * 16));
                    to.scales[2 * part] = own;
                    to.scales[2 * part + 1] = own;
                }
                for pair in 0..4 {
                    to.minima[pair] = pairs(unit.add(minima + pair * 32));
                }
            }
            _ => {
                for part in 0..PARTS {
                    to.scales[part] = signed_scales(unit.add(tail + part * 16));
                }
            }
        }
    }
}

/// Adds the products of a unit with one tile.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile(format: PackedFormat, unit: &Unit, at: At, width: usize, sums: &mut TileSums, ahead: Ahead) {
    let run = match format {
        PackedFormat::Q5K => of_width::<0>(width),
        PackedFormat::Q3K => of_width::<3>(width),
        _ => of_width::<6>(width),
    };
    // SAFETY: as the caller says.
    unsafe { run(unit, at, sums, ahead) };
}

/// The function for tiles of some width.
fn of_width<const OFFSET_BITS: u32>(width: usize) -> unsafe fn(&Unit, At, &mut TileSums, Ahead) {
    match width {
        1 => passes::<1, 1, OFFSET_BITS>,
        2 => passes::<2, 2, OFFSET_BITS>,
        4 => passes::<4, 4, OFFSET_BITS>,
        6 => passes::<6, 3, OFFSET_BITS>,
        _ => passes::<8, 4, OFFSET_BITS>,
    }
}

/// The same for `W` tokens, `M` of them at a time. `OFFSET_BITS`: 6 or 3 where an offset is taken off numbers of so many
/// bits, 0 where minima are.
///
/// All sums of a part's products fit 16 bits: numbers of 5 bits add up to four times 7874, numbers of 6 bits less their
/// offset, which the sums start from, to four times 8128 (activations are at least -127), however the sums wrap around in
/// between.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn passes<const W: usize, const M: usize, const OFFSET_BITS: u32>(
    unit: &Unit,
    at: At,
    sums: &mut TileSums,
    ahead: Ahead,
) {
    let mut lines = ahead.lines;
    for first in (0..W).step_by(M) {
        let mut whole = [[_mm256_setzero_si256(); M]; 2];
        for part in 0..PARTS {
            // SAFETY: within the tile and the unit; a prefetch may point anywhere.
            unsafe {
                ask(ahead.unit, part * lines, lines);
                let mut dots = [[_mm256_setzero_si256(); M]; 2];
                if OFFSET_BITS > 0 {
                    for slot in 0..M {
                        let mut start = _mm256_set1_epi32(*at.offsets.add(part * W + first + slot));
                        if OFFSET_BITS == 3 {
                            start = _mm256_srai_epi16::<OFFSET_BITS_LESS>(start);
                        }
                        (dots[0][slot], dots[1][slot]) = (start, start);
                    }
                }
                for line in part * LINES..(part + 1) * LINES {
                    let numbers = unit.numbers.get_unchecked(line);
                    for slot in 0..M {
                        let four = spread(at.bytes, line * W + first + slot);
                        for register in 0..2 {
                            let products = _mm256_maddubs_epi16(numbers[register], four);
                            dots[register][slot] = _mm256_add_epi16(dots[register][slot], products);
                        }
                    }
                }
                for register in 0..2 {
                    let scale = unit.scales.get_unchecked(part)[register];
                    for slot in 0..M {
                        let scaled = _mm256_madd_epi16(dots[register][slot], scale);
                        whole[register][slot] = _mm256_add_epi32(whole[register][slot], scaled);
                    }
                }
            }
        }
        lines = 0;
        for slot in 0..M {
            // SAFETY: within the tile.
            let scale = _mm256_set1_ps(unsafe { *at.scales.add(first + slot) });
            let mut least = [_mm256_setzero_si256(); 2];
            if OFFSET_BITS == 0 {
                for pair in 0..4 {
                    // SAFETY: within the tile.
                    let totals = _mm256_set1_epi32(unsafe { *at.sums.add(pair * W + first + slot) });
                    for register in 0..2 {
                        let product = _mm256_madd_epi16(unit.minima[pair][register], totals);
                        least[register] = _mm256_add_epi32(least[register], product);
                    }
                }
            }
            for register in 0..2 {
                let sum = &mut sums[first + slot][register];
                let factor = _mm256_mul_ps(unit.factor[register], scale);
                *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole[register][slot]), factor, *sum);
                if OFFSET_BITS == 0 {
                    let factor = _mm256_mul_ps(unit.minimum_factor[register], scale);
                    *sum = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(least[register]), factor, *sum);
                }
            }
        }
    }
}
