//! Tiles of sixteen tokens by sixteen rows in bfloat16, summed in single precision.
//!
//! Weights are decoded to bfloat16 once per chunk of rows and columns, and all tokens pass over them while they
//! are near. Used for large batches, where decoding costs little against the products.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

use crate::activation::{AMX_COLUMNS, AMX_ROWS, Activations};
use crate::memory::Buffer;
use crate::weight::{Affine, IQ4_NUMBERS, IQ4_OFFSET, PackedFormat, PackedWeight, ROWS_INTERLEAVED, Unit};

use super::super::avx512::{either, halves, nibbles, unsigned, wide_table};
use super::super::{AMX_GROUPS, E2M1, IQ4, Nibbles, Out};
use super::Configuration;

/// Columns decoded at a time: two groups of them and their activations stay in the first cache.
const CHUNK_COLUMNS: usize = 512;
/// Numbers of one tile of weights or activations.
const TILE_HALVES: usize = AMX_ROWS * AMX_COLUMNS;
/// Numbers of one tile of sums.
const TILE_SUMS: usize = AMX_ROWS * ROWS_INTERLEAVED;

/// Weights decoded, and sums, of one chunk.
struct Scratch {
    /// `[group][column / 32][column % 32 / 2][row][2]` as bfloat16 bits.
    weights: Buffer<u16>,
    /// `[token / 16][group][16][16]`.
    sums: Buffer<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

/// Some groups of rows times the batch. The caller knows that the processor has the instructions.
pub(in crate::product) fn groups(
    weight: &PackedWeight,
    copy: usize,
    groups: Range<usize>,
    activations: &Activations,
    out: Out,
) {
    SCRATCH.with_borrow_mut(|scratch| {
        let scratch = scratch.get_or_insert_with(|| Scratch {
            // Memory for two small buffers; without it nothing can go on.
            weights: Buffer::zeroed(AMX_GROUPS * CHUNK_COLUMNS * ROWS_INTERLEAVED).expect("memory for 128 KiB"),
            sums: Buffer::zeroed(0).expect("memory for nothing"),
        });
        let blocks = activations.tokens().div_ceil(2 * AMX_ROWS);
        scratch.sums.reserve(blocks * 2 * AMX_GROUPS * TILE_SUMS).expect("memory for the sums of one chunk");
        // SAFETY: the buffers have room for the chunk, the processor has the instructions.
        unsafe {
            Configuration::of(AMX_ROWS, 64, 16).load();
            run(weight, copy, groups, activations, out, scratch);
            Configuration::release();
        }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn run(
    weight: &PackedWeight,
    copy: usize,
    groups: Range<usize>,
    activations: &Activations,
    out: Out,
    scratch: &mut Scratch,
) {
    let (halves, padded) = activations.halves();
    let columns = weight.format.units(weight.shape.columns) * weight.format.unit_columns();
    let blocks = activations.tokens().div_ceil(2 * AMX_ROWS);
    for first in (0..columns).step_by(CHUNK_COLUMNS) {
        let width = CHUNK_COLUMNS.min(columns - first);
        let steps = width / AMX_COLUMNS;
        for (slot, group) in groups.clone().enumerate() {
            let target = &mut scratch.weights[slot * CHUNK_COLUMNS * ROWS_INTERLEAVED..];
            // SAFETY: the group has these columns and the target room for them.
            unsafe { decode(weight, weight.group(copy, group), first, width, target) };
        }
        for block in 0..blocks {
            for pair in 0..groups.len().div_ceil(2) {
                let a = |half: usize| {
                    let at = (block * 2 + half) * AMX_ROWS * padded + first / AMX_COLUMNS * TILE_HALVES;
                    halves[at..].as_ptr()
                };
                let b = |half: usize| scratch.weights[(2 * pair + half) * CHUNK_COLUMNS * ROWS_INTERLEAVED..].as_ptr();
                let at = (block * 2 * AMX_GROUPS + 2 * pair) * TILE_SUMS;
                let (b0, b1) = (b(0), b(1));
                let c = scratch.sums[at..].as_mut_ptr();
                // SAFETY: each address has its tiles; the second tokens' sums are eight groups on.
                unsafe { multiply(a(0), a(1), b0, b1, c, steps, first == 0) };
            }
        }
    }
    for token in 0..activations.tokens() {
        for (slot, group) in groups.clone().enumerate() {
            let at = (token / AMX_ROWS * AMX_GROUPS + slot) * TILE_SUMS + token % AMX_ROWS * ROWS_INTERLEAVED;
            let values: &[f32; ROWS_INTERLEAVED] =
                scratch.sums[at..at + ROWS_INTERLEAVED].try_into().expect("sixteen sums");
            // SAFETY: the group is of this chunk and the token of the batch.
            unsafe { out.write(token, group, values) };
        }
    }
}

/// Two tiles of tokens by two groups of rows over `steps` steps of 32 columns.
#[inline]
unsafe fn multiply(
    a0: *const u16,
    a1: *const u16,
    b0: *const u16,
    b1: *const u16,
    c: *mut f32,
    steps: usize,
    is_first: bool,
) {
    let stride = 64_usize;
    // SAFETY: the caller has the tiles there; only the tile registers and the sums change.
    unsafe {
        let second = c.add(AMX_GROUPS * TILE_SUMS);
        if is_first {
            asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack, nomem));
        } else {
            asm!(
                "tileloadd tmm0, [{c} + {s}]",
                "tileloadd tmm1, [{c} + {s} + 1024]",
                "tileloadd tmm2, [{d} + {s}]",
                "tileloadd tmm3, [{d} + {s} + 1024]",
                c = in(reg) c, d = in(reg) second, s = in(reg) stride,
                options(nostack)
            );
        }
        asm!(
            "2:",
            "tileloadd tmm4, [{a0} + {s}]",
            "tileloadd tmm6, [{b0} + {s}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b1} + {s}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a1} + {s}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 1024",
            "add {a1}, 1024",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {n}",
            "jnz 2b",
            a0 = inout(reg) a0 => _,
            a1 = inout(reg) a1 => _,
            b0 = inout(reg) b0 => _,
            b1 = inout(reg) b1 => _,
            n = inout(reg) steps => _,
            s = in(reg) stride,
            options(nostack)
        );
        asm!(
            "tilestored [{c} + {s}], tmm0",
            "tilestored [{c} + {s} + 1024], tmm1",
            "tilestored [{d} + {s}], tmm2",
            "tilestored [{d} + {s} + 1024], tmm3",
            c = in(reg) c, d = in(reg) second, s = in(reg) stride,
            options(nostack)
        );
    }
}

/// Decodes `width` columns of a group from column `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode(weight: &PackedWeight, group: &[u8], first: usize, width: usize, target: &mut [u16]) {
    let format = weight.format;
    let size = format.unit_columns();
    // The columns decoded next, asked for while these are multiplied.
    let next = group.len().min((first + width) / size * format.unit_bytes());
    let next = &group[next..group.len().min(next + width / size * format.unit_bytes())];
    for line in next.chunks(64) {
        _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
    }
    for column in (first..first + width).step_by(size) {
        let unit = group[column / size * format.unit_bytes()..][..format.unit_bytes()].as_ptr();
        let target = target[(column - first) * ROWS_INTERLEAVED..][..size * ROWS_INTERLEAVED].as_mut_ptr();
        // SAFETY: one whole unit, and room for its columns.
        unsafe {
            match format {
                PackedFormat::Q4K => decode_k::<false>(unit, target),
                PackedFormat::Q5K => decode_k::<true>(unit, target),
                PackedFormat::Q6K => decode_q6_k(unit, target),
                PackedFormat::Q8 => decode_q8(unit, target),
                PackedFormat::Q4 => decode_q4::<4>(unit, target),
                PackedFormat::Iq4Nl => decode_q4::<IQ4>(unit, target),
                PackedFormat::Mxfp4 => decode_q4::<E2M1>(unit, target),
                PackedFormat::Iq4Xs => decode_iq4_xs(unit, target),
                PackedFormat::BF16 => decode_bf16(unit, target),
                PackedFormat::Affine(form) => decode_affine(form, unit, target),
                _ => decode_plain(format, unit, target),
            }
        }
    }
}

/// Four columns of sixteen rows, one byte each, to two rows of a tile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn put_four(numbers: __m512i, scale: __m512, minimum: __m512, target: *mut u16) {
    let byte = _mm512_set1_epi32(255);
    let value = |bits: __m512i| {
        _mm512_castps_si512(_mm512_fmsub_ps(_mm512_cvtepi32_ps(_mm512_and_si512(bits, byte)), scale, minimum))
    };
    let values = [
        value(numbers),
        value(_mm512_srli_epi32::<8>(numbers)),
        value(_mm512_srli_epi32::<16>(numbers)),
        value(_mm512_srli_epi32::<24>(numbers)),
    ];
    // Half a unit of the last place kept: rounds to the nearest.
    let half = _mm512_set1_epi32(0x8000);
    for pair in 0..2 {
        let low = _mm512_srli_epi32::<16>(_mm512_add_epi32(values[2 * pair], half));
        let both = _mm512_mask_blend_epi16(0xaaaa_aaaa, low, _mm512_add_epi32(values[2 * pair + 1], half));
        // SAFETY: the caller has room for two rows of 32 numbers.
        unsafe { _mm512_storeu_si512(target.add(pair * 32).cast(), both) };
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load(from: *const u8) -> __m512i {
    // SAFETY: the caller has 64 bytes there.
    unsafe { _mm512_loadu_si512(from.cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode_k<const FIFTH_BIT: bool>(unit: *const u8, target: *mut u16) {
    let tail = if FIFTH_BIT { 2560 } else { 2048 };
    let low = _mm512_set1_epi8(15);
    let one = _mm512_set1_epi8(1);
    // SAFETY: within the unit and its 256 columns.
    unsafe {
        let (d, dmin) = (halves(unit.add(tail + 256)), halves(unit.add(tail + 288)));
        for part in 0..8 {
            let scale = _mm512_mul_ps(d, unsigned(unit.add(tail + part * 16)));
            let minimum = _mm512_mul_ps(dmin, unsigned(unit.add(tail + 128 + part * 16)));
            let shift = _mm_cvtsi32_si128(part as i32 % 2 * 4);
            let bit = _mm_cvtsi32_si128(part as i32);
            for step in 0..8 {
                let both = load(unit.add(part / 2 * 512 + step * 64));
                let mut numbers = _mm512_and_si512(_mm512_srl_epi16(both, shift), low);
                if FIFTH_BIT {
                    let bits = _mm512_and_si512(_mm512_srl_epi16(load(unit.add(2048 + step * 64)), bit), one);
                    numbers = _mm512_or_si512(numbers, _mm512_slli_epi16::<4>(bits));
                }
                put_four(numbers, scale, minimum, target.add((part * 8 + step) * 64));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode_q6_k(unit: *const u8, target: *mut u16) {
    let low = _mm512_set1_epi8(15);
    let three = _mm512_set1_epi8(3);
    // SAFETY: within the unit and its 256 columns.
    unsafe {
        let d = halves(unit.add(3328));
        for part in 0..16 {
            let signed = _mm_loadu_si128(unit.add(3072 + part * 16).cast());
            let scale = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(signed)));
            let minimum = _mm512_mul_ps(scale, _mm512_set1_ps(32.0));
            let block = part / 2;
            let shift = _mm_cvtsi32_si128(block as i32 % 2 * 4);
            let bit = _mm_cvtsi32_si128(block as i32 % 4 * 2);
            for within in 0..4 {
                let step = part % 2 * 4 + within;
                let both = load(unit.add(block / 2 * 512 + step * 64));
                let bits = load(unit.add(2048 + block / 4 * 512 + step * 64));
                let high = _mm512_and_si512(_mm512_srl_epi16(bits, bit), three);
                let numbers =
                    _mm512_or_si512(_mm512_and_si512(_mm512_srl_epi16(both, shift), low), _mm512_slli_epi16::<4>(high));
                put_four(numbers, scale, minimum, target.add((block * 8 + step) * 64));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode_q8(unit: *const u8, target: *mut u16) {
    // SAFETY: within the unit and its 64 columns.
    unsafe {
        for part in 0..2 {
            let scale = halves(unit.add(1024 + part * 32));
            let minimum = _mm512_mul_ps(scale, _mm512_set1_ps(128.0));
            for step in part * 8..part * 8 + 8 {
                put_four(load(unit.add(step * 64)), scale, minimum, target.add(step * 64));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode_q4<const KIND: u32>(unit: *const u8, target: *mut u16) {
    let kind = Nibbles::of(KIND);
    let (table, offset) = (wide_table(kind.table), _mm512_set1_ps(kind.offset));
    // SAFETY: within the unit and its 64 columns.
    unsafe {
        let scales = [either(unit.add(512), kind.has_bfloat16), either(unit.add(544), kind.has_bfloat16)];
        let minima = [_mm512_mul_ps(scales[0], offset), _mm512_mul_ps(scales[1], offset)];
        for step in 0..8 {
            let numbers = nibbles::<KIND>(load(unit.add(step * 64)), table);
            for part in 0..2 {
                put_four(numbers[part], scales[part], minima[part], target.add((part * 8 + step) * 64));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode_iq4_xs(unit: *const u8, target: *mut u16) {
    let table = wide_table(&IQ4_NUMBERS);
    let offset = _mm512_set1_ps(f32::from(IQ4_OFFSET));
    // SAFETY: within the unit and its 256 columns.
    unsafe {
        let d = halves(unit.add(2176));
        for pair in 0..4 {
            let (mut scales, mut minima) = ([d; 2], [d; 2]);
            for half in 0..2 {
                let signed = _mm_loadu_si128(unit.add(2048 + (2 * pair + half) * 16).cast());
                scales[half] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(signed)));
                minima[half] = _mm512_mul_ps(scales[half], offset);
            }
            for step in 0..8 {
                let numbers = nibbles::<IQ4>(load(unit.add(pair * 512 + step * 64)), table);
                for half in 0..2 {
                    let place = target.add(((2 * pair + half) * 8 + step) * 64);
                    put_four(numbers[half], scales[half], minima[half], place);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode_bf16(unit: *const u8, target: *mut u16) {
    for pair in 0..16 {
        // SAFETY: within the unit's 32 columns.
        unsafe {
            let even = _mm512_cvtepu16_epi32(_mm256_loadu_si256(unit.add(pair * 64).cast()));
            let odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256(unit.add(pair * 64 + 32).cast()));
            let both = _mm512_or_si512(even, _mm512_slli_epi32::<16>(odd));
            _mm512_storeu_si512(target.add(pair * 32).cast(), both);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn decode_affine(form: Affine, unit: *const u8, target: *mut u16) {
    let low = _mm512_set1_epi8(15);
    // SAFETY: within the unit and its 64 columns.
    unsafe {
        for part in 0..2 {
            let scales = unit.add(form.number_bytes() + part.min(form.parts - 1) * 64);
            let (scale, minimum) = (either(scales, form.has_bfloat16), either(scales.add(32), form.has_bfloat16));
            let shift = _mm_cvtsi32_si128(part as i32 * 4);
            for step in 0..8 {
                let numbers = if form.is_four_bit {
                    _mm512_and_si512(_mm512_srl_epi16(load(unit.add(step * 64)), shift), low)
                } else {
                    load(unit.add((part * 8 + step) * 64))
                };
                put_four(numbers, scale, minimum, target.add((part * 8 + step) * 64));
            }
        }
    }
}

/// Forms without a decoder of their own.
unsafe fn decode_plain(format: PackedFormat, unit: *const u8, target: *mut u16) {
    let mut values = Unit::new();
    // SAFETY: the caller has one whole unit there, and room for its columns.
    let (bytes, target) = unsafe {
        let columns = format.unit_columns();
        (
            std::slice::from_raw_parts(unit, format.unit_bytes()),
            std::slice::from_raw_parts_mut(target, columns * ROWS_INTERLEAVED),
        )
    };
    values.read(format, bytes);
    for column in 0..values.columns {
        for row in 0..ROWS_INTERLEAVED {
            target[column / 2 * 32 + row * 2 + column % 2] = crate::half::bf16_from_f32(values.value(column, row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::half::f32_from_bf16;
    use crate::instruction_set::InstructionSet;
    use crate::pool::Pool;
    use crate::product::tests::{Noise, TYPES, random_tensor};
    use crate::weight::Shape;

    /// Decoding takes no tiles, so that it runs where there is AVX-512.
    #[test]
    fn weights_are_decoded_to_what_they_are() {
        if InstructionSet::detect() < InstructionSet::Avx512 {
            return;
        }
        let (shape, pool) = (Shape::matrix(16, 512), Pool::new(1).unwrap());
        for &element_type in TYPES {
            let bytes = random_tensor(element_type, 16 * 512, &mut Noise(11));
            let weight = PackedWeight::pack(element_type, shape, &bytes, &pool).unwrap();
            let mut found = vec![0; 16 * 512];
            // SAFETY: the processor has the instructions; the group has 512 columns and the target room for them.
            unsafe { decode(&weight, weight.group(0, 0), 0, 512, &mut found) };
            let mut values = vec![0.0; 512];
            for row in 0..ROWS_INTERLEAVED {
                weight.row(row, &mut values);
                for (column, &expected) in values.iter().enumerate() {
                    let found = f32_from_bf16(found[column / 2 * 32 + row * 2 + column % 2]);
                    // Half of a bfloat16 number's last place.
                    assert!(
                        (found - expected).abs() <= expected.abs() / 256.0,
                        "{element_type} {row} {column}: {found} {expected}"
                    );
                }
            }
        }
    }
}
