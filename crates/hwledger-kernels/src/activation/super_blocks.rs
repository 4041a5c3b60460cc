//! Activations as bytes in super-blocks: 256 columns of a token share a scale, as in ggml's `Q8_K`.
//!
//! The scales of K-quants are whole numbers within such a block, so that its whole product is an exact integer, and
//! one conversion to single precision serves 256 columns.

use crate::instruction_set::InstructionSet;
use crate::memory::Buffer;
use crate::quantise::quantise_super_block;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::weight::IQ4_OFFSET;

use super::{Arrangement, Tile};

/// Columns of a super-block.
pub(crate) const SUPER_BLOCK_COLUMNS: usize = 256;
/// What is taken off the 6-bit numbers of `Q6_K`.
pub(crate) const OFFSET_6_BIT: i32 = 32;

/// How much larger the offset of `Q6_K` is than that of `Q3_K`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) const TIMES_3_BIT: i32 = OFFSET_6_BIT / 4;

/// -128 times the sum of the bytes of part `part` of 32 columns: what is taken off products with the numbers of
/// `IQ4_XS`. `offsets` are those of one token, `width` apart.
///
/// # Safety
///
/// There are offsets of `2 * part + 2` parts of 16 columns.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[expect(unsafe_code, reason = "kernels go through tiles by addresses")]
#[inline(always)]
pub(crate) unsafe fn offset_of_32(offsets: *const i32, part: usize, width: usize) -> i32 {
    const TIMES: i32 = IQ4_OFFSET as i32 / OFFSET_6_BIT;
    // SAFETY: as the caller says.
    unsafe { TIMES * (*offsets.add(2 * part * width) + *offsets.add((2 * part + 1) * width)) }
}

/// -32 times the sums of 16 bytes as AVX2 adds products: that of the first two of each four in the low 16 bits, that of
/// the others in the high ones. Both fit, since bytes are at least -127.
fn in_lanes(bytes: &[i8]) -> i32 {
    let mut sums = [0_i32; 2];
    for four in bytes.as_chunks::<4>().0 {
        sums[0] += i32::from(four[0]) + i32::from(four[1]);
        sums[1] += i32::from(four[2]) + i32::from(four[3]);
    }
    (-OFFSET_6_BIT * sums[0]) & 0xffff | (-OFFSET_6_BIT * sums[1]) << 16
}

/// A batch in super-blocks. Tiles as [`Arrangement::Interleaved`] lays them out.
#[derive(Debug)]
pub(super) struct SuperBlocks {
    /// Per tile `[column / 4][token][4]`.
    bytes: Buffer<i8>,
    /// Per tile `[column / 256][width]`: what one unit of a byte is worth.
    scales: Buffer<f32>,
    /// Per tile `[column / 64][width]`: the sums of two times 32 bytes, in 16 bits each.
    sums: Buffer<i32>,
    /// Per tile `[column / 16][width]`: -32 times the sum of 16 bytes; for AVX2, which adds in 16 bits, as [`in_lanes`].
    offsets: Buffer<i32>,
}

/// One tile's parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SuperBlockParts<'a> {
    pub(crate) tile: Tile,
    pub(crate) bytes: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [i32],
    pub(crate) offsets: &'a [i32],
}

impl SuperBlocks {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            bytes: Buffer::zeroed(0)?,
            scales: Buffer::zeroed(0)?,
            sums: Buffer::zeroed(0)?,
            offsets: Buffer::zeroed(0)?,
        })
    }

    /// Bytes of its buffers.
    pub(super) fn buffer_bytes(&self) -> usize {
        self.bytes.bytes() + self.scales.bytes() + self.sums.bytes() + self.offsets.bytes()
    }

    /// Makes room for `tokens` of `padded` columns, and says where they go.
    pub(super) fn reserve(&mut self, tokens: usize, padded: usize) -> std::io::Result<SuperBlocksMut> {
        let places = Arrangement::Interleaved.tiles(tokens).map(|tile| tile.width).sum::<usize>() * padded;
        self.bytes.reserve(places)?;
        self.scales.reserve(places / SUPER_BLOCK_COLUMNS)?;
        self.sums.reserve(places / 64)?;
        self.offsets.reserve(places / 16)?;
        Ok(SuperBlocksMut {
            tokens,
            padded,
            bytes: self.bytes.as_mut_ptr(),
            scales: self.scales.as_mut_ptr(),
            sums: self.sums.as_mut_ptr(),
            offsets: self.offsets.as_mut_ptr(),
        })
    }

    /// The tiles of `tokens` of `padded` columns with their parts.
    pub(super) fn tiles(&self, tokens: usize, padded: usize) -> impl Iterator<Item = SuperBlockParts<'_>> {
        Arrangement::Interleaved.tiles(tokens).map(move |tile| {
            let places = tile.first * padded..(tile.first + tile.width) * padded;
            let share = |columns: usize| places.start / columns..places.end / columns;
            SuperBlockParts {
                tile,
                bytes: &self.bytes[places.clone()],
                scales: &self.scales[share(SUPER_BLOCK_COLUMNS)],
                sums: &self.sums[share(64)],
                offsets: &self.offsets[share(16)],
            }
        })
    }
}

/// Where a batch in super-blocks goes. Rows write parts of their own, so threads may share it.
pub(super) struct SuperBlocksMut {
    tokens: usize,
    padded: usize,
    bytes: *mut i8,
    scales: *mut f32,
    sums: *mut i32,
    offsets: *mut i32,
}

#[expect(unsafe_code, reason = "threads write interleaved parts of one buffer")]
// SAFETY: it only carries addresses; each row writes places that no other row has.
unsafe impl Sync for SuperBlocksMut {}

impl SuperBlocksMut {
    /// Quantises one row into its place in its tile.
    pub(super) fn quantise(&self, token: usize, row: &[f32], set: InstructionSet) {
        let Tile { first, width, .. } = Arrangement::Interleaved.tile(token, self.tokens);
        let (slot, start) = (token - first, first * self.padded);
        for (index, values) in row.chunks_exact(SUPER_BLOCK_COLUMNS).enumerate() {
            let block = quantise_super_block(values, set);
            let column = index * SUPER_BLOCK_COLUMNS;
            // SAFETY: the buffers were reserved for every tile, and this slot of the tile is this token's.
            #[expect(unsafe_code, reason = "interleaved places are written through addresses")]
            unsafe {
                for (group, four) in block.bytes.as_flattened().chunks_exact(4).enumerate() {
                    let place = self.bytes.add(start + column * width + (group * width + slot) * 4);
                    place.copy_from_nonoverlapping(four.as_ptr(), 4);
                }
                *self.scales.add((start + column * width) / SUPER_BLOCK_COLUMNS + slot) = block.scale;
                for (part, &sum) in block.sums.as_flattened().iter().enumerate() {
                    let place = self.offsets.add((start + column * width) / 16 + part * width + slot);
                    *place = if set == InstructionSet::Avx2 {
                        in_lanes(&block.bytes.as_flattened()[part * 16..][..16])
                    } else {
                        -OFFSET_6_BIT * sum
                    };
                }
                for (pair, sums) in block.sums.chunks_exact(2).enumerate() {
                    let [low, high] = [sums[0][0] + sums[0][1], sums[1][0] + sums[1][1]];
                    let place = self.sums.add((start + column * width) / 64 + pair * width + slot);
                    *place = low & 0xffff | high << 16;
                }
            }
        }
    }
}
