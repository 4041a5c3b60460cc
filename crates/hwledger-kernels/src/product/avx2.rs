//! AVX2 with FMA and F16C: eight rows in the lanes of one register; with AVX-VNNI also its dot product.

#![expect(unsafe_code, reason = "SIMD")]

use std::arch::x86_64::*;
use std::ops::Range;

use crate::activation::{Activations, QuantisedTile, TIMES_3_BIT, Tile};
use crate::weight::{IQ4_NUMBERS, IQ4_OFFSET, PackedFormat, PackedWeight, ROWS_INTERLEAVED};

mod few;
mod lines;
mod q4_k;
mod several;
mod unit;

use super::short::{self, FLOAT_TOKENS_MAX, FloatTile, Lanes, instructions};
use super::{E2M1, IQ4, Matrix, Nibbles, Out, with_floats};

/// AVX2 alone. Products of bytes are added in 16 bits as long as these suffice: activations are at least -127, so
/// that two columns of 4-bit numbers are within 3810 (eight times in 16 bits), of 5 bits 7874 (four times), of 6 bits less
/// their offset 8128 (four times, however sums wrap around in between). Numbers of 8 bits are two of 4.
struct Avx2;

/// AVX2 with the dot product of AVX-VNNI, which adds in 32 bits.
struct AvxVnni;

/// By how many bits the offset of `Q3_K` is smaller than that of `Q6_K`.
const OFFSET_BITS_LESS: i32 = TIMES_3_BIT.trailing_zeros() as i32;

/// Adjacent sums of 16 bits, times `factor`.
#[inline(always)]
unsafe fn widened(sums: __m256i, factor: i16) -> __m256i {
    // SAFETY: the kernels run where the processor has the set.
    unsafe { _mm256_madd_epi16(sums, _mm256_set1_epi16(factor)) }
}

/// The low 16 bits of each 32, twice.
#[inline(always)]
unsafe fn twice(scales: __m256i) -> __m256i {
    // SAFETY: as above.
    unsafe { _mm256_blend_epi16::<0b_10_10_10_10>(scales, _mm256_slli_epi32::<16>(scales)) }
}

/// Sums of two adjacent products, in 16 bits.
#[inline(always)]
unsafe fn products(numbers: __m256i, four: i32) -> __m256i {
    // SAFETY: as above.
    unsafe { _mm256_maddubs_epi16(numbers, _mm256_set1_epi32(four)) }
}

/// Low and high halves of the table of `IQ4_NL`.
const IQ4_HALVES: [[u8; 16]; 2] = {
    let mut halves = [[0; 16]; 2];
    let mut index = 0;
    while index < 16 {
        (halves[0][index], halves[1][index]) = (IQ4_NUMBERS[index] & 15, IQ4_NUMBERS[index] >> 4);
        index += 1;
    }
    halves
};

/// Of each byte that of the table.
#[inline(always)]
unsafe fn look_up(table: &[u8; 16], places: __m256i) -> __m256i {
    // SAFETY: as above; the table has sixteen bytes.
    unsafe { _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), places) }
}

/// A number that compilers do not know, so that they keep a loop.
#[inline(always)]
fn loop_length(length: usize) -> usize {
    std::hint::black_box(length)
}

/// Writes the outputs of a tile's tokens, sixteen rows each in two registers.
#[target_feature(enable = "avx2")]
unsafe fn write_sums(sums: &[[__m256; 2]], tile: Tile, group: usize, out: Out) {
    for (slot, sums) in sums.iter().enumerate().take(tile.tokens) {
        let mut values = [0.0; ROWS_INTERLEAVED];
        // SAFETY: there are sixteen values; the rows are the caller's, the token of the tile.
        unsafe {
            _mm256_storeu_ps(values.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(values.as_mut_ptr().add(8), sums[1]);
            out.write(tile.first + slot, group, &values);
        }
    }
}

/// What both sets do alike.
macro_rules! shared {
    () => {
        const ROWS: usize = 8;
        type Bytes = __m256i;
        type Floats = __m256;
        type Integers = __m256i;

        instructions! {
            fn load(from: *const u8) -> __m256i { _mm256_loadu_si256(from.cast()) }
            fn prefetch(from: *const u8) -> () { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
            fn and(numbers: __m256i, mask: u8) -> __m256i {
                _mm256_and_si256(numbers, _mm256_set1_epi8(mask.cast_signed()))
            }
            fn or(numbers: __m256i, others: __m256i) -> __m256i { _mm256_or_si256(numbers, others) }
            fn right<const N: i32>(numbers: __m256i) -> __m256i { _mm256_srli_epi16::<N>(numbers) }
            fn right_by(numbers: __m256i, amount: i32) -> __m256i {
                _mm256_srl_epi16(numbers, _mm_cvtsi32_si128(amount))
            }
            fn left<const N: i32>(numbers: __m256i) -> __m256i { _mm256_slli_epi16::<N>(numbers) }
            fn splat(value: f32) -> __m256 { _mm256_set1_ps(value) }
            fn multiply(a: __m256, b: __m256) -> __m256 { _mm256_mul_ps(a, b) }
            fn add(a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) }
            fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fmadd_ps(a, b, c) }
            fn multiply_subtract(a: __m256, b: __m256, c: __m256) -> __m256 { _mm256_fnmadd_ps(a, b, c) }
            fn zero() -> __m256i { _mm256_setzero_si256() }
            fn scaled_with(sum: __m256i, more: i32, scale: __m256i, c: __m256i) -> __m256i {
                _mm256_add_epi32(c, _mm256_mullo_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(more)), scale))
            }
            // Numbers fill the lower 16 bits only, so that the upper ones add nothing.
            fn small_multiply_add(number: __m256i, times: i32, c: __m256i) -> __m256i {
                _mm256_add_epi32(c, _mm256_madd_epi16(number, _mm256_set1_epi32(times)))
            }
            fn unsigned(from: *const u8) -> __m256i { _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())) }
            fn signed(from: *const u8) -> __m256i { _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())) }
            fn float(values: __m256i) -> __m256 { _mm256_cvtepi32_ps(values) }
            fn halves(from: *const u8) -> __m256 { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
            fn bfloats(from: *const u8) -> __m256 {
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()))))
            }
            fn singles(from: *const u8) -> __m256 { _mm256_loadu_ps(from.cast()) }
            fn store(to: *mut f32, values: __m256) -> () { _mm256_storeu_ps(to, values) }
        }
    };
}

impl Lanes for Avx2 {
    /// Sums in 32 bits, of 4- and 6-bit numbers in 16; of 8-bit numbers (also those of a table) those of their low and of their
    /// high halves, in 16.
    type Dots = [__m256i; 2];

    shared!();

    instructions! {
            fn start(value: i32) -> Self::Dots { [_mm256_set1_epi32(value), _mm256_setzero_si256()] }
            // In 16 bits, twice; multiples of 32.
            fn start_from_offset<const BITS: u32>(offset: i32) -> Self::Dots {
                if BITS == 6 {
                    [_mm256_set1_epi32(offset), _mm256_setzero_si256()]
                } else {
                    [_mm256_srai_epi16::<OFFSET_BITS_LESS>(_mm256_set1_epi32(offset)), _mm256_setzero_si256()]
                }
            }
            // Offsets are in lanes; of two sums side by side in 16 bits one is that of the part.
            fn offset_of_32(_offsets: *const i32, sums: *const i32, part: usize, width: usize) -> i32 {
                (*sums.add(part / 2 * width) << (16 - 16 * (part % 2)) >> 16) * -i32::from(IQ4_OFFSET)
            }
            fn add_eight<const BITS: u32>(dots: Self::Dots, numbers: [__m256i; 2], fours: [i32; 2]) -> Self::Dots {
                match BITS {
                    4 | 6 => {
                        let both = _mm256_add_epi16(products(numbers[0], fours[0]), products(numbers[1], fours[1]));
                        [_mm256_add_epi16(dots[0], both), dots[1]]
                    }
                    5 | E2M1 => {
                        let mut numbers = numbers;
                        if BITS == E2M1 {
                            let table = Nibbles::of(BITS).table;
    numbers = [look_up(table, numbers[0]), look_up(table, numbers[1])];
                        }
                        let both = _mm256_add_epi16(products(numbers[0], fours[0]), products(numbers[1], fours[1]));
                        [_mm256_add_epi32(dots[0], widened(both, 1)), dots[1]]
                    }
                    _ => {
                        let mut dots = dots;
                        for index in 0..2 {
                            let [low, high] = if BITS == IQ4 {
                                [look_up(&IQ4_HALVES[0], numbers[index]), look_up(&IQ4_HALVES[1], numbers[index])]
                            } else {
                                [Self::and(numbers[index], 15), Self::and(Self::right::<4>(numbers[index]), 15)]
                            };
                            dots[0] = _mm256_add_epi16(dots[0], products(low, fours[index]));
                            dots[1] = _mm256_add_epi16(dots[1], products(high, fours[index]));
                        }
                        dots
                    }
                }
            }
            fn sum<const BITS: u32>(dots: Self::Dots) -> __m256i {
                match BITS {
                    4 | 6 => widened(dots[0], 1),
                    5 | E2M1 => dots[0],
                    _ => _mm256_add_epi32(widened(dots[0], 1), widened(dots[1], 16)),
                }
            }
            fn scaled<const BITS: u32>(dots: Self::Dots, scale: __m256i, c: __m256i) -> __m256i {
                if matches!(BITS, 4 | 6) {
                    // Sums of 16 bits are widened and scaled at once.
                    _mm256_add_epi32(c, _mm256_madd_epi16(dots[0], twice(scale)))
                } else {
                    _mm256_add_epi32(c, _mm256_mullo_epi32(Self::sum::<BITS>(dots), scale))
                }
            }
        }
}

impl Lanes for AvxVnni {
    type Dots = __m256i;

    shared!();

    instructions! {
            fn start(value: i32) -> __m256i { _mm256_set1_epi32(value) }
            fn add_eight<const BITS: u32>(dots: __m256i, numbers: [__m256i; 2], fours: [i32; 2]) -> __m256i {
                {
                    let mut numbers = numbers;
                    if matches!(BITS, IQ4 | E2M1) {
                        let table = Nibbles::of(BITS).table;
    numbers = [look_up(table, numbers[0]), look_up(table, numbers[1])];
                    }
                    let dots = _mm256_dpbusd_avx_epi32(dots, numbers[0], _mm256_set1_epi32(fours[0]));
                    _mm256_dpbusd_avx_epi32(dots, numbers[1], _mm256_set1_epi32(fours[1]))
                }
            }
            fn scaled<const BITS: u32>(dots: __m256i, scale: __m256i, c: __m256i) -> __m256i {
                _mm256_add_epi32(c, _mm256_mullo_epi32(dots, scale))
            }
        }

    #[inline(always)]
    unsafe fn sum<const BITS: u32>(dots: __m256i) -> __m256i {
        dots
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn plain_tile<const W: usize, const M: usize, const S: usize>(
    format: PackedFormat,
    bytes: &[u8],
    parts: QuantisedTile<'_>,
    group: usize,
    out: Out,
) {
    // SAFETY: as the caller says.
    unsafe { short::quantised_tile::<Avx2, W, M, S>(format, bytes, parts, group, out) }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
unsafe fn vnni_tile<const W: usize, const M: usize, const S: usize>(
    format: PackedFormat,
    bytes: &[u8],
    parts: QuantisedTile<'_>,
    group: usize,
    out: Out,
) {
    // SAFETY: as the caller says.
    unsafe { short::quantised_tile::<AvxVnni, W, M, S>(format, bytes, parts, group, out) }
}

/// Groups of sixteen rows times the batch.
type Groups = fn(Matrix<'_>, Range<usize>, &Activations, Out);

/// Groups of sixteen rows times the batch, in bytes. The caller knows that the processor has AVX2, and AVX-VNNI if it
/// says so.
pub(super) fn quantised_groups(
    matrix: Matrix<'_>,
    groups: Range<usize>,
    activations: &Activations,
    out: Out,
    has_vnni: bool,
) {
    let weight = matrix.weight;
    let (format, tokens) = (weight.format, activations.tokens());
    let own: [(bool, Groups); 3] = [
        (few::is_for(format, tokens), few::groups),
        (q4_k::is_for(format, tokens), q4_k::groups),
        (several::is_for(format, tokens), several::groups),
    ];
    if let Some((_, run)) = own.into_iter().find(|&(is_for, _)| is_for && !has_vnni) {
        return run(matrix, groups, activations, out);
    }
    let tiles = activations.quantised_tiles(weight.format);
    for group in groups {
        let bytes = weight.group(matrix.copy, group);
        for &parts in &tiles {
            let tile = match (parts.tile().width, has_vnni) {
                (1, false) => plain_tile::<1, 1, 1>,
                (2, false) => plain_tile::<2, 2, 2>,
                (4, false) => plain_tile::<4, 4, 2>,
                (6, false) => plain_tile::<6, 3, 2>,
                (_, false) => plain_tile::<8, 4, 2>,
                (1, true) => vnni_tile::<1, 1, 1>,
                (2, true) => vnni_tile::<2, 2, 2>,
                (4, true) => vnni_tile::<4, 4, 2>,
                (6, true) => vnni_tile::<6, 3, 2>,
                (_, true) => vnni_tile::<8, 4, 2>,
            };
            // SAFETY: the group is whole, the tile has the columns of the matrix, the processor the instructions.
            unsafe { tile(weight.format, bytes, parts, group, out) };
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn float_tile<const M: usize, const KIND: usize>(tile: FloatTile<'_>, columns: usize, group: usize, out: Out) {
    // SAFETY: as the caller says.
    unsafe { short::float_tile::<Avx2, M, KIND>(tile, columns, group, out) }
}

/// Sixteen rows times the batch, in single precision. The caller knows that the processor has the instructions.
pub(super) fn float_group(weight: &PackedWeight, copy: usize, group: usize, activations: &Activations, out: Out) {
    with_floats(weight, copy, group, |format, weights| {
        for first in (0..activations.tokens()).step_by(FLOAT_TOKENS_MAX) {
            let held = (activations.tokens() - first).min(FLOAT_TOKENS_MAX);
            let run = match (format, held) {
                (PackedFormat::F16, 1) => float_tile::<1, 16>,
                (PackedFormat::F16, _) => float_tile::<4, 16>,
                (PackedFormat::BF16, 1) => float_tile::<1, 8>,
                (PackedFormat::BF16, _) => float_tile::<4, 8>,
                (_, 1) => float_tile::<1, 32>,
                (_, _) => float_tile::<4, 32>,
            };
            // SAFETY: the group and the rows have that many columns, the processor the instructions.
            unsafe { run(FloatTile { weights, activations, first, held }, weight.shape.columns, group, out) };
        }
    });
}
