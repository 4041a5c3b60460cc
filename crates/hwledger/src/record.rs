//! What `run` and `bench` write to the ledger, and the commands that compare and learn from it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use hwledger_node::Planner;
use hwledger_node::ledger::{self, Ledger, LedgerError, LedgerOptions, Vault};
use hwledger_node::machine::Machine;
use hwledger_node::planner::with_causes;
use hwledger_node::record::{
    ReconcileAnswer, ReconcileRequest, RecordError, Recorder, ResidualRow, figure_records, reconcile, workload_records,
};
use hwledger_node::table::TableError;
use hwledger_node::table::file::write_table;

use crate::ledger::LedgerPlace;
use crate::table::Table;
use crate::{fail, json, say};

/// Makes the planner that says what to expect: its stores and lists are read only where something is recorded.
pub(crate) type MakePlanner<'a> = dyn Fn() -> Result<Planner, ExitCode> + 'a;

/// Whether and where runs are recorded.
#[derive(Debug, Args)]
pub(crate) struct RecordArguments {
    /// Write prediction and measurement to the ledger, and begin one if there is none (default: where there is one)
    #[arg(long, conflicts_with = "no_record")]
    record: bool,
    /// Write nothing to the ledger
    #[arg(long)]
    no_record: bool,
    #[command(flatten)]
    place: LedgerPlace,
}

/// Says that something was not recorded; the run goes on.
pub(crate) fn note(error: &RecordError) {
    let _ = writeln!(io::stderr(), "warning: not recorded: {}", with_causes(error));
    if let Some(hint) = error.hint() {
        let _ = writeln!(io::stderr(), "hint: {hint}");
    }
}

impl RecordArguments {
    /// The keys of sealed fields of that ledger.
    pub(crate) fn vault(&self) -> Result<Vault, LedgerError> {
        ledger::vault(&self.place.options())
    }

    /// The ledger that runs are written to, if any.
    pub(crate) fn ledger(&self) -> Option<Ledger> {
        if self.no_record {
            return None;
        }
        let options = self.place.options();
        let opened = match ledger::open_if_there(&options) {
            Ok(None) if self.record => begin(&options),
            Err(error) if self.record && ledger::is_missing(&error) => begin(&options),
            other => other,
        };
        let opened = opened.map_err(|error| note(&error.into())).ok()??;
        if let Some(fault) = opened.fault() {
            let _ = writeln!(io::stderr(), "warning: not recorded: the ledger is read-only: {fault}");
            return None;
        }
        Some(opened)
    }
}

/// A new ledger.
fn begin(options: &LedgerOptions) -> Result<Option<Ledger>, LedgerError> {
    ledger::init(options, None, None)?;
    ledger::open(options).map(Some)
}

/// What writes to a ledger, once it is known what this machine can do: measured now, or lately.
pub(crate) fn recorder(
    ledger: &Ledger,
    planner: Planner,
    threads: Option<usize>,
    is_fresh: bool,
) -> Option<Recorder<'_>> {
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let machine = if is_fresh { Machine::measure(threads) } else { Machine::known(threads) };
    let machine = machine.map_err(|error| {
        let _ = writeln!(io::stderr(), "warning: not recorded: this machine cannot be measured: {error}");
    });
    Recorder::new(ledger, planner, Some(machine.ok()?)).map_err(|error| note(&error)).ok()
}

/// Arguments of `reconcile`.
#[derive(Debug, Args)]
pub(crate) struct ReconcileArguments {
    /// Runs; all that were not compared yet where none is named
    #[arg(value_name = "RUN")]
    runs: Vec<String>,
    /// Runs that were compared before too
    #[arg(long)]
    all: bool,
    /// Write the figures to a table too, one row each: a file named .parquet, .csv or .jsonl
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write every measured run of the ledger as workload records of 65 columns, one row per phase
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: LedgerPlace,
}

/// `reconcile`.
pub(crate) fn run(arguments: &ReconcileArguments) -> ExitCode {
    let request = ReconcileRequest { runs: arguments.runs.clone(), again: arguments.all };
    let options = arguments.place.options();
    let answer = match reconcile(&options, &request) {
        Ok(answer) => answer,
        Err(error) => return refuse(&error),
    };
    let in_table = |path: &Path, written: Result<u64, TableError>| {
        written.map(drop).map_err(|error| fail(format_args!("`{}`: {}", path.display(), with_causes(&error))))
    };
    if let Some(path) = &arguments.out
        && let Err(status) = in_table(path, write_table(path, figure_records(&answer.runs).into_iter().map(Ok)))
    {
        return status;
    }
    if let Some(path) = &arguments.records {
        let written = match workload_records(&options) {
            Ok(records) => in_table(path, write_table(path, records.into_iter().map(Ok))),
            Err(error) => Err(refuse(&error)),
        };
        if let Err(status) = written {
            return status;
        }
    }
    say(&if arguments.json { json(&answer) } else { render(&answer) }, true)
}

/// Says why nothing was compared or learnt.
pub(crate) fn refuse(error: &RecordError) -> ExitCode {
    let status = fail(with_causes(error));
    if let Some(hint) = error.hint() {
        let _ = writeln!(io::stderr(), "hint: {hint}");
    }
    status
}

fn amount(figure: &str, value: f64) -> String {
    if figure.ends_with("_bytes") {
        format!("{:.1} MiB", value / f64::from(1 << 20))
    } else if figure.ends_with("_joules_per_token") {
        format!("{value:.3} J")
    } else if figure.ends_with("_joules") {
        format!("{value:.1} J")
    } else if figure.ends_with("_ms") {
        format!("{value:.1} ms")
    } else {
        format!("{value:.1}/s")
    }
}

fn cells(row: &ResidualRow) -> Vec<String> {
    let interval = row.interval.filter(|[low, high]| low < high).map_or_else(String::new, |[low, high]| {
        format!("{} to {}", amount(&row.figure, low), amount(&row.figure, high))
    });
    vec![
        row.figure.clone(),
        amount(&row.figure, row.predicted),
        interval,
        row.basis.clone(),
        amount(&row.figure, row.measured),
        format!("{:+.1} %", (row.ratio - 1.0) * 100.0),
    ]
}

fn render(answer: &ReconcileAnswer) -> String {
    let mut text = String::new();
    for run in &answer.runs {
        let _ = writeln!(text, "run {}: {} by {}", run.run, run.model, run.engine);
        let _ = writeln!(text, "  {}", run.settings.join(" "));
        let _ = writeln!(text, "  predicted in entry {}, measured in entry {}", run.prediction, run.measurement);
        let mut table = Table::new(&["figure", "predicted", "nine times in ten", "basis", "measured", "off by"]);
        run.residuals.iter().for_each(|row| table.row(cells(row)));
        for (line, row) in table.lines("  ").iter().zip(std::iter::once(None).chain(run.residuals.iter().map(Some))) {
            let reason = row.map_or("reason", |row| row.reason.as_str());
            let _ = writeln!(text, "{line}   {reason}");
        }
        text.push('\n');
    }
    if !answer.figures.is_empty() {
        let mut table = Table::new(&["figure", "runs", "median |ln|", "within interval"]);
        for (figure, summary) in &answer.figures {
            let coverage = summary.coverage.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0));
            table.row(vec![figure.clone(), summary.runs.to_string(), format!("{:.3}", summary.median_error), coverage]);
        }
        for line in table.lines("") {
            let _ = writeln!(text, "{line}");
        }
    }
    if answer.runs.is_empty() {
        text.push_str("no run to compare\n");
    }
    if !answer.open.is_empty() {
        let _ = writeln!(text, "predicted and not measured: {}", answer.open.join(", "));
    }
    text
}
