//! What the machine can do at most, measured: the lines of a roofline.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use hwledger_core::ElementType;

use crate::activation::{Activations, Arithmetic};
use crate::elementwise::for_every_set;
use crate::instruction_set::InstructionSet;
use crate::memory::Buffer;
use crate::pool::Pool;
use crate::product::{Matrix, Product, multiply};
use crate::weight::{PackedFormat, PackedWeight, Shape};

/// Bytes that are read: beyond the caches of most machines.
const READ_BYTES: usize = 1 << 30;
/// Numbers of four bytes in one chunk.
const CHUNK_NUMBERS: usize = 1 << 18;
/// How often each measurement is made; the best counts, since others' work only slows.
const REPETITIONS: usize = 5;

/// Adds up numbers in as many lanes as fill four registers, so that only memory is waited for.
#[inline(always)]
fn sum_body(numbers: &[i32], total: &mut i32) {
    let mut lanes = [0_i32; 64];
    for line in numbers.as_chunks::<64>().0 {
        for (lane, number) in lanes.iter_mut().zip(line) {
            *lane = lane.wrapping_add(*number);
        }
    }
    *total = lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane));
}

for_every_set! {
    fn sum(numbers: &[i32], total: &mut i32) = sum_body
}

/// Bytes per second that the threads read from memory together. None where the system refuses the memory.
pub fn read_bandwidth(pool: &Pool, set: InstructionSet) -> Option<f64> {
    let mut memory = Buffer::<i32>::zeroed(READ_BYTES / 4).ok()?;
    // Pages exist once they are written.
    pool.run_on_chunks(&mut memory, CHUNK_NUMBERS, &|_, chunk| chunk.fill(1));
    let mut best = f64::INFINITY;
    let found = AtomicI32::new(0);
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        pool.run(READ_BYTES / 4 / CHUNK_NUMBERS, &|chunk| {
            let mut total = 0;
            sum(set, &memory[chunk * CHUNK_NUMBERS..][..CHUNK_NUMBERS], &mut total);
            found.fetch_add(total, Ordering::Relaxed);
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    // The sum must be used, or nothing need be read.
    (found.into_inner() != 0).then_some(READ_BYTES as f64 / best)
}

/// Rows and columns of the matrix that rates of arithmetic are measured with: it stays in the caches of most machines.
const SIDE: usize = 1024;
/// Tokens that it is multiplied with: enough for every kernel to reach its pace.
const TOKENS: usize = 256;

/// Operations (two per weight and token) per second that the threads do in products with weights of this type, from
/// caches. None where the type has no form of its own, or the system refuses the memory.
pub fn product_rate(element_type: ElementType, pool: &Pool, set: InstructionSet) -> Option<f64> {
    let shape = Shape::matrix(SIDE, SIDE);
    let bytes = vec![0; SIDE * usize::try_from(element_type.row_bytes(SIDE as u64)).ok()?];
    let weight = PackedWeight::pack(element_type, shape, &bytes, pool).ok()?;
    let mut activations = Activations::new().ok()?;
    let needed = [Arithmetic::of(PackedFormat::of(element_type)?, TOKENS, set)];
    activations.fill(TOKENS, SIDE, &needed, pool, set, &|_, row| row.fill(1.0)).ok()?;
    let mut out = vec![0.0; TOKENS * SIDE];
    let mut best = f64::INFINITY;
    for _ in 0..=REPETITIONS {
        let start = Instant::now();
        let matrices = [Matrix::of(&weight)];
        let product = Product { matrices: &matrices, activations: &activations, out: &mut out, stride: SIDE };
        multiply(&mut [product], pool, set);
        best = best.min(start.elapsed().as_secs_f64());
    }
    Some(2.0 * (SIDE * SIDE * TOKENS) as f64 / best)
}
