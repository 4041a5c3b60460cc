//! The command `calibrate`, and the store that plans are corrected by.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use hwledger_node::Planner;
use hwledger_node::calibrate::{CalibrateAnswer, CalibrateFailure, CalibrateRequest, ErrorRow, Learned, Store};
use hwledger_node::planner::with_causes;
use hwledger_node::record::{LearnRequest, learn};

use crate::ledger::LedgerPlace;
use crate::table::Table;

/// Arguments of `calibrate`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct CalibrateArguments {
    /// Output of llama-bench, vLLM's or `SGLang`'s benchmarks, start-up logs, or hwledger.measurement/1 lines
    #[arg(value_name = "FILE", required_unless_present = "from_ledger")]
    files: Vec<PathBuf>,
    /// Learn from the runs that the ledger has, whose predictions were made before them
    #[arg(long, conflicts_with = "files")]
    from_ledger: bool,
    #[command(flatten)]
    place: LedgerPlace,
    /// Model of all runs, where their own names do not say it
    #[arg(long, value_name = "REF")]
    model: Option<String>,
    /// Device of all runs, where they do not say it (`"RTX 4090"`, `"2x H100"`)
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Format of the files, where their content does not say it
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Store to add to
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// The runs were made on other machines: nothing becomes "measured"
    #[arg(long)]
    foreign: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Say what would be learnt, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl CalibrateArguments {
    fn request(&self) -> CalibrateRequest {
        CalibrateRequest {
            files: self.files.clone(),
            model: self.model.clone(),
            device: self.device.clone(),
            format: self.format.clone(),
            store: self.store.clone(),
            is_foreign: self.foreign,
            is_dry_run: self.dry_run,
        }
    }
}

/// Runs the command: yes where something was learnt.
pub(crate) fn run(planner: &Planner, arguments: &CalibrateArguments) -> ExitCode {
    if arguments.from_ledger {
        let request = LearnRequest { store: arguments.store.clone(), is_dry_run: arguments.dry_run };
        return match learn(&arguments.place.options(), &request) {
            Ok(answer) => {
                let text = if arguments.json { crate::json(&answer) } else { render(&answer) };
                crate::say(&text, answer.pairs_new + answer.pairs_renewed > 0)
            }
            Err(error) => crate::record::refuse(&error),
        };
    }
    match planner.calibrate(&arguments.request()) {
        Ok(answer) => {
            let text = if arguments.json { crate::json(&answer) } else { render(&answer) };
            crate::say(&text, answer.pairs_new + answer.pairs_renewed > 0)
        }
        Err(failure) => refuse(&failure),
    }
}

fn refuse(failure: &CalibrateFailure) -> ExitCode {
    let status = crate::fail(with_causes(failure));
    if let Some(hint) = failure.hint() {
        let _ = writeln!(io::stderr(), "hint: {hint}");
    }
    status
}

/// The planner with the store at `path`, or else the user's own where there is one; `none` is
/// neither. A store that was named and cannot be read is an error, the user's own only a warning:
/// plans do not depend on it.
pub(crate) fn with_store(planner: Planner, path: Option<&Path>) -> Result<Planner, ExitCode> {
    let (path, is_named) = match path {
        Some(path) if path.as_os_str() == "none" => return Ok(planner),
        Some(path) => (path.to_owned(), true),
        None => match Store::default_path() {
            Some(path) => (path, false),
            None => return Ok(planner),
        },
    };
    match Store::read(&path) {
        Ok(Some(store)) => Ok(planner.with_calibration(Learned::new(store))),
        Ok(None) if is_named => Err(crate::fail(format_args!("`{}` does not exist", path.display()))),
        Ok(None) => Ok(planner),
        Err(error) if is_named => Err(refuse(&CalibrateFailure::Store(error))),
        Err(error) => {
            let _ = writeln!(io::stderr(), "warning: plans are not calibrated: {}", with_causes(&error));
            Ok(planner)
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn row(table: &mut Table, row: &ErrorRow) {
    let name = match &row.key {
        None => row.figure.name().to_owned(),
        Some(key) => format!("  {}", key.to_string().split_once(" / ").map_or("all", |(_, parts)| parts)),
    };
    table.row(vec![
        name,
        row.n.to_string(),
        format!("{:.3}", row.median_error_before),
        format!("{:.3}", row.median_error_after),
        percent(row.within_quarter_before),
        percent(row.within_quarter_after),
    ]);
}

fn render(answer: &CalibrateAnswer) -> String {
    let mut lines = vec![format!(
        "{} runs; {} pairs of prediction and measurement, {} of them new",
        answer.runs,
        answer.pairs_new + answer.pairs_renewed,
        answer.pairs_new
    )];
    if !answer.errors.is_empty() {
        let head = ["figure and key", "n", "median |ln| before", "after", "within 25 % before", "after"];
        let mut table = Table::new(&head);
        answer.errors.iter().for_each(|one| row(&mut table, one));
        lines.push(String::new());
        lines.extend(table.lines("  "));
    }
    for drift in &answer.drifts {
        lines.push(String::new());
        lines.push(format!(
            "drift: {} gives {:.2} times what {} runs of {} gave",
            drift.key,
            drift.change,
            drift.runs_before,
            if drift.versions_before.is_empty() { "before".to_owned() } else { drift.versions_before.join(", ") }
        ));
    }
    if !answer.excluded.is_empty() {
        lines.push(String::new());
        lines.push(format!("left out: {}", answer.excluded.len()));
        lines.extend(answer.excluded.iter().map(|one| format!("  {} {}: {}", one.place, one.what, one.reason)));
    }
    if !answer.remarks.is_empty() {
        lines.push(String::new());
        lines.extend(answer.remarks.iter().map(|remark| format!("note: {remark}")));
    }
    lines.push(String::new());
    lines.push(match &answer.store {
        Some(path) => format!("store: {}, {} pairs", path.display(), answer.pairs),
        None => "nothing was written".to_owned(),
    });
    lines.join("\n") + "\n"
}
