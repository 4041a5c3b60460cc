//! The hwledger command line.

mod arguments;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::process::ExitCode;

use arguments::{Arguments, Command, PlanArguments};
use clap::Parser;
use hwledger_node::locate::LocateOptions;
use hwledger_node::planner::with_causes;
use hwledger_node::{PlanFailure, Planner, batch};

/// Exit status when the answer is no, or at least one of several answers is an error.
const NO: u8 = 1;
/// Exit status when the question could not be read.
const ERROR: u8 = 2;

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    match command {
        Command::Plan(arguments) => plan(&arguments),
    }
}

/// One sentence on standard error, and the status of an error.
fn fail(message: impl std::fmt::Display) -> ExitCode {
    // A closed standard error leaves nobody to tell; the status still does.
    let _ = writeln!(io::stderr(), "error: {message}");
    ExitCode::from(ERROR)
}

/// A failed request, with its causes and what to do about it.
fn refuse(failure: &PlanFailure) -> ExitCode {
    let status = fail(with_causes(failure));
    if let Some(hint) = failure.hint() {
        let _ = writeln!(io::stderr(), "hint: {hint}");
    }
    status
}

fn plan(arguments: &PlanArguments) -> ExitCode {
    let planner = Planner::new(LocateOptions::from_environment());
    if let Some(path) = &arguments.requests {
        return plan_requests(&planner, path);
    }
    match planner.plan(&arguments.request()) {
        Ok(answer) => {
            let text =
                if arguments.json { serde_json::to_string(&answer) } else { serde_json::to_string_pretty(&answer) };
            match text {
                Ok(text) => {
                    let _ = writeln!(io::stdout(), "{text}");
                    ExitCode::SUCCESS
                }
                Err(error) => fail(error),
            }
        }
        Err(failure) => refuse(&failure),
    }
}

fn plan_requests(planner: &Planner, path: &str) -> ExitCode {
    let output = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let result = if path == "-" {
        batch::answer_lines(planner, io::stdin().lock(), output)
    } else {
        match File::open(path) {
            Ok(file) => batch::answer_lines(planner, BufReader::new(file), output),
            Err(error) => return fail(format_args!("`{path}` cannot be read: {error}")),
        }
    };
    match result {
        Ok(outcome) if outcome.errors == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(NO),
        // Whoever read our output has had enough of it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}
