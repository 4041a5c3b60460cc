//! Numbers that look random and are always the same, alone and as tensors of every type.

use hwledger_core::ElementType;
use hwledger_kernels::{bf16_from_f32, dequantise, f16_from_f32};

/// `SplitMix64` (Steele, Lea and Flood 2014).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Between -1 and 1.
    pub(crate) fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// From 0 to below `count`.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).unwrap()
    }

    /// The tokens of a text.
    pub(crate) fn tokens(&mut self, count: usize, vocabulary: usize) -> Vec<u32> {
        (0..count).map(|_| u32::try_from(self.below(vocabulary)).unwrap()).collect()
    }
}

/// Where the half-precision scale and minimum of a block lie.
fn scales(element_type: ElementType) -> (&'static [usize], &'static [usize]) {
    match element_type {
        ElementType::Q1_0
        | ElementType::Q2_0
        | ElementType::Q4_0
        | ElementType::Q5_0
        | ElementType::Q8_0
        | ElementType::Iq1S
        | ElementType::Iq2Xxs
        | ElementType::Iq2Xs
        | ElementType::Iq2S
        | ElementType::Iq3Xxs
        | ElementType::Iq3S
        | ElementType::Iq4Nl
        | ElementType::Iq4Xs => (&[0], &[]),
        ElementType::Tq1_0 => (&[52], &[]),
        ElementType::Tq2_0 => (&[64], &[]),
        ElementType::Q4_1 | ElementType::Q5_1 | ElementType::Q4K | ElementType::Q5K => (&[0], &[2]),
        ElementType::Q6K => (&[208], &[]),
        ElementType::Q2K => (&[80], &[82]),
        ElementType::Q3K => (&[108], &[]),
        _ => (&[], &[]),
    }
}

/// The minimum, in units of the scale, that makes the mean of random blocks zero.
fn balance(element_type: ElementType) -> f32 {
    match element_type {
        ElementType::Q4_1 => -7.5,
        ElementType::Q5_1 => -15.5,
        ElementType::Q2K => 1.5,
        ElementType::Q4K => 7.5,
        ElementType::Q5K => 15.5,
        _ => 0.0,
    }
}

/// A tensor of this type: random blocks whose values have about this root mean square.
pub(crate) fn random_tensor(element_type: ElementType, elements: usize, size: f32, noise: &mut Noise) -> Vec<u8> {
    // Evenly spread numbers between -1 and 1 have a root mean square of one over the root of three.
    let amplitude = size * 3.0_f32.sqrt();
    match element_type {
        ElementType::F32 => return (0..elements).flat_map(|_| (noise.value() * amplitude).to_le_bytes()).collect(),
        ElementType::F16 => {
            return (0..elements).flat_map(|_| f16_from_f32(noise.value() * amplitude).to_le_bytes()).collect();
        }
        ElementType::BF16 => {
            return (0..elements).flat_map(|_| bf16_from_f32(noise.value() * amplitude).to_le_bytes()).collect();
        }
        _ => {}
    }
    let (block, block_bytes) = element_type.block();
    let (block, block_bytes) = (usize::try_from(block).unwrap(), usize::try_from(block_bytes).unwrap());
    let mut bytes: Vec<u8> = (0..elements / block * block_bytes).map(|_| noise.next().to_le_bytes()[0]).collect();
    if matches!(element_type, ElementType::Q2_0 | ElementType::Tq2_0) {
        // Two bits from -1 to 2: twos become zeros, so that the mean is zero.
        for byte in &mut bytes {
            *byte &= !((*byte & 0x55) << 1);
        }
    }
    let factors: Vec<f32> = (0..elements / block).map(|_| 1.0 + 0.5 * noise.value()).collect();
    // Values are proportional to the scales: blocks of scale one say how large scales must be.
    put_scales(element_type, &mut bytes, &factors, 1.0);
    let mut values = vec![0.0; elements];
    dequantise(element_type, &bytes, &mut values).unwrap();
    let squares: f32 = values.iter().map(|value| value * value).sum::<f32>() / elements as f32;
    put_scales(element_type, &mut bytes, &factors, size / squares.sqrt());
    bytes
}

/// A number above zero and below 448 in 8 bits, rounded down.
fn e4m3_from_f32(value: f32) -> u8 {
    (0..0x7e).rfind(|&bits| e4m3(bits) <= value).unwrap_or(0)
}

/// The number of these bits: 4 of exponent, 3 of fraction.
fn e4m3(bits: u8) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 3), f32::from(bits & 7) / 8.0);
    if exponent == 0 { fraction * 2.0_f32.powi(-6) } else { (1.0 + fraction) * 2.0_f32.powi(exponent - 7) }
}

fn put_scales(element_type: ElementType, bytes: &mut [u8], factors: &[f32], unit: f32) {
    let (scales, minima) = scales(element_type);
    for (block, factor) in bytes.chunks_exact_mut(usize::try_from(element_type.block().1).unwrap()).zip(factors) {
        if element_type == ElementType::Mxfp4 {
            // A power of two; half of the blocks have the next one.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small exponent")]
            let exponent = (127.0 + unit.log2().round()) as u8;
            block[0] = exponent + u8::from(*factor > 1.0);
        }
        if element_type == ElementType::Nvfp4 {
            block[..4].fill(e4m3_from_f32(unit * factor));
        }
        if element_type == ElementType::Iq1M {
            // Four bits at the top of each of four words.
            let bits = f16_from_f32(unit * factor);
            for word in 0..4 {
                let byte = &mut block[49 + 2 * word];
                *byte = *byte & 15 | ((bits >> (4 * word) & 15) << 4).to_le_bytes()[0];
            }
        }
        for &at in scales {
            block[at..at + 2].copy_from_slice(&f16_from_f32(unit * factor).to_le_bytes());
        }
        for &at in minima {
            let minimum = unit * factor * balance(element_type);
            block[at..at + 2].copy_from_slice(&f16_from_f32(minimum).to_le_bytes());
        }
    }
}
