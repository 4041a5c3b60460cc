//! From the rows of a file to groups of sixteen interleaved rows.

use hwledger_core::ElementType;

use crate::half::f32_from_f16;
use crate::pool::Pool;

use super::dequantise::{half_of_e8m0, iq4_xs_scale, q3_k_scale, scale_and_minimum};
use super::grid_blocks::iq1_m_factor;
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
    let blocks_per_unit = format.unit_columns() / block;
    pool.run_on_chunks(packed, group_bytes, &|index, group| {
        let (copy, first) = (index / shape.groups(), index % shape.groups() * ROWS_INTERLEAVED);
        // All rows of a unit while it is in the first cache.
        for (index, unit) in group.chunks_exact_mut(format.unit_bytes()).enumerate() {
            let start = index * blocks_per_unit * block_bytes;
            let end = row_bytes.min(start + blocks_per_unit * block_bytes);
            for row in 0..ROWS_INTERLEAVED.min(shape.rows - first) {
                let position = copy * shape.rows + first + row;
                if !pack_row(format, &bytes[position * row_bytes..][start..end], row, unit) {
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

/// Puts one row's share of a unit in its place; false if its numbers are not finite.
fn pack_row(format: PackedFormat, blocks: &[u8], row: usize, unit: &mut [u8]) -> bool {
    match format {
        PackedFormat::Q4K => pack_k(blocks, 16, row, unit),
        PackedFormat::Q5K => {
            // A bit of each of eight blocks of 32 columns, in the file as here.
            put_words(&blocks[16..48], row, &mut unit[2048..], |word| word);
            pack_k(blocks, 48, row, unit)
        }
        PackedFormat::Q6K => pack_q6_k(blocks, row, unit),
        PackedFormat::Q3K => {
            // Two bits of each of four blocks of 32 columns, and a bit of each of eight, in the file as here.
            put_words(&blocks[32..96], row, unit, |word| word);
            put_words(&blocks[..32], row, &mut unit[1024..], |word| word);
            for part in 0..16 {
                unit[1536 + part * ROWS_INTERLEAVED + row] = q3_k_scale(&blocks[96..108], part).cast_unsigned();
            }
            unit[1792 + row * 2..][..2].copy_from_slice(&blocks[108..110]);
            is_finite_half(&blocks[108..])
        }
        PackedFormat::Q8 => each(blocks.chunks_exact(34).enumerate(), |(part, block)| {
            // Unsigned for the multiply-add of unsigned by signed bytes; the scale's minimum takes 128 off again.
            put_words(&block[2..], row, &mut unit[part * 512..], |word| word ^ 0x8080_8080);
            unit[1024 + (part * ROWS_INTERLEAVED + row) * 2..][..2].copy_from_slice(&block[..2]);
            is_finite_half(block)
        }),
        PackedFormat::Iq4Xs => {
            for (part, numbers) in blocks[8..].chunks_exact(16).enumerate() {
                put_halves(numbers, part, row, unit);
                unit[2048 + part * ROWS_INTERLEAVED + row] = iq4_xs_scale(blocks, part).cast_unsigned();
            }
            unit[2176 + row * 2..][..2].copy_from_slice(&blocks[..2]);
            is_finite_half(blocks)
        }
        PackedFormat::Q4 | PackedFormat::Iq4Nl => each(blocks.chunks_exact(18).enumerate(), |(part, block)| {
            put_halves(&block[2..], part, row, unit);
            unit[512 + (part * ROWS_INTERLEAVED + row) * 2..][..2].copy_from_slice(&block[..2]);
            is_finite_half(block)
        }),
        PackedFormat::Mxfp4 => each(blocks.chunks_exact(17).enumerate(), |(part, block)| {
            put_halves(&block[1..], part, row, unit);
            let scale = half_of_e8m0(block[0]).to_le_bytes();
            unit[512 + (part * ROWS_INTERLEAVED + row) * 2..][..2].copy_from_slice(&scale);
            // Products with the largest number, at most 24 times 2^(251 - 128), are finite.
            block[0] <= 251
        }),
        PackedFormat::F16 | PackedFormat::BF16 => {
            let exponent = if format == PackedFormat::F16 { 0x7c00 } else { 0x7f80 };
            for (value, column) in blocks.chunks_exact(2).zip(unit.chunks_exact_mut(32)) {
                column[row * 2..][..2].copy_from_slice(value);
            }
            each(blocks.chunks_exact(2), |value| u16::from_le_bytes([value[0], value[1]]) & exponent != exponent)
        }
        PackedFormat::F32 => {
            for (value, column) in blocks.chunks_exact(4).zip(unit.chunks_exact_mut(64)) {
                column[row * 4..][..4].copy_from_slice(value);
            }
            each(blocks.chunks_exact(4), |value| {
                f32::from_le_bytes([value[0], value[1], value[2], value[3]]).is_finite()
            })
        }
        // No type of one tensor: these are packed by `PackedWeight::pack_affine`.
        PackedFormat::Affine(_) => false,
        PackedFormat::Blocks(element_type) => {
            unit[row * blocks.len()..][..blocks.len()].copy_from_slice(blocks);
            is_finite_block(element_type, blocks)
        }
    }
}

/// Whether all are, looking at each.
fn each<T>(items: impl Iterator<Item = T>, mut is_good: impl FnMut(T) -> bool) -> bool {
    items.fold(true, |are_good, item| is_good(item) & are_good)
}

/// The low four bits of four bytes.
const LOW_BITS: u32 = 0x0f0f_0f0f;

/// Adds the bits of four columns at a time to one row of the lines from the first of `lines` on.
fn put_words(source: &[u8], row: usize, lines: &mut [u8], change: impl Fn(u32) -> u32) {
    for (word, line) in source.chunks_exact(4).zip(lines.chunks_exact_mut(64)) {
        let place = &mut line[row * 4..][..4];
        let bits = change(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let bits = u32::from_le_bytes([place[0], place[1], place[2], place[3]]) | bits;
        place.copy_from_slice(&bits.to_le_bytes());
    }
}

/// The 4-bit numbers of block `part` of 32 columns, of which the file has the second half in the high bits.
fn put_halves(numbers: &[u8], part: usize, row: usize, unit: &mut [u8]) {
    let lines = &mut unit[part / 2 * 512..][..512];
    for half in 0..2 {
        let change = |word: u32| (word >> (4 * half) & LOW_BITS) << (4 * (part % 2));
        put_words(numbers, row, &mut lines[half * 256..], change);
    }
}

/// Whether a block that is kept as it is decodes to finite numbers.
fn is_finite_block(element_type: ElementType, block: &[u8]) -> bool {
    // A half-precision factor times the integers of these types is far from the largest number.
    let halves: &[usize] = match element_type {
        ElementType::Q5_0
        | ElementType::Q1_0
        | ElementType::Q2_0
        | ElementType::Iq1S
        | ElementType::Iq2Xxs
        | ElementType::Iq2Xs
        | ElementType::Iq2S
        | ElementType::Iq3Xxs
        | ElementType::Iq3S => &[0],
        ElementType::Iq1M => return iq1_m_factor(block).is_finite(),
        ElementType::Tq1_0 => &[52],
        ElementType::Tq2_0 => &[64],
        // Scales are at most 448.
        ElementType::Nvfp4 => &[],
        ElementType::Q4_1 | ElementType::Q5_1 => &[0, 2],
        ElementType::Q2K => &[80, 82],
        _ => {
            let mut values = [0.0; super::UNIT_COLUMNS_MAX];
            let values = &mut values[..element_type.block().0 as usize];
            return super::dequantise(element_type, block, values).is_some()
                && values.iter().all(|value| value.is_finite());
        }
    };
    halves.iter().all(|&at| is_finite_half(&block[at..]))
}

/// `Q4_K` and `Q5_K`, whose 4-bit numbers start at `numbers`: 64 columns are 32 bytes, low half first, in the
/// file as here.
fn pack_k(block: &[u8], numbers: usize, row: usize, unit: &mut [u8]) -> bool {
    put_words(&block[numbers..numbers + 128], row, unit, |word| word);
    let tail = if numbers == 48 { 2560 } else { 2048 };
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
    // The file keeps columns 0 to 31 with 64 to 95 and 32 to 63 with 96 to 127: here neighbours are together.
    for (index, numbers) in block[..128].chunks_exact(32).enumerate() {
        let (half, up) = (index / 2 * 1024, index % 2 * 4);
        put_words(numbers, row, &mut unit[half..], |word| (word & LOW_BITS) << up);
        put_words(numbers, row, &mut unit[half + 512..], |word| (word >> 4 & LOW_BITS) << up);
    }
    // Two bits of each of four blocks of 32 columns, in the file as here.
    put_words(&block[128..192], row, &mut unit[2048..], |word| word);
    for part in 0..16 {
        unit[3072 + part * ROWS_INTERLEAVED + row] = block[192 + part];
    }
    unit[3328 + row * 2..][..2].copy_from_slice(&block[208..210]);
    is_finite_half(&block[208..])
}
