//! Products of several tokens with AVX2 alone: a unit is unpacked once for up to 64 of them, and both registers of its
//! rows share each activation that is spread. Sums of products stay in 16 bits for as many columns as these suffice.

#![expect(unsafe_code, reason = "SIMD")]

use std::arch::x86_64::*;
use std::ops::Range;

use crate::activation::{Activations, QuantisedTile, TILE_TOKENS_MAX};
use crate::weight::PackedFormat;

use super::super::{Matrix, Out};
use super::write_sums;

mod blocks;
mod super_blocks;

/// Tiles that share an unpacked unit: unpacking costs a fifteenth of their products then, and the first cache holds all.
const TILES_MAX: usize = 8;
/// Tokens from which this is faster than unpacking while multiplying.
const TOKENS_MIN: usize = 3;
/// The same for numbers of eight bits, of which each is multiplied in two parts either way.
const TOKENS_MIN_8_BITS: usize = 16;
/// Batches of at most so many tokens wait for weights from memory, and ask for them ahead.
const TOKENS_ASKING_MAX: usize = 32;

/// Sums of sixteen rows, of a tile's tokens.
type TileSums = [[__m256; 2]; TILE_TOKENS_MAX];

/// What of the weights that come later is asked for while a tile is multiplied.
#[derive(Clone, Copy)]
struct Ahead {
    unit: *const u8,
    /// Lines with each piece of a unit.
    lines: usize,
}

/// A unit of sixteen rows, its numbers in bytes: one of a kind of weights.
trait Unpacked {
    /// Pieces of a unit; with each, the same number of lines is asked for ahead.
    const PIECES: usize;

    /// One of zeros.
    unsafe fn zero() -> Self;
    /// Holds a unit of the format from here on.
    unsafe fn read(&mut self, format: PackedFormat, unit: *const u8);
    /// Adds the products with one tile, whose unit `index` this is.
    unsafe fn add(
        &self,
        format: PackedFormat,
        parts: &QuantisedTile<'_>,
        index: usize,
        sums: &mut TileSums,
        ahead: Ahead,
    );
}

/// Whether products of such a batch with such weights are computed here.
pub(super) const fn is_for(format: PackedFormat, tokens: usize) -> bool {
    match format {
        PackedFormat::Q5K | PackedFormat::Q6K | PackedFormat::Q3K | PackedFormat::Q4 => tokens >= TOKENS_MIN,
        PackedFormat::Q8 => tokens >= TOKENS_MIN_8_BITS,
        _ => false,
    }
}

/// Groups of sixteen rows times the batch. The caller knows that the processor has AVX2, and that they are for here.
pub(super) fn groups(matrix: Matrix<'_>, groups: Range<usize>, activations: &Activations, out: Out) {
    let format = matrix.weight.format;
    let tiles = activations.quantised_tiles(format);
    let asks = activations.tokens() <= TOKENS_ASKING_MAX;
    let rows = groups.map(|group| (group, matrix.weight.group(matrix.copy, group)));
    // SAFETY: the groups are whole, the tiles have the columns of the matrix, the processor the instructions.
    unsafe {
        match format {
            PackedFormat::Q8 | PackedFormat::Q4 => groups_of::<blocks::Unit>(format, rows, &tiles, asks, out),
            _ => groups_of::<super_blocks::Unit>(format, rows, &tiles, asks, out),
        }
    }
}

/// Groups of sixteen rows, each with its bytes, times all tiles. The processor has the instructions.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn groups_of<'a, U: Unpacked>(
    format: PackedFormat,
    groups: impl Iterator<Item = (usize, &'a [u8])>,
    tiles: &[QuantisedTile<'_>],
    asks: bool,
    out: Out,
) {
    // SAFETY: the processor has the instructions.
    let mut unpacked = unsafe { U::zero() };
    for (group, bytes) in groups {
        for tiles in tiles.chunks(TILES_MAX) {
            // Sums are set to zero, which costs small batches more than it should with room for the most tiles.
            let run = if tiles.len() == 1 { some_tiles::<U, 1> } else { some_tiles::<U, TILES_MAX> };
            // SAFETY: as the caller says.
            unsafe { run(format, bytes, tiles, asks, group, out, &mut unpacked) };
        }
    }
}

/// Sixteen rows times up to `TILES` tiles.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn some_tiles<U: Unpacked, const TILES: usize>(
    format: PackedFormat,
    group_bytes: &[u8],
    tiles: &[QuantisedTile<'_>],
    asks: bool,
    group: usize,
    out: Out,
    unpacked: &mut U,
) {
    let mut sums: [TileSums; TILES] = [[[_mm256_setzero_ps(); 2]; TILE_TOKENS_MAX]; TILES];
    let lines = if asks { format.unit_bytes().div_ceil(64 * U::PIECES) } else { 0 };
    for (index, unit) in group_bytes.chunks_exact(format.unit_bytes()).enumerate() {
        // SAFETY: the unit is whole, and each tile has its columns.
        unsafe {
            unpacked.read(format, unit.as_ptr());
            let mut ahead = Ahead { unit: unit.as_ptr(), lines };
            for (parts, sums) in tiles.iter().zip(&mut sums) {
                unpacked.add(format, parts, index, sums, ahead);
                ahead.lines = 0;
            }
        }
    }
    for (sums, parts) in sums.iter().zip(tiles) {
        // SAFETY: the rows and tokens are the caller's.
        unsafe { write_sums(sums, parts.tile(), group, out) };
    }
}
