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

/// Bytes that are read where the machine does not say what its caches hold: beyond those of most.
const READ_BYTES_MAX: usize = 1 << 30;
/// Bytes that are read at least: long enough for threads to start.
const READ_BYTES_MIN: usize = 256 << 20;
/// How often the caches fit into what is read, so that little of it is still there when it is read again.
const TIMES_CACHES: usize = 8;
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

/// Bytes to read on a machine whose last caches hold so many together: whole chunks.
fn read_bytes(caches: Option<usize>) -> usize {
    caches.map_or(READ_BYTES_MAX, |bytes| bytes.saturating_mul(TIMES_CACHES).clamp(READ_BYTES_MIN, READ_BYTES_MAX))
        / (4 * CHUNK_NUMBERS)
        * (4 * CHUNK_NUMBERS)
}

/// Bytes of all third-level caches of the machine together, where the system says so.
fn last_caches() -> Option<usize> {
    let mut caches = std::collections::BTreeMap::new();
    for processor in std::fs::read_dir("/sys/devices/system/cpu").ok()?.flatten() {
        let of = |name: &str| std::fs::read_to_string(processor.path().join("cache/index3").join(name)).ok();
        if let (Some(shared_by), Some(size)) = (of("shared_cpu_list"), of("size").as_deref().and_then(kibibytes)) {
            caches.insert(shared_by, size);
        }
    }
    (!caches.is_empty()).then(|| caches.into_values().fold(0, usize::saturating_add))
}

/// The bytes of a size as the kernel writes it, such as `32768K`.
fn kibibytes(size: &str) -> Option<usize> {
    size.trim().strip_suffix('K')?.parse::<usize>().ok()?.checked_mul(1024)
}

/// Bytes per second that the threads read from memory together. None where the system refuses the memory: eight times
/// what the caches hold, 256 MiB to 1 GiB, given back at once.
pub fn read_bandwidth(pool: &Pool, set: InstructionSet) -> Option<f64> {
    let bytes = read_bytes(last_caches());
    let mut memory = Buffer::<i32>::zeroed(bytes / 4).ok()?;
    // Pages exist once they are written.
    pool.run_on_chunks(&mut memory, CHUNK_NUMBERS, &|_, chunk| chunk.fill(1));
    let mut best = f64::INFINITY;
    let found = AtomicI32::new(0);
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        pool.run(bytes / 4 / CHUNK_NUMBERS, &|chunk| {
            let mut total = 0;
            sum(set, &memory[chunk * CHUNK_NUMBERS..][..CHUNK_NUMBERS], &mut total);
            found.fetch_add(total, Ordering::Relaxed);
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    // The sum must be used, or nothing need be read.
    (found.into_inner() != 0).then_some(bytes as f64 / best)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_read_for_the_caches_and_no_more() {
        assert_eq!(read_bytes(None), 1 << 30);
        assert_eq!(read_bytes(Some(32 << 20)), 256 << 20);
        assert_eq!(read_bytes(Some(1)), 256 << 20);
        assert_eq!(read_bytes(Some((100 << 20) + 1)), 800 << 20);
        assert_eq!(read_bytes(Some(usize::MAX)), 1 << 30);
    }

    #[test]
    fn sizes_of_caches_are_read() {
        assert_eq!(kibibytes("32768K\n"), Some(32 << 20));
        for wrong in ["", "K", "32768", "-1K", "99999999999999999999K", "18014398509481984K"] {
            assert_eq!(kibibytes(wrong), None, "{wrong}");
        }
    }
}
