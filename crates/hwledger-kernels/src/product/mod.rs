//! Products of repacked weights with a batch of activations.

#[cfg(test)]
mod affine_tests;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod short;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::Range;

use crate::activation::{Activations, Arithmetic};
use crate::instruction_set::InstructionSet;
use crate::pool::Pool;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::weight::{E2M1_NUMBERS, E2M1_OFFSET, IQ4_NUMBERS, IQ4_OFFSET};
use crate::weight::{PackedFormat, PackedWeight, ROWS_INTERLEAVED};

/// Weight bytes that one chunk of a small batch streams: some tens of microseconds.
const CHUNK_BYTES: usize = 192 << 10;
/// Groups of rows that one chunk of bfloat16 tiles covers: enough that activations, read once
/// per chunk, come slower from outer caches than tiles are multiplied.
const AMX_GROUPS: usize = 8;
/// Multiply-adds of one chunk of a large batch without tiles.
const CHUNK_WORK: usize = 8 << 20;

/// Whether the processor has AMX with bfloat16 and the system lets this process use it.
#[cfg(target_arch = "x86_64")]
pub(crate) fn amx_is_usable() -> bool {
    amx::is_usable()
}

/// One matrix, or one of several stacked ones.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Its numbers.
    pub weight: &'a PackedWeight,
    /// Which of the stacked copies.
    pub copy: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix alone.
    pub const fn of(weight: &'a PackedWeight) -> Self {
        Self { weight, copy: 0 }
    }
}

/// Matrices on top of each other, times a batch:
/// `out[token][row] = sum over columns of matrix[row][column] x activation[token][column]`.
#[derive(Debug)]
pub struct Product<'a> {
    /// The matrices; the rows of each come after those of the one before.
    pub matrices: &'a [Matrix<'a>],
    /// The batch.
    pub activations: &'a Activations,
    /// `[token][stride]`; numbers past the last row are left as they are.
    pub out: &'a mut [f32],
    /// Distance of one token's outputs from the next's, at least the number of rows.
    pub stride: usize,
}

/// Where outputs go. Chunks write rows of their own.
#[derive(Clone, Copy)]
struct Out {
    start: *mut f32,
    stride: usize,
    rows: usize,
    /// What all outputs are multiplied by; none for one.
    scale: Option<f32>,
}

// SAFETY: it only carries the address; each chunk writes rows that no other chunk has.
#[expect(unsafe_code, reason = "threads write different rows of one output")]
unsafe impl Sync for Out {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "threads write different rows of one output")]
unsafe impl Send for Out {}

/// One chunk: some groups of rows of one matrix.
struct Chunk<'a> {
    matrix: Matrix<'a>,
    activations: &'a Activations,
    out: Out,
    groups: Range<usize>,
}

/// Computes all products, the threads sharing all their rows.
///
/// # Panics
///
/// If a batch has other columns than its matrix, or an output is too short.
pub fn multiply(products: &mut [Product<'_>], pool: &Pool, set: InstructionSet) {
    let mut chunks = Vec::new();
    for product in products.iter_mut() {
        let tokens = product.activations.tokens();
        let rows: usize = product.matrices.iter().map(|matrix| matrix.weight.shape.rows).sum();
        assert!(product.stride >= rows, "the output has room for every row");
        assert!(tokens == 0 || product.out.len() >= (tokens - 1) * product.stride + rows, "and for every token");
        if tokens == 0 {
            continue;
        }
        let mut first_row = 0;
        for &matrix in product.matrices {
            let shape = matrix.weight.shape;
            assert_eq!(product.activations.columns(), shape.columns, "activations have the matrix's columns");
            assert!(matrix.copy < shape.copies, "there is such a copy");
            let start = product.out[first_row..].as_mut_ptr();
            let scale = matrix.weight.scale(matrix.copy);
            let out = Out { start, stride: product.stride, rows: shape.rows, scale };
            first_row += shape.rows;
            let groups = groups_per_chunk(matrix.weight, tokens, pool, set);
            for first in (0..shape.groups()).step_by(groups) {
                let groups = first..(first + groups).min(shape.groups());
                chunks.push(Chunk { matrix, activations: product.activations, out, groups });
            }
        }
    }
    let chunks = &*chunks;
    pool.run(chunks.len(), &|index| run_chunk(&chunks[index], set));
}

/// Some of the stacked copies of a matrix, each times a batch of its own (the heads of latent attention):
/// `out[token][copy][row] = sum over columns of matrix[first + copy][row][column] x activation[copy][token][column]`.
#[derive(Debug)]
pub struct CopiesProduct<'a> {
    /// The stacked matrices.
    pub weight: &'a PackedWeight,
    /// The first copy that takes part.
    pub first: usize,
    /// The batches, one per copy, all of as many tokens.
    pub activations: &'a [Activations],
    /// `[token][stride]`; numbers between the outputs are left as they are.
    pub out: &'a mut [f32],
    /// Distance of one token's outputs from the next's.
    pub stride: usize,
    /// Distance of one copy's outputs from the next's within a token, at least the number of rows.
    pub distance: usize,
}

/// Computes such a product, the threads sharing the rows of all copies.
///
/// # Panics
///
/// If batches differ in tokens or have other columns than the matrices, or an output is too short.
pub fn multiply_copies(product: &mut CopiesProduct<'_>, pool: &Pool, set: InstructionSet) {
    let CopiesProduct { weight, first, activations, ref mut out, stride, distance } = *product;
    let shape = weight.shape;
    let Some(tokens) = activations.first().map(Activations::tokens).filter(|&tokens| tokens > 0) else { return };
    let row = (activations.len() - 1) * distance + shape.rows;
    assert!(distance >= shape.rows && stride >= row, "the outputs of copies and tokens do not overlap");
    assert!(out.len() >= (tokens - 1) * stride + row, "the output has room for every token");
    assert!(first + activations.len() <= shape.copies, "there are such copies");
    let (start, groups) = (out.as_mut_ptr(), groups_per_chunk(weight, tokens, pool, set));
    let mut chunks = Vec::new();
    for (index, activations) in activations.iter().enumerate() {
        assert_eq!(activations.columns(), shape.columns, "activations have the matrix's columns");
        assert_eq!(activations.tokens(), tokens, "batches have as many tokens");
        let matrix = Matrix { weight, copy: first + index };
        // Within the output, as checked above.
        let start = start.wrapping_add(index * distance);
        let out = Out { start, stride, rows: shape.rows, scale: weight.scale(first + index) };
        for first in (0..shape.groups()).step_by(groups) {
            let groups = first..(first + groups).min(shape.groups());
            chunks.push(Chunk { matrix, activations, out, groups });
        }
    }
    let chunks = &*chunks;
    pool.run(chunks.len(), &|index| run_chunk(&chunks[index], set));
}

fn groups_per_chunk(weight: &PackedWeight, tokens: usize, pool: &Pool, set: InstructionSet) -> usize {
    let shape = weight.shape;
    let groups = match Arithmetic::of(weight.format, tokens, set) {
        Arithmetic::BFloat16 => AMX_GROUPS,
        Arithmetic::Bytes | Arithmetic::ByteTiles | Arithmetic::SuperBlocks | Arithmetic::Float => {
            let by_bytes = CHUNK_BYTES / weight.group_bytes().max(1);
            let by_work = CHUNK_WORK / (tokens * shape.columns * ROWS_INTERLEAVED).max(1);
            by_bytes.min(by_work)
        }
    };
    // Never so many that threads run out of chunks to share.
    groups.min(shape.groups().div_ceil(2 * pool.threads())).max(1)
}

fn run_chunk(chunk: &Chunk<'_>, set: InstructionSet) {
    let (Matrix { weight, copy }, activations, out) = (chunk.matrix, chunk.activations, chunk.out);
    let groups = chunk.groups.clone();
    match Arithmetic::of(weight.format, activations.tokens(), set) {
        #[cfg(target_arch = "x86_64")]
        Arithmetic::BFloat16 => amx::halves::groups(weight, copy, groups, activations, out),
        #[cfg(target_arch = "x86_64")]
        Arithmetic::ByteTiles => groups.for_each(|group| amx::bytes::group(weight, copy, group, activations, out)),
        #[cfg(target_arch = "x86_64")]
        Arithmetic::Float if set >= InstructionSet::Avx512 => {
            groups.for_each(|group| avx512::float_group(weight, copy, group, activations, out));
        }
        #[cfg(target_arch = "x86_64")]
        _ if set >= InstructionSet::Avx512 => avx512::quantised_groups(chunk.matrix, groups, activations, out),
        #[cfg(target_arch = "x86_64")]
        Arithmetic::Float if set >= InstructionSet::Avx2 => {
            groups.for_each(|group| avx2::float_group(weight, copy, group, activations, out));
        }
        #[cfg(target_arch = "x86_64")]
        _ if set >= InstructionSet::Avx2 => {
            let has_vnni = set == InstructionSet::AvxVnni;
            avx2::quantised_groups(chunk.matrix, groups, activations, out, has_vnni);
        }
        #[cfg(target_arch = "aarch64")]
        Arithmetic::Float if set == InstructionSet::Neon => {
            groups.for_each(|group| neon::float_group(weight, copy, group, activations, out));
        }
        #[cfg(target_arch = "aarch64")]
        _ if set == InstructionSet::Neon => neon::quantised_groups(chunk.matrix, groups, activations, out),
        Arithmetic::Bytes => groups.for_each(|group| scalar::bytes_group(weight, copy, group, activations, out)),
        Arithmetic::SuperBlocks => {
            groups.for_each(|group| scalar::super_blocks_group(weight, copy, group, activations, out));
        }
        _ => groups.for_each(|group| scalar::float_group(weight, copy, group, activations, out)),
    }
}

impl Out {
    /// Asks for the lines that [`Self::write`] will write: where it waits for them, all that is stored after waits too.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ask(self, tokens: Range<usize>, group: usize) {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        for token in tokens {
            let at = self.start.wrapping_add(token * self.stride + group * ROWS_INTERLEAVED);
            // SAFETY: a prefetch may point anywhere.
            #[expect(unsafe_code, reason = "SIMD")]
            unsafe {
                _mm_prefetch::<_MM_HINT_ET0>(at.cast());
            }
        }
    }

    /// Writes the outputs of one token for a group of rows.
    ///
    /// # Safety
    ///
    /// The group is of the caller's chunk and the token of the batch.
    #[expect(unsafe_code, reason = "threads write different rows of one output")]
    unsafe fn write(self, token: usize, group: usize, values: &[f32; ROWS_INTERLEAVED]) {
        let first = group * ROWS_INTERLEAVED;
        let count = ROWS_INTERLEAVED.min(self.rows - first);
        let scaled = self.scale.map(|scale| values.map(|value| value * scale));
        let values = scaled.as_ref().unwrap_or(values);
        // SAFETY: the caller of `run_chunk` checked that every row of every token is within the output.
        unsafe {
            let to = self.start.add(token * self.stride + first);
            if count == ROWS_INTERLEAVED {
                // Of a length that is known: no call.
                to.cast::<[f32; ROWS_INTERLEAVED]>().write_unaligned(*values);
            } else {
                to.copy_from_nonoverlapping(values.as_ptr(), count);
            }
        }
    }
}

/// In place of a number of bits: numbers of 4 bits are places in the table of `IQ4_NL`, whose bytes have no sign.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const IQ4: u32 = 0;
/// The same of the table of `MXFP4`, whose numbers have 5 bits.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const E2M1: u32 = 1;

/// What 4-bit numbers in blocks of 32 columns stand for.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
struct Nibbles {
    /// Numbers without sign; of `Q4_0` not used.
    table: &'static [u8; 16],
    /// What is taken off them.
    offset: f32,
    /// Whether their scales are bfloat16 and not half precision.
    has_bfloat16: bool,
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Nibbles {
    /// Those of a kind: 4, [`IQ4`] or [`E2M1`].
    const fn of(kind: u32) -> Self {
        match kind {
            IQ4 => Self { table: &IQ4_NUMBERS, offset: IQ4_OFFSET as f32, has_bfloat16: false },
            E2M1 => Self { table: &E2M1_NUMBERS, offset: E2M1_OFFSET as f32, has_bfloat16: true },
            _ => Self { table: &IQ4_NUMBERS, offset: 8.0, has_bfloat16: false },
        }
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
thread_local! {
    /// One group of rows decoded to single precision, `[column][row]`.
    static DECODED: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
/// Hands `run` one group's numbers, of a format that is not quantised: of blocks, those that they decode to.
fn with_floats(weight: &PackedWeight, copy: usize, group: usize, run: impl FnOnce(PackedFormat, *const u8)) {
    let bytes = weight.group(copy, group);
    if !matches!(weight.format, PackedFormat::Blocks(_)) {
        return run(weight.format, bytes.as_ptr());
    }
    DECODED.with_borrow_mut(|decoded| {
        decoded.clear();
        let mut unit = crate::weight::Unit::new();
        for data in bytes.chunks_exact(weight.format.unit_bytes()) {
            unit.read(weight.format, data);
            decoded.extend(unit.values[..unit.columns].as_flattened());
        }
        run(PackedFormat::F32, decoded.as_ptr().cast());
    });
}
