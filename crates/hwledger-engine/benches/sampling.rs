//! How long one token takes to be chosen from the logits of a large vocabulary.
//!
//! `cargo bench -p hwledger-engine --bench sampling [-- TOKENS]`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops when it cannot run")]

use std::time::Instant;

use hwledger_engine::sampling::{History, Random, Sampler, SamplingSettings};

/// Tokens of Llama 3's vocabulary.
const VOCABULARY: usize = 128_256;
/// Measurements of which the median is told.
const ROUNDS: usize = 101;

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(VOCABULARY);
    let mut random = Random::new(1);
    #[expect(clippy::cast_possible_truncation, reason = "random logits")]
    let logits: Vec<f32> = (0..count).map(|_| (random.fraction() * 24.0 - 12.0) as f32).collect();
    let greedy = SamplingSettings::default();
    // What `hwledger run` takes where nothing else is asked for.
    let usual =
        SamplingSettings { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, ..SamplingSettings::default() };
    let rows = [
        ("greedy", greedy.clone()),
        ("greedy, 5 log-probabilities", SamplingSettings { logprobs: Some(5), ..greedy }),
        ("top 40 of temperature 0.8", usual.clone()),
        ("the same, 5 log-probabilities", SamplingSettings { logprobs: Some(5), ..usual.clone() }),
        ("all of temperature 0.8", SamplingSettings { top_k: 0, ..usual }),
    ];
    println!("{count} tokens, median of {ROUNDS}");
    for (name, settings) in rows {
        let mut sampler = Sampler::new(settings).unwrap();
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let mut row = logits.clone();
                let start = Instant::now();
                sampler.sample(&mut row, History::default()).unwrap();
                start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("{name:<30} {:>9.1} us", times[ROUNDS / 2] * 1e6);
    }
}
