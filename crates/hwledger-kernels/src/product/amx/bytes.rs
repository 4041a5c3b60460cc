//! Tiles of up to sixteen tokens by sixteen rows in bytes: the same bits as the other byte kernels.
//!
//! A group of rows is unpacked to one byte per number once; every tile of tokens is multiplied with it part by
//! part (the columns that share a scale), and each part's exact sums are scaled and added as everywhere else.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;

use crate::activation::{Activations, TileParts};
use crate::memory::Buffer;
use crate::weight::{Affine, PackedFormat, PackedWeight, ROWS_INTERLEAVED};

use super::super::avx512::{either, halves, load_and_ask, nibbles, wide_table, write_sums};
use super::super::{E2M1, IQ4, Nibbles, Out};
use super::Configuration;

/// Columns that share a scale.
const PART: usize = 32;
/// Sums of one tile.
const TILE_SUMS: usize = 16 * ROWS_INTERLEAVED;

/// One group of rows, unpacked.
struct Scratch {
    /// `[column / 4][row][4]`.
    numbers: Buffer<u8>,
    /// `[part][row]`.
    scales: Buffer<f32>,
    /// `[part][row]`.
    minima: Buffer<f32>,
    /// Sums of twice four parts, `[part][token][row]`, as 32-bit integers.
    sums: Buffer<f32>,
}

impl Scratch {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            numbers: Buffer::zeroed(0)?,
            scales: Buffer::zeroed(0)?,
            minima: Buffer::zeroed(0)?,
            sums: Buffer::zeroed(8 * TILE_SUMS)?,
        })
    }

    /// Makes room for a group of so many columns.
    fn reserve(&mut self, columns: usize) -> std::io::Result<()> {
        self.numbers.reserve(columns * ROWS_INTERLEAVED)?;
        self.scales.reserve(columns / PART * ROWS_INTERLEAVED)?;
        self.minima.reserve(columns / PART * ROWS_INTERLEAVED)
    }
}

thread_local! {
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

/// Sixteen rows times the batch. The caller knows that the processor has the instructions.
pub(in crate::product) fn group(weight: &PackedWeight, copy: usize, group: usize, activations: &Activations, out: Out) {
    let columns = weight.format.units(weight.shape.columns) * weight.format.unit_columns();
    SCRATCH.with_borrow_mut(|scratch| {
        let memory = "memory for one group of rows";
        let scratch = scratch.get_or_insert_with(|| Scratch::new().expect(memory));
        scratch.reserve(columns).expect(memory);
        // SAFETY: the scratch has room for the group's columns; the processor has the instructions.
        unsafe { unpack(weight.format, weight.group(copy, group), scratch) };
        let mut width = 0;
        for parts in activations.tiles() {
            // SAFETY: as above; the tile has the columns of the matrix.
            unsafe {
                if parts.tile.width != width {
                    width = parts.tile.width;
                    // Bytes of a token in a tile of one part, and rows of its weights, four columns each.
                    Configuration::of(width, 32, 8).load();
                }
                match width {
                    4 => tile::<4>(scratch, columns, parts, group, out),
                    8 => tile::<8>(scratch, columns, parts, group, out),
                    12 => tile::<12>(scratch, columns, parts, group, out),
                    _ => tile::<16>(scratch, columns, parts, group, out),
                }
            }
        }
        // SAFETY: tiles were loaded for at least one tile of tokens.
        unsafe { Configuration::release() };
    });
}

/// `M` tokens by sixteen rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn tile<const M: usize>(scratch: &mut Scratch, columns: usize, parts: TileParts<'_>, group: usize, out: Out) {
    let mut sums = [_mm512_setzero_ps(); M];
    // Four parts at a time, or the last two: units have 64 columns.
    let count = columns / PART;
    let together_from = |first: usize| (count - first).min(4);
    // SAFETY: the first parts are within the group and the tile.
    unsafe { multiply::<M>(scratch, parts.bytes.as_ptr(), 0, together_from(0)) };
    let mut first = 0;
    while first < count {
        let together = together_from(first);
        let next = first + together;
        // SAFETY: the parts are within the group and the tile.
        unsafe {
            // The tiles work on the next parts while these are scaled and added.
            if next < count {
                multiply::<M>(scratch, parts.bytes.as_ptr(), next, together_from(next));
            }
            for index in 0..together {
                let part = first + index;
                let scale = _mm512_loadu_ps(scratch.scales.as_ptr().add(part * ROWS_INTERLEAVED));
                let minimum = _mm512_loadu_ps(scratch.minima.as_ptr().add(part * ROWS_INTERLEAVED));
                let dots = scratch.sums.as_ptr().add((part - first + first % 8) * TILE_SUMS);
                let scales = parts.scales.as_ptr().add(part * M);
                let totals = parts.sums.as_ptr().add(part * M);
                for slot in 0..M {
                    let dot = _mm512_loadu_si512(dots.add(slot * ROWS_INTERLEAVED).cast());
                    let value = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), _mm512_set1_ps(*scales.add(slot)));
                    let with = _mm512_fmadd_ps(value, scale, sums[slot]);
                    sums[slot] = _mm512_fnmadd_ps(minimum, _mm512_set1_ps(*totals.add(slot)), with);
                }
            }
        }
        first = next;
    }
    // SAFETY: the rows are the caller's, the tokens of the tile.
    unsafe { write_sums(sums, parts.tile, group, out) };
}

/// Exact sums of `together` parts from part `first` on, into the scratch.
#[inline]
unsafe fn multiply<const M: usize>(scratch: &mut Scratch, bytes: *const i8, first: usize, together: usize) {
    // SAFETY: the parts are within the tile and the group; four tiles of sums fit the scratch.
    unsafe {
        let activation = |part: usize| bytes.add(part * PART * M);
        let weights = |part: usize| scratch.numbers.as_ptr().add(part * PART * ROWS_INTERLEAVED);
        let sums = scratch.sums.as_mut_ptr().add(first % 8 * TILE_SUMS);
        let (row, line) = (32_usize, 64_usize);
        macro_rules! one {
            ($sum:literal, $a:literal, $b:literal, $index:expr) => {
                asm!(
                    concat!("tilezero ", $sum),
                    concat!("tileloadd ", $a, ", [{a} + {row}]"),
                    concat!("tileloadd ", $b, ", [{b} + {line}]"),
                    concat!("tdpbsud ", $sum, ", ", $a, ", ", $b),
                    a = in(reg) activation(first + $index),
                    b = in(reg) weights(first + $index),
                    row = in(reg) row,
                    line = in(reg) line,
                    options(nostack, readonly)
                )
            };
        }
        macro_rules! keep {
            ($sum:literal, $index:expr) => {
                asm!(
                    concat!("tilestored [{c} + {line}], ", $sum),
                    c = in(reg) sums.add($index * TILE_SUMS),
                    line = in(reg) line,
                    options(nostack)
                )
            };
        }
        one!("tmm0", "tmm4", "tmm6", 0);
        one!("tmm1", "tmm5", "tmm7", 1);
        if together > 2 {
            one!("tmm2", "tmm4", "tmm6", 2);
            one!("tmm3", "tmm5", "tmm7", 3);
        }
        keep!("tmm0", 0);
        keep!("tmm1", 1);
        if together > 2 {
            keep!("tmm2", 2);
            keep!("tmm3", 3);
        }
    }
}

/// Where the parts of a unit go.
#[derive(Clone, Copy)]
struct Target {
    numbers: *mut u8,
    scales: *mut f32,
    minima: *mut f32,
}

impl Target {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn put(self, step: usize, numbers: __m512i) {
        // SAFETY: the caller has room for the step.
        unsafe { _mm512_storeu_si512(self.numbers.add(step * 64).cast(), numbers) };
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn put_part(self, part: usize, scale: __m512, minimum: __m512) {
        // SAFETY: the caller has room for the part.
        unsafe {
            _mm512_storeu_ps(self.scales.add(part * ROWS_INTERLEAVED), scale);
            _mm512_storeu_ps(self.minima.add(part * ROWS_INTERLEAVED), minimum);
        }
    }
}

/// Unpacks a whole group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn unpack(format: PackedFormat, group: &[u8], scratch: &mut Scratch) {
    for (index, unit) in group.chunks_exact(format.unit_bytes()).enumerate() {
        let column = index * format.unit_columns();
        // SAFETY: the scratch has room for the group.
        unsafe {
            let target = Target {
                numbers: scratch.numbers.as_mut_ptr().add(column * ROWS_INTERLEAVED),
                scales: scratch.scales.as_mut_ptr().add(column / PART * ROWS_INTERLEAVED),
                minima: scratch.minima.as_mut_ptr().add(column / PART * ROWS_INTERLEAVED),
            };
            match format {
                PackedFormat::Q4 => unpack_q4::<4>(unit.as_ptr(), target),
                PackedFormat::Iq4Nl => unpack_q4::<IQ4>(unit.as_ptr(), target),
                PackedFormat::Mxfp4 => unpack_q4::<E2M1>(unit.as_ptr(), target),
                PackedFormat::Affine(form) => unpack_affine(form, unit.as_ptr(), target),
                _ => unpack_q8(unit.as_ptr(), target),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn unpack_q4<const KIND: u32>(unit: *const u8, target: Target) {
    let kind = Nibbles::of(KIND);
    let (table, offset) = (wide_table(kind.table), _mm512_set1_ps(kind.offset));
    // SAFETY: within the unit and its 64 columns.
    unsafe {
        for step in 0..8 {
            let [one, two] = nibbles::<KIND>(load_and_ask(unit.add(step * 64)), table);
            target.put(step, one);
            target.put(8 + step, two);
        }
        for part in 0..2 {
            let scale = either(unit.add(512 + part * 32), kind.has_bfloat16);
            target.put_part(part, scale, _mm512_mul_ps(scale, offset));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn unpack_q8(unit: *const u8, target: Target) {
    // SAFETY: within the unit and its 64 columns.
    unsafe {
        for step in 0..16 {
            target.put(step, load_and_ask(unit.add(step * 64)));
        }
        for part in 0..2 {
            let scale = halves(unit.add(1024 + part * 32));
            target.put_part(part, scale, _mm512_mul_ps(scale, _mm512_set1_ps(128.0)));
        }
    }
}

/// MLX's affine numbers of four or eight bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn unpack_affine(form: Affine, unit: *const u8, target: Target) {
    let low = _mm512_set1_epi8(15);
    // SAFETY: within the unit and its 64 columns.
    unsafe {
        for step in 0..8 {
            let numbers = load_and_ask(unit.add(step * 64));
            if form.is_four_bit {
                target.put(step, _mm512_and_si512(numbers, low));
                target.put(8 + step, _mm512_and_si512(_mm512_srli_epi16::<4>(numbers), low));
            } else {
                target.put(step, numbers);
                target.put(8 + step, load_and_ask(unit.add((8 + step) * 64)));
            }
        }
        for part in 0..2 {
            // Halves of a wide group share a scale and a minimum.
            let factors = unit.add(form.number_bytes() + part.min(form.parts - 1) * 64);
            let (scale, minimum) = (either(factors, form.has_bfloat16), either(factors.add(32), form.has_bfloat16));
            target.put_part(part, scale, minimum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Arithmetic;
    use crate::instruction_set::InstructionSet;
    use crate::pool::Pool;
    use crate::product::tests::{Noise, TYPES, random_tensor};
    use crate::weight::{Shape, Unit};

    /// Unpacking takes no tiles, so that it runs where there is AVX-512.
    #[test]
    fn groups_are_unpacked_to_what_units_hold() {
        if InstructionSet::detect() < InstructionSet::Avx512 {
            return;
        }
        let (shape, pool, mut scratch) = (Shape::matrix(16, 64), Pool::new(1).unwrap(), Scratch::new().unwrap());
        let (mut unit, mut tried) = (Unit::new(), 0);
        for &element_type in TYPES.iter().filter(|element_type| 64 % element_type.block().0 == 0) {
            let bytes = random_tensor(element_type, 16 * 64, &mut Noise(12));
            let weight = PackedWeight::pack(element_type, shape, &bytes, &pool).unwrap();
            if Arithmetic::of(weight.format, 16, InstructionSet::Amx) != Arithmetic::ByteTiles {
                continue;
            }
            tried += 1;
            scratch.reserve(64).unwrap();
            unit.read(weight.format, weight.group(0, 0));
            // SAFETY: the processor has the instructions, the scratch room for 64 columns.
            unsafe { unpack(weight.format, weight.group(0, 0), &mut scratch) };
            for row in 0..ROWS_INTERLEAVED {
                for column in 0..64 {
                    let found = scratch.numbers[column / 4 * 64 + row * 4 + column % 4];
                    assert_eq!(found, unit.numbers[column][row], "{element_type} {row} {column}");
                }
                for part in 0..2 {
                    let at = part * ROWS_INTERLEAVED + row;
                    let found = [scratch.scales[at], scratch.minima[at]].map(f32::to_bits);
                    let expected = [unit.scales[part][row], unit.minima[part][row]].map(f32::to_bits);
                    assert_eq!(found, expected, "{element_type} {row}");
                }
            }
        }
        assert_eq!(tried, 4, "Q8_0, Q4_0, IQ4_NL and MXFP4");
    }
}
