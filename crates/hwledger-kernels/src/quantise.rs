//! Blocks of 32 activations as bytes, and as bfloat16.

use crate::half::bf16_from_f32;
use crate::instruction_set::InstructionSet;

/// A block of 32 values as bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) bytes: [i8; 32],
    pub(crate) scale: f32,
    /// Sums of the bytes of each half.
    pub(crate) sums: [i32; 2],
}

impl Block {
    /// A block with a value that is no finite number: all that is computed from it is no number either, so that
    /// a broken model is found out.
    const BROKEN: Self = Self { bytes: [0; 32], scale: f32::NAN, sums: [0; 2] };
}

/// A super-block of 256 values as bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SuperBlock {
    /// Per 32 values.
    pub(crate) bytes: [[i8; 32]; 8],
    pub(crate) scale: f32,
    /// Per 32 values, sums of the bytes of each half.
    pub(crate) sums: [[i32; 2]; 8],
}

/// The bits of infinity: those of numbers are less, without their sign.
const INFINITY: u32 = 0x7f80_0000;

/// `byte = round(value x 127 / max)`, ties to even: the precision of ggml's `Q8_0`. Bytes are -127 to 127.
pub(crate) fn quantise_block(values: &[f32], set: InstructionSet) -> Block {
    let largest = largest_bits(values, set);
    if largest >= INFINITY {
        return Block::BROKEN;
    }
    let max = f32::from_bits(largest);
    let (bytes, sums) = round_to_bytes(values, factor(max), set);
    Block { bytes, scale: max / 127.0, sums }
}

/// The same with one scale for 256 values: the precision of ggml's `Q8_K`.
pub(crate) fn quantise_super_block(values: &[f32], set: InstructionSet) -> SuperBlock {
    let largest = largest_bits(values, set);
    let mut block = SuperBlock { bytes: [[0; 32]; 8], scale: f32::NAN, sums: [[0; 2]; 8] };
    if largest >= INFINITY {
        return block;
    }
    let max = f32::from_bits(largest);
    block.scale = max / 127.0;
    for (index, values) in values.chunks_exact(32).enumerate() {
        (block.bytes[index], block.sums[index]) = round_to_bytes(values, factor(max), set);
    }
    block
}

/// Finite: where 127 / max is not, all values are so small that the largest number takes none beyond 127.
fn factor(max: f32) -> f32 {
    if max > 0.0 { (127.0 / max).min(f32::MAX) } else { 0.0 }
}

/// The bits, without the sign, of the value furthest from zero: no less than those of infinity where a value is no
/// finite number.
fn largest_bits(values: &[f32], set: InstructionSet) -> u32 {
    #[inline(always)]
    fn fold(values: &[f32]) -> u32 {
        values.iter().fold(0, |largest: u32, value| largest.max(value.to_bits() & 0x7fff_ffff))
    }
    /// The same loop, compiled for wider registers.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn fold_avx512(values: &[f32]) -> u32 {
        fold(values)
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn fold_avx2(values: &[f32]) -> u32 {
        fold(values)
    }
    #[cfg(target_arch = "x86_64")]
    if set >= InstructionSet::Avx512 {
        // SAFETY: the set says that the processor has these instructions.
        #[expect(unsafe_code, reason = "instructions found at run time")]
        return unsafe { fold_avx512(values) };
    }
    #[cfg(target_arch = "x86_64")]
    if set >= InstructionSet::Avx2 {
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "instructions found at run time")]
        return unsafe { fold_avx2(values) };
    }
    let _ = set;
    fold(values)
}

/// 32 finite values times a factor as bytes, and the sums of the bytes of each half.
fn round_to_bytes(values: &[f32], factor: f32, set: InstructionSet) -> ([i8; 32], [i32; 2]) {
    #[cfg(target_arch = "x86_64")]
    if set >= InstructionSet::Avx512 {
        // SAFETY: the set says that the processor has these instructions.
        #[expect(unsafe_code, reason = "instructions found at run time")]
        return unsafe { round_to_bytes_avx512(values, factor) };
    }
    #[cfg(target_arch = "x86_64")]
    if set >= InstructionSet::Avx2 {
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "instructions found at run time")]
        return unsafe { round_to_bytes_avx2(values, factor) };
    }
    #[cfg(target_arch = "aarch64")]
    if set == InstructionSet::Neon {
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "instructions found at run time")]
        return unsafe { round_to_bytes_neon(values, factor) };
    }
    let _ = set;
    let (mut bytes, mut sums) = ([0; 32], [0; 2]);
    for (index, (byte, &value)) in bytes.iter_mut().zip(values).enumerate() {
        let rounded = (value * factor).round_ties_even() as i8;
        *byte = rounded;
        sums[index / 16] += i32::from(rounded);
    }
    (bytes, sums)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
#[expect(unsafe_code, reason = "SIMD")]
unsafe fn round_to_bytes_avx512(values: &[f32], factor: f32) -> ([i8; 32], [i32; 2]) {
    use std::arch::x86_64::*;
    debug_assert_eq!(values.len(), 32);
    let (mut bytes, mut sums) = ([0; 32], [0; 2]);
    // SAFETY: there are 32 values and 32 bytes.
    unsafe {
        let low = _mm512_loadu_ps(values.as_ptr());
        let high = _mm512_loadu_ps(values.as_ptr().add(16));
        let factor = _mm512_set1_ps(factor);
        for (half, values) in [low, high].into_iter().enumerate() {
            let product = _mm512_mul_ps(values, factor);
            let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(product, product);
            let bounded = _mm512_max_ps(_mm512_min_ps(product, _mm512_set1_ps(127.0)), _mm512_set1_ps(-128.0));
            let rounded = _mm512_maskz_cvtps_epi32(number, bounded);
            _mm_storeu_si128(bytes.as_mut_ptr().add(16 * half).cast(), _mm512_cvtsepi32_epi8(rounded));
            sums[half] = _mm512_reduce_add_epi32(rounded);
        }
    }
    (bytes, sums)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
#[expect(unsafe_code, reason = "SIMD")]
unsafe fn round_to_bytes_avx2(values: &[f32], factor: f32) -> ([i8; 32], [i32; 2]) {
    use std::arch::x86_64::*;
    debug_assert_eq!(values.len(), 32);
    let (mut bytes, mut sums) = ([0; 32], [0; 2]);
    // SAFETY: there are 32 values and 32 bytes.
    unsafe {
        let factor = _mm256_set1_ps(factor);
        let mut rounded = [_mm256_setzero_si256(); 4];
        for (eight, rounded) in rounded.iter_mut().enumerate() {
            let product = _mm256_mul_ps(_mm256_loadu_ps(values.as_ptr().add(8 * eight)), factor);
            let number = _mm256_and_ps(product, _mm256_cmp_ps::<_CMP_ORD_Q>(product, product));
            let bounded = _mm256_max_ps(_mm256_min_ps(number, _mm256_set1_ps(127.0)), _mm256_set1_ps(-128.0));
            *rounded = _mm256_cvtps_epi32(bounded);
        }
        let pairs = [_mm256_packs_epi32(rounded[0], rounded[1]), _mm256_packs_epi32(rounded[2], rounded[3])];
        // Packing keeps the halves of registers apart: put fours of bytes in order again.
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(pairs[0], pairs[1]), order);
        _mm256_storeu_si256(bytes.as_mut_ptr().cast(), packed);
        for (half, pair) in pairs.into_iter().enumerate() {
            let eight = _mm256_madd_epi16(pair, _mm256_set1_epi16(1));
            let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b_00_00_11_10>(four));
            sums[half] = _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)));
        }
    }
    (bytes, sums)
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "SIMD")]
unsafe fn round_to_bytes_neon(values: &[f32], factor: f32) -> ([i8; 32], [i32; 2]) {
    use std::arch::aarch64::*;
    debug_assert_eq!(values.len(), 32);
    let (mut bytes, mut sums) = ([0; 32], [0; 2]);
    // SAFETY: there are 32 values and 32 bytes.
    unsafe {
        for half in 0..2 {
            let mut pairs = [vdupq_n_s16(0); 2];
            for (eight, pair) in pairs.iter_mut().enumerate() {
                let from = values.as_ptr().add(16 * half + 8 * eight);
                // Conversions saturate, and make zero of what is no number.
                let low = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(from), factor));
                let high = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(from.add(4)), factor));
                *pair = vcombine_s16(vqmovn_s32(low), vqmovn_s32(high));
            }
            let packed = vcombine_s8(vqmovn_s16(pairs[0]), vqmovn_s16(pairs[1]));
            vst1q_s8(bytes.as_mut_ptr().add(16 * half), packed);
            sums[half] = i32::from(vaddlvq_s8(packed));
        }
    }
    (bytes, sums)
}

pub(crate) fn round_block(values: &[f32], halves: &mut [u16], set: InstructionSet) {
    #[cfg(target_arch = "x86_64")]
    if set >= InstructionSet::Avx512 {
        // SAFETY: the set says that the processor has these instructions.
        #[expect(unsafe_code, reason = "instructions found at run time")]
        unsafe {
            round_block_avx512(values, halves);
        }
        return;
    }
    let _ = set;
    for (half, &value) in halves.iter_mut().zip(values) {
        *half = bf16_from_f32(value);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[expect(unsafe_code, reason = "SIMD")]
unsafe fn round_block_avx512(values: &[f32], halves: &mut [u16]) {
    use std::arch::x86_64::*;
    debug_assert!(values.len() == 32 && halves.len() == 32);
    for half in 0..2 {
        // SAFETY: there are 32 of each.
        unsafe {
            let bits = _mm512_castps_si512(_mm512_loadu_ps(values.as_ptr().add(16 * half)));
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let upper = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded));
            _mm256_storeu_si256(halves.as_mut_ptr().add(16 * half).cast(), upper);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::tests::Noise;

    #[test]
    fn every_set_computes_the_same_bits() {
        let mut noise = Noise(11);
        for case in 0..200 {
            let mut values: Vec<f32> = (0..32).map(|_| noise.value()).collect();
            let place = noise.next() as usize % 32;
            match case % 10 {
                0 => values.fill(0.0),
                1 => values[place] = f32::NAN,
                2 => values[place] = f32::INFINITY,
                3 => values[place] = f32::NEG_INFINITY,
                // So small that 127 / max is infinite.
                4 => values.iter_mut().for_each(|value| *value *= 1e-38),
                5 => values.iter_mut().for_each(|value| *value *= 1e38),
                // Ties between two bytes.
                6 => values.iter_mut().enumerate().for_each(|(index, value)| *value = index as f32 - 15.5),
                7 => values
                    .iter_mut()
                    .enumerate()
                    .for_each(|(index, value)| *value = (index as f32 - 16.0) * 127.0 / 32.0),
                8 => values.fill(f32::NAN),
                _ => {}
            }
            let expected = quantise_block(&values, InstructionSet::Scalar);
            if values.iter().any(|value| !value.is_finite()) {
                for set in InstructionSet::available() {
                    assert!(quantise_block(&values, set).scale.is_nan(), "{} {values:?}", set.name());
                }
                continue;
            }
            let mut halves = [0; 32];
            round_block(&values, &mut halves, InstructionSet::Scalar);
            assert!(expected.bytes.iter().all(|&byte| byte >= -127), "{values:?}");
            for set in InstructionSet::available() {
                assert_eq!(quantise_block(&values, set), expected, "{} {values:?}", set.name());
                let mut found = [0; 32];
                round_block(&values, &mut found, set);
                assert_eq!(found, halves, "{} {values:?}", set.name());
            }
        }
    }
}
