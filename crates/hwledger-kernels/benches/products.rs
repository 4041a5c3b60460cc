//! How fast products are: per form of weights and batch, the weight bytes streamed and the operations done per second.
//!
//! `cargo bench -p hwledger-kernels --bench products [-- THREADS] [streams] [sets] [packing] [TYPE...]`
//!
//! `streams`: every set from AVX2 on, weights from memory. `sets`: all sets side by side on weights that the
//! caches of servers hold, as ratios to plain code and to AVX-512. `packing`: bytes repacked per second. Names of types (`q4_k`) leave others out.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops when it cannot run")]

use std::time::Instant;

use hwledger_core::ElementType;
use hwledger_kernels::product::{Matrix, Product, multiply};
use hwledger_kernels::{Activations, Arithmetic, InstructionSet, PackedFormat, PackedWeight, Pool, Shape};

/// A part of the benchmark.
type Part = fn(&Pool);

/// Measurements of which the best is kept.
const ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let threads = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(2);
    let pool = Pool::new(threads).unwrap();
    println!("threads {threads}, best {}", InstructionSet::detect().name());
    let parts: [(&str, Part); 3] = [("streams", streams), ("sets", sets), ("packing", packing)];
    let is_named = |name: &str| arguments.iter().any(|argument| argument == name);
    let are_named = parts.iter().any(|(name, _)| is_named(name));
    for (name, part) in parts {
        if !are_named || is_named(name) {
            part(&pool);
        }
    }
}

/// Those of the types that the command names, or all if it names none.
fn named(types: &[ElementType]) -> Vec<ElementType> {
    let asked: Vec<ElementType> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    types.iter().copied().filter(|element_type| asked.is_empty() || asked.contains(element_type)).collect()
}

/// A batch of small numbers.
fn batch(element_type: ElementType, tokens: usize, columns: usize, set: InstructionSet, pool: &Pool) -> Activations {
    let mut activations = Activations::new().unwrap();
    let needed = [Arithmetic::of(PackedFormat::of(element_type).unwrap(), tokens, set)];
    activations
        .fill(tokens, columns, &needed, pool, set, &|token, row| {
            row.iter_mut().enumerate().for_each(|(column, value)| *value = ((token + column) % 7) as f32 - 3.0);
        })
        .unwrap();
    activations
}

/// Seconds of one batch times some matrices, one after the other.
fn seconds(weights: &[PackedWeight], activations: &Activations, set: InstructionSet, pool: &Pool) -> f64 {
    let stride = weights[0].shape.rows;
    let mut out = vec![0.0; activations.tokens() * stride];
    let start = Instant::now();
    for weight in weights {
        let product = Product { matrices: &[Matrix::of(weight)], activations, out: &mut out, stride };
        multiply(&mut [product], pool, set);
    }
    start.elapsed().as_secs_f64()
}

fn packed(element_type: ElementType, shape: Shape, pool: &Pool) -> PackedWeight {
    let bytes = vec![0x11; shape.rows * element_type.row_bytes(shape.columns as u64) as usize];
    PackedWeight::pack(element_type, shape, &bytes, pool).unwrap()
}

fn streams(pool: &Pool) {
    // Weights beyond the caches of desktops: several matrices in turn, some 600 MB in all for 4 bits.
    let shape = Shape::matrix(8192, 4096);
    for element_type in named(&[
        ElementType::Q4K,
        ElementType::Q5K,
        ElementType::Q6K,
        ElementType::Q8_0,
        ElementType::Q4_0,
        ElementType::Iq4Xs,
        ElementType::Iq4Nl,
        ElementType::BF16,
    ]) {
        let weights: Vec<PackedWeight> = (0..24).map(|_| packed(element_type, shape, pool)).collect();
        for set in InstructionSet::available().filter(|&set| set != InstructionSet::Scalar) {
            for tokens in [1, 2, 4, 6, 8, 16, 32, 64, 128, 512] {
                if set == InstructionSet::Amx && tokens < 32 {
                    continue;
                }
                let activations = batch(element_type, tokens, shape.columns, set, pool);
                let weights = &weights[..if tokens > 64 { 3 } else { weights.len() }];
                // The best matrix counts, since others' work only slows.
                let times = (0..3).flat_map(|_| weights.chunks(1)).map(|one| seconds(one, &activations, set, pool));
                let best = times.fold(f64::INFINITY, f64::min);
                let streamed = weights[0].bytes().len() as f64;
                let operations = 2.0 * (tokens * shape.rows * shape.columns) as f64;
                println!(
                    "{element_type:6} {:8} {tokens:4} tokens {:7.1} GB/s {:8.0} Gop/s",
                    set.name(),
                    streamed / best / 1e9,
                    operations / best / 1e9
                );
            }
        }
    }
}

fn sets(pool: &Pool) {
    let available: Vec<InstructionSet> = InstructionSet::available().collect();
    for element_type in named(&[
        ElementType::Q4K,
        ElementType::Q6K,
        ElementType::Q8_0,
        ElementType::Iq4Xs,
        ElementType::Iq4Nl,
        ElementType::BF16,
        ElementType::Q5_0,
        ElementType::Q2K,
        ElementType::Q3K,
        ElementType::Iq1S,
        ElementType::Iq2Xxs,
        ElementType::Iq3S,
        ElementType::Tq1_0,
        ElementType::Mxfp4,
        ElementType::Nvfp4,
    ]) {
        for (tokens, rows) in [(1, 2048), (8, 2048), (512, 64)] {
            let shape = Shape::matrix(rows, 4096);
            let weights = [packed(element_type, shape, pool)];
            let batches: Vec<Activations> =
                available.iter().map(|&set| batch(element_type, tokens, shape.columns, set, pool)).collect();
            let mut best = vec![f64::INFINITY; available.len()];
            // Taken in turn, so that what else the machine does meets all of them.
            for round in 0..4 * ROUNDS {
                for ((&set, activations), best) in available.iter().zip(&batches).zip(&mut best) {
                    // Plain code takes long, and so is little disturbed.
                    if set != InstructionSet::Scalar || round < 2 {
                        *best = best.min(seconds(&weights, activations, set, pool));
                    }
                }
            }
            let operations = 2.0 * (tokens * rows * shape.columns) as f64;
            let wide = available.iter().position(|&set| set == InstructionSet::Avx512);
            for (set, &time) in available.iter().zip(&best) {
                let ratio = wide.map_or(String::new(), |wide| format!("{:6.2} x avx512", best[wide] / time));
                println!(
                    "{element_type:6} {tokens:4} tokens {:8} {:8.1} Gop/s {:7.1} x scalar {ratio}",
                    set.name(),
                    operations / time / 1e9,
                    best[0] / time
                );
            }
        }
    }
}

fn packing(pool: &Pool) {
    let shape = Shape::matrix(4096, 4096);
    for element_type in named(&[
        ElementType::Q4K,
        ElementType::Q5K,
        ElementType::Q6K,
        ElementType::Q8_0,
        ElementType::Q4_0,
        ElementType::Iq4Xs,
        ElementType::F16,
        ElementType::BF16,
        ElementType::F32,
        ElementType::Q5_0,
        ElementType::Q3K,
        ElementType::Mxfp4,
    ]) {
        let bytes = vec![0x11; shape.rows * element_type.row_bytes(4096) as usize];
        let mut target = vec![0; PackedFormat::of(element_type).unwrap().bytes(shape)];
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            target.fill(0);
            let start = Instant::now();
            PackedWeight::pack_into(element_type, shape, &bytes, &mut target, pool).unwrap();
            best = best.min(start.elapsed().as_secs_f64());
        }
        let numbers = (shape.rows * shape.columns) as f64;
        println!(
            "{element_type:6} packed {:6.2} GB/s {:7.1} million numbers/s",
            bytes.len() as f64 / best / 1e9,
            numbers / best / 1e6
        );
    }
}
