//! `hwledger fit-efficiency`: measured speeds in, the table of efficiencies out.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hwledger_node::Planner;
use hwledger_node::efficiency::{FigureErrors, FitReport, fit_efficiencies, read_records};
use hwledger_node::planner::with_causes;

use crate::table::Table;
use crate::{fail, json, say};

/// Arguments of `fit-efficiency`.
#[derive(Debug, Args)]
pub(crate) struct EfficiencyArguments {
    /// Measured speeds, one JSON object per line: `request`, `measured`, `source` (`-` for standard input)
    #[arg(value_name = "FILE")]
    records: String,
    /// Write the table of efficiencies here
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Predict each device and each model by a fit without it (minutes)
    #[arg(long)]
    hold_out: bool,
    /// Write every comparison here, one JSON object per line
    #[arg(long, value_name = "PATH")]
    comparisons: Option<PathBuf>,
    /// Print the errors as one JSON object
    #[arg(long)]
    json: bool,
}

/// Factors with less behind them than this many measurements say nothing worth keeping.
const SUPPORT_MIN: f64 = 0.02;

pub(crate) fn run(planner: &Planner, arguments: &EfficiencyArguments) -> ExitCode {
    let records = if arguments.records == "-" {
        read_records(io::stdin().lock())
    } else {
        match File::open(&arguments.records) {
            Ok(file) => read_records(BufReader::new(file)),
            Err(error) => return fail(format_args!("`{}` cannot be read: {error}", arguments.records)),
        }
    };
    let records = match records {
        Ok(records) => records,
        Err(error) => return fail(with_causes(&error)),
    };
    let report = fit_efficiencies(planner, &records, arguments.hold_out);
    let comparisons = || report.comparisons.iter().map(json).collect::<String>();
    let written: [(&Option<PathBuf>, &dyn Fn() -> String); 2] =
        [(&arguments.out, &|| table(&report, records.len())), (&arguments.comparisons, &comparisons)];
    for (path, text) in written {
        let Some(path) = path else { continue };
        if let Err(error) = fs::write(path, text()) {
            return fail(format_args!("`{}` cannot be written: {error}", path.display()));
        }
    }
    let text = if arguments.json { json(&report.errors) } else { render(&report) };
    say(&text, true)
}

/// The table of efficiencies, with what its columns mean.
fn table(report: &FitReport, records: usize) -> String {
    format!(
        "# This is a table, written by `hwledger fit-efficiency`: {} comparisons from {records} records (bench/efficiency).\n\
         # scatter\tfigure\tengines\tbackend, or any\tnovelty\tln(measured / predicted time) of which one in twenty is below, and above\n\
         # level\tresource\tengines or engine\tbackend\tkernel\tname\tln of the factor\tits standard deviation\tmeasurements behind it\n{}",
        report.samples,
        report.efficiencies.write(SUPPORT_MIN)
    )
}

fn render(report: &FitReport) -> String {
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let number = |error: Option<f64>| error.map_or("-".to_owned(), |error| format!("{error:.3}"));
    let mut rows = Table::new(&[
        "figure",
        "n",
        "|ln| fitted",
        "device held out",
        "model held out",
        "within 25 %",
        "device",
        "model",
    ]);
    for FigureErrors {
        figure,
        samples,
        fitted,
        device_held_out,
        model_held_out,
        within_quarter: [own, device, model],
    } in &report.errors
    {
        rows.row(vec![
            figure.clone(),
            samples.to_string(),
            number(Some(*fitted)),
            number(*device_held_out),
            number(*model_held_out),
            percent(*own),
            percent(*device),
            percent(*model),
        ]);
    }
    let mut text = rows.lines("").join("\n") + "\n";
    for (why, count) in &report.left_out {
        let _ = writeln!(text, "left out: {count} records: {why}");
    }
    text
}
