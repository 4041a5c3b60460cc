//! How fast products are: per form of weights and batch, the weight bytes streamed and the operations done per second.
//!
//! `cargo bench -p hwledger-kernels --bench products [-- THREADS] [TYPE...]`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops when it cannot run")]

use std::time::Instant;

use hwledger_core::ElementType;
use hwledger_kernels::product::{Matrix, Product, multiply};
use hwledger_kernels::{Activations, Arithmetic, InstructionSet, PackedFormat, PackedWeight, Pool, Shape};

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let threads = numbers.first().copied().unwrap_or(2);
    let pool = Pool::new(threads).unwrap();
    let best = InstructionSet::detect();
    println!("threads {threads}, best {}", best.name());
    // Weights beyond the caches of desktops: several matrices in turn, some 600 MB in all for 4 bits.
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for element_type in [ElementType::Q4K, ElementType::Q6K, ElementType::Q8_0, ElementType::Q4_0, ElementType::BF16] {
        if wanted.iter().any(|name| ElementType::NAMED.iter().any(|kind| kind.name() == name))
            && !wanted.iter().any(|name| name == element_type.name())
        {
            continue;
        }
        let shape = Shape::matrix(8192, 4096);
        let bytes = vec![0x11; shape.rows * element_type.row_bytes(4096) as usize];
        let weights: Vec<PackedWeight> =
            (0..24).map(|_| PackedWeight::pack(element_type, shape, &bytes, &pool).unwrap()).collect();
        for set in [InstructionSet::Avx512, InstructionSet::Amx] {
            for tokens in [1, 2, 4, 6, 8, 16, 32, 64, 128, 512] {
                if set > best || (set == InstructionSet::Amx && tokens < 4) {
                    continue;
                }
                let mut activations = Activations::new().unwrap();
                let needed = [Arithmetic::of(PackedFormat::of(element_type).unwrap(), tokens, set)];
                activations
                    .fill(tokens, shape.columns, &needed, &pool, set, &|token, row| {
                        row.iter_mut()
                            .enumerate()
                            .for_each(|(column, value)| *value = ((token + column) % 7) as f32 - 3.0);
                    })
                    .unwrap();
                let mut out = vec![0.0; tokens * shape.rows];
                let count = if tokens > 64 { 3 } else { weights.len() };
                let mut best_seconds = f64::INFINITY;
                for _ in 0..3 {
                    let start = Instant::now();
                    for weight in &weights[..count] {
                        let product = Product {
                            matrices: &[Matrix::of(weight)],
                            activations: &activations,
                            out: &mut out,
                            stride: shape.rows,
                        };
                        multiply(&mut [product], &pool, set);
                    }
                    best_seconds = best_seconds.min(start.elapsed().as_secs_f64());
                }
                let streamed = weights.iter().take(count).map(|weight| weight.bytes().len()).sum::<usize>() as f64;
                let operations = 2.0 * (tokens * shape.rows * shape.columns * count) as f64;
                println!(
                    "{element_type:6} {:7} {tokens:4} tokens {:7.1} GB/s {:8.0} Gop/s",
                    set.name(),
                    streamed / best_seconds / 1e9,
                    operations / best_seconds / 1e9
                );
            }
        }
    }
}
