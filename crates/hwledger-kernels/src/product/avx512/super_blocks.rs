//! K-quants times activations in super-blocks: all of 256 columns in whole numbers, then one conversion.

use std::arch::x86_64::*;

use crate::activation::{SuperBlockParts, TIMES_3_BIT, offset_of_32};
use crate::weight::{IQ4_NUMBERS, PackedFormat};

use super::super::IQ4;
use super::{add_four, ask, halves, load, load_and_ask, nibbles, wide_table};

/// Pointers to a tile at the start of a unit.
#[derive(Clone, Copy)]
struct At {
    bytes: *const i8,
    scales: *const f32,
    sums: *const i32,
    offsets: *const i32,
}

impl At {
    /// The same, `units` units on.
    unsafe fn after<const M: usize>(self, units: usize) -> Self {
        // SAFETY: the caller stays within the tile.
        unsafe {
            Self {
                bytes: self.bytes.add(units * 256 * M),
                scales: self.scales.add(units * M),
                sums: self.sums.add(units * 4 * M),
                offsets: self.offsets.add(units * 16 * M),
            }
        }
    }
}

/// Sums of sixteen rows times one tile. The processor has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) unsafe fn sums<const M: usize>(
    format: PackedFormat,
    group_bytes: &[u8],
    parts: SuperBlockParts<'_>,
) -> [__m512; M] {
    let at = At {
        bytes: parts.bytes.as_ptr(),
        scales: parts.scales.as_ptr(),
        sums: parts.sums.as_ptr(),
        offsets: parts.offsets.as_ptr(),
    };
    let units = group_bytes.len() / format.unit_bytes();
    let weights = group_bytes.as_ptr();
    // SAFETY: the group has `units` units and the tile their columns.
    unsafe {
        match format {
            PackedFormat::Q4K => q4_k::<M, false>(weights, units, at),
            PackedFormat::Q5K => q4_k::<M, true>(weights, units, at),
            PackedFormat::Iq4Xs => iq4_xs::<M>(weights, units, at),
            PackedFormat::Q3K => q6_k::<M, 3>(weights, units, at),
            _ => q6_k::<M, 6>(weights, units, at),
        }
    }
}

/// Adds the products of one part, times its scales.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn add_part<const M: usize>(whole: &mut [__m512i; M], dots: &[__m512i; M], scale: __m512i) {
    for (whole, &dot) in whole.iter_mut().zip(dots) {
        *whole = _mm512_add_epi32(*whole, _mm512_mullo_epi32(dot, scale));
    }
}

/// The minima of two parts, side by side in 16 bits for each row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn two_minima(from: *const u8) -> __m512i {
    // SAFETY: the caller has 32 bytes there.
    let [first, second] = unsafe { [_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast())] };
    let (low, high) = (_mm_unpacklo_epi8(first, second), _mm_unpackhi_epi8(first, second));
    _mm512_cvtepu8_epi16(_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn q4_k<const M: usize, const FIFTH_BIT: bool>(weights: *const u8, units: usize, at: At) -> [__m512; M] {
    let (tail, size) = if FIFTH_BIT { (2560, 2880) } else { (2048, 2368) };
    let mut sums = [_mm512_setzero_ps(); M];
    let low = _mm512_set1_epi8(15);
    for unit in 0..units {
        // SAFETY: within the group and the tile.
        unsafe {
            let weights = weights.add(unit * size);
            let at = at.after::<M>(unit);
            let mut whole = [_mm512_setzero_si512(); M];
            for pair in 0..4 {
                let bytes = at.bytes.add(pair * 64 * M);
                let mut first = [_mm512_setzero_si512(); M];
                let mut second = [_mm512_setzero_si512(); M];
                let ahead = weights.wrapping_add(pair * 11 * 64);
                if FIFTH_BIT {
                    ask(ahead, 0, 3);
                }
                for step in 0..8 {
                    let numbers = weights.add(pair * 512 + step * 64);
                    let both = if FIFTH_BIT {
                        ask(ahead, 3 + step, 1);
                        load(numbers)
                    } else {
                        load_and_ask(numbers)
                    };
                    let mut one = _mm512_and_si512(both, low);
                    let mut two = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
                    if FIFTH_BIT {
                        let bits = load(weights.add(2048 + step * 64));
                        // The bit of block b of eight, moved to bit 4; both blocks' bits are side by side.
                        let here = _mm512_srl_epi16(bits, _mm_cvtsi32_si128(2 * pair as i32));
                        let sixteen = _mm512_set1_epi8(16);
                        one = _mm512_or_si512(one, _mm512_and_si512(_mm512_slli_epi16::<4>(here), sixteen));
                        two = _mm512_or_si512(two, _mm512_and_si512(_mm512_slli_epi16::<3>(here), sixteen));
                    }
                    add_four(&mut first, one, bytes.add(step * 4 * M));
                    add_four(&mut second, two, bytes.add((8 + step) * 4 * M));
                }
                for (half, dots) in [first, second].iter().enumerate() {
                    let scales = _mm_loadu_si128(weights.add(tail + (2 * pair + half) * 16).cast());
                    add_part(&mut whole, dots, _mm512_cvtepu8_epi32(scales));
                }
            }
            if FIFTH_BIT {
                ask(weights, 44, 1);
            }
            let mut minima = [_mm512_setzero_si512(); 4];
            for (pair, minima) in minima.iter_mut().enumerate() {
                *minima = two_minima(weights.add(tail + 128 + pair * 32));
            }
            let (d, dmin) = (halves(weights.add(tail + 256)), halves(weights.add(tail + 288)));
            for slot in 0..M {
                let mut least = _mm512_setzero_si512();
                for (pair, &minima) in minima.iter().enumerate() {
                    least = _mm512_dpwssd_epi32(least, minima, _mm512_set1_epi32(*at.sums.add(pair * M + slot)));
                }
                let scale = _mm512_set1_ps(*at.scales.add(slot));
                let value = _mm512_cvtepi32_ps(whole[slot]);
                let with = _mm512_fmadd_ps(value, _mm512_mul_ps(d, scale), sums[slot]);
                sums[slot] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(least), _mm512_mul_ps(dmin, scale), with);
            }
        }
    }
    sums
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn iq4_xs<const M: usize>(weights: *const u8, units: usize, at: At) -> [__m512; M] {
    let mut sums = [_mm512_setzero_ps(); M];
    let table = wide_table(&IQ4_NUMBERS);
    for unit in 0..units {
        // SAFETY: within the group and the tile.
        unsafe {
            let weights = weights.add(unit * 2240);
            let at = at.after::<M>(unit);
            let mut whole = [_mm512_setzero_si512(); M];
            for pair in 0..4 {
                let bytes = at.bytes.add(pair * 64 * M);
                let mut dots = [[_mm512_setzero_si512(); M]; 2];
                for (half, dots) in dots.iter_mut().enumerate() {
                    for (slot, dot) in dots.iter_mut().enumerate() {
                        *dot = _mm512_set1_epi32(offset_of_32(at.offsets.add(slot), 2 * pair + half, M));
                    }
                }
                for step in 0..8 {
                    let [one, two] = nibbles::<IQ4>(load_and_ask(weights.add(pair * 512 + step * 64)), table);
                    add_four(&mut dots[0], one, bytes.add(step * 4 * M));
                    add_four(&mut dots[1], two, bytes.add((8 + step) * 4 * M));
                }
                for (half, dots) in dots.iter().enumerate() {
                    let scales = _mm_loadu_si128(weights.add(2048 + (2 * pair + half) * 16).cast());
                    add_part(&mut whole, dots, _mm512_cvtepi8_epi32(scales));
                }
            }
            add_unit(&mut sums, whole, halves(weights.add(2176)), at);
        }
    }
    sums
}

/// Adds a unit's whole sums, times its factor and the tokens' scales.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn add_unit<const M: usize>(sums: &mut [__m512; M], whole: [__m512i; M], d: __m512, at: At) {
    for (slot, whole) in whole.into_iter().enumerate() {
        // SAFETY: there are M scales of the unit.
        let factor = _mm512_mul_ps(d, _mm512_set1_ps(unsafe { *at.scales.add(slot) }));
        sums[slot] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), factor, sums[slot]);
    }
}

/// Multiplications that hold one token's next part back.
const LINKS: usize = 4;

/// `value`, but not before `earlier` is known, and some cycles later; `nothing` is zero, which compilers may not know.
///
/// One token's products are done long before its weights come from memory. A processor that then runs ahead asks for
/// lines by itself, out of order, in place of those asked for: held back, it read `Q6_K` half as fast again (Zen 4).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn held_back(value: __m512i, earlier: __m512i, nothing: __m512i) -> __m512i {
    let mut link = earlier;
    for _ in 0..LINKS {
        link = _mm512_mullo_epi32(link, nothing);
    }
    _mm512_add_epi32(value, link)
}

/// The numbers of `Q6_K` (`BITS` 6) or `Q3_K` (3) of four columns, of blocks `2 * pair` and the one after it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn numbers<const BITS: u32>(weights: *const u8, pair: usize, step: usize) -> [__m512i; 2] {
    // Two bits of four blocks share a byte.
    let shift = _mm_cvtsi32_si128(pair as i32 % 2 * 4);
    // SAFETY: within the unit.
    unsafe {
        if BITS == 6 {
            let (low, top) = (_mm512_set1_epi8(15), _mm512_set1_epi8(48));
            let both = load(weights.add(pair * 512 + step * 64));
            let here = _mm512_srl_epi16(load(weights.add(2048 + pair / 2 * 512 + step * 64)), shift);
            let one = _mm512_or_si512(_mm512_and_si512(both, low), _mm512_and_si512(_mm512_slli_epi16::<4>(here), top));
            let both = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
            return [one, _mm512_or_si512(both, _mm512_and_si512(_mm512_slli_epi16::<2>(here), top))];
        }
        let (low, top) = (_mm512_set1_epi8(3), _mm512_set1_epi8(4));
        let both = _mm512_srl_epi16(load(weights.add(pair / 2 * 512 + step * 64)), shift);
        let bits = load(weights.add(1024 + step * 64));
        let here = _mm512_srl_epi16(bits, _mm_cvtsi32_si128(2 * pair as i32));
        let one = _mm512_or_si512(_mm512_and_si512(both, low), _mm512_and_si512(_mm512_slli_epi16::<2>(here), top));
        let both = _mm512_and_si512(_mm512_srli_epi16::<2>(both), low);
        [one, _mm512_or_si512(both, _mm512_and_si512(_mm512_slli_epi16::<1>(here), top))]
    }
}

/// `Q6_K` (`BITS` 6) and `Q3_K` (3).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn q6_k<const M: usize, const BITS: u32>(weights: *const u8, units: usize, at: At) -> [__m512; M] {
    // Of a unit: bytes; where scales and factor are; lines that are asked for with each 16 columns, and in all.
    let (size, tail, lines, all) = if BITS == 6 { (3392, 3072, 6, 53) } else { (1856, 1536, 3, 29) };
    let mut sums = [_mm512_setzero_ps(); M];
    let nothing = std::hint::black_box(_mm512_setzero_si512());
    for unit in 0..units {
        // SAFETY: within the group and the tile.
        unsafe {
            let weights = weights.add(unit * size);
            let at = at.after::<M>(unit);
            let mut whole = [_mm512_setzero_si512(); M];
            for pair in 0..4 {
                let bytes = at.bytes.add(pair * 64 * M);
                for quarter in 0..2 {
                    // The offset of all numbers is taken off beforehand.
                    let parts = [4 * pair + quarter, 4 * pair + quarter + 2];
                    let mut dots = [[_mm512_setzero_si512(); M]; 2];
                    for (part, dots) in parts.into_iter().zip(&mut dots) {
                        for (slot, dot) in dots.iter_mut().enumerate() {
                            let offset = *at.offsets.add(part * M + slot);
                            *dot = _mm512_set1_epi32(if BITS == 6 { offset } else { offset / TIMES_3_BIT });
                            if M == 1 {
                                *dot = held_back(*dot, whole[slot], nothing);
                            }
                        }
                    }
                    // Its own order of use is none that a processor follows: all lines are asked for in theirs.
                    let ahead = weights.wrapping_add((2 * pair + quarter) * lines * 64);
                    ask(ahead, 0, if BITS == 6 { 2 } else { lines });
                    for within in 0..4 {
                        if BITS == 6 {
                            ask(ahead, 2 + within, 1);
                        }
                        let step = quarter * 4 + within;
                        let [one, two] = numbers::<BITS>(weights, pair, step);
                        add_four(&mut dots[0], one, bytes.add(step * 4 * M));
                        add_four(&mut dots[1], two, bytes.add((8 + step) * 4 * M));
                    }
                    for (part, dots) in parts.into_iter().zip(&dots) {
                        let scales = _mm_loadu_si128(weights.add(tail + part * 16).cast());
                        add_part(&mut whole, dots, _mm512_cvtepi8_epi32(scales));
                    }
                }
            }
            ask(weights, 8 * lines, all - 8 * lines);
            add_unit(&mut sums, whole, halves(weights.add(tail + 256)), at);
        }
    }
    sums
}
