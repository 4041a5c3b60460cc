//! `probe summarize`: windows of telemetry in the ledger.

use std::io::{self, Write};
use std::process::ExitCode;

use hwledger_node::ledger::{self, Ledger};
use hwledger_node::planner::with_causes;
use hwledger_node::probe::clock;
use hwledger_node::record::{SummarizeOptions, Summarized, summarize};

use super::SummarizeArguments;
use crate::interrupt;
use crate::{fail, json, say};

/// Opens the ledger for appending, or says why not.
fn open(arguments: &SummarizeArguments) -> Result<Ledger, ExitCode> {
    let ledger = ledger::open(&arguments.place.options()).map_err(|error| crate::ledger::refuse(&error))?;
    match ledger.fault() {
        Some(fault) => Err(fail(format_args!("the ledger is read-only: {fault}"))),
        None => Ok(ledger),
    }
}

/// `probe summarize`.
pub(super) fn run(arguments: &SummarizeArguments) -> ExitCode {
    let ledger = match open(arguments) {
        Ok(ledger) => ledger,
        Err(status) => return status,
    };
    let is_ended = match interrupt::flag() {
        Ok(is_ended) => is_ended,
        Err(error) => return fail(format_args!("nothing would end it in order: {error}")),
    };
    let options = SummarizeOptions { interval: arguments.interval, span: arguments.span, count: arguments.count };
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr(), "summing up every {} s; Ctrl-C ends it", arguments.span.as_secs_f64());
    let done = summarize(&ledger, &options, &is_ended, |summarized| {
        let text = if arguments.json { json(summarized) } else { line(summarized) };
        say(&text, true) == ExitCode::SUCCESS
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let status = fail(with_causes(&error));
            if let Some(hint) = error.hint() {
                let _ = writeln!(io::stderr(), "hint: {hint}");
            }
            status
        }
    }
}

fn line(summarized: &Summarized) -> String {
    let Summarized { start_ns, end_ns, entry, windows } = summarized;
    let last = entry + windows.len() as u64 - 1;
    format!("{} to {}: {} windows, entries {entry} to {last}\n", clock(*start_ns), clock(*end_ns), windows.len())
}
