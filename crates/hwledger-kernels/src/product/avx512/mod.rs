//! AVX-512 with VNNI: sixteen rows in the lanes of one register, up to eight tokens side by side.

#![expect(unsafe_code, reason = "SIMD")]

mod super_blocks;

use std::arch::x86_64::*;
use std::ops::Range;

use crate::activation::{Activations, QuantisedTile, Tile, TileParts};
use crate::weight::{Affine, PackedFormat, PackedWeight, ROWS_INTERLEAVED};

use super::{E2M1, IQ4, Matrix, Nibbles, Out, with_floats};

/// Bytes of weights ahead of use that are asked for: less hides too little of the memory's latency behind one
/// token's work, more falls out of the nearest cache before its use (`benches/products.rs`, Zen 4).
const PREFETCH_BYTES: usize = 8192;

/// Groups of sixteen rows times the batch, in bytes. The caller knows that the processor has the instructions.
pub(super) fn quantised_groups(matrix: Matrix<'_>, groups: Range<usize>, activations: &Activations, out: Out) {
    let weight = matrix.weight;
    let tiles = activations.quantised_tiles(weight.format);
    for group in groups {
        let bytes = weight.group(matrix.copy, group);
        for &parts in &tiles {
            let tile = match parts.tile().width {
                1 => tile::<1>,
                2 => tile::<2>,
                4 => tile::<4>,
                6 => tile::<6>,
                _ => tile::<8>,
            };
            // SAFETY: the group is whole, the tile has the columns of the matrix, the processor the instructions.
            unsafe { tile(weight.format, bytes, parts, group, out) };
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn tile<const M: usize>(
    format: PackedFormat,
    group_bytes: &[u8],
    parts: QuantisedTile<'_>,
    group: usize,
    out: Out,
) {
    let tile = parts.tile();
    out.ask(tile.first..tile.first + tile.tokens, group);
    // SAFETY: as the caller says.
    let sums = unsafe {
        match parts {
            QuantisedTile::Blocks(parts) => blocks::<M>(format, group_bytes, parts),
            QuantisedTile::SuperBlocks(parts) => super_blocks::sums::<M>(format, group_bytes, parts),
        }
    };
    // SAFETY: as above.
    unsafe { write_sums(sums, tile, group, out) };
}

/// Writes the outputs of a tile's tokens, sixteen rows each.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn write_sums<const M: usize>(sums: [__m512; M], tile: Tile, group: usize, out: Out) {
    for (slot, sum) in sums.into_iter().enumerate().take(tile.tokens) {
        let mut values = [0.0; ROWS_INTERLEAVED];
        // SAFETY: there are sixteen values; the rows are the caller's.
        unsafe {
            _mm512_storeu_ps(values.as_mut_ptr(), sum);
            out.write(tile.first + slot, group, &values);
        }
    }
}

/// Pointers to a tile at the start of a unit.
#[derive(Clone, Copy)]
struct At {
    bytes: *const i8,
    scales: *const f32,
    sums: *const f32,
}

impl At {
    /// The same, `columns` columns on.
    unsafe fn after<const M: usize>(self, columns: usize) -> Self {
        // SAFETY: the caller stays within the tile.
        unsafe {
            Self {
                bytes: self.bytes.add(columns * M),
                scales: self.scales.add(columns / 32 * M),
                sums: self.sums.add(columns / 32 * M),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn blocks<const M: usize>(format: PackedFormat, group_bytes: &[u8], parts: TileParts<'_>) -> [__m512; M] {
    let at = At { bytes: parts.bytes.as_ptr(), scales: parts.scales.as_ptr(), sums: parts.sums.as_ptr() };
    let units = group_bytes.len() / format.unit_bytes();
    let weights = group_bytes.as_ptr();
    // SAFETY: the group has `units` units and the tile their columns.
    unsafe {
        match format {
            PackedFormat::Q4 => q4::<M, 4>(weights, units, at),
            PackedFormat::Iq4Nl => q4::<M, IQ4>(weights, units, at),
            PackedFormat::Mxfp4 => q4::<M, E2M1>(weights, units, at),
            PackedFormat::Affine(form) if form.is_four_bit => affine::<M, true>(form, weights, units, at),
            PackedFormat::Affine(form) => affine::<M, false>(form, weights, units, at),
            _ => q8::<M>(weights, units, at),
        }
    }
}

/// Adds `scale x dot x activation scale - minimum x activation sum` of one part for each token.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn add_part<const M: usize>(
    sums: &mut [__m512; M],
    dots: &[__m512i; M],
    scale: __m512,
    minimum: __m512,
    scales: *const f32,
    totals: *const f32,
) {
    for slot in 0..M {
        // SAFETY: there are M scales and sums of the part.
        unsafe {
            let value = _mm512_mul_ps(_mm512_cvtepi32_ps(dots[slot]), _mm512_set1_ps(*scales.add(slot)));
            let with = _mm512_fmadd_ps(value, scale, sums[slot]);
            sums[slot] = _mm512_fnmadd_ps(minimum, _mm512_set1_ps(*totals.add(slot)), with);
        }
    }
}

/// Adds the products of four columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn add_four<const M: usize>(dots: &mut [__m512i; M], numbers: __m512i, bytes: *const i8) {
    for (slot, dot) in dots.iter_mut().enumerate() {
        // SAFETY: four bytes per slot.
        let four = unsafe { bytes.cast::<i32>().add(slot).read_unaligned() };
        *dot = _mm512_dpbusd_epi32(*dot, numbers, _mm512_set1_epi32(four));
    }
}

/// A line of weights.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(from: *const u8) -> __m512i {
    // SAFETY: the caller has 64 bytes there.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

/// A line of weights; one further on is asked for.
///
/// Lines of numbers are asked for, those of their scales are not: on Zen 4 a stream of which every line was asked
/// for never woke the processor's own prefetching, which has more room for what is under way (one token's work
/// ran a third slower). Into the nearest cache: eight tokens' work ran a third slower from the second.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load_and_ask(from: *const u8) -> __m512i {
    ask(from, 0, 1);
    // SAFETY: the caller has 64 bytes there.
    unsafe { load(from) }
}

/// Asks for some lines beside `from`, some way ahead of it; it may lie anywhere.
#[inline]
#[target_feature(enable = "avx512f")]
fn ask(from: *const u8, first: usize, count: usize) {
    for line in first..first + count {
        _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(PREFETCH_BYTES + line * 64).cast());
    }
}

/// Sixteen bytes as numbers without sign.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn unsigned(from: *const u8) -> __m512 {
    // SAFETY: the caller has 16 bytes there.
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(from.cast()) }))
}

/// Sixteen half-precision numbers.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn halves(from: *const u8) -> __m512 {
    // SAFETY: the caller has 32 bytes there.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
}

/// A table in each quarter of a register.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn wide_table(table: &[u8; 16]) -> __m512i {
    // SAFETY: the table has sixteen bytes.
    _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
}

/// The 4-bit numbers of a line, low bits then high, of a kind that [`Nibbles`] has: those of the table at their places.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn nibbles<const KIND: u32>(both: __m512i, table: __m512i) -> [__m512i; 2] {
    let low = _mm512_set1_epi8(15);
    let [one, two] = [_mm512_and_si512(both, low), _mm512_and_si512(_mm512_srli_epi16::<4>(both), low)];
    if KIND == 4 { [one, two] } else { [_mm512_shuffle_epi8(table, one), _mm512_shuffle_epi8(table, two)] }
}

/// `Q4_0`, and types whose numbers are looked up.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn q4<const M: usize, const KIND: u32>(weights: *const u8, units: usize, at: At) -> [__m512; M] {
    let mut sums = [_mm512_setzero_ps(); M];
    let kind = Nibbles::of(KIND);
    let (table, offset) = (wide_table(kind.table), _mm512_set1_ps(kind.offset));
    for unit in 0..units {
        // SAFETY: within the group and the tile.
        unsafe {
            let weights = weights.add(unit * 576);
            let at = at.after::<M>(unit * 64);
            let mut first = [_mm512_setzero_si512(); M];
            let mut second = [_mm512_setzero_si512(); M];
            for step in 0..8 {
                let [one, two] = nibbles::<KIND>(load_and_ask(weights.add(step * 64)), table);
                add_four(&mut first, one, at.bytes.add(step * 4 * M));
                add_four(&mut second, two, at.bytes.add((8 + step) * 4 * M));
            }
            for (half, dots) in [first, second].iter().enumerate() {
                let scale = either(weights.add(512 + half * 32), kind.has_bfloat16);
                let minimum = _mm512_mul_ps(scale, offset);
                add_part(&mut sums, dots, scale, minimum, at.scales.add(half * M), at.sums.add(half * M));
            }
        }
    }
    sums
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn q8<const M: usize>(weights: *const u8, units: usize, at: At) -> [__m512; M] {
    let mut sums = [_mm512_setzero_ps(); M];
    for unit in 0..units {
        // SAFETY: within the group and the tile.
        unsafe {
            let weights = weights.add(unit * 1088);
            let at = at.after::<M>(unit * 64);
            for half in 0..2 {
                let mut dots = [_mm512_setzero_si512(); M];
                for step in 0..8 {
                    let numbers = load_and_ask(weights.add((half * 8 + step) * 64));
                    add_four(&mut dots, numbers, at.bytes.add((half * 8 + step) * 4 * M));
                }
                let scale = halves(weights.add(1024 + half * 32));
                let minimum = _mm512_mul_ps(scale, _mm512_set1_ps(128.0));
                add_part(&mut sums, &dots, scale, minimum, at.scales.add(half * M), at.sums.add(half * M));
            }
        }
    }
    sums
}

/// Sixteen half-precision or bfloat16 numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn either(from: *const u8, is_bfloat16: bool) -> __m512 {
    if is_bfloat16 {
        // SAFETY: the caller has 32 bytes there.
        let bits = _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(from.cast()) });
        return _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits));
    }
    // SAFETY: as above.
    unsafe { halves(from) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn affine<const M: usize, const FOUR_BIT: bool>(
    form: Affine,
    weights: *const u8,
    units: usize,
    at: At,
) -> [__m512; M] {
    let mut sums = [_mm512_setzero_ps(); M];
    let low = _mm512_set1_epi8(15);
    let size = PackedFormat::Affine(form).unit_bytes();
    for unit in 0..units {
        // SAFETY: within the group and the tile.
        unsafe {
            let weights = weights.add(unit * size);
            let at = at.after::<M>(unit * 64);
            let mut dots = [[_mm512_setzero_si512(); M]; 2];
            for step in 0..8 {
                let [one, two] = if FOUR_BIT {
                    let both = load_and_ask(weights.add(step * 64));
                    [_mm512_and_si512(both, low), _mm512_and_si512(_mm512_srli_epi16::<4>(both), low)]
                } else {
                    [load_and_ask(weights.add(step * 64)), load_and_ask(weights.add((8 + step) * 64))]
                };
                add_four(&mut dots[0], one, at.bytes.add(step * 4 * M));
                add_four(&mut dots[1], two, at.bytes.add((8 + step) * 4 * M));
            }
            for (half, dots) in dots.iter().enumerate() {
                let scales = weights.add(form.number_bytes() + half.min(form.parts - 1) * 64);
                let scale = either(scales, form.has_bfloat16);
                let minimum = either(scales.add(32), form.has_bfloat16);
                add_part(&mut sums, dots, scale, minimum, at.scales.add(half * M), at.sums.add(half * M));
            }
        }
    }
    sums
}

/// Sixteen rows times the batch, in single precision. The caller knows that the processor has the instructions.
pub(super) fn float_group(weight: &PackedWeight, copy: usize, group: usize, activations: &Activations, out: Out) {
    with_floats(weight, copy, group, |format, weights| {
        float_tiles(format, weights, weight.shape.columns, activations, group, out);
    });
}

fn float_tiles(
    format: PackedFormat,
    weights: *const u8,
    columns: usize,
    activations: &Activations,
    group: usize,
    out: Out,
) {
    let tokens = activations.tokens();
    for first in (0..tokens).step_by(8) {
        let held = (tokens - first).min(8);
        let rows: [*const f32; 8] = std::array::from_fn(|slot| activations.row(first + slot.min(held - 1)).as_ptr());
        // SAFETY: the group and the rows have that many columns, the processor the instructions.
        unsafe {
            match (format, held) {
                (PackedFormat::F16, 1) => float_tile::<1, 16>(weights, columns, rows, first, held, group, out),
                (PackedFormat::F16, 2..=4) => float_tile::<4, 16>(weights, columns, rows, first, held, group, out),
                (PackedFormat::F16, _) => float_tile::<8, 16>(weights, columns, rows, first, held, group, out),
                (PackedFormat::BF16, 1) => float_tile::<1, 8>(weights, columns, rows, first, held, group, out),
                (PackedFormat::BF16, 2..=4) => float_tile::<4, 8>(weights, columns, rows, first, held, group, out),
                (PackedFormat::BF16, _) => float_tile::<8, 8>(weights, columns, rows, first, held, group, out),
                (_, 1) => float_tile::<1, 32>(weights, columns, rows, first, held, group, out),
                (_, 2..=4) => float_tile::<4, 32>(weights, columns, rows, first, held, group, out),
                (_, _) => float_tile::<8, 32>(weights, columns, rows, first, held, group, out),
            }
        }
    }
}

/// `KIND`: 16 half precision, 8 bfloat16 (its exponent's bits), 32 single precision.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn float_tile<const M: usize, const KIND: usize>(
    weights: *const u8,
    columns: usize,
    rows: [*const f32; 8],
    first: usize,
    held: usize,
    group: usize,
    out: Out,
) {
    let mut sums = [[_mm512_setzero_ps(); M]; 2];
    // Columns are filled up to an even number with zeros, in weights and activations.
    for pair in 0..columns.div_ceil(2) {
        for (half, sums) in sums.iter_mut().enumerate() {
            let column = 2 * pair + half;
            // SAFETY: within the group's units and the padded rows.
            unsafe {
                let numbers = match KIND {
                    16 => halves(weights.add(column * 32)),
                    8 => {
                        let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(weights.add(column * 32).cast()));
                        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
                    }
                    _ => _mm512_loadu_ps(weights.add(column * 64).cast()),
                };
                for (slot, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm512_fmadd_ps(numbers, _mm512_set1_ps(*rows[slot].add(column)), *sum);
                }
            }
        }
    }
    for slot in 0..held {
        let mut values = [0.0; ROWS_INTERLEAVED];
        // SAFETY: there are sixteen values; the rows are the caller's.
        unsafe {
            _mm512_storeu_ps(values.as_mut_ptr(), _mm512_add_ps(sums[0][slot], sums[1][slot]));
            out.write(first + slot, group, &values);
        }
    }
}
