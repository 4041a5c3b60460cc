//! What the machine can do at most, measured: the lines of a roofline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::elementwise::for_every_set;
use crate::instruction_set::InstructionSet;
use crate::memory::Memory;
use crate::pool::Pool;

/// Bytes that are read: beyond the caches of most machines.
const READ_BYTES: usize = 1 << 30;
/// Bytes of one chunk.
const CHUNK_BYTES: usize = 1 << 20;
/// How often each measurement is made; the best counts, since others' work only slows.
const REPETITIONS: usize = 5;

/// Adds up numbers in as many lanes as fill two registers, so that only memory is waited for.
#[inline(always)]
fn sum_body(bytes: &[u8], total: &mut u64) {
    let mut lanes = [0_u64; 32];
    for line in bytes.chunks_exact(256) {
        for (lane, eight) in lanes.iter_mut().zip(line.chunks_exact(8)) {
            let eight = [eight[0], eight[1], eight[2], eight[3], eight[4], eight[5], eight[6], eight[7]];
            *lane = lane.wrapping_add(u64::from_le_bytes(eight));
        }
    }
    *total = lanes.iter().fold(0, |sum, lane| sum.wrapping_add(*lane));
}

for_every_set! {
    fn sum(bytes: &[u8], total: &mut u64) = sum_body
}

/// Bytes per second that the threads read from memory together. None where the system refuses the memory.
pub fn read_bandwidth(pool: &Pool, set: InstructionSet) -> Option<f64> {
    let mut memory = Memory::zeroed(READ_BYTES).ok()?;
    // Pages exist once they are written.
    pool.run_on_chunks(memory.bytes_mut(), CHUNK_BYTES, &|_, chunk| chunk.fill(1));
    let mut best = f64::INFINITY;
    let found = AtomicU64::new(0);
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        pool.run(READ_BYTES / CHUNK_BYTES, &|chunk| {
            let mut total = 0;
            sum(set, &memory.bytes()[chunk * CHUNK_BYTES..][..CHUNK_BYTES], &mut total);
            found.fetch_add(total, Ordering::Relaxed);
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    // The sum must be used, or nothing need be read.
    (found.into_inner() != 0).then_some(READ_BYTES as f64 / best)
}
