//! The twins in plain code: the same operations in the same order as the SIMD kernels, bit for bit.

use crate::activation::Activations;
use crate::weight::{PackedWeight, ROWS_INTERLEAVED, Unit};

use super::Out;

/// The order in which parts of 16 columns are added: SIMD takes the first halves of two blocks together.
const PARTS_OF_16: [usize; 16] = [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15];

/// Sixteen rows times the batch, in bytes.
pub(super) fn bytes_group(weight: &PackedWeight, copy: usize, group: usize, activations: &Activations, out: Out) {
    let format = weight.format;
    let bytes = weight.group(copy, group);
    let mut sums = vec![[0.0_f32; ROWS_INTERLEAVED]; activations.tokens()];
    let mut unit = Unit::new();
    for (index, data) in bytes.chunks_exact(format.unit_bytes()).enumerate() {
        unit.read(format, data);
        let first = index * format.unit_columns();
        for parts in activations.tiles() {
            let width = parts.tile.width;
            for slot in 0..parts.tile.tokens {
                let sum = &mut sums[parts.tile.first + slot];
                for position in 0..unit.columns / unit.part {
                    let part = if unit.part == 16 { PARTS_OF_16[position] } else { position };
                    let column = first + part * unit.part;
                    let scale = parts.scales[column / 32 * width + slot];
                    let total = if unit.part == 16 {
                        parts.sums16[column / 16 * width + slot]
                    } else {
                        parts.sums32[column / 32 * width + slot]
                    };
                    let mut dot = [0_i32; ROWS_INTERLEAVED];
                    for within in 0..unit.part {
                        let at = column + within;
                        let activation = i32::from(parts.bytes[(at / 4 * width + slot) * 4 + at % 4]);
                        let numbers = &unit.numbers[part * unit.part + within];
                        for (dot, &number) in dot.iter_mut().zip(numbers) {
                            *dot += i32::from(number) * activation;
                        }
                    }
                    for row in 0..ROWS_INTERLEAVED {
                        let value = dot[row] as f32 * scale;
                        let with = value.mul_add(unit.scales[part][row], sum[row]);
                        sum[row] = (-unit.minima[part][row]).mul_add(total, with);
                    }
                }
            }
        }
    }
    write(&sums, group, out);
}

/// Sixteen rows times the batch, in single precision: even and odd columns apart, then added.
pub(super) fn float_group(weight: &PackedWeight, copy: usize, group: usize, activations: &Activations, out: Out) {
    let format = weight.format;
    let bytes = weight.group(copy, group);
    let mut sums = vec![[[0.0_f32; ROWS_INTERLEAVED]; 2]; activations.tokens()];
    let mut unit = Unit::new();
    for (index, data) in bytes.chunks_exact(format.unit_bytes()).enumerate() {
        unit.read(format, data);
        let first = index * format.unit_columns();
        for (token, sum) in sums.iter_mut().enumerate() {
            let row = &activations.row(token)[first..first + unit.columns];
            for (column, &activation) in row.iter().enumerate() {
                for (sum_row, sum) in sum[column % 2].iter_mut().enumerate() {
                    *sum = unit.value(column, sum_row).mul_add(activation, *sum);
                }
            }
        }
    }
    let sums: Vec<_> = sums.iter().map(|[even, odd]| std::array::from_fn(|row| even[row] + odd[row])).collect();
    write(&sums, group, out);
}

fn write(sums: &[[f32; ROWS_INTERLEAVED]], group: usize, out: Out) {
    for (token, values) in sums.iter().enumerate() {
        // SAFETY: the group is of this chunk and the token of the batch.
        #[expect(unsafe_code, reason = "threads write different rows of one output")]
        unsafe {
            out.write(token, group, values);
        }
    }
}
