//! ggml's blocks to numbers: the layouts of `ggml-common.h`, one plain function per type.

use hwledger_core::ElementType;

use super::grid_blocks;
use crate::half::{f32_from_bf16, f32_from_f16};

/// Values of the 4-bit types that look their numbers up (`kvalues_iq4nl` of ggml).
pub(crate) const IQ4_VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// What [`IQ4_NUMBERS`] are above [`IQ4_VALUES`].
pub(crate) const IQ4_OFFSET: u8 = 128;
/// The same values as bytes without sign.
pub(crate) const IQ4_NUMBERS: [u8; 16] = moved(&IQ4_VALUES, IQ4_OFFSET);
/// Twice the values of the 4-bit floating-point type E2M1 (OCP Microscaling Formats 1.0, table 5).
const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
/// What [`E2M1_NUMBERS`] are above these.
pub(crate) const E2M1_OFFSET: u8 = 12;
/// The same values as numbers without sign.
pub(crate) const E2M1_NUMBERS: [u8; 16] = moved(&E2M1_DOUBLED, E2M1_OFFSET);

/// Values with sign, all larger by an offset that makes them numbers without.
const fn moved(values: &[i8; 16], offset: u8) -> [u8; 16] {
    let mut numbers = [0; 16];
    let mut index = 0;
    while index < 16 {
        numbers[index] = values[index].cast_unsigned().wrapping_add(offset);
        index += 1;
    }
    numbers
}

/// Whether [`dequantise`] knows the type.
pub(crate) const fn is_known(element_type: ElementType) -> bool {
    decoder(element_type).is_some()
}

type Decoder = fn(&[u8], &mut [f32]);

const fn decoder(element_type: ElementType) -> Option<Decoder> {
    Some(match element_type {
        ElementType::F32 => f32_values,
        ElementType::F16 => f16_values,
        ElementType::BF16 => bf16_values,
        ElementType::Q4_0 => q4_0,
        ElementType::Q4_1 => q4_1,
        ElementType::Q5_0 => q5_0,
        ElementType::Q5_1 => q5_1,
        ElementType::Q8_0 => q8_0,
        ElementType::Q2K => q2_k,
        ElementType::Q3K => q3_k,
        ElementType::Q4K => q4_k,
        ElementType::Q5K => q5_k,
        ElementType::Q6K => q6_k,
        ElementType::Iq4Nl => iq4_nl,
        ElementType::Iq4Xs => iq4_xs,
        ElementType::Iq1S => grid_blocks::iq1_s,
        ElementType::Iq1M => grid_blocks::iq1_m,
        ElementType::Iq2Xxs => grid_blocks::iq2_xxs,
        ElementType::Iq2Xs => grid_blocks::iq2_xs,
        ElementType::Iq2S => grid_blocks::iq2_s,
        ElementType::Iq3Xxs => grid_blocks::iq3_xxs,
        ElementType::Iq3S => grid_blocks::iq3_s,
        ElementType::Q1_0 => q1_0,
        ElementType::Q2_0 => q2_0,
        ElementType::Tq1_0 => tq1_0,
        ElementType::Tq2_0 => tq2_0,
        ElementType::Mxfp4 => mxfp4,
        ElementType::Nvfp4 => nvfp4,
        _ => return None,
    })
}

/// Decodes whole blocks of a type: as many values as `values` holds.
///
/// None if the type has no decoder here or the lengths do not agree.
pub fn dequantise(element_type: ElementType, blocks: &[u8], values: &mut [f32]) -> Option<()> {
    let decode = decoder(element_type)?;
    let (elements, bytes) = element_type.block();
    let (elements, bytes) = (usize::try_from(elements).ok()?, usize::try_from(bytes).ok()?);
    if !values.len().is_multiple_of(elements) || blocks.len() != values.len() / elements * bytes {
        return None;
    }
    for (block, values) in blocks.chunks_exact(bytes).zip(values.chunks_exact_mut(elements)) {
        decode(block, values);
    }
    Some(())
}

/// The half-precision number at `offset`.
pub(super) fn half(block: &[u8], offset: usize) -> f32 {
    f32_from_f16(u16::from_le_bytes([block[offset], block[offset + 1]]))
}

fn f32_values(block: &[u8], values: &mut [f32]) {
    values[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
}

fn f16_values(block: &[u8], values: &mut [f32]) {
    values[0] = half(block, 0);
}

fn bf16_values(block: &[u8], values: &mut [f32]) {
    values[0] = f32_from_bf16(u16::from_le_bytes([block[0], block[1]]));
}

/// The 4-bit numbers of a block of 32: the first half in the low bits, the second in the high bits.
fn nibble(numbers: &[u8], index: usize) -> u8 {
    if index < 16 { numbers[index] & 15 } else { numbers[index - 16] >> 4 }
}

fn fifth_bit(block: &[u8], offset: usize, index: usize) -> u8 {
    (block[offset + index / 8] >> (index % 8) & 1) << 4
}

fn q4_0(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (index, value) in values.iter_mut().enumerate() {
        *value = d * (f32::from(nibble(&block[2..], index)) - 8.0);
    }
}

fn q4_1(block: &[u8], values: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (index, value) in values.iter_mut().enumerate() {
        *value = d * f32::from(nibble(&block[4..], index)) + m;
    }
}

fn q5_0(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (index, value) in values.iter_mut().enumerate() {
        *value = d * (f32::from(nibble(&block[6..], index) | fifth_bit(block, 2, index)) - 16.0);
    }
}

fn q5_1(block: &[u8], values: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (index, value) in values.iter_mut().enumerate() {
        *value = d * f32::from(nibble(&block[8..], index) | fifth_bit(block, 4, index)) + m;
    }
}

fn q8_0(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (value, &number) in values.iter_mut().zip(&block[2..]) {
        *value = d * f32::from(number.cast_signed());
    }
}

fn q2_k(block: &[u8], values: &mut [f32]) {
    let (d, dmin) = (half(block, 80), half(block, 82));
    for (index, value) in values.iter_mut().enumerate() {
        let scale = block[index / 16];
        let (half_index, within) = (index / 128, index % 128);
        let number = block[16 + half_index * 32 + within % 32] >> (2 * (within / 32)) & 3;
        *value = d * f32::from(scale & 15) * f32::from(number) - dmin * f32::from(scale >> 4);
    }
}

/// The sixteen 6-bit scales of `Q3_K`, less 32: low 4 bits in the first 8 bytes, high 2 in the last 4.
pub(super) fn q3_k_scale(scales: &[u8], index: usize) -> i8 {
    let low = if index < 8 { scales[index] & 15 } else { scales[index - 8] >> 4 };
    let high = scales[8 + index % 4] >> (2 * (index / 4)) & 3;
    (low | high << 4).cast_signed() - 32
}

fn q3_k(block: &[u8], values: &mut [f32]) {
    let (high, low, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(block, 108);
    for (index, value) in values.iter_mut().enumerate() {
        let (half_index, within) = (index / 128, index % 128);
        let two = low[half_index * 32 + within % 32] >> (2 * (within / 32)) & 3;
        let is_high = high[within % 32] >> (index / 32) & 1 == 1;
        let number = i16::from(two) - if is_high { 0 } else { 4 };
        *value = d * f32::from(q3_k_scale(scales, index / 16)) * f32::from(number);
    }
}

/// Scale and minimum of 32-element block `index` of `Q4_K` and `Q5_K`: 6 bits each, in 12 bytes.
pub(crate) fn scale_and_minimum(scales: &[u8], index: usize) -> (u8, u8) {
    if index < 4 {
        (scales[index] & 63, scales[index + 4] & 63)
    } else {
        let (low, high) = (scales[index + 4], (scales[index - 4] >> 6, scales[index] >> 6));
        (low & 15 | high.0 << 4, low >> 4 | high.1 << 4)
    }
}

/// The 4-bit number `index` of `Q4_K` and `Q5_K`: per 64 elements 32 bytes, low half first.
fn k_nibble(numbers: &[u8], index: usize) -> u8 {
    let byte = numbers[index / 64 * 32 + index % 32];
    if index % 64 < 32 { byte & 15 } else { byte >> 4 }
}

fn q4_k(block: &[u8], values: &mut [f32]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (index, value) in values.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], index / 32);
        *value = d * f32::from(scale) * f32::from(k_nibble(&block[16..], index)) - dmin * f32::from(minimum);
    }
}

/// The 5-bit number `index` of `Q5_K`.
fn q5_k_number(block: &[u8], index: usize) -> u8 {
    let high = block[16 + index % 32] >> (index / 32) & 1;
    k_nibble(&block[48..], index) | high << 4
}

fn q5_k(block: &[u8], values: &mut [f32]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (index, value) in values.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], index / 32);
        *value = d * f32::from(scale) * f32::from(q5_k_number(block, index)) - dmin * f32::from(minimum);
    }
}

/// The 6-bit number `index` of `Q6_K`, 0 to 63.
fn q6_k_number(block: &[u8], index: usize) -> u8 {
    let (half_index, within) = (index / 128, index % 128);
    let (quarter, lane) = (within / 32, within % 32);
    let low = block[half_index * 64 + quarter % 2 * 32 + lane] >> (4 * (quarter / 2)) & 15;
    let high = block[128 + half_index * 32 + lane] >> (2 * quarter) & 3;
    low | high << 4
}

fn q6_k(block: &[u8], values: &mut [f32]) {
    let d = half(block, 208);
    for (index, value) in values.iter_mut().enumerate() {
        let scale = block[192 + index / 16].cast_signed();
        *value = d * f32::from(scale) * (f32::from(q6_k_number(block, index)) - 32.0);
    }
}

fn iq4_nl(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (index, value) in values.iter_mut().enumerate() {
        *value = d * f32::from(IQ4_VALUES[usize::from(nibble(&block[2..], index))]);
    }
}

fn iq4_xs(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (index, value) in values.iter_mut().enumerate() {
        let part = index / 32;
        let number = nibble(&block[8 + part * 16..8 + part * 16 + 16], index % 32);
        *value = d * f32::from(iq4_xs_scale(block, part)) * f32::from(IQ4_VALUES[usize::from(number)]);
    }
}

/// The scale of 32-element block `part` of `IQ4_XS`: 6 bits, low 4 and high 2 apart, less 32.
pub(super) fn iq4_xs_scale(block: &[u8], part: usize) -> i8 {
    let low = block[4 + part / 2] >> (4 * (part % 2)) & 15;
    let high = u16::from_le_bytes([block[2], block[3]]) >> (2 * part) & 3;
    (low | (high as u8) << 4).cast_signed() - 32
}

/// A bit per number: plus or minus.
fn q1_0(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (index, value) in values.iter_mut().enumerate() {
        *value = if block[2 + index / 8] >> (index % 8) & 1 == 1 { d } else { -d };
    }
}

/// Two bits per number: -1 to 2.
fn q2_0(block: &[u8], values: &mut [f32]) {
    let d = half(block, 0);
    for (index, value) in values.iter_mut().enumerate() {
        *value = d * (f32::from(block[2 + index / 4] >> (index % 4 * 2) & 3) - 1.0);
    }
}

/// Five numbers of three values in a byte, as a fraction of 256: each is the whole part of three times what the one
/// before left. Of 256 columns 160 are in 32 bytes, 80 in 16, the last 16 in 4 bytes, four each.
fn tq1_0(block: &[u8], values: &mut [f32]) {
    let d = half(block, 52);
    let (mut byte, mut column) = (0, 0);
    for (bytes, numbers) in [(32, 5), (16, 5), (4, 4)] {
        for index in 0..bytes {
            let mut fraction = block[byte + index];
            for number in 0..numbers {
                let tripled = 3 * u16::from(fraction);
                values[column + number * bytes + index] = d * (f32::from(tripled >> 8) - 1.0);
                fraction = tripled as u8;
            }
        }
        byte += bytes;
        column += bytes * numbers;
    }
}

/// Two bits per number, -1 to 2: per 128 columns 32 bytes, the first 32 columns in the lowest bits.
fn tq2_0(block: &[u8], values: &mut [f32]) {
    let d = half(block, 64);
    for (index, value) in values.iter_mut().enumerate() {
        let byte = block[index / 128 * 32 + index % 32];
        *value = d * (f32::from(byte >> (index % 128 / 32 * 2) & 3) - 1.0);
    }
}

/// Half of 2^(exponent - 127), since the table holds doubled values, as the bits of a bfloat16 number.
pub(super) fn half_of_e8m0(exponent: u8) -> u16 {
    match exponent {
        0 => 0x0020,
        1 => 0x0040,
        exponent => (u16::from(exponent) - 1) << 7,
    }
}

fn mxfp4(block: &[u8], values: &mut [f32]) {
    let d = f32_from_bf16(half_of_e8m0(block[0]));
    for (index, value) in values.iter_mut().enumerate() {
        *value = d * f32::from(E2M1_DOUBLED[usize::from(nibble(&block[1..], index))]);
    }
}

/// Half of an 8-bit floating-point number without sign (E4M3), since the table of its numbers is doubled. What would be
/// no number counts as zero, as in ggml.
fn half_of_e4m3(bits: u8) -> f32 {
    let (exponent, fraction) = (bits >> 3 & 15, f32::from(bits & 7) / 8.0);
    match (bits, exponent) {
        (0x7f, _) => 0.0,
        (_, 0) => fraction * f32::from_bits((127 - 7) << 23),
        _ => (1.0 + fraction) * f32::from_bits((u32::from(exponent) + 127 - 8) << 23),
    }
}

/// Four parts of 16 columns, each with a scale of its own.
fn nvfp4(block: &[u8], values: &mut [f32]) {
    for (part, values) in values.chunks_exact_mut(16).enumerate() {
        let d = half_of_e4m3(block[part]);
        for (index, value) in values.iter_mut().enumerate() {
            let number = block[4 + part * 8 + index % 8] >> (index / 8 * 4) & 15;
            *value = d * f32::from(E2M1_DOUBLED[usize::from(number)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_disagree_are_refused() {
        let mut values = [0.0; 32];
        assert!(dequantise(ElementType::Q8_0, &[0; 34], &mut values).is_some());
        assert!(dequantise(ElementType::Q8_0, &[0; 33], &mut values).is_none());
        assert!(dequantise(ElementType::Q8_0, &[0; 34], &mut values[..31]).is_none());
        assert!(dequantise(ElementType::I32, &[0; 128], &mut values).is_none());
    }

    #[test]
    fn numbers_of_the_microscaling_format() {
        let mut values = [0.0; 32];
        let mut block = [0x7a_u8; 17];
        block[0] = 128;
        dequantise(ElementType::Mxfp4, &block, &mut values).unwrap();
        // Exponent 128 is a factor of two; codes 10 and 7 are -1 and 6.
        assert_eq!((values[0].to_bits(), values[16].to_bits()), ((-2.0_f32).to_bits(), 12.0_f32.to_bits()));
    }
}
