//! One unit of a repacked matrix as plain numbers: what the scalar kernels and the tests read.

use crate::half::{f32_from_bf16, f32_from_f16};

use super::{Affine, E2M1_NUMBERS, E2M1_OFFSET, IQ4_NUMBERS, IQ4_OFFSET, PackedFormat, ROWS_INTERLEAVED};
use super::{UNIT_COLUMNS_MAX, dequantise};

/// One number of each of the sixteen rows.
pub(crate) type Lane<T> = [T; ROWS_INTERLEAVED];

/// A decoded unit. Of a quantised format: `value = scale * number - minimum`, scale and minimum
/// those of the number's part; of the others: the values themselves.
pub(crate) struct Unit {
    /// Columns of this unit.
    pub(crate) columns: usize,
    /// Columns that share a scale; 0 where `values` holds the numbers.
    pub(crate) part: usize,
    /// `[column][row]`.
    pub(crate) numbers: [Lane<u8>; UNIT_COLUMNS_MAX],
    /// `[part][row]`.
    pub(crate) scales: [Lane<f32>; 16],
    /// `[part][row]`.
    pub(crate) minima: [Lane<f32>; 16],
    /// Of a format with whole scales: `scale = factor * whole scale`, `minimum = minimum_factor * whole minimum`.
    pub(crate) factor: Lane<f32>,
    pub(crate) minimum_factor: Lane<f32>,
    /// `[part][row]`.
    pub(crate) whole_scales: [Lane<i32>; 16],
    /// `[part][row]`; of `Q6_K`, `Q3_K` and `IQ4_XS` none, but an offset of all numbers.
    pub(crate) whole_minima: [Lane<i32>; 16],
    /// Taken off every number.
    pub(crate) offset: i32,
    /// `[column][row]`.
    pub(crate) values: [Lane<f32>; UNIT_COLUMNS_MAX],
}

fn half(bytes: &[u8], offset: usize) -> f32 {
    f32_from_f16(u16::from_le_bytes([bytes[offset], bytes[offset + 1]]))
}

/// The byte of row `row`, column `column` among the 4-bit numbers: per 64 columns 512 bytes, the
/// first 32 columns in the low bits.
const fn nibble_byte(column: usize, row: usize) -> usize {
    column / 64 * 512 + column % 32 / 4 * 64 + row * 4 + column % 4
}

/// The byte of a row and column where each of `per_byte` blocks of 32 columns has a share.
const fn shared_byte(column: usize, row: usize, per_byte: usize) -> usize {
    column / (32 * per_byte) * 512 + column % 32 / 4 * 64 + row * 4 + column % 4
}

impl Unit {
    pub(crate) const fn new() -> Self {
        Self {
            columns: 0,
            part: 0,
            numbers: [[0; ROWS_INTERLEAVED]; UNIT_COLUMNS_MAX],
            scales: [[0.0; ROWS_INTERLEAVED]; 16],
            minima: [[0.0; ROWS_INTERLEAVED]; 16],
            factor: [0.0; ROWS_INTERLEAVED],
            minimum_factor: [0.0; ROWS_INTERLEAVED],
            whole_scales: [[0; ROWS_INTERLEAVED]; 16],
            whole_minima: [[0; ROWS_INTERLEAVED]; 16],
            offset: 0,
            values: [[0.0; ROWS_INTERLEAVED]; UNIT_COLUMNS_MAX],
        }
    }

    /// Decodes a unit of sixteen rows.
    pub(crate) fn read(&mut self, format: PackedFormat, bytes: &[u8]) {
        self.columns = format.unit_columns();
        for row in 0..ROWS_INTERLEAVED {
            self.read_lane(format, bytes, row);
        }
    }

    /// The values of one row, as many of the unit's as there is room for.
    pub(crate) fn read_row(&mut self, format: PackedFormat, bytes: &[u8], row: usize, values: &mut [f32]) {
        self.columns = format.unit_columns();
        self.read_lane(format, bytes, row);
        for (column, value) in values.iter_mut().enumerate() {
            *value = self.value(column, row);
        }
    }

    /// The value at a column and row of a unit that was read.
    pub(crate) fn value(&self, column: usize, row: usize) -> f32 {
        if self.part == 0 {
            return self.values[column][row];
        }
        let part = column / self.part;
        self.scales[part][row].mul_add(f32::from(self.numbers[column][row]), -self.minima[part][row])
    }

    fn read_lane(&mut self, format: PackedFormat, bytes: &[u8], row: usize) {
        match format {
            PackedFormat::Q4K => self.read_k(bytes, row, false),
            PackedFormat::Q5K => self.read_k(bytes, row, true),
            PackedFormat::Q6K => self.read_q6_k(bytes, row),
            PackedFormat::Q3K => {
                self.part = 16;
                for column in 0..256 {
                    let low = bytes[shared_byte(column, row, 4)] >> (column % 128 / 32 * 2) & 3;
                    let high = bytes[1024 + shared_byte(column, row, 8)] >> (column / 32) & 1;
                    self.numbers[column][row] = low | high << 2;
                }
                self.read_signed_scales(&bytes[1536..1792], half(bytes, 1792 + row * 2), 4, row);
            }
            PackedFormat::Q8 => {
                self.part = 32;
                for column in 0..64 {
                    self.numbers[column][row] = bytes[column / 4 * 64 + row * 4 + column % 4];
                }
                self.read_scales(&bytes[1024..], row, 128.0);
            }
            PackedFormat::Q4 => {
                self.part = 32;
                self.read_nibbles(bytes, row);
                self.read_scales(&bytes[512..], row, 8.0);
            }
            PackedFormat::Iq4Nl => {
                self.part = 32;
                self.read_nibbles(bytes, row);
                self.look_up(&IQ4_NUMBERS, row);
                self.read_scales(&bytes[512..], row, f32::from(IQ4_OFFSET));
            }
            PackedFormat::Mxfp4 => {
                self.part = 32;
                self.read_nibbles(bytes, row);
                self.look_up(&E2M1_NUMBERS, row);
                for part in 0..2 {
                    let at = 512 + (part * ROWS_INTERLEAVED + row) * 2;
                    let scale = f32_from_bf16(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
                    self.scales[part][row] = scale;
                    self.minima[part][row] = scale * f32::from(E2M1_OFFSET);
                }
            }
            PackedFormat::Iq4Xs => {
                self.part = 32;
                self.read_nibbles(bytes, row);
                self.look_up(&IQ4_NUMBERS, row);
                self.read_signed_scales(&bytes[2048..2176], half(bytes, 2176 + row * 2), IQ4_OFFSET, row);
            }
            PackedFormat::F16 | PackedFormat::BF16 => {
                self.part = 0;
                for column in 0..32 {
                    let at = (column * ROWS_INTERLEAVED + row) * 2;
                    let bits = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
                    let value = if format == PackedFormat::F16 { f32_from_f16(bits) } else { f32_from_bf16(bits) };
                    self.values[column][row] = value;
                }
            }
            PackedFormat::F32 => {
                self.part = 0;
                for column in 0..32 {
                    let at = (column * ROWS_INTERLEAVED + row) * 4;
                    self.values[column][row] =
                        f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                }
            }
            PackedFormat::Affine(affine) => self.read_affine(affine, bytes, row),
            PackedFormat::Blocks(element_type) => {
                self.part = 0;
                let size = format.unit_bytes() / ROWS_INTERLEAVED;
                let mut values = [0.0; UNIT_COLUMNS_MAX];
                let values = &mut values[..self.columns];
                // A format of blocks is one that has a decoder, and the lengths are its own.
                dequantise(element_type, &bytes[row * size..][..size], values).unwrap_or_default();
                for (lane, value) in self.values.iter_mut().zip(values) {
                    lane[row] = *value;
                }
            }
        }
    }

    /// Two half-precision scales per row, with the offset of the numbers as the minimum.
    fn read_scales(&mut self, bytes: &[u8], row: usize, offset: f32) {
        for part in 0..2 {
            let scale = half(bytes, (part * ROWS_INTERLEAVED + row) * 2);
            self.scales[part][row] = scale;
            self.minima[part][row] = scale * offset;
        }
    }

    /// The 4-bit numbers of all columns.
    fn read_nibbles(&mut self, bytes: &[u8], row: usize) {
        for column in 0..self.columns {
            self.numbers[column][row] = bytes[nibble_byte(column, row)] >> (column % 64 / 32 * 4) & 15;
        }
    }

    /// Numbers of a table in place of their places in it.
    fn look_up(&mut self, table: &[u8; 16], row: usize) {
        for numbers in &mut self.numbers[..self.columns] {
            numbers[row] = table[usize::from(numbers[row])];
        }
    }

    /// Whole scales with sign, `[part][row]`, of numbers that are too large by `offset`.
    fn read_signed_scales(&mut self, scales: &[u8], d: f32, offset: u8, row: usize) {
        (self.factor[row], self.minimum_factor[row], self.offset) = (d, 0.0, i32::from(offset));
        for (part, scales) in scales.chunks_exact(ROWS_INTERLEAVED).enumerate() {
            let whole = scales[row].cast_signed();
            self.whole_scales[part][row] = i32::from(whole);
            self.whole_minima[part][row] = 0;
            let scale = d * f32::from(whole);
            self.scales[part][row] = scale;
            self.minima[part][row] = scale * f32::from(offset);
        }
    }

    fn read_affine(&mut self, affine: Affine, bytes: &[u8], row: usize) {
        self.part = 32;
        for column in 0..64 {
            self.numbers[column][row] = if affine.is_four_bit {
                bytes[nibble_byte(column, row)] >> (column % 64 / 32 * 4) & 15
            } else {
                bytes[column / 4 * 64 + row * 4 + column % 4]
            };
        }
        for half in 0..2 {
            [self.scales[half][row], self.minima[half][row]] = affine.scale_and_minimum(bytes, half, row);
        }
    }

    fn read_k(&mut self, bytes: &[u8], row: usize, has_fifth_bit: bool) {
        self.part = 32;
        let tail = if has_fifth_bit { 2560 } else { 2048 };
        for column in 0..256 {
            let low = bytes[nibble_byte(column, row)] >> (column % 64 / 32 * 4) & 15;
            let high = if has_fifth_bit { bytes[2048 + shared_byte(column, row, 8)] >> (column / 32) & 1 } else { 0 };
            self.numbers[column][row] = low | high << 4;
        }
        let (d, dmin) = (half(bytes, tail + 256 + row * 2), half(bytes, tail + 288 + row * 2));
        (self.factor[row], self.minimum_factor[row], self.offset) = (d, dmin, 0);
        for part in 0..8 {
            let scale = bytes[tail + part * ROWS_INTERLEAVED + row];
            let minimum = bytes[tail + 128 + part * ROWS_INTERLEAVED + row];
            self.whole_scales[part][row] = i32::from(scale);
            self.whole_minima[part][row] = i32::from(minimum);
            self.scales[part][row] = d * f32::from(scale);
            self.minima[part][row] = dmin * f32::from(minimum);
        }
    }

    fn read_q6_k(&mut self, bytes: &[u8], row: usize) {
        self.part = 16;
        for column in 0..256 {
            let low = bytes[nibble_byte(column, row)] >> (column % 64 / 32 * 4) & 15;
            let high = bytes[2048 + shared_byte(column, row, 4)] >> (column % 128 / 32 * 2) & 3;
            self.numbers[column][row] = low | high << 4;
        }
        self.read_signed_scales(&bytes[3072..3328], half(bytes, 3328 + row * 2), 32, row);
    }
}
