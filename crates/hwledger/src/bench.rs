//! `bench`: measuring a model on this machine, and holding the result against what was predicted.

use std::process::ExitCode;

use clap::Args;
use hwledger_node::locate::LocateOptions;
use hwledger_node::native::{
    BenchOptions, BenchReport, BenchRow, BenchStep, NativeError, bench, bench_runs, with_memory, with_row,
};

use crate::native::{NativeArguments, length, memory, open, report};
use crate::record::{MakePlanner, RecordArguments, note, recorder};
use crate::{json, say};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// Model: a GGUF file, a directory with safetensors, or a name of a store on this machine
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    native: NativeArguments,
    #[command(flatten)]
    record: RecordArguments,
    /// Tokens of prompts
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "512", value_parser = length)]
    prompt: Vec<usize>,
    /// Tokens that each sequence generates
    #[arg(long, value_name = "TOKENS", default_value = "64", value_parser = length)]
    generate: usize,
    /// Tokens in the cache before
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "0", value_parser = depth)]
    depth: Vec<usize>,
    /// Sequences that decode together
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "1,2,4,8")]
    sequences: Vec<usize>,
    /// How often each row is measured, after once unmeasured; medians are printed
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    repetitions: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn depth(text: &str) -> Result<usize, String> {
    if text == "0" { Ok(0) } else { length(text) }
}

/// `bench`.
pub(crate) fn run(planner: &MakePlanner<'_>, locate: &LocateOptions, arguments: &BenchArguments) -> ExitCode {
    match measured(planner, locate, arguments) {
        Ok(report) if arguments.json => say(&json(&report), true),
        Ok(report) => say(&summary(&report), true),
        Err(error) => report(&error),
    }
}

fn measured(
    planner: &MakePlanner<'_>,
    locate: &LocateOptions,
    arguments: &BenchArguments,
) -> Result<BenchReport, NativeError> {
    let options = BenchOptions {
        prompts: arguments.prompt.clone(),
        generated: arguments.generate,
        depths: arguments.depth.clone(),
        batches: arguments.sequences.clone(),
        repetitions: arguments.repetitions,
    };
    let native = arguments.native.options()?;
    let ledger = arguments.record.ledger();
    let recorder = ledger.as_ref().and_then(|ledger| recorder(ledger, planner().ok()?, native.threads, true));
    // What is expected is in the ledger before the model is even loaded.
    let threads = recorder.as_ref().and_then(|recorder| recorder.machine().map(|machine| machine.threads));
    let runs = bench_runs(&arguments.model, &options, &native, threads.unwrap_or(1));
    let predictions: Vec<_> = runs
        .iter()
        .map(|run| {
            let recorder = recorder.as_ref()?;
            recorder.predict(run, &arguments.model).map_err(|error| note(&error)).ok()
        })
        .collect();
    let mut session = open(&arguments.model, locate, &arguments.native)?;
    let mut is_first = true;
    let mut rows = runs.iter().zip(&predictions);
    let watch = || recorder.as_ref().map(|recorder| (recorder, recorder.watch(true)));
    let (whole, mut surroundings) = (watch(), None);
    let found = bench(&mut session, &options, |step| {
        let BenchStep::Done(row) = step else {
            surroundings = watch();
            return;
        };
        if let (Some((recorder, mut surroundings)), Some((run, Some(prediction)))) = (surroundings.take(), rows.next())
        {
            let source = "hwledger bench";
            surroundings.set_work(work_of(row, &options));
            if let Err(error) = recorder.measure(prediction, &with_row(run, row), &surroundings, source) {
                note(&error);
            }
        }
        if arguments.json {
            return;
        }
        if std::mem::take(&mut is_first) {
            say("test     sequences  depth  tokens  tokens/s  (slowest - fastest)    GB/s  of read    Gop/s\n", true);
        }
        say(&line(row), true);
    })?;
    if let (Some((recorder, whole)), Some((run, Some(prediction)))) = (whole, rows.next())
        && let Err(error) = recorder.measure(prediction, &with_memory(run, &found), &whole, "hwledger bench")
    {
        note(&error);
    }
    Ok(found)
}

/// Tokens that were computed for a row.
fn work_of(row: &BenchRow, options: &BenchOptions) -> Result<f64, &'static str> {
    let tokens = row.sequences * row.tokens * options.repetitions.max(1);
    if row.depth == 0 { Ok(tokens as f64) } else { Err("the cache was filled meanwhile") }
}

fn line(row: &BenchRow) -> String {
    let share = row.bandwidth_share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share));
    let range = format!("({:.1} - {:.1})", row.range[0], row.range[1]);
    format!(
        "{:<8} {:>9} {:>6} {:>7} {:>9.1}  {range:<19} {:>7.1} {share:>8} {:>8.0}\n",
        row.test,
        row.sequences,
        row.depth,
        row.tokens,
        row.tokens_per_second,
        row.bytes_per_second / 1e9,
        row.operations_per_second / 1e9,
    )
}

fn summary(report: &BenchReport) -> String {
    let bandwidth =
        report.read_bandwidth.map_or_else(|| "unknown".to_owned(), |bandwidth| format!("{:.1} GB/s", bandwidth / 1e9));
    format!(
        "{} by {} threads with {}; they read {bandwidth}\n\
         memory: {}\n",
        report.model,
        report.threads,
        report.instructions,
        memory(report.memory, report.overhead),
    )
}
