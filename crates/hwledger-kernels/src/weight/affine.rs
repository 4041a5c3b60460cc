//! MLX's affine numbers: `value = scale x number + bias`, scale and bias shared by a group of columns.
//!
//! Source: `mlx/backend/common/quantized.h` of MLX (`affine_quantize`, `affine_dequantize`).

use std::sync::atomic::{AtomicUsize, Ordering};

use hwledger_core::ElementType;

use crate::half::{f32_from_bf16, f32_from_f16};
use crate::memory::{Memory, Region};
use crate::pool::Pool;

use super::{PackError, PackedFormat, PackedWeight, ROWS_INTERLEAVED, Shape};

/// Columns of one unit.
pub(crate) const UNIT_COLUMNS: usize = 64;

/// How a repacked matrix holds affine numbers.
///
/// A unit of 64 columns has its numbers as `Q4` and `Q8` have them, then per part the sixteen rows' scales and
/// the sixteen rows' minima (biases with the other sign), two bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Affine {
    /// Whether numbers have four bits and not eight.
    pub is_four_bit: bool,
    /// Parts of a unit: two where groups are of 32 columns, one where they are longer.
    pub parts: usize,
    /// Whether scales are bfloat16 and not half precision.
    pub has_bfloat16: bool,
}

impl Affine {
    /// Bytes of a unit's numbers.
    pub(crate) const fn number_bytes(self) -> usize {
        if self.is_four_bit { 512 } else { 1024 }
    }

    pub(super) const fn unit_bytes(self) -> usize {
        self.number_bytes() + self.parts * 2 * ROWS_INTERLEAVED * 2
    }

    /// The scale and the minimum of a row for the columns of half `half` of a unit.
    pub(super) fn scale_and_minimum(self, unit: &[u8], half: usize, row: usize) -> [f32; 2] {
        let part = half.min(self.parts - 1);
        let start = self.number_bytes() + part * 4 * ROWS_INTERLEAVED;
        [0, 1].map(|which| self.number(&unit[start + (which * ROWS_INTERLEAVED + row) * 2..]))
    }

    fn number(self, bytes: &[u8]) -> f32 {
        let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
        if self.has_bfloat16 { f32_from_bf16(bits) } else { f32_from_f16(bits) }
    }
}

/// A matrix as MLX's files hold it, or several stacked ones.
#[derive(Clone, Copy, Debug)]
pub struct AffineTensor<'a> {
    /// Bits of a number: 4 or 8.
    pub bits: usize,
    /// Columns that share a scale and a bias: 32, or a multiple of 64.
    pub group: usize,
    /// The type of scales and biases: half precision or bfloat16.
    pub scale_type: ElementType,
    /// The numbers, those of lower columns in lower bits.
    pub numbers: &'a [u8],
    /// A scale per row and group.
    pub scales: &'a [u8],
    /// A bias per row and group.
    pub biases: &'a [u8],
}

impl AffineTensor<'_> {
    fn format(&self, shape: Shape) -> Result<Affine, PackError> {
        let Self { bits, group, scale_type, .. } = *self;
        if !matches!(bits, 4 | 8) || !(group == 32 || group > 0 && group.is_multiple_of(UNIT_COLUMNS)) {
            return Err(PackError::Affine { bits, group });
        }
        if !matches!(scale_type, ElementType::F16 | ElementType::BF16) {
            return Err(PackError::Type(scale_type));
        }
        if !shape.columns.is_multiple_of(group) {
            return Err(PackError::Block { columns: shape.columns, block: group });
        }
        let rows = shape.rows * shape.copies;
        let lengths = [
            (self.numbers.len(), rows * shape.columns * bits / 8),
            (self.scales.len(), rows * shape.columns / group * 2),
            (self.biases.len(), rows * shape.columns / group * 2),
        ];
        match lengths.into_iter().find(|(found, expected)| found != expected) {
            Some((found, expected)) => Err(PackError::Length { found, expected }),
            None => Ok(Affine {
                is_four_bit: bits == 4,
                parts: if group == 32 { 2 } else { 1 },
                has_bfloat16: scale_type == ElementType::BF16,
            }),
        }
    }
}

impl PackedWeight {
    /// Repacks a matrix of MLX into memory of its own.
    pub fn pack_affine(tensor: &AffineTensor<'_>, shape: Shape, pool: &Pool) -> Result<Self, PackError> {
        let affine = tensor.format(shape)?;
        let format = PackedFormat::Affine(affine);
        let total = format.bytes(shape);
        let mut memory = Memory::zeroed(total).map_err(|source| PackError::Memory { bytes: total, source })?;
        let group_bytes = format.units(shape.columns) * format.unit_bytes();
        let bad_row = AtomicUsize::new(usize::MAX);
        pool.run_on_chunks(memory.bytes_mut(), group_bytes, &|index, group| {
            let (copy, first) = (index / shape.groups(), index % shape.groups() * ROWS_INTERLEAVED);
            for row in 0..ROWS_INTERLEAVED.min(shape.rows - first) {
                let position = copy * shape.rows + first + row;
                if !pack_row(affine, tensor, shape.columns, (position, row), group) {
                    bad_row.fetch_min(position, Ordering::Relaxed);
                }
            }
        });
        match bad_row.into_inner() {
            usize::MAX => Ok(Self { format, shape, region: Region::from_memory(memory), scales: None }),
            row => Err(PackError::NotFinite { row }),
        }
    }
}

/// Puts row `position` of the tensor in the place of row `row` of its group; false if a scale is not finite.
fn pack_row(
    affine: Affine,
    tensor: &AffineTensor<'_>,
    columns: usize,
    (position, row): (usize, usize),
    group: &mut [u8],
) -> bool {
    let row_bytes = columns * tensor.bits / 8;
    let numbers = &tensor.numbers[position * row_bytes..][..row_bytes];
    let scales_per_row = columns / tensor.group;
    let mut is_finite = true;
    for (index, unit) in group.chunks_exact_mut(affine.unit_bytes()).enumerate() {
        let first = index * UNIT_COLUMNS;
        let held = UNIT_COLUMNS.min(columns - first);
        for column in 0..held {
            let place = first + column;
            let number = if affine.is_four_bit { numbers[place / 2] >> (4 * (place % 2)) & 15 } else { numbers[place] };
            if affine.is_four_bit {
                unit[column % 32 / 4 * 64 + row * 4 + column % 4] |= number << (column / 32 * 4);
            } else {
                unit[column / 4 * 64 + row * 4 + column % 4] = number;
            }
        }
        for part in 0..affine.parts {
            let column = first + part * (UNIT_COLUMNS / affine.parts);
            if column >= columns {
                continue;
            }
            let from = (position * scales_per_row + column / tensor.group) * 2;
            let start = affine.number_bytes() + part * 4 * ROWS_INTERLEAVED;
            let (scale, bias) = (&tensor.scales[from..from + 2], &tensor.biases[from..from + 2]);
            unit[start + row * 2..][..2].copy_from_slice(scale);
            unit[start + (ROWS_INTERLEAVED + row) * 2..][..2].copy_from_slice(&[bias[0], bias[1] ^ 0x80]);
            is_finite &= affine.number(scale).is_finite() && affine.number(bias).is_finite();
        }
    }
    is_finite
}
