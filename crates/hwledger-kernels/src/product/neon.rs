//! NEON with the dot product of bytes: four rows in the lanes of one register.

#![expect(unsafe_code, reason = "SIMD, and a dot product that the compiler has no stable name for")]

use std::arch::aarch64::*;
use std::arch::asm;
use std::ops::Range;

use crate::activation::{Activations, QuantisedTile};
use crate::weight::{PackedFormat, PackedWeight};

use super::short::{self, FLOAT_TOKENS_MAX, FloatTile, Lanes, instructions};
use super::{E2M1, IQ4, Matrix, Nibbles, Out, with_floats};

/// NEON with `sdot`.
struct Neon;

/// Adds the products of four bytes with sign and four others per row.
#[inline(always)]
unsafe fn dot(sums: int32x4_t, numbers: uint8x16_t, four: i32) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: the kernels run where the processor has the set; nothing but the sums changes.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {numbers:v}.16b, {bytes:v}.16b",
            sums = inout(vreg) sums,
            numbers = in(vreg) numbers,
            bytes = in(vreg) vdupq_n_s32(four),
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Four bytes, in the lowest lanes.
#[inline(always)]
unsafe fn four(from: *const u8) -> uint8x8_t {
    // SAFETY: the caller has four bytes there.
    unsafe { vcreate_u8(u64::from(from.cast::<u32>().read_unaligned())) }
}

impl Lanes for Neon {
    const ROWS: usize = 4;
    type Bytes = uint8x16_t;
    /// Sums of products; and of 8-bit numbers what the top bits take off too much.
    type Dots = [int32x4_t; 2];
    type Floats = float32x4_t;
    type Integers = int32x4_t;

    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {
        // Addresses follow each other: processors of this kind see that by themselves.
    }

    instructions! {
        fn load(from: *const u8) -> uint8x16_t { vld1q_u8(from) }
        fn and(numbers: uint8x16_t, mask: u8) -> uint8x16_t { vandq_u8(numbers, vdupq_n_u8(mask)) }
        fn or(numbers: uint8x16_t, others: uint8x16_t) -> uint8x16_t { vorrq_u8(numbers, others) }
        fn right<const N: i32>(numbers: uint8x16_t) -> uint8x16_t { vshrq_n_u8::<N>(numbers) }
        fn right_by(numbers: uint8x16_t, amount: i32) -> uint8x16_t {
            vshlq_u8(numbers, vdupq_n_s8(-(amount as i8)))
        }
        fn left<const N: i32>(numbers: uint8x16_t) -> uint8x16_t { vshlq_n_u8::<N>(numbers) }
        fn start(value: i32) -> Self::Dots { [vdupq_n_s32(value), vdupq_n_s32(0)] }
        fn add_eight<const BITS: u32>(dots: Self::Dots, numbers: [uint8x16_t; 2], fours: [i32; 2]) -> Self::Dots {
            {
                let [mut sums, mut top] = dots;
                for index in 0..2 {
                    let mut number = numbers[index];
                    if matches!(BITS, IQ4 | E2M1) {
                        number = vqtbl1q_u8(vld1q_u8(Nibbles::of(BITS).table.as_ptr()), number);
                    }
                    if matches!(BITS, IQ4 | 8) {
                        // The top bit counts as -128 instead of 128: its products are taken off, not added.
                        sums = dot(sums, Self::and(number, 127), fours[index]);
                        top = dot(top, Self::and(number, 128), fours[index]);
                    } else {
                        sums = dot(sums, number, fours[index]);
                    }
                }
                [sums, top]
            }
        }
        fn sum<const BITS: u32>(dots: Self::Dots) -> int32x4_t {
            if matches!(BITS, IQ4 | 8) { vsubq_s32(dots[0], dots[1]) } else { dots[0] }
        }
        fn scaled<const BITS: u32>(dots: Self::Dots, scale: int32x4_t, c: int32x4_t) -> int32x4_t {
            vmlaq_s32(c, Self::sum::<BITS>(dots), scale)
        }
        fn scaled_with(sum: int32x4_t, more: i32, scale: int32x4_t, c: int32x4_t) -> int32x4_t {
            vmlaq_s32(c, vaddq_s32(sum, vdupq_n_s32(more)), scale)
        }
        fn small_multiply_add(number: int32x4_t, times: i32, c: int32x4_t) -> int32x4_t {
            vmlaq_n_s32(c, number, times)
        }
        fn zero() -> int32x4_t { vdupq_n_s32(0) }
        fn unsigned(from: *const u8) -> int32x4_t {
            vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four(from)))))
        }
        fn signed(from: *const u8) -> int32x4_t {
            vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(four(from)))))
        }
        fn float(values: int32x4_t) -> float32x4_t { vcvtq_f32_s32(values) }
        fn splat(value: f32) -> float32x4_t { vdupq_n_f32(value) }
        fn multiply(a: float32x4_t, b: float32x4_t) -> float32x4_t { vmulq_f32(a, b) }
        fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t { vaddq_f32(a, b) }
        fn multiply_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t { vfmaq_f32(c, a, b) }
        fn multiply_subtract(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t { vfmsq_f32(c, a, b) }
        fn halves(from: *const u8) -> float32x4_t { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.cast()))) }
        fn bfloats(from: *const u8) -> float32x4_t {
            vreinterpretq_f32_u32(vshlq_n_u32::<16>(vmovl_u16(vld1_u16(from.cast()))))
        }
        fn singles(from: *const u8) -> float32x4_t { vld1q_f32(from.cast()) }
        fn store(to: *mut f32, values: float32x4_t) -> () { vst1q_f32(to, values) }
    }
}

/// In blocks `W` tokens at once: there are 32 registers.
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const W: usize, const S: usize>(
    format: PackedFormat,
    bytes: &[u8],
    parts: QuantisedTile<'_>,
    group: usize,
    out: Out,
) {
    // SAFETY: as the caller says.
    unsafe { short::quantised_tile::<Neon, W, W, S>(format, bytes, parts, group, out) }
}

/// Groups of sixteen rows times the batch, in bytes. The caller knows that the processor has the instructions.
pub(super) fn quantised_groups(matrix: Matrix<'_>, groups: Range<usize>, activations: &Activations, out: Out) {
    let weight = matrix.weight;
    let tiles = activations.quantised_tiles(weight.format);
    for group in groups {
        let bytes = weight.group(matrix.copy, group);
        for &parts in &tiles {
            let tile = match parts.tile().width {
                1 => tile::<1, 1>,
                2 => tile::<2, 2>,
                4 => tile::<4, 4>,
                6 => tile::<6, 3>,
                _ => tile::<8, 4>,
            };
            // SAFETY: the group is whole, the tile has the columns of the matrix, the processor the instructions.
            unsafe { tile(weight.format, bytes, parts, group, out) };
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn float_tile<const M: usize, const KIND: usize>(tile: FloatTile<'_>, columns: usize, group: usize, out: Out) {
    // SAFETY: as the caller says.
    unsafe { short::float_tile::<Neon, M, KIND>(tile, columns, group, out) }
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
