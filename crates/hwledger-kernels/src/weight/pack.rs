//! From the rows of a file to groups of sixteen interleaved rows.

use hwledger_core::ElementType;

use crate::half::f32_from_f16;
use crate::pool::Pool;

use super::dequantise::{k_nibble, q5_k_number, q6_k_number, scale_and_minimum};
use super::{PackError, PackedFormat, ROWS_INTERLEAVED, Shape};

/// Packs all groups of rows; `bytes` and `packed` have the lengths of the shape.
pub(super) fn pack(
    format: PackedFormat,
    element_type: ElementType,
    shape: Shape,
    bytes: &[u8],
    packed: &mut [u8],
    pool: &Pool,
) -> Result<(), PackError> {
    let expected = format.bytes(shape);
    if packed.len() != expected {
        return Err(PackError::Length { found: packed.len(), expected });
    }
    let (block, block_bytes) = element_type.block();
    let (block, block_bytes) = (block as usize, block_bytes as usize);
    let row_bytes = shape.columns / block * block_bytes;
    let group_bytes = format.units(shape.columns) * format.unit_bytes();
    let bad_row = std::sync::atomic::AtomicUsize::new(usize::MAX);
    pool.run_on_chunks(packed, group_bytes, &|index, group| {
        let (copy, first) = (index / shape.groups(), index % shape.groups() * ROWS_INTERLEAVED);
        for row in 0..ROWS_INTERLEAVED.min(shape.rows - first) {
            let position = copy * shape.rows + first + row;
            let blocks = &bytes[position * row_bytes..][..row_bytes];
            for (index, block_data) in blocks.chunks_exact(block_bytes).enumerate() {
                let column = index * block;
                let unit = &mut group[column / format.unit_columns() * format.unit_bytes()..][..format.unit_bytes()];
                if !pack_block(format, block_data, column % format.unit_columns(), row, unit) {
                    bad_row.fetch_min(position, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
    });
    match bad_row.into_inner() {
        usize::MAX => Ok(()),
        row => Err(PackError::NotFinite { row }),
    }
}

fn is_finite_half(bytes: &[u8]) -> bool {
    f32_from_f16(u16::from_le_bytes([bytes[0], bytes[1]])).is_finite()
}

/// Puts one block of one row, which starts at `column` of the unit, in its place; false if its numbers are not finite.
fn pack_block(format: PackedFormat, block: &[u8], column: usize, row: usize, unit: &mut [u8]) -> bool {
    match format {
        PackedFormat::Q4K | PackedFormat::Q5K => pack_k(format, block, row, unit),
        PackedFormat::Q6K => pack_q6_k(block, row, unit),
        PackedFormat::Q8 => {
            for (index, &number) in block[2..].iter().enumerate() {
                let column = column + index;
                // Unsigned for the multiply-add of unsigned by signed bytes; the scale's minimum takes 128 off again.
                unit[column / 4 * 64 + row * 4 + column % 4] = number ^ 0x80;
            }
            unit[1024 + (column / 32 * ROWS_INTERLEAVED + row) * 2..][..2].copy_from_slice(&block[..2]);
            is_finite_half(block)
        }
        PackedFormat::Q4 => {
            for index in 0..32 {
                let number = if index < 16 { block[2 + index] & 15 } else { block[2 + index - 16] >> 4 };
                put_nibble(unit, column + index, row, number);
            }
            unit[512 + (column / 32 * ROWS_INTERLEAVED + row) * 2..][..2].copy_from_slice(&block[..2]);
            is_finite_half(block)
        }
        PackedFormat::F16 | PackedFormat::BF16 => {
            unit[(column * ROWS_INTERLEAVED + row) * 2..][..2].copy_from_slice(block);
            let exponent = if format == PackedFormat::F16 { 0x7c00 } else { 0x7f80 };
            u16::from_le_bytes([block[0], block[1]]) & exponent != exponent
        }
        PackedFormat::F32 => {
            unit[(column * ROWS_INTERLEAVED + row) * 4..][..4].copy_from_slice(block);
            f32::from_le_bytes([block[0], block[1], block[2], block[3]]).is_finite()
        }
        // No type of one tensor: these are packed by `PackedWeight::pack_affine`.
        PackedFormat::Affine(_) => false,
        PackedFormat::Blocks(element_type) => {
            unit[row * block.len()..][..block.len()].copy_from_slice(block);
            let mut values = [0.0; super::UNIT_COLUMNS_MAX];
            let values = &mut values[..format.unit_columns()];
            super::dequantise(element_type, block, values).is_some() && values.iter().all(|value| value.is_finite())
        }
    }
}

fn put_nibble(unit: &mut [u8], column: usize, row: usize, number: u8) {
    let byte = &mut unit[column / 64 * 512 + column % 32 / 4 * 64 + row * 4 + column % 4];
    *byte |= (number & 15) << (column % 64 / 32 * 4);
}

fn pack_k(format: PackedFormat, block: &[u8], row: usize, unit: &mut [u8]) -> bool {
    let is_five = format == PackedFormat::Q5K;
    let tail = if is_five { 2560 } else { 2048 };
    for column in 0..256 {
        if is_five {
            let number = q5_k_number(block, column);
            put_nibble(unit, column, row, number);
            unit[2048 + column % 32 / 4 * 64 + row * 4 + column % 4] |= (number >> 4) << (column / 32);
        } else {
            put_nibble(unit, column, row, k_nibble(&block[16..], column));
        }
    }
    for part in 0..8 {
        let (scale, minimum) = scale_and_minimum(&block[4..16], part);
        unit[tail + part * ROWS_INTERLEAVED + row] = scale;
        unit[tail + 128 + part * ROWS_INTERLEAVED + row] = minimum;
    }
    unit[tail + 256 + row * 2..][..2].copy_from_slice(&block[..2]);
    unit[tail + 288 + row * 2..][..2].copy_from_slice(&block[2..4]);
    is_finite_half(block) && is_finite_half(&block[2..])
}

fn pack_q6_k(block: &[u8], row: usize, unit: &mut [u8]) -> bool {
    for column in 0..256 {
        let number = q6_k_number(block, column);
        put_nibble(unit, column, row, number);
        unit[2048 + column / 128 * 512 + column % 32 / 4 * 64 + row * 4 + column % 4] |=
            (number >> 4) << (column % 128 / 32 * 2);
    }
    for part in 0..16 {
        unit[3072 + part * ROWS_INTERLEAVED + row] = block[192 + part];
    }
    unit[3328 + row * 2..][..2].copy_from_slice(&block[208..210]);
    is_finite_half(&block[208..])
}
