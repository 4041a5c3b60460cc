//! Measuring a model on this machine: prefill, decode, batched decode, each with its share of what memory allows.

use std::time::Instant;

use hwledger_engine::graph::{Decoder, Outputs, Slice};
use hwledger_engine::{MemoryReport, RunError};
use serde::Serialize;

use super::{NativeError, Session};

/// Multiplier of a congruential walk over the vocabulary: the same tokens in every run.
const STRIDE: usize = 7919;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BenchOptions {
    /// Tokens of prompts.
    pub prompts: Vec<usize>,
    /// Tokens that a sequence generates.
    pub generated: usize,
    /// Tokens that are in the cache before.
    pub depths: Vec<usize>,
    /// Sequences that decode together.
    pub batches: Vec<usize>,
    /// How often each row is measured.
    pub repetitions: usize,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { prompts: vec![512], generated: 64, depths: vec![0], batches: vec![1, 2, 4, 8], repetitions: 3 }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchRow {
    /// `prefill` or `decode`.
    pub test: &'static str,
    /// Sequences at once.
    pub sequences: usize,
    /// Tokens in the cache before, per sequence.
    pub depth: usize,
    /// Tokens computed, per sequence.
    pub tokens: usize,
    /// Tokens per second of all sequences together: the median of the repetitions.
    pub tokens_per_second: f64,
    /// The slowest and the fastest repetition.
    pub range: [f64; 2],
    /// Bytes read per second: the weights once per step, and the caches.
    pub bytes_per_second: f64,
    /// Their share of the measured read bandwidth.
    pub bandwidth_share: Option<f64>,
    /// Operations per second of the products with weights.
    pub operations_per_second: f64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// The model.
    pub model: String,
    /// Threads that computed.
    pub threads: usize,
    /// Instructions that kernels used.
    pub instructions: &'static str,
    /// Bytes per second that the threads read from memory.
    pub read_bandwidth: Option<f64>,
    /// The rows.
    pub rows: Vec<BenchRow>,
    /// Bytes of weights, cache and activations that the engine took.
    pub memory: [usize; 3],
    /// Bytes of the process beside these, measured: its resident set less them. None where the system does not say.
    pub overhead: Option<usize>,
}

/// How far measuring is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BenchStep<'a> {
    /// A row begins.
    Begins,
    /// It is done.
    Done(&'a BenchRow),
}

/// Measures a model. `tell` gets each row's beginning, and the row as it is done.
pub fn bench(
    session: &mut Session,
    options: &BenchOptions,
    mut tell: impl FnMut(BenchStep<'_>),
) -> Result<BenchReport, NativeError> {
    let longest = options.prompts.iter().copied().max().unwrap_or(0).max(options.generated);
    let tokens = longest + options.depths.iter().copied().max().unwrap_or(0);
    if tokens > session.context() {
        return Err(NativeError::BenchContext { tokens, context: session.context() });
    }
    let (threads, instructions) = (session.engine.threads, session.engine.instructions);
    let decoder = session.engine.scheduler.decoder_mut();
    let machine = decoder.machine();
    let bandwidth = hwledger_engine::read_bandwidth(&machine.pool, machine.set);
    let mut rows = Vec::new();
    for &depth in &options.depths {
        let prefill = options.prompts.iter().map(|&tokens| Test { is_prefill: true, sequences: 1, depth, tokens });
        let tokens = options.generated;
        let decode = options.batches.iter().map(|&sequences| Test { is_prefill: false, sequences, depth, tokens });
        for test in prefill.chain(decode) {
            warm_up(decoder, test)?;
            tell(BenchStep::Begins);
            rows.push(row(decoder, test, options, bandwidth)?);
            rows.last().map(BenchStep::Done).into_iter().for_each(&mut tell);
        }
    }
    let memory = session.memory();
    let MemoryReport { weights, cache, activations } = memory;
    Ok(BenchReport {
        model: session.name.clone(),
        threads,
        instructions: instructions.name(),
        read_bandwidth: bandwidth,
        rows,
        memory: [weights, cache, activations],
        overhead: memory.overhead(),
    })
}

#[derive(Clone, Copy)]
struct Test {
    is_prefill: bool,
    sequences: usize,
    depth: usize,
    tokens: usize,
}

fn row(
    decoder: &mut Decoder,
    test: Test,
    options: &BenchOptions,
    bandwidth: Option<f64>,
) -> Result<BenchRow, RunError> {
    let mut speeds = Vec::new();
    for _ in 0..options.repetitions.max(1) {
        let seconds = measure(decoder, test)?;
        speeds.push((test.sequences * test.tokens) as f64 / seconds);
    }
    speeds.sort_by(f64::total_cmp);
    let speed = speeds[speeds.len() / 2];
    let (step_tokens, outputs) = if test.is_prefill { (test.tokens, 1) } else { (test.sequences, test.sequences) };
    let steps_per_second = speed / step_tokens as f64;
    let model = decoder.model();
    // The cache is read for every token that a step computes for a sequence; half the generated ones on average.
    let seen = if test.is_prefill { 0 } else { test.sequences * (test.depth + test.tokens / 2) };
    let per_token = decoder.cache().page_bytes() / hwledger_engine::PAGE_TOKENS;
    let bytes = model.step_bytes(step_tokens) + seen * per_token;
    let bytes_per_second = bytes as f64 * steps_per_second;
    let operations = model.step_operations(step_tokens, outputs);
    Ok(BenchRow {
        test: if test.is_prefill { "prefill" } else { "decode" },
        sequences: test.sequences,
        depth: test.depth,
        tokens: test.tokens,
        tokens_per_second: speed,
        range: [speeds[0], speeds[speeds.len() - 1]],
        bytes_per_second,
        bandwidth_share: bandwidth.map(|bandwidth| bytes_per_second / bandwidth),
        operations_per_second: operations as f64 * steps_per_second,
    })
}

/// Does once what is measured afterwards (of decoding one step), on an empty cache, as llama-bench does: memory that is
/// touched for the first time, weights in files among it, is slow once and says nothing of a model's speed.
fn warm_up(decoder: &mut Decoder, test: Test) -> Result<(), RunError> {
    let tokens = if test.is_prefill { test.tokens } else { test.tokens.min(1) };
    measure(decoder, Test { tokens, depth: 0, ..test }).map(|_| ())
}

/// Seconds of one repetition.
fn measure(decoder: &mut Decoder, test: Test) -> Result<f64, RunError> {
    let vocabulary = decoder.vocabulary();
    let tokens = |from: usize, count: usize| -> Vec<u32> {
        (from..from + count).map(|index| u32::try_from((index * STRIDE + 13) % vocabulary).unwrap_or(0)).collect()
    };
    let sequences: Vec<_> = (0..test.sequences).map(|_| decoder.cache_mut().create()).collect();
    let result = (|| {
        for &sequence in &sequences {
            for first in (0..test.depth).step_by(512) {
                let tokens = tokens(first, 512.min(test.depth - first));
                decoder.step(&[Slice { sequence, tokens: &tokens, outputs: Outputs::None }])?;
            }
        }
        let start = Instant::now();
        if test.is_prefill {
            let tokens = tokens(test.depth, test.tokens);
            for (index, chunk) in tokens.chunks(512).enumerate() {
                let is_last = (index + 1) * 512 >= tokens.len();
                let outputs = if is_last { Outputs::Last } else { Outputs::None };
                decoder.step(&[Slice { sequence: sequences[0], tokens: chunk, outputs }])?;
            }
        } else {
            for index in 0..test.tokens {
                let next: Vec<Vec<u32>> =
                    (0..test.sequences).map(|sequence| tokens(index + sequence * 31, 1)).collect();
                let slices: Vec<Slice<'_>> = sequences
                    .iter()
                    .zip(&next)
                    .map(|(&sequence, tokens)| Slice { sequence, tokens, outputs: Outputs::Last })
                    .collect();
                decoder.step(&slices)?;
            }
        }
        Ok(start.elapsed().as_secs_f64())
    })();
    for sequence in sequences {
        decoder.cache_mut().remove(sequence);
    }
    result
}
