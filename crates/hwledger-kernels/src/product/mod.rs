//! Products of repacked weights with a batch of activations.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;
#[cfg(test)]
pub(crate) mod tests;

use crate::activation::{Activations, Arithmetic};
use crate::instruction_set::InstructionSet;
use crate::pool::Pool;
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

/// One product: `out[token][row] = sum over columns of weight[row][column] x activation[token][column]`.
#[derive(Debug)]
pub struct Product<'a> {
    /// The matrix.
    pub weight: &'a PackedWeight,
    /// Which of its stacked copies.
    pub copy: usize,
    /// The batch.
    pub activations: &'a Activations,
    /// `[token][stride]`; rows past the matrix's last are left as they are.
    pub out: &'a mut [f32],
    /// Distance of one token's outputs from the next's, at least the matrix's rows.
    pub stride: usize,
}

/// Where outputs go. Chunks write rows of their own.
#[derive(Clone, Copy)]
struct Out {
    start: *mut f32,
    stride: usize,
    rows: usize,
}

// SAFETY: it only carries the address; each chunk writes rows that no other chunk has.
#[expect(unsafe_code, reason = "threads write different rows of one output")]
unsafe impl Sync for Out {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "threads write different rows of one output")]
unsafe impl Send for Out {}

/// One chunk: some groups of rows of one product.
struct Chunk {
    product: usize,
    first: usize,
    groups: usize,
}

/// Computes all products, the threads sharing all their rows.
///
/// # Panics
///
/// If a batch has other columns than its matrix, or an output is too short.
pub fn multiply(products: &mut [Product<'_>], pool: &Pool, set: InstructionSet) {
    let mut chunks = Vec::new();
    let mut outs = Vec::with_capacity(products.len());
    for (index, product) in products.iter_mut().enumerate() {
        let tokens = product.activations.tokens();
        let shape = product.weight.shape;
        assert_eq!(product.activations.columns(), shape.columns, "activations have the matrix's columns");
        assert!(product.copy < shape.copies && product.stride >= shape.rows, "the output has room for every row");
        assert!(tokens == 0 || product.out.len() >= (tokens - 1) * product.stride + shape.rows, "and every token");
        outs.push(Out { start: product.out.as_mut_ptr(), stride: product.stride, rows: shape.rows });
        if tokens == 0 {
            continue;
        }
        let groups = match Arithmetic::of(product.weight.format, tokens, set) {
            Arithmetic::BFloat16 => AMX_GROUPS,
            Arithmetic::Bytes | Arithmetic::Float => {
                let by_bytes = CHUNK_BYTES / product.weight.group_bytes().max(1);
                let by_work = CHUNK_WORK / (tokens * shape.columns * ROWS_INTERLEAVED).max(1);
                by_bytes.min(by_work).max(1)
            }
        };
        // Never so large that threads run out of chunks to share.
        let groups = groups.min(shape.groups().div_ceil(2 * pool.threads())).max(1);
        for first in (0..shape.groups()).step_by(groups) {
            chunks.push(Chunk { product: index, first, groups: groups.min(shape.groups() - first) });
        }
    }
    let (products, chunks, outs) = (&*products, &*chunks, &*outs);
    pool.run(chunks.len(), &|index| {
        let chunk = &chunks[index];
        run_chunk(&products[chunk.product], outs[chunk.product], chunk, set);
    });
}

fn run_chunk(product: &Product<'_>, out: Out, chunk: &Chunk, set: InstructionSet) {
    let (weight, activations) = (product.weight, product.activations);
    let groups = chunk.first..chunk.first + chunk.groups;
    match Arithmetic::of(weight.format, activations.tokens(), set) {
        #[cfg(target_arch = "x86_64")]
        Arithmetic::BFloat16 => amx::groups(weight, product.copy, groups, activations, out),
        #[cfg(target_arch = "x86_64")]
        arithmetic if set >= InstructionSet::Avx512 => {
            for group in groups {
                match arithmetic {
                    Arithmetic::Bytes => avx512::bytes_group(weight, product.copy, group, activations, out),
                    _ => avx512::float_group(weight, product.copy, group, activations, out),
                }
            }
        }
        Arithmetic::Bytes => {
            groups.for_each(|group| scalar::bytes_group(weight, product.copy, group, activations, out));
        }
        _ => groups.for_each(|group| scalar::float_group(weight, product.copy, group, activations, out)),
    }
}

impl Out {
    /// Writes the outputs of one token for a group of rows.
    ///
    /// # Safety
    ///
    /// The group is of the caller's chunk and the token of the batch.
    #[expect(unsafe_code, reason = "threads write different rows of one output")]
    unsafe fn write(self, token: usize, group: usize, values: &[f32; ROWS_INTERLEAVED]) {
        let first = group * ROWS_INTERLEAVED;
        let count = ROWS_INTERLEAVED.min(self.rows - first);
        // SAFETY: `multiply` checked that every row of every token is within the output.
        unsafe {
            self.start.add(token * self.stride + first).copy_from_nonoverlapping(values.as_ptr(), count);
        }
    }
}

/// The float format that decoded blocks are multiplied as.
const fn is_blocks(format: PackedFormat) -> bool {
    matches!(format, PackedFormat::Blocks(_))
}
