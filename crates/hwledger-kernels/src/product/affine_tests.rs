use hwledger_core::ElementType;

use super::tests::Noise;
use super::*;
use crate::half::{bf16_from_f32, f16_from_f32, f32_from_bf16, f32_from_f16};
use crate::weight::{AffineTensor, PackError, Shape};

/// Every form: bits, group, type of scales.
fn forms() -> impl Iterator<Item = (usize, usize, ElementType)> {
    [4, 8].into_iter().flat_map(|bits| {
        [32, 64, 128]
            .into_iter()
            .flat_map(move |group| [ElementType::F16, ElementType::BF16].map(|scales| (bits, group, scales)))
    })
}

/// A random matrix with its values, computed apart from the packing.
struct Case {
    weight: PackedWeight,
    values: Vec<f64>,
}

fn case((bits, group, scale_type): (usize, usize, ElementType), shape: Shape) -> Case {
    let mut noise = Noise(11);
    let rows = shape.rows * shape.copies;
    let numbers: Vec<u8> = (0..rows * shape.columns * bits / 8).map(|_| noise.next().to_le_bytes()[0]).collect();
    let mut halves = |factor: f32| -> Vec<u16> {
        let rounded = |value: f32| match scale_type {
            ElementType::BF16 => bf16_from_f32(value),
            _ => f16_from_f32(value),
        };
        (0..rows * shape.columns / group).map(|_| rounded(noise.value() * factor)).collect()
    };
    let (scales, biases) = (halves(0.01), halves(0.05));
    let exact =
        |bits: u16| f64::from(if scale_type == ElementType::BF16 { f32_from_bf16(bits) } else { f32_from_f16(bits) });
    let number = |index: usize| match bits {
        4 => numbers[index / 2] >> (4 * (index % 2)) & 15,
        _ => numbers[index],
    };
    let values = (0..rows * shape.columns)
        .map(|index| exact(scales[index / group]).mul_add(f64::from(number(index)), exact(biases[index / group])))
        .collect();
    let bytes = |halves: &[u16]| halves.iter().flat_map(|bits| bits.to_le_bytes()).collect::<Vec<u8>>();
    let (scales, biases) = (bytes(&scales), bytes(&biases));
    let tensor = AffineTensor { bits, group, scale_type, numbers: &numbers, scales: &scales, biases: &biases };
    Case { weight: PackedWeight::pack_affine(&tensor, shape, &Pool::new(2).unwrap()).unwrap(), values }
}

/// The product of a copy with a random batch, and the same in double precision.
fn product(case: &Case, copy: usize, tokens: usize, set: InstructionSet) -> (Vec<f32>, Vec<f64>) {
    let mut noise = Noise(7);
    let shape = case.weight.shape;
    let inputs: Vec<f32> = (0..tokens * shape.columns).map(|_| noise.value()).collect();
    let pool = Pool::new(2).unwrap();
    let mut activations = Activations::new().unwrap();
    let needed = [Arithmetic::of(case.weight.format, tokens, set)];
    activations
        .fill(tokens, shape.columns, &needed, &pool, set, &|token, row| {
            row.copy_from_slice(&inputs[token * shape.columns..][..shape.columns]);
        })
        .unwrap();
    let mut out = vec![f32::NAN; tokens * shape.rows];
    let matrices = [Matrix { weight: &case.weight, copy }];
    let stride = shape.rows;
    multiply(&mut [Product { matrices: &matrices, activations: &activations, out: &mut out, stride }], &pool, set);
    let weights = &case.values[copy * shape.rows * shape.columns..][..shape.rows * shape.columns];
    let expected = inputs
        .chunks_exact(shape.columns)
        .flat_map(|inputs| {
            weights.chunks_exact(shape.columns).map(move |weights| {
                weights.iter().zip(inputs).map(|(&weight, &input)| weight * f64::from(input)).sum::<f64>()
            })
        })
        .collect();
    (out, expected)
}

/// As for the other quantised forms: activations become bytes, or both sides bfloat16.
const TOLERANCE: f64 = 0.03;

#[test]
fn affine_products_are_those_of_exact_arithmetic() {
    for form in forms() {
        let case = case(form, Shape { rows: 37, columns: 640, copies: 2 });
        for set in InstructionSet::available() {
            for tokens in [1, 2, 5, 8, 13, 40] {
                let (found, expected) = product(&case, 1, tokens, set);
                let size = (expected.iter().map(|value| value * value).sum::<f64>() / expected.len() as f64).sqrt();
                for (found, expected) in found.iter().zip(&expected) {
                    let error = (f64::from(*found) - expected).abs() / size;
                    assert!(error < TOLERANCE, "{form:?} {tokens} {}: {found} {expected}", set.name());
                }
            }
        }
    }
}

#[test]
fn every_set_computes_the_same_bits_of_affine_products() {
    for form in forms() {
        let case = case(form, Shape::matrix(19, 384));
        for tokens in [1, 4, 7, 9, 21] {
            let bits = |set| product(&case, 0, tokens, set).0.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            let scalar = bits(InstructionSet::Scalar);
            for set in InstructionSet::available() {
                assert_eq!(bits(set), scalar, "{form:?} {tokens} {}", set.name());
            }
        }
    }
}

#[test]
fn affine_rows_come_back_as_they_went_in() {
    for form in forms() {
        let case = case(form, Shape::matrix(21, 128));
        for row in [0, 15, 16, 20] {
            let mut values = vec![0.0; 128];
            case.weight.row(row, &mut values);
            for (found, expected) in values.iter().zip(&case.values[row * 128..]) {
                assert!((f64::from(*found) - expected).abs() < 1e-6, "{form:?}: {found} {expected}");
            }
        }
    }
}

#[test]
fn affine_tensors_that_cannot_be_are_refused() {
    let pool = Pool::new(1).unwrap();
    let refused = |bits, group, scale_type, scales: &[u8]| {
        let numbers = vec![0; 2 * 64 * bits / 8];
        let tensor = AffineTensor { bits, group, scale_type, numbers: &numbers, scales, biases: &[0; 4] };
        PackedWeight::pack_affine(&tensor, Shape::matrix(2, 64), &pool).unwrap_err()
    };
    let error = refused(6, 64, ElementType::F16, &[0; 4]);
    assert_eq!(error.to_string(), "there is no kernel for 6-bit numbers in groups of 64");
    let error = refused(4, 16, ElementType::F16, &[0; 4]);
    assert_eq!(error.to_string(), "there is no kernel for 4-bit numbers in groups of 16");
    assert!(matches!(refused(4, 128, ElementType::F16, &[0; 4]), PackError::Block { columns: 64, block: 128 }));
    assert!(matches!(refused(4, 64, ElementType::F32, &[0; 4]), PackError::Type(ElementType::F32)));
    assert!(matches!(refused(4, 64, ElementType::F16, &[0; 3]), PackError::Length { found: 3, expected: 4 }));
    assert!(matches!(refused(4, 64, ElementType::F16, &[0, 0, 0, 0x7c]), PackError::NotFinite { row: 1 }));
}
