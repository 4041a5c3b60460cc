//! Parts of packed units as registers of AVX2.

#![expect(unsafe_code, reason = "SIMD")]

use std::arch::x86_64::*;

/// Bytes ahead of use that are asked for.
const PREFETCH_BYTES: usize = 8192;

/// Four bytes of an activation, for every row.
#[inline(always)]
pub(super) unsafe fn spread(bytes: *const i8, place: usize) -> __m256i {
    // SAFETY: the caller has four bytes at that place.
    unsafe { _mm256_set1_epi32(bytes.cast::<i32>().add(place).read_unaligned()) }
}

/// Asks for `count` lines from line `first` on of what comes [`PREFETCH_BYTES`] later.
#[inline(always)]
pub(super) unsafe fn ask(unit: *const u8, first: usize, count: usize) {
    for line in first..first + count {
        // SAFETY: a prefetch may point anywhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(unit.wrapping_add(PREFETCH_BYTES + line * 64).cast()) };
    }
}

/// Low and high four bits of bytes.
#[inline(always)]
pub(super) unsafe fn nibbles(bytes: __m256i) -> [__m256i; 2] {
    // SAFETY: the kernels run where the processor has the set.
    unsafe {
        let low = _mm256_set1_epi8(15);
        [_mm256_and_si256(bytes, low), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low)]
    }
}

/// Four bytes of eight rows: those of register `register` of line `line`.
#[inline(always)]
pub(super) unsafe fn load(unit: *const u8, line: usize, register: usize) -> __m256i {
    // SAFETY: the line is of the unit.
    unsafe { _mm256_loadu_si256(unit.add(line * 64 + register * 32).cast()) }
}

/// Eight half-precision numbers.
#[inline(always)]
pub(super) unsafe fn halves(from: *const u8) -> __m256 {
    // SAFETY: the caller has sixteen bytes there.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
}

/// The numbers of `Q4_K` (`BITS` 4), `Q5_K`, `Q6_K` or `Q3_K`: of eight rows, four columns each of blocks `2 * pair` and
/// the one after it of 32 columns, from column `4 * step` of both on.
#[inline(always)]
pub(super) unsafe fn numbers<const BITS: u32>(
    unit: *const u8,
    pair: usize,
    step: usize,
    register: usize,
) -> [__m256i; 2] {
    // SAFETY: all lines are of the unit; the kernels run where the processor has the set.
    unsafe {
        // Bits of four or eight blocks share bytes.
        let of_four = _mm_cvtsi32_si128(pair as i32 % 2 * 4);
        let of_eight = _mm_cvtsi32_si128(2 * pair as i32);
        match BITS {
            3 => {
                let both = _mm256_srl_epi16(load(unit, pair / 2 * 8 + step, register), of_four);
                let top = _mm256_srl_epi16(load(unit, 16 + step, register), of_eight);
                let numbers = [bits(both, 3), bits(_mm256_srli_epi16::<2>(both), 3)];
                with_tops(numbers, [_mm256_slli_epi16::<2>(top), _mm256_slli_epi16::<1>(top)], 4)
            }
            4 => nibbles(load(unit, pair * 8 + step, register)),
            5 => {
                let top = _mm256_srl_epi16(load(unit, 32 + step, register), of_eight);
                let tops = [_mm256_slli_epi16::<4>(top), _mm256_slli_epi16::<3>(top)];
                with_tops(nibbles(load(unit, pair * 8 + step, register)), tops, 16)
            }
            _ => {
                let top = _mm256_srl_epi16(load(unit, 32 + pair / 2 * 8 + step, register), of_four);
                let tops = [_mm256_slli_epi16::<4>(top), _mm256_slli_epi16::<2>(top)];
                with_tops(nibbles(load(unit, pair * 8 + step, register)), tops, 48)
            }
        }
    }
}

/// The bits of each byte that `mask` has.
#[inline(always)]
unsafe fn bits(bytes: __m256i, mask: i8) -> __m256i {
    // SAFETY: as above.
    unsafe { _mm256_and_si256(bytes, _mm256_set1_epi8(mask)) }
}

/// Numbers with the bits of `mask` from `tops`.
#[inline(always)]
unsafe fn with_tops(numbers: [__m256i; 2], tops: [__m256i; 2], mask: i8) -> [__m256i; 2] {
    // SAFETY: as above.
    unsafe { [_mm256_or_si256(numbers[0], bits(tops[0], mask)), _mm256_or_si256(numbers[1], bits(tops[1], mask))] }
}
