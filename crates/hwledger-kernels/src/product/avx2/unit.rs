//! Parts of packed units as registers of AVX2.

#![expect(unsafe_code, reason = "SIMD")]

use std::arch::x86_64::*;

use crate::weight::PackedFormat;

/// Where things lie in a unit of a K-quant.
pub(super) struct Places {
    /// Bytes of a unit.
    pub(super) size: usize,
    /// The first scale.
    pub(super) scales: usize,
    /// The first minimum; of numbers without minima, other scales are there.
    pub(super) minima: usize,
    /// The scales' factors, then those of minima.
    pub(super) factors: usize,
    /// Parts of 16 columns that share a scale.
    pub(super) parts: usize,
}

impl Places {
    /// Those of numbers of some bits: `Q3_K` to `Q6_K`.
    pub(super) const fn of(bits: u32) -> Self {
        let (format, scales, parts) = match bits {
            3 => (PackedFormat::Q3K, 1536, 1),
            4 => (PackedFormat::Q4K, 2048, 2),
            5 => (PackedFormat::Q5K, 2560, 2),
            _ => (PackedFormat::Q6K, 3072, 1),
        };
        Self { size: format.unit_bytes(), scales, minima: scales + 128, factors: scales + 256, parts }
    }
}

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

/// Where the scales of eight rows come from, each for two numbers of 16 bits: among sixteen bytes, to the lower byte of
/// each or to the upper one.
const fn twice_places(register: u8, is_upper: bool) -> [u8; 32] {
    let mut places = [0x80; 32];
    let mut word = 0;
    while word < 16 {
        places[word * 2 + is_upper as usize] = register * 8 + (word / 2) as u8;
        word += 1;
    }
    places
}

/// Sixteen scales without sign, twice in 16 bits each, by rows of eight.
#[inline(always)]
pub(super) unsafe fn scales(from: *const u8) -> [__m256i; 2] {
    const PLACES: [[u8; 32]; 2] = [twice_places(0, false), twice_places(1, false)];
    // SAFETY: the caller has sixteen bytes there; the kernels run where the processor has the set.
    unsafe {
        let both = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast()));
        PLACES.map(|places| _mm256_shuffle_epi8(both, _mm256_loadu_si256(places.as_ptr().cast())))
    }
}

/// Eight scales without sign, twice in 16 bits each.
#[inline(always)]
pub(super) unsafe fn scales_of_eight(from: *const u8) -> __m256i {
    // SAFETY: the caller has eight bytes there; the kernels run where the processor has the set.
    unsafe { super::twice(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) }
}

/// Sixteen scales with sign, twice in 16 bits each, by rows of eight.
#[inline(always)]
pub(super) unsafe fn signed_scales(from: *const u8) -> [__m256i; 2] {
    const PLACES: [[u8; 32]; 2] = [twice_places(0, true), twice_places(1, true)];
    // SAFETY: as above.
    unsafe {
        let both = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast()));
        PLACES.map(|places| {
            let upper = _mm256_shuffle_epi8(both, _mm256_loadu_si256(places.as_ptr().cast()));
            _mm256_srai_epi16::<8>(upper)
        })
    }
}

/// Sixteen numbers without sign, each beside one of the sixteen after them, in 16 bits each, by rows of eight.
#[inline(always)]
pub(super) unsafe fn pairs(from: *const u8) -> [__m256i; 2] {
    // SAFETY: the caller has 32 bytes there; the kernels run where the processor has the set.
    unsafe {
        let (first, second) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast()));
        [_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(first, second)), _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(first, second))]
    }
}

/// Eight numbers without sign, each beside one of the eight that are sixteen after them, in 16 bits each.
#[inline(always)]
pub(super) unsafe fn pairs_of_eight(from: *const u8) -> __m256i {
    // SAFETY: the caller has 24 bytes there; the kernels run where the processor has the set.
    unsafe {
        let (first, second) = (_mm_loadl_epi64(from.cast()), _mm_loadl_epi64(from.add(16).cast()));
        _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(first, second))
    }
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
                let top = load(unit, 32 + pair / 2 * 8 + step, register);
                let tops = if pair.is_multiple_of(2) {
                    [_mm256_slli_epi16::<4>(top), _mm256_slli_epi16::<2>(top)]
                } else {
                    [top, _mm256_srli_epi16::<2>(top)]
                };
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
