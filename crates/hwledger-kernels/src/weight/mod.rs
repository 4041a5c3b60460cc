//! Weight matrices, repacked so that sixteen output rows lie interleaved.

mod affine;
mod dequantise;
mod grid_blocks;
mod grids;
mod pack;
mod unit;

use std::sync::Arc;

use hwledger_core::ElementType;

use crate::memory::{Memory, Region};
use crate::pool::Pool;

pub use affine::{Affine, AffineTensor};
pub use dequantise::dequantise;
pub(crate) use dequantise::{E2M1_NUMBERS, E2M1_OFFSET, IQ4_NUMBERS, IQ4_OFFSET};
pub(crate) use unit::Unit;

/// Changes whenever the bytes of any repacked form change: what was kept of another layout is made anew.
pub const LAYOUT_VERSION: u64 = 4;

/// Output rows whose columns lie side by side: the 32-bit lanes of one AVX-512 register.
pub const ROWS_INTERLEAVED: usize = 16;

/// Columns of the longest unit.
pub(crate) const UNIT_COLUMNS_MAX: usize = 256;

/// How a repacked matrix holds its numbers.
///
/// A *unit* is the smallest stretch of columns, of sixteen rows, that is a whole number of cache lines.
/// Within a unit four consecutive columns of one row are four bytes, and the sixteen rows' four bytes follow
/// each other: one load gives a multiply-add of four columns for sixteen rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackedFormat {
    /// `Q4_K`: 4 bits; per 32 columns a 6-bit scale and minimum; per 256 their two half-precision factors.
    Q4K,
    /// `Q5_K`: the same with a fifth bit.
    Q5K,
    /// `Q6_K`: 6 bits; per 16 columns an 8-bit scale; per 256 its half-precision factor.
    Q6K,
    /// `Q3_K`: 3 bits; per 16 columns a scale of 6 bits with sign; per 256 its half-precision factor.
    Q3K,
    /// `Q8_0`: 8 bits; per 32 columns a half-precision scale.
    Q8,
    /// `Q4_0`: 4 bits around 8; per 32 columns a half-precision scale.
    Q4,
    /// `IQ4_NL`: as `Q4_0`, but numbers are places in a table of sixteen bytes.
    Iq4Nl,
    /// `MXFP4`: the same with another table; scales are bfloat16.
    Mxfp4,
    /// `IQ4_XS`: the numbers of `IQ4_NL`; per 32 columns a scale of 6 bits with sign; per 256 its half-precision factor.
    Iq4Xs,
    /// Half precision, one column after the other.
    F16,
    /// bfloat16, one column after the other.
    BF16,
    /// Single precision, one column after the other.
    F32,
    /// MLX's 4- or 8-bit numbers; per 32 or 64 columns a scale and a minimum of two bytes.
    Affine(Affine),
    /// ggml's own blocks, row after row, decoded as they are used.
    Blocks(ElementType),
}

impl std::fmt::Display for PackedFormat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Q4K => formatter.write_str("q4_k"),
            Self::Q5K => formatter.write_str("q5_k"),
            Self::Q6K => formatter.write_str("q6_k"),
            Self::Q3K => formatter.write_str("q3_k"),
            Self::Q8 => formatter.write_str("q8"),
            Self::Q4 => formatter.write_str("q4"),
            Self::Iq4Nl => formatter.write_str("iq4_nl"),
            Self::Mxfp4 => formatter.write_str("mxfp4"),
            Self::Iq4Xs => formatter.write_str("iq4_xs"),
            Self::F16 => formatter.write_str("f16"),
            Self::BF16 => formatter.write_str("bf16"),
            Self::F32 => formatter.write_str("f32"),
            Self::Blocks(element_type) => write!(formatter, "blocks of {element_type}"),
            Self::Affine(affine) => write!(formatter, "{affine:?}"),
        }
    }
}

impl PackedFormat {
    /// The form that weights of this type take; none for types that are not numbers.
    pub const fn of(element_type: ElementType) -> Option<Self> {
        Some(match element_type {
            ElementType::Q4K => Self::Q4K,
            ElementType::Q5K => Self::Q5K,
            ElementType::Q6K => Self::Q6K,
            ElementType::Q3K => Self::Q3K,
            ElementType::Q8_0 => Self::Q8,
            ElementType::Q4_0 => Self::Q4,
            ElementType::Iq4Nl => Self::Iq4Nl,
            ElementType::Mxfp4 => Self::Mxfp4,
            ElementType::Iq4Xs => Self::Iq4Xs,
            ElementType::F16 => Self::F16,
            ElementType::BF16 => Self::BF16,
            ElementType::F32 => Self::F32,
            other if dequantise::is_known(other) => Self::Blocks(other),
            _ => return None,
        })
    }

    /// Columns of one unit.
    pub const fn unit_columns(self) -> usize {
        match self {
            Self::Q4K | Self::Q5K | Self::Q6K | Self::Q3K | Self::Iq4Xs => 256,
            Self::Q8 | Self::Q4 | Self::Iq4Nl | Self::Mxfp4 | Self::Affine(_) => 64,
            Self::F16 | Self::BF16 | Self::F32 => 32,
            Self::Blocks(element_type) => element_type.block().0 as usize,
        }
    }

    /// Bytes of one unit of sixteen rows.
    pub const fn unit_bytes(self) -> usize {
        match self {
            // 4-bit numbers, then scales, minima and the two factors.
            Self::Q4K => 2048 + 128 + 128 + 32 + 32,
            // The same, with a bit per number after the 4-bit numbers.
            Self::Q5K => 2048 + 512 + 128 + 128 + 32 + 32,
            // Low 4 bits, high 2 bits, scales, factor, and 32 bytes to the next cache line.
            Self::Q6K => 2048 + 1024 + 256 + 32 + 32,
            // Low 2 bits, high bit, scales, factor, and 32 bytes to the next cache line.
            Self::Q3K => 1024 + 512 + 256 + 32 + 32,
            Self::Q8 => 1024 + 64,
            Self::Q4 | Self::Iq4Nl | Self::Mxfp4 => 512 + 64,
            // 4-bit numbers, scales, factor, and 32 bytes to the next cache line.
            Self::Iq4Xs => 2048 + 128 + 32 + 32,
            Self::F16 | Self::BF16 => 32 * 16 * 2,
            Self::F32 => 32 * 16 * 4,
            Self::Affine(affine) => affine.unit_bytes(),
            Self::Blocks(element_type) => element_type.block().1 as usize * ROWS_INTERLEAVED,
        }
    }

    /// Units that `columns` columns take.
    pub const fn units(self, columns: usize) -> usize {
        columns.div_ceil(self.unit_columns())
    }

    /// Bytes of a matrix, its last group of rows filled up with zeros.
    pub const fn bytes(self, shape: Shape) -> usize {
        shape.copies * shape.groups() * self.units(shape.columns) * self.unit_bytes()
    }

    /// Whether activations are quantised to multiply with it.
    pub const fn takes_quantised_activations(self) -> bool {
        self.has_whole_scales() || matches!(self, Self::Q8 | Self::Q4 | Self::Iq4Nl | Self::Mxfp4 | Self::Affine(_))
    }

    /// Whether scales are whole numbers within 256 columns, times one number in half precision.
    pub const fn has_whole_scales(self) -> bool {
        matches!(self, Self::Q4K | Self::Q5K | Self::Q6K | Self::Q3K | Self::Iq4Xs)
    }
}

/// The extents of a matrix, or of several stacked ones (experts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Outputs.
    pub rows: usize,
    /// Inputs, contiguous in the file.
    pub columns: usize,
    /// Stacked matrices; 1 for one alone.
    pub copies: usize,
}

impl Shape {
    /// One matrix.
    pub const fn matrix(rows: usize, columns: usize) -> Self {
        Self { rows, columns, copies: 1 }
    }

    /// Groups of sixteen rows of one copy.
    pub const fn groups(self) -> usize {
        self.rows.div_ceil(ROWS_INTERLEAVED)
    }
}

/// Why a tensor could not be repacked.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The element type has no kernels.
    #[error("there is no kernel for weights of the type {0}")]
    Type(ElementType),
    /// The bytes are not those of the shape.
    #[error("the tensor has {found} bytes where its shape asks for {expected}")]
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes of the shape.
        expected: usize,
    },
    /// Affine numbers in a form that has no kernels.
    #[error("there is no kernel for {bits}-bit numbers in groups of {group}")]
    Affine {
        /// Bits of a number.
        bits: usize,
        /// Columns that share a scale.
        group: usize,
    },
    /// The columns do not fill whole blocks.
    #[error("rows of {columns} elements do not fill blocks of {block}")]
    Block {
        /// Elements of a row.
        columns: usize,
        /// Elements of a block.
        block: usize,
    },
    /// A weight is not a finite number.
    #[error("the tensor holds a value that is not a finite number, in row {row}")]
    NotFinite {
        /// The first such row.
        row: usize,
    },
    /// No memory.
    #[error("no memory for {bytes} bytes of weights")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A repacked matrix, or several stacked ones.
#[derive(Clone, Debug)]
pub struct PackedWeight {
    /// How it holds its numbers.
    pub format: PackedFormat,
    /// Its extents.
    pub shape: Shape,
    /// Its bytes, [`PackedFormat::bytes`] of them.
    region: Region,
    /// What products with each copy are multiplied by; none for one.
    scales: Option<Arc<[f32]>>,
}

impl PackedWeight {
    /// A matrix whose repacked bytes are there already. None if their number is another.
    pub fn from_region(format: PackedFormat, shape: Shape, region: Region) -> Option<Self> {
        (region.len() == format.bytes(shape)).then_some(Self { format, shape, region, scales: None })
    }

    /// The same, each copy times a number of its own.
    ///
    /// # Panics
    ///
    /// If there are more or fewer numbers than copies.
    pub fn scaled(self, scales: &[f32]) -> Self {
        assert_eq!(scales.len(), self.shape.copies, "every copy has a number");
        Self { scales: Some(scales.into()), ..self }
    }

    /// What products with a copy are multiplied by; none for one.
    pub(crate) fn scale(&self, copy: usize) -> Option<f32> {
        self.scales.as_ref().map(|scales| scales[copy])
    }

    /// Repacks a tensor as files hold it (rows one after the other) into memory of its own.
    pub fn pack(element_type: ElementType, shape: Shape, bytes: &[u8], pool: &Pool) -> Result<Self, PackError> {
        let format = PackedFormat::of(element_type).ok_or(PackError::Type(element_type))?;
        let total = format.bytes(shape);
        let mut memory = Memory::zeroed(total).map_err(|source| PackError::Memory { bytes: total, source })?;
        Self::pack_into(element_type, shape, bytes, memory.bytes_mut(), pool)?;
        Ok(Self { format, shape, region: Region::from_memory(memory), scales: None })
    }

    /// Repacks a tensor into `packed`, which has [`PackedFormat::bytes`] zero bytes.
    pub fn pack_into(
        element_type: ElementType,
        shape: Shape,
        bytes: &[u8],
        packed: &mut [u8],
        pool: &Pool,
    ) -> Result<(), PackError> {
        let format = PackedFormat::of(element_type).ok_or(PackError::Type(element_type))?;
        let (block, _) = element_type.block();
        let block = block as usize;
        if !shape.columns.is_multiple_of(block) {
            return Err(PackError::Block { columns: shape.columns, block });
        }
        let row_bytes = element_type.row_bytes(shape.columns as u64) as usize;
        let expected = row_bytes * shape.rows * shape.copies;
        if bytes.len() != expected {
            return Err(PackError::Length { found: bytes.len(), expected });
        }
        pack::pack(format, element_type, shape, bytes, packed, pool)
    }

    /// The repacked bytes.
    pub fn bytes(&self) -> &[u8] {
        self.region.bytes()
    }

    /// Bytes of one group of sixteen rows.
    pub const fn group_bytes(&self) -> usize {
        self.format.units(self.shape.columns) * self.format.unit_bytes()
    }

    /// The bytes of group `group` of copy `copy`.
    pub(crate) fn group(&self, copy: usize, group: usize) -> &[u8] {
        let start = (copy * self.shape.groups() + group) * self.group_bytes();
        &self.bytes()[start..start + self.group_bytes()]
    }

    /// Row `row` of copy 0 as numbers.
    ///
    /// # Panics
    ///
    /// If there is no such row or `values` has another length than the row.
    pub fn row(&self, row: usize, values: &mut [f32]) {
        assert!(row < self.shape.rows && values.len() == self.shape.columns, "no such row of this length");
        let group = self.group(0, row / ROWS_INTERLEAVED);
        let columns = self.format.unit_columns();
        let mut unit = Unit::new();
        for (index, values) in values.chunks_mut(columns).enumerate() {
            let bytes = &group[index * self.format.unit_bytes()..][..self.format.unit_bytes()];
            unit.read_row(self.format, bytes, row % ROWS_INTERLEAVED, values);
        }
        if let Some(scale) = self.scale(0) {
            for value in values {
                *value *= scale;
            }
        }
    }
}
