use hwledger_core::ElementType;

use super::*;
use crate::weight::{Shape, dequantise};

/// Numbers that look random and are always the same (`SplitMix64`, Steele, Lea and Flood 2014).
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
        (self.next() >> 40) as f32 / f32::from_bits(0x4b00_0000) - 1.0
    }
}

pub(crate) const TYPES: &[ElementType] = &[
    ElementType::Q4K,
    ElementType::Q5K,
    ElementType::Q6K,
    ElementType::Q8_0,
    ElementType::Q4_0,
    ElementType::F32,
    ElementType::F16,
    ElementType::BF16,
    ElementType::Q4_1,
    ElementType::Q5_0,
    ElementType::Q5_1,
    ElementType::Q2K,
    ElementType::Q3K,
    ElementType::Iq4Nl,
    ElementType::Iq4Xs,
    ElementType::Mxfp4,
    ElementType::Iq1S,
    ElementType::Iq1M,
    ElementType::Iq2Xxs,
    ElementType::Iq2Xs,
    ElementType::Iq2S,
    ElementType::Iq3Xxs,
    ElementType::Iq3S,
    ElementType::Q1_0,
    ElementType::Q2_0,
    ElementType::Tq1_0,
    ElementType::Tq2_0,
    ElementType::Nvfp4,
];

/// Random blocks of a type, with finite scales of moderate size.
pub(crate) fn random_tensor(element_type: ElementType, elements: usize, noise: &mut Noise) -> Vec<u8> {
    let (block, size) = element_type.block();
    let (block, size) = (block as usize, size as usize);
    let mut bytes: Vec<u8> = (0..elements / block * size).map(|_| noise.next().to_le_bytes()[0]).collect();
    let halves: &[usize] = match element_type {
        ElementType::F16
        | ElementType::Q1_0
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
        | ElementType::Iq4Xs => &[0],
        ElementType::Tq1_0 => &[52],
        ElementType::Tq2_0 => &[64],
        ElementType::Q4K | ElementType::Q5K | ElementType::Q4_1 | ElementType::Q5_1 => &[0, 2],
        ElementType::Q6K => &[208],
        ElementType::Q2K => &[80, 82],
        ElementType::Q3K => &[108],
        _ => &[],
    };
    for chunk in bytes.chunks_exact_mut(size) {
        for &at in halves {
            let bits = crate::half::f16_from_f32(noise.value() * 0.01);
            chunk[at..at + 2].copy_from_slice(&bits.to_le_bytes());
        }
        match element_type {
            ElementType::F32 => chunk.copy_from_slice(&noise.value().to_le_bytes()),
            ElementType::BF16 => chunk.copy_from_slice(&crate::half::bf16_from_f32(noise.value()).to_le_bytes()),
            // The top of its factor: no exponent of numbers that are not finite.
            ElementType::Iq1M => chunk[55] &= 0x3f,
            ElementType::Mxfp4 => chunk[0] = 118 + chunk[0] % 8,
            _ => {}
        }
    }
    bytes
}

struct Case {
    element_type: ElementType,
    shape: Shape,
    tokens: usize,
}

/// All outputs of one case with one set of instructions, and those computed in double precision.
fn outputs(case: &Case, set: InstructionSet) -> (Vec<f32>, Vec<f64>, f64) {
    let Case { element_type, shape, tokens } = *case;
    let mut noise = Noise(7);
    let bytes = random_tensor(element_type, shape.rows * shape.columns, &mut noise);
    let mut weights = vec![0.0; shape.rows * shape.columns];
    dequantise(element_type, &bytes, &mut weights).unwrap();
    let inputs: Vec<f32> = (0..tokens * shape.columns).map(|_| noise.value()).collect();
    let pool = Pool::new(2).unwrap();
    let weight = PackedWeight::pack(element_type, shape, &bytes, &pool).unwrap();
    let mut activations = Activations::new().unwrap();
    let needed = [Arithmetic::of(weight.format, tokens, set)];
    activations
        .fill(tokens, shape.columns, &needed, &pool, set, &|token, row| {
            row.copy_from_slice(&inputs[token * shape.columns..][..shape.columns]);
        })
        .unwrap();
    let stride = shape.rows + 3;
    let mut out = vec![f32::NAN; tokens * stride];
    multiply(
        &mut [Product { matrices: &[Matrix::of(&weight)], activations: &activations, out: &mut out, stride }],
        &pool,
        set,
    );
    let mut found = Vec::new();
    let mut expected = Vec::new();
    let mut size = 0.0_f64;
    for token in 0..tokens {
        found.extend_from_slice(&out[token * stride..][..shape.rows]);
        assert!(out[token * stride + shape.rows..(token + 1) * stride].iter().all(|value| value.is_nan()));
        for row in 0..shape.rows {
            let terms = (0..shape.columns).map(|column| {
                f64::from(weights[row * shape.columns + column]) * f64::from(inputs[token * shape.columns + column])
            });
            let sum: f64 = terms.sum();
            size += sum * sum;
            expected.push(sum);
        }
    }
    let size = (size / expected.len() as f64).sqrt();
    (found, expected, size)
}

fn sets() -> impl Iterator<Item = InstructionSet> {
    InstructionSet::available()
}

/// Rounding of activations to bytes (or to bfloat16, with weights) makes a relative error of
/// some 0.4 % of a typical output; ten times that would be a fault.
const TOLERANCE: f64 = 0.03;
/// Single-precision products differ from exact ones in the last places only.
const TOLERANCE_FLOAT: f64 = 1e-5;

#[test]
fn products_are_those_of_exact_arithmetic() {
    for set in sets() {
        for &element_type in TYPES {
            for tokens in [1, 2, 3, 5, 8, 10, 13, 40] {
                let case = Case { element_type, shape: Shape::matrix(37, 768), tokens };
                let (found, expected, size) = outputs(&case, set);
                let format = PackedFormat::of(element_type).unwrap();
                let is_exact = Arithmetic::of(format, tokens, set) == Arithmetic::Float;
                let tolerance = if is_exact { TOLERANCE_FLOAT } else { TOLERANCE };
                for (found, expected) in found.iter().zip(&expected) {
                    let error = (f64::from(*found) - expected).abs() / size;
                    assert!(error < tolerance, "{element_type} {tokens} {}: {found} {expected}", set.name());
                }
            }
        }
    }
}

#[test]
fn every_set_computes_the_same_bits() {
    for &element_type in TYPES {
        for tokens in [1, 4, 7, 9, 21] {
            let case = Case { element_type, shape: Shape::matrix(19, 512), tokens };
            let (scalar, ..) = outputs(&case, InstructionSet::Scalar);
            for set in sets() {
                let (found, ..) = outputs(&case, set);
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&found), bits(&scalar), "{element_type} {tokens} {}", set.name());
            }
        }
    }
}

/// Numbers and activations at their ends: sums in 16 bits are as large as they get.
#[test]
fn the_largest_sums_are_exact() {
    let shape = Shape::matrix(16, 256);
    let pool = Pool::new(1).unwrap();
    for element_type in [
        ElementType::Q4K,
        ElementType::Q5K,
        ElementType::Q6K,
        ElementType::Q3K,
        ElementType::Iq4Xs,
        ElementType::Q8_0,
        ElementType::Q4_0,
    ] {
        let (_, size) = element_type.block();
        let halves: &[usize] = match element_type {
            ElementType::Q4K | ElementType::Q5K => &[0, 2],
            ElementType::Q6K => &[208],
            ElementType::Q3K => &[108],
            _ => &[0],
        };
        for byte in [0x00, 0x0f, 0x7f, 0x80, 0xf0, 0xff] {
            let mut bytes = vec![byte; shape.rows * element_type.row_bytes(256) as usize];
            for block in bytes.chunks_exact_mut(size as usize) {
                for &at in halves {
                    block[at..at + 2].copy_from_slice(&crate::half::f16_from_f32(1.0).to_le_bytes());
                }
            }
            let weight = PackedWeight::pack(element_type, shape, &bytes, &pool).unwrap();
            for tokens in [1, 2, 8, 40] {
                let computed = |set| {
                    let mut activations = Activations::new().unwrap();
                    let needed = [Arithmetic::of(weight.format, tokens, set)];
                    activations
                        .fill(tokens, 256, &needed, &pool, set, &|token, row| {
                            for (column, value) in row.iter_mut().enumerate() {
                                *value = if token % 3 < 2 { 1.0 } else { -1.0 }
                                    * if token % 2 == 0 || column % 4 < 2 { 1.0 } else { -1.0 };
                            }
                        })
                        .unwrap();
                    let mut out = vec![0.0; tokens * 16];
                    let matrices = [Matrix::of(&weight)];
                    multiply(
                        &mut [Product { matrices: &matrices, activations: &activations, out: &mut out, stride: 16 }],
                        &pool,
                        set,
                    );
                    out.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
                };
                let scalar = computed(InstructionSet::Scalar);
                // Tiles of bfloat16 round.
                for set in sets().filter(|&set| Arithmetic::of(weight.format, tokens, set) != Arithmetic::BFloat16) {
                    assert_eq!(computed(set), scalar, "{element_type} {byte:02x} {tokens} {}", set.name());
                }
            }
        }
    }
}

#[test]
fn rows_come_back_as_they_went_in() {
    let pool = Pool::new(2).unwrap();
    for &element_type in TYPES {
        let shape = Shape::matrix(21, 256);
        let bytes = random_tensor(element_type, shape.rows * shape.columns, &mut Noise(3));
        let mut expected = vec![0.0; shape.rows * shape.columns];
        dequantise(element_type, &bytes, &mut expected).unwrap();
        let weight = PackedWeight::pack(element_type, shape, &bytes, &pool).unwrap();
        for row in [0, 15, 16, 20] {
            let mut values = vec![0.0; shape.columns];
            weight.row(row, &mut values);
            for (found, expected) in values.iter().zip(&expected[row * shape.columns..]) {
                // One fused multiply-add against two operations.
                assert!(
                    (found - expected).abs() <= 1e-6 * expected.abs().max(0.1),
                    "{element_type}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let pool = Pool::new(1).unwrap();
    let types = TYPES.iter().filter(|&&element_type| !matches!(element_type, ElementType::Mxfp4 | ElementType::Nvfp4));
    for &element_type in types {
        let shape = Shape::matrix(3, 256);
        let mut bytes = random_tensor(element_type, 3 * 256, &mut Noise(5));
        let row = bytes.len() / 3 * 2;
        let at = match element_type {
            ElementType::F32 => 2,
            ElementType::Q6K => 208,
            ElementType::Q2K => 80,
            ElementType::Q3K => 108,
            ElementType::Tq1_0 => 52,
            ElementType::Tq2_0 => 64,
            _ => 0,
        };
        if element_type == ElementType::Iq1M {
            // Its factor is in four words, four bits in each.
            for (word, bits) in [0x00, 0xc0, 0xf0, 0x70].into_iter().enumerate() {
                let byte = &mut bytes[row + 49 + 2 * word];
                *byte = *byte & 15 | bits;
            }
        } else {
            bytes[row + at..][..2].copy_from_slice(&[0xc0, 0x7f]);
        }
        let error = PackedWeight::pack(element_type, shape, &bytes, &pool).unwrap_err();
        assert!(matches!(error, crate::PackError::NotFinite { row: 2 }), "{element_type}: {error}");
    }
}

#[test]
fn lengths_and_blocks_are_checked() {
    let pool = Pool::new(1).unwrap();
    let error = PackedWeight::pack(ElementType::Q8_0, Shape::matrix(2, 64), &[0; 135], &pool).unwrap_err();
    assert_eq!(error.to_string(), "the tensor has 135 bytes where its shape asks for 136");
    let error = PackedWeight::pack(ElementType::Q4K, Shape::matrix(2, 64), &[0; 288], &pool).unwrap_err();
    assert_eq!(error.to_string(), "rows of 64 elements do not fill blocks of 256");
    let error = PackedWeight::pack(ElementType::I32, Shape::matrix(1, 1), &[0; 4], &pool).unwrap_err();
    assert_eq!(error.to_string(), "there is no kernel for weights of the type i32");
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let pool = Pool::new(1).unwrap();
    let shape = Shape::matrix(16, 512);
    let cases: [(ElementType, u8, &[usize]); 13] = [
        (ElementType::Q4K, 0xff, &[0, 2]),
        (ElementType::Q5K, 0xff, &[0, 2]),
        (ElementType::Q6K, 0xff, &[208]),
        (ElementType::Q8_0, 0x7f, &[0]),
        (ElementType::Q4_0, 0xff, &[0]),
        (ElementType::Iq4Nl, 0xff, &[0]),
        (ElementType::Iq4Nl, 0x00, &[0]),
        (ElementType::Iq4Xs, 0xff, &[0]),
        (ElementType::Iq4Xs, 0x00, &[0]),
        (ElementType::Q3K, 0xff, &[108]),
        (ElementType::Q3K, 0x00, &[108]),
        (ElementType::Mxfp4, 0x77, &[]),
        (ElementType::Mxfp4, 0x7f, &[]),
    ];
    for (element_type, fill, halves) in cases {
        let size = element_type.block().1 as usize;
        let mut bytes = vec![fill; shape.rows * element_type.row_bytes(shape.columns as u64) as usize];
        for block in bytes.chunks_exact_mut(size) {
            for &at in halves {
                block[at..at + 2].copy_from_slice(&0x3c00_u16.to_le_bytes());
            }
        }
        let weight = PackedWeight::pack(element_type, shape, &bytes, &pool).unwrap();
        // Every byte -127, 127, or -128: with so small a value 127 / max is infinite.
        for value in [-1.0, 1.0, -1e-38] {
            for tokens in [1, 8] {
                let product = |set| {
                    let mut activations = Activations::new().unwrap();
                    let fill = |_, row: &mut [f32]| row.fill(value);
                    activations
                        .fill(tokens, shape.columns, &[Arithmetic::of(weight.format, tokens, set)], &pool, set, &fill)
                        .unwrap();
                    let (matrices, mut out) = ([Matrix::of(&weight)], vec![0.0; tokens * shape.rows]);
                    let stride = shape.rows;
                    let product = Product { matrices: &matrices, activations: &activations, out: &mut out, stride };
                    multiply(&mut [product], &pool, set);
                    out.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
                };
                for set in sets() {
                    assert_eq!(product(set), product(InstructionSet::Scalar), "{element_type} {value} {}", set.name());
                }
            }
        }
    }
}

#[test]
fn copies_with_batches_of_their_own_are_as_if_alone() {
    let pool = Pool::new(2).unwrap();
    let shape = Shape { rows: 19, columns: 256, copies: 5 };
    for &element_type in TYPES {
        for tokens in [1, 7, 40] {
            for set in sets() {
                let mut noise = Noise(9);
                let bytes = random_tensor(element_type, shape.rows * shape.columns * shape.copies, &mut noise);
                let weight = PackedWeight::pack(element_type, shape, &bytes, &pool).unwrap();
                let needed = [Arithmetic::of(weight.format, tokens, set)];
                // The middle three of five copies.
                let batches: Vec<Activations> = (0..3)
                    .map(|copy| {
                        let mut batch = Activations::new().unwrap();
                        let fill = |token: usize, row: &mut [f32]| {
                            let mut noise = Noise((copy * 100 + token) as u64);
                            row.fill_with(|| noise.value());
                        };
                        batch.fill(tokens, shape.columns, &needed, &pool, set, &fill).unwrap();
                        batch
                    })
                    .collect();
                let (distance, stride) = (shape.rows + 2, 3 * (shape.rows + 2) + 5);
                let mut found = vec![f32::NAN; tokens * stride];
                let out = &mut found;
                let mut product =
                    CopiesProduct { weight: &weight, first: 1, activations: &batches, out, stride, distance };
                multiply_copies(&mut product, &pool, set);
                let mut expected = vec![f32::NAN; tokens * stride];
                for (index, activations) in batches.iter().enumerate() {
                    let matrices = [Matrix { weight: &weight, copy: 1 + index }];
                    let out = &mut expected[index * distance..];
                    multiply(&mut [Product { matrices: &matrices, activations, out, stride }], &pool, set);
                }
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&found), bits(&expected), "{element_type} {tokens} {}", set.name());
            }
        }
    }
}
