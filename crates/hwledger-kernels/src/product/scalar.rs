//! The twins in plain code: the same operations in the same order as the SIMD kernels, bit for bit.

use crate::activation::{Activations, SUPER_BLOCK_COLUMNS};
use crate::weight::{PackedWeight, ROWS_INTERLEAVED, Unit};

use super::Out;

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
                for part in 0..unit.columns / unit.part {
                    let place = (first / unit.part + part) * width + slot;
                    let (scale, total) = (parts.scales[place], parts.sums[place]);
                    let dot = dot(&unit, part, |within| {
                        let at = first + part * unit.part + within;
                        parts.bytes[(at / 4 * width + slot) * 4 + at % 4]
                    });
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

/// Sixteen rows times the batch, in super-blocks.
pub(super) fn super_blocks_group(
    weight: &PackedWeight,
    copy: usize,
    group: usize,
    activations: &Activations,
    out: Out,
) {
    let format = weight.format;
    let bytes = weight.group(copy, group);
    let mut sums = vec![[0.0_f32; ROWS_INTERLEAVED]; activations.tokens()];
    let mut unit = Unit::new();
    for (index, data) in bytes.chunks_exact(format.unit_bytes()).enumerate() {
        unit.read(format, data);
        let first = index * SUPER_BLOCK_COLUMNS;
        for parts in activations.super_blocks() {
            let width = parts.tile.width;
            for slot in 0..parts.tile.tokens {
                let activation = |column: usize| {
                    let at = first + column;
                    parts.bytes[(at / 4 * width + slot) * 4 + at % 4]
                };
                let (mut whole, mut least) = ([0_i32; ROWS_INTERLEAVED], [0_i32; ROWS_INTERLEAVED]);
                for part in 0..SUPER_BLOCK_COLUMNS / unit.part {
                    let dot = dot(&unit, part, |within| activation(part * unit.part + within));
                    let columns = part * unit.part..(part + 1) * unit.part;
                    let total: i32 = columns.map(|column| i32::from(activation(column))).sum();
                    for row in 0..ROWS_INTERLEAVED {
                        whole[row] += unit.whole_scales[part][row] * (dot[row] - unit.offset * total);
                        least[row] += unit.whole_minima[part][row] * total;
                    }
                }
                let scale = parts.scales[index * width + slot];
                let sum = &mut sums[parts.tile.first + slot];
                for row in 0..ROWS_INTERLEAVED {
                    sum[row] = (whole[row] as f32).mul_add(unit.factor[row] * scale, sum[row]);
                    if unit.offset == 0 {
                        sum[row] = (-(least[row] as f32)).mul_add(unit.minimum_factor[row] * scale, sum[row]);
                    }
                }
            }
        }
    }
    write(&sums, group, out);
}

/// The exact sums of one part's numbers times the bytes that `activation` gives for its columns.
fn dot(unit: &Unit, part: usize, activation: impl Fn(usize) -> i8) -> [i32; ROWS_INTERLEAVED] {
    let mut dot = [0; ROWS_INTERLEAVED];
    for within in 0..unit.part {
        let activation = i32::from(activation(within));
        for (dot, &number) in dot.iter_mut().zip(&unit.numbers[part * unit.part + within]) {
            *dot += i32::from(number) * activation;
        }
    }
    dot
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
