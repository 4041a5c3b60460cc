//! Activations as the products take them: quantised in small tiles, as bfloat16 tiles, or plain.

use crate::instruction_set::InstructionSet;
use crate::memory::Buffer;
use crate::pool::Pool;
use crate::quantise::{quantise_block, round_block};
use crate::weight::PackedFormat;

mod super_blocks;

use super_blocks::SuperBlocks;
pub(crate) use super_blocks::{SUPER_BLOCK_COLUMNS, SuperBlockParts};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use super_blocks::{TIMES_3_BIT, offset_of_32};

/// Most tokens of one tile: accumulators for eight tokens and two blocks fill the registers of AVX-512.
pub const TILE_TOKENS_MAX: usize = 8;

/// Columns are filled up with zeros to a multiple of this.
const COLUMNS_GRID: usize = 256;

/// Tokens from which tiles of bfloat16 are faster than tiles of bytes: below, the decoding of weights costs more
/// than the tiles save (`benches/products.rs`).
const AMX_TOKENS_MIN: usize = 32;
/// Tokens from which tiles of bytes are faster than dot products of bytes, which take eight tokens at a time.
const BYTE_TILES_TOKENS_MIN: usize = 9;

/// Tokens and columns of one AMX tile of bfloat16 numbers.
pub(crate) const AMX_ROWS: usize = 16;
/// Columns of one such tile.
pub(crate) const AMX_COLUMNS: usize = 32;

/// By which arithmetic a product is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// Bytes times bytes, in blocks of 32 columns with a scale per token.
    Bytes,
    /// The same, to the last bit, in tiles of AMX.
    ByteTiles,
    /// Bytes times bytes, in super-blocks of 256 columns with a scale per token: for weights whose scales are whole
    /// numbers within such a block.
    SuperBlocks,
    /// bfloat16 times bfloat16, summed in single precision.
    BFloat16,
    /// Single precision.
    Float,
}

impl Arithmetic {
    /// The one for weights of this form and so many tokens.
    pub const fn of(format: PackedFormat, tokens: usize, set: InstructionSet) -> Self {
        let has_tiles = matches!(set, InstructionSet::Amx) && tokens >= AMX_TOKENS_MIN;
        match format {
            // Rounding these to bfloat16 would lose what they were kept for.
            PackedFormat::F16 | PackedFormat::F32 => Self::Float,
            _ if has_tiles => Self::BFloat16,
            _ if !format.takes_quantised_activations() => Self::Float,
            _ if format.has_whole_scales() => Self::SuperBlocks,
            _ if matches!(set, InstructionSet::Amx) && tokens >= BYTE_TILES_TOKENS_MIN => Self::ByteTiles,
            _ => Self::Bytes,
        }
    }
}

/// Batches of at least so many tokens are all multiplied by the same arithmetic, whatever the weights.
pub const fn uniform_tokens(set: InstructionSet) -> usize {
    match set {
        InstructionSet::Amx => AMX_TOKENS_MIN,
        _ => 1,
    }
}

/// Tokens side by side in one tile: token `first` of the batch and those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Its first token.
    pub(crate) first: usize,
    /// Tokens that it has room for: 1, 2, 4, 6 or 8.
    pub(crate) width: usize,
    /// Tokens that it holds.
    pub(crate) tokens: usize,
}

/// How the bytes of a tile lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrangement {
    /// `[column / 4][token][4]`, up to eight tokens: four bytes of each token side by side.
    Interleaved,
    /// `[column / 32][token][32]`, up to sixteen tokens: tiles of AMX.
    Tiled,
}

impl Arrangement {
    const fn tokens_max(self) -> usize {
        match self {
            Self::Interleaved => TILE_TOKENS_MAX,
            Self::Tiled => AMX_ROWS,
        }
    }

    /// Room of a tile of `held` tokens: a width that kernels are compiled for.
    const fn width(self, held: usize) -> usize {
        match (self, held) {
            (Self::Interleaved, 3) => 4,
            (Self::Interleaved, 5) => 6,
            (Self::Interleaved, 7) => 8,
            (Self::Interleaved, other) => other,
            (Self::Tiled, held) => held.next_multiple_of(4),
        }
    }

    /// The tile of a token.
    fn tile(self, token: usize, tokens: usize) -> Tile {
        let first = token / self.tokens_max() * self.tokens_max();
        let held = (tokens - first).min(self.tokens_max());
        Tile { first, width: self.width(held), tokens: held }
    }

    /// The tiles of a batch: full ones, then one for the rest.
    fn tiles(self, tokens: usize) -> impl Iterator<Item = Tile> {
        (0..tokens).step_by(self.tokens_max()).map(move |first| self.tile(first, tokens))
    }
}

/// A batch of activations, in whichever forms its products need.
#[derive(Debug)]
pub struct Activations {
    tokens: usize,
    columns: usize,
    padded: usize,
    arrangement: Arrangement,
    /// `[token][padded column]`.
    values: Buffer<f32>,
    /// Per tile as [`Arrangement`] says.
    bytes: Buffer<i8>,
    /// Per tile `[column / 32][width]`: what one unit of a byte is worth.
    scales: Buffer<f32>,
    /// Per tile `[column / 32][width]`: sums of the values of 32 columns.
    sums: Buffer<f32>,
    /// The same values in super-blocks.
    super_blocks: SuperBlocks,
    /// `[token / 16][column / 32][16][32]` as bfloat16 bits.
    halves: Buffer<u16>,
}

/// One tile's parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileParts<'a> {
    pub(crate) tile: Tile,
    pub(crate) bytes: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [f32],
}

/// One tile, in the form that weights of some format take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QuantisedTile<'a> {
    /// In blocks of 32 columns.
    Blocks(TileParts<'a>),
    /// In super-blocks of 256.
    SuperBlocks(SuperBlockParts<'a>),
}

impl QuantisedTile<'_> {
    /// Its tokens.
    pub(crate) const fn tile(&self) -> Tile {
        match self {
            Self::Blocks(parts) => parts.tile,
            Self::SuperBlocks(parts) => parts.tile,
        }
    }
}

impl Activations {
    /// Room for nothing yet.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            tokens: 0,
            columns: 0,
            padded: 0,
            arrangement: Arrangement::Interleaved,
            values: Buffer::zeroed(0)?,
            bytes: Buffer::zeroed(0)?,
            scales: Buffer::zeroed(0)?,
            sums: Buffer::zeroed(0)?,
            super_blocks: SuperBlocks::new()?,
            halves: Buffer::zeroed(0)?,
        })
    }

    /// Bytes of its buffers.
    pub fn buffer_bytes(&self) -> usize {
        self.values.bytes()
            + self.bytes.bytes()
            + self.scales.bytes()
            + self.sums.bytes()
            + self.super_blocks.buffer_bytes()
            + self.halves.bytes()
    }

    /// Tokens of the batch.
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Columns of a token.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// Takes a batch: `fill(token, row)` writes each token's `columns` values, on any thread; the
    /// forms that `needed` names are made of them. Fails where the system refuses memory.
    pub fn fill(
        &mut self,
        tokens: usize,
        columns: usize,
        needed: &[Arithmetic],
        pool: &Pool,
        set: InstructionSet,
        fill: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) -> std::io::Result<()> {
        let padded = columns.next_multiple_of(COLUMNS_GRID);
        let arrangement =
            if needed.contains(&Arithmetic::ByteTiles) { Arrangement::Tiled } else { Arrangement::Interleaved };
        let slots = arrangement.tiles(tokens).map(|tile| tile.width).sum::<usize>();
        (self.tokens, self.columns, self.padded, self.arrangement) = (tokens, columns, padded, arrangement);
        self.values.reserve(tokens * padded)?;
        let bytes_needed = arrangement == Arrangement::Tiled || needed.contains(&Arithmetic::Bytes);
        let super_blocks = if needed.contains(&Arithmetic::SuperBlocks) {
            Some(self.super_blocks.reserve(tokens, padded)?)
        } else {
            None
        };
        let halves_needed = needed.contains(&Arithmetic::BFloat16);
        if bytes_needed {
            self.bytes.reserve(slots * padded)?;
            self.scales.reserve(slots * padded / 32)?;
            self.sums.reserve(slots * padded / 32)?;
        }
        if halves_needed {
            self.halves.reserve(tokens.next_multiple_of(2 * AMX_ROWS) * padded)?;
        }
        let target = QuantisedMut {
            padded,
            arrangement,
            bytes: self.bytes.as_mut_ptr(),
            scales: self.scales.as_mut_ptr(),
            sums: self.sums.as_mut_ptr(),
            halves: self.halves.as_mut_ptr(),
        };
        let target = &target;
        // A chunk of several rows where there are many: claiming costs, and rows take about a microsecond.
        let rows = tokens.div_ceil(4 * pool.threads()).clamp(1, 8);
        pool.run_on_chunks(&mut self.values[..tokens * padded], rows * padded, &|chunk, values| {
            for (index, row) in values.chunks_mut(padded).enumerate() {
                let token = chunk * rows + index;
                fill(token, &mut row[..columns]);
                // Batches of other shapes left other values there.
                row[columns..].fill(0.0);
                if bytes_needed {
                    target.quantise(token, tokens, row, set);
                }
                if let Some(super_blocks) = &super_blocks {
                    super_blocks.quantise(token, row, set);
                }
                if halves_needed {
                    target.round(token, row, set);
                }
            }
        });
        Ok(())
    }

    /// The values of one token, with the zeros after them.
    pub fn row(&self, token: usize) -> &[f32] {
        &self.values[token * self.padded..][..self.padded]
    }

    /// The tiles with their parts.
    pub(crate) fn tiles(&self) -> impl Iterator<Item = TileParts<'_>> {
        self.arrangement.tiles(self.tokens).map(|tile| {
            let (start, size) = (tile.first * self.padded, tile.width * self.padded);
            TileParts {
                tile,
                bytes: &self.bytes[start..start + size],
                scales: &self.scales[start / 32..(start + size) / 32],
                sums: &self.sums[start / 32..(start + size) / 32],
            }
        })
    }

    /// The tiles in super-blocks with their parts.
    pub(crate) fn super_blocks(&self) -> impl Iterator<Item = SuperBlockParts<'_>> {
        self.super_blocks.tiles(self.tokens, self.padded)
    }

    /// The tiles in the form that weights of a format take.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(crate) fn quantised_tiles(&self, format: PackedFormat) -> Vec<QuantisedTile<'_>> {
        if format.has_whole_scales() {
            self.super_blocks().map(QuantisedTile::SuperBlocks).collect()
        } else {
            self.tiles().map(QuantisedTile::Blocks).collect()
        }
    }

    /// `[token / 16][column / 32][16][32]` as bfloat16 bits; columns filled up to a multiple of 256.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn halves(&self) -> (&[u16], usize) {
        (&self.halves, self.padded)
    }
}

/// Where quantised values go. Rows write parts of their own, so threads may share it.
struct QuantisedMut {
    padded: usize,
    arrangement: Arrangement,
    bytes: *mut i8,
    scales: *mut f32,
    sums: *mut f32,
    halves: *mut u16,
}

#[expect(unsafe_code, reason = "threads write interleaved parts of one buffer")]
// SAFETY: it only carries addresses; each row writes places that no other row has.
unsafe impl Sync for QuantisedMut {}

#[expect(unsafe_code, reason = "interleaved places are written through addresses")]
impl QuantisedMut {
    /// Quantises one row into its place in its tile.
    fn quantise(&self, token: usize, tokens: usize, row: &[f32], set: InstructionSet) {
        let Tile { first, width, .. } = self.arrangement.tile(token, tokens);
        let slot = token - first;
        let start = first * self.padded;
        for (block, values) in row.chunks_exact(32).enumerate() {
            let quantised = quantise_block(values, set);
            // SAFETY: the buffers were reserved for every tile, and this slot of the tile is this token's.
            unsafe {
                match self.arrangement {
                    Arrangement::Interleaved => {
                        for (group, four) in quantised.bytes.chunks_exact(4).enumerate() {
                            let place = self.bytes.add(start + ((block * 8 + group) * width + slot) * 4);
                            place.copy_from_nonoverlapping(four.as_ptr(), 4);
                        }
                    }
                    Arrangement::Tiled => {
                        let place = self.bytes.add(start + (block * width + slot) * 32);
                        place.copy_from_nonoverlapping(quantised.bytes.as_ptr(), 32);
                    }
                }
                *self.scales.add(start / 32 + block * width + slot) = quantised.scale;
                *self.sums.add(start / 32 + block * width + slot) =
                    quantised.scale * (quantised.sums[0] + quantised.sums[1]) as f32;
            }
        }
    }

    /// Rounds one row to bfloat16, into its row of its tiles.
    fn round(&self, token: usize, row: &[f32], set: InstructionSet) {
        let start = token / AMX_ROWS * AMX_ROWS * self.padded + token % AMX_ROWS * AMX_COLUMNS;
        for (step, values) in row.chunks_exact(AMX_COLUMNS).enumerate() {
            // SAFETY: the buffer was reserved for every token, and this row of the tile is this token's.
            let place = unsafe {
                std::slice::from_raw_parts_mut(self.halves.add(start + step * AMX_ROWS * AMX_COLUMNS), AMX_COLUMNS)
            };
            round_block(values, place, set);
        }
    }
}
