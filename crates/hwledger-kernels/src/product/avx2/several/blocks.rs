//! `Q8_0` and `Q4_0` times activations in blocks of 32 columns.

use std::arch::x86_64::*;

use crate::activation::{QuantisedTile, TileParts};
use crate::weight::PackedFormat;

use super::super::loop_length;
use super::super::unit::{ask, halves, load, nibbles, spread};
use super::{Ahead, TileSums, Unpacked};

/// A unit of 64 columns and sixteen rows, its numbers in bytes.
#[repr(align(64))]
pub(super) struct Unit {
    /// `[column / 4][row / 8]`: the low four bits of four numbers without sign per row.
    low: [[__m256i; 2]; 16],
    /// The high four bits.
    high: [[__m256i; 2]; 16],
    /// `[column / 32][row / 8]`.
    scales: [[__m256; 2]; 2],
}

/// A tile of some width at the start of a unit.
#[derive(Clone, Copy)]
struct At {
    bytes: *const i8,
    scales: *const f32,
    sums: *const f32,
}

impl Unpacked for Unit {
    const PIECES: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the kernels run where the processor has the set.
        let (integers, floats) = unsafe { (_mm256_setzero_si256(), _mm256_setzero_ps()) };
        Self { low: [[integers; 2]; 16], high: [[integers; 2]; 16], scales: [[floats; 2]; 2] }
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
        let QuantisedTile::Blocks(parts) = parts else { return };
        // SAFETY: as the caller says.
        unsafe { of_width(parts.tile.width, format == PackedFormat::Q8)(self, at_unit(parts, index), sums, ahead) }
    }
}

/// A tile at its unit `unit`.
fn at_unit(parts: &TileParts<'_>, unit: usize) -> At {
    let width = parts.tile.width;
    At {
        bytes: parts.bytes[unit * 64 * width..].as_ptr(),
        scales: parts.scales[unit * 2 * width..].as_ptr(),
        sums: parts.sums[unit * 2 * width..].as_ptr(),
    }
}

/// The numbers and scales of a unit.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack(format: PackedFormat, unit: *const u8, to: &mut Unit) {
    let is_q8 = format == PackedFormat::Q8;
    // SAFETY: all is within the unit.
    unsafe {
        for register in 0..2 {
            for line in 0..if is_q8 { 16 } else { 8 } {
                let [low, high] = nibbles(load(unit, line, register));
                to.low[line][register] = low;
                if is_q8 {
                    to.high[line][register] = high;
                } else {
                    // The second half of the columns.
                    to.low[8 + line][register] = high;
                }
            }
            for half in 0..2 {
                let offset = if is_q8 { 1024 } else { 512 };
                to.scales[half][register] = halves(unit.add(offset + half * 32 + register * 16));
            }
        }
    }
}

/// The function for tiles of some width and numbers of so many bits.
fn of_width(width: usize, is_q8: bool) -> unsafe fn(&Unit, At, &mut TileSums, Ahead) {
    match (width, is_q8) {
        (1, false) => passes::<1, 1, 4>,
        (2, false) => passes::<2, 2, 4>,
        (4, false) => passes::<4, 4, 4>,
        (6, false) => passes::<6, 3, 4>,
        (_, false) => passes::<8, 4, 4>,
        (1, true) => passes::<1, 1, 8>,
        (2, true) => passes::<2, 2, 8>,
        (4, true) => passes::<4, 2, 8>,
        (6, true) => passes::<6, 2, 8>,
        (_, true) => passes::<8, 2, 8>,
    }
}

/// Adds the products of a unit with `W` tokens, `M` of them at a time. Sums of a half's products with four bits of each
/// number fit 16 bits:
/// eight times 3810.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn passes<const W: usize, const M: usize, const BITS: u32>(
    unit: &Unit,
    at: At,
    sums: &mut TileSums,
    ahead: Ahead,
) {
    // Written out, its steps would be put in another order, and run out of registers: `Q4_0` took a third longer so (Zen 3).
    let lines_of_half = loop_length(8);
    let mut lines = ahead.lines;
    let offset = _mm256_set1_ps(if BITS == 8 { 128.0 } else { 8.0 });
    for first in (0..W).step_by(M) {
        for half in 0..2 {
            let zero = [[_mm256_setzero_si256(); M]; 2];
            let (mut low, mut high) = (zero, zero);
            // SAFETY: within the tile and the unit; a prefetch may point anywhere.
            unsafe {
                ask(ahead.unit, half * lines, lines);
                for place in half * 8..half * 8 + lines_of_half {
                    let (lows, highs) = (unit.low.get_unchecked(place), unit.high.get_unchecked(place));
                    for slot in 0..M {
                        let four = spread(at.bytes, place * W + first + slot);
                        for register in 0..2 {
                            let products = _mm256_maddubs_epi16(lows[register], four);
                            low[register][slot] = _mm256_add_epi16(low[register][slot], products);
                            if BITS == 8 {
                                let products = _mm256_maddubs_epi16(highs[register], four);
                                high[register][slot] = _mm256_add_epi16(high[register][slot], products);
                            }
                        }
                    }
                }
            }
            for slot in 0..M {
                let place = half * W + first + slot;
                // SAFETY: within the tile.
                let (scale, total) = unsafe { (*at.scales.add(place), *at.sums.add(place)) };
                for register in 0..2 {
                    let mut dot = _mm256_madd_epi16(low[register][slot], _mm256_set1_epi16(1));
                    if BITS == 8 {
                        let sixteens = _mm256_madd_epi16(high[register][slot], _mm256_set1_epi16(16));
                        dot = _mm256_add_epi32(dot, sixteens);
                    }
                    let value = _mm256_mul_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(scale));
                    let weight_scale = unit.scales[half][register];
                    let minimum = _mm256_mul_ps(weight_scale, offset);
                    let sum = &mut sums[first + slot][register];
                    let with = _mm256_fmadd_ps(value, weight_scale, *sum);
                    *sum = _mm256_fnmadd_ps(minimum, _mm256_set1_ps(total), with);
                }
            }
        }
        lines = 0;
    }
}
