//! `sweep`: arguments in, a table out.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use hwledger_node::Planner;
use hwledger_node::planner::with_causes;
use hwledger_node::sweep::record::Run;
use hwledger_node::sweep::{Axis, Sweep, SweepAnswer, SweepError, SweepRequest};
use hwledger_node::table::file::write_whole;
use hwledger_node::table::{BlockSink, CsvWriter, JsonLinesWriter};

use crate::arguments::Question;
use crate::{fail, refuse};

/// Arguments of `sweep`; all flags of `plan` say what combinations share.
#[derive(Debug, Args)]
pub(crate) struct SweepArguments {
    /// A setting that varies: KEY=V1,V2 or KEY=FROM..TO or KEY=FROM..TO..STEP or KEY=FROM..TO*FACTOR;
    /// may be repeated, the last one varies fastest
    #[arg(long, value_name = "KEY=VALUES", required = true)]
    vary: Vec<String>,
    /// Where the table goes: a file ending in .parquet, .csv or .jsonl; `-` for CSV on standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Most combinations
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Write workload records (65 columns, a row per phase) under this run's name instead of figures
    #[arg(long, value_name = "RUN")]
    records: Option<String>,
    #[command(flatten)]
    question: Question,
}

/// Nanoseconds since 1970; a clock before that or too far after says nothing.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

/// Runs `sweep`: status 0 where any combination fits.
pub(crate) fn run(planner: &Planner, arguments: &SweepArguments) -> ExitCode {
    let axes: Result<Vec<Axis>, _> = arguments.vary.iter().map(|text| Axis::parse(text)).collect();
    let request = match axes {
        Ok(vary) => SweepRequest { plan: arguments.question.request(), vary, limit: arguments.limit },
        Err(failure) => return refuse(&failure),
    };
    let sweep = match planner.sweep(request) {
        Ok(sweep) => sweep,
        Err(failure) => return refuse(&failure),
    };
    let sweep = match &arguments.records {
        None => sweep,
        Some(id) => sweep.as_records(Run { id: id.clone(), started_ns: now() }),
    };
    let outcome = if arguments.out.as_os_str() == "-" {
        to_standard_output(&sweep, arguments.question.json)
    } else {
        write_whole(&arguments.out, sweep.fields(), |sink| sweep.run(sink))
    };
    match outcome {
        Ok(answer) => tell(&answer, &arguments.out),
        Err(SweepError::Table(error)) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => fail(format_args!("`{}`: {}", arguments.out.display(), with_causes(&error))),
    }
}

fn to_standard_output(sweep: &Sweep<'_>, is_json: bool) -> Result<SweepAnswer, SweepError> {
    let output = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let sink: Box<dyn BlockSink> = if is_json {
        Box::new(JsonLinesWriter::new(output, sweep.fields()))
    } else {
        Box::new(CsvWriter::new(output, sweep.fields())?)
    };
    sweep.run(sink)
}

fn tell(answer: &SweepAnswer, out: &Path) -> ExitCode {
    let place = if out.as_os_str() == "-" { String::new() } else { format!(" in {}", out.display()) };
    // Beside the table, not in it; a closed standard error leaves nobody to tell.
    let mut errors = io::stderr().lock();
    let _ =
        writeln!(errors, "{} combinations{place}: {} fit, {} were refused", answer.rows, answer.fits, answer.refused);
    for one in &answer.assumptions.0 {
        let _ = writeln!(errors, "assumed {} = {}: {}", one.what, one.value, one.why);
    }
    if answer.fits > 0 { ExitCode::SUCCESS } else { ExitCode::from(crate::NO) }
}
