//! Runs of the native engine as the ledger knows them: what will be asked, and afterwards what came out.

use hwledger_core::Bytes;
use hwledger_formats::measurement::{
    BufferMemory, Figures, Latency, MeasuredRun, Place, RunSettings, Statistic, TestKind, Workload,
};

use super::{BenchOptions, BenchReport, BenchRow, NativeOptions, Usage};
use crate::machine;

/// Tokens that the engine computes at once at most, when it measures.
const STEP_TOKENS: u64 = 512;

/// Tokens of a reply from which a rate is told.
const TOKENS_MIN: usize = 8;

/// A run of the native engine of which nothing is known yet but how it is set.
fn run(model: &str, options: &NativeOptions, threads: usize) -> MeasuredRun {
    let kv_type = if options.has_small_cache { "q8_0" } else { "f16" };
    MeasuredRun {
        place: Place { file: "ledger".to_owned(), line: 0, record: 0 },
        engine: Some("hwledger".to_owned()),
        engine_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        model: Some(model.to_owned()),
        weights: None,
        size_bytes: None,
        parameters: None,
        device: Some(machine::NAME.to_owned()),
        device_count: Some(1),
        backend: Some("cpu".to_owned()),
        host_processor: None,
        settings: RunSettings {
            kv_type_k: Some(kv_type.to_owned()),
            kv_type_v: Some(kv_type.to_owned()),
            threads: Some(threads as u64),
            ..RunSettings::default()
        },
        workload: Workload::default(),
        figures: Figures::default(),
        memory: Vec::new(),
    }
}

/// The rows that `bench` will measure, in its order, and last the whole of it, whose memory is compared.
pub fn bench_runs(model: &str, options: &BenchOptions, native: &NativeOptions, threads: usize) -> Vec<MeasuredRun> {
    let mut runs = Vec::new();
    let base = run(model, native, threads);
    // Sequences and tokens of each that the cache holds at most.
    let mut widest = (1, 1);
    let mut note = |sequences: u64, tokens: u64| {
        if sequences * tokens > widest.0 * widest.1 {
            widest = (sequences, tokens);
        }
    };
    for &depth in &options.depths {
        let depth = depth as u64;
        for &prompt in &options.prompts {
            let prompt = prompt as u64;
            note(1, depth + prompt);
            let mut row = base.clone();
            row.settings.context = Some(depth + prompt);
            row.workload = Workload {
                kind: Some(TestKind::Prefill),
                prompt: Some(prompt),
                depth: Some(depth),
                ..Workload::default()
            };
            runs.push(row);
        }
        for &sequences in &options.batches {
            let (sequences, generate) = (sequences as u64, options.generated as u64);
            note(sequences, depth + generate);
            let mut row = base.clone();
            row.settings.context = Some(depth + generate);
            row.settings.sequences = Some(sequences);
            row.workload = Workload {
                kind: Some(TestKind::Decode),
                // What is decoded first stands on nothing but the depth.
                prompt: Some(1),
                generate: Some(generate),
                depth: Some(depth),
                concurrency: Some(sequences),
                ..Workload::default()
            };
            runs.push(row);
        }
    }
    let longest = options.prompts.iter().copied().max().unwrap_or(1) as u64;
    let mut whole = base;
    whole.settings.context = Some(widest.1);
    whole.settings.sequences = Some(widest.0);
    whole.settings.ubatch = Some(longest.clamp(1, STEP_TOKENS));
    whole.workload = Workload {
        kind: Some(TestKind::StartUp),
        concurrency: Some(options.batches.iter().copied().max().unwrap_or(1) as u64),
        ..Workload::default()
    };
    runs.push(whole);
    runs
}

/// A reply to a prompt of so many tokens, before it is made.
pub fn reply_run(
    model: &str,
    options: &NativeOptions,
    threads: usize,
    prompt: usize,
    tokens_max: usize,
) -> MeasuredRun {
    let mut run = run(model, options, threads);
    run.settings.context = Some((prompt + tokens_max) as u64);
    run.workload = Workload {
        kind: Some(TestKind::PrefillAndDecode),
        prompt: Some(prompt as u64),
        generate: Some(tokens_max as u64),
        concurrency: Some(1),
        ..Workload::default()
    };
    run
}

/// A reply's run with what it took.
pub fn with_reply(run: &MeasuredRun, usage: &Usage) -> MeasuredRun {
    let mut run = run.clone();
    run.figures.ttft_ms =
        Latency { mean: Some(usage.time_to_first_token().as_secs_f64() * 1000.0), ..Latency::default() };
    // A gap or two says little about a rate.
    if let Some(seconds) = usage.time_per_token().filter(|seconds| *seconds > 0.0 && usage.reply_tokens >= TOKENS_MIN) {
        run.figures.tpot_ms = Latency { mean: Some(seconds * 1000.0), ..Latency::default() };
        run.figures.decode_tokens_per_s = Some(Statistic::plain(1.0 / seconds));
    }
    run
}

/// A row's run with what it gave.
pub fn with_row(run: &MeasuredRun, row: &BenchRow) -> MeasuredRun {
    let [slowest, fastest] = row.range;
    let statistic = |rate: f64, spread: f64| Statistic { value: rate, deviation: Some(spread), samples: None };
    let mut run = run.clone();
    // Half the range of three is near their deviation.
    let spread = (fastest - slowest) / 2.0;
    if row.test == "prefill" {
        run.figures.prefill_tokens_per_s = Some(statistic(row.tokens_per_second, spread));
    } else {
        let sequences = row.sequences as f64;
        run.figures.decode_tokens_per_s = Some(statistic(row.tokens_per_second / sequences, spread / sequences));
        run.figures.tpot_ms = Latency { mean: Some(1000.0 * sequences / row.tokens_per_second), ..Latency::default() };
    }
    run
}

/// The whole bench's run with the memory that the engine took.
pub fn with_memory(run: &MeasuredRun, report: &BenchReport) -> MeasuredRun {
    let mut run = run.clone();
    let [weights, cache, activations] = report.memory.map(|bytes| Some(Bytes(bytes as u64)));
    run.memory.push(BufferMemory {
        device: "host".to_owned(),
        weights_bytes: weights,
        kv_cache_bytes: cache,
        compute_bytes: activations,
        overhead_bytes: report.overhead.map(|bytes| Bytes(bytes as u64)),
        ..BufferMemory::default()
    });
    let total: usize = report.memory.iter().sum::<usize>() + report.overhead.unwrap_or(0);
    run.figures.peak_memory_bytes = report.overhead.map(|_| Bytes(total as u64));
    run
}
