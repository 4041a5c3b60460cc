//! The hwledger command line.

mod arguments;
mod bench;
mod calibrate;
mod chip;
mod cost;
mod device_list;
mod efficiency;
mod embed;
mod engine;
mod engine_measure;
mod engine_record;
mod hardware_search;
mod interrupt;
mod ledger;
mod location;
mod metrics;
mod native;
mod picture;
mod plot;
mod probe;
mod record;
mod render;
mod speed;
mod sweep;
mod table;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::process::ExitCode;

use arguments::{Arguments, Command, PlanArguments, Question, TrainArguments};
use clap::Parser;
use hwledger_core::verdict::Verdict;
use hwledger_node::locate::LocateOptions;
use hwledger_node::planner::with_causes;
use hwledger_node::probe::with_this_machine;
use hwledger_node::{PlanFailure, PlanRequest, Planner, batch};
use location::ModelsArguments;
use serde::Serialize;

/// Exit status when the answer is no, or at least one of several answers is an error.
const NO: u8 = 1;
/// Exit status when the question could not be read.
const ERROR: u8 = 2;

fn main() -> ExitCode {
    let Arguments { command, location, calibration, prices, device_files } = Arguments::parse();
    let options = location.options();
    // Whoever reads stores, prices and devices needs a planner; the others start without.
    let planner = || {
        let planner = calibrate::with_store(Planner::new(options.clone()), calibration.as_deref())?;
        let planner = cost::with_prices(planner, prices.as_ref()).map_err(|failure| refuse(&failure))?;
        device_list::with_files(planner, &device_files)
    };
    match &command {
        Command::Run(arguments) => return native::run(&planner, &options, arguments),
        Command::Bench(arguments) => return bench::run(&planner, &options, arguments),
        Command::Embed(arguments) => return embed::run(&options, arguments),
        Command::Engine(command) => return engine::run(&planner, &options, command),
        Command::Ledger(arguments) => return ledger::run(arguments),
        Command::Reconcile(arguments) => return record::run(arguments),
        Command::Metrics(command) => return metrics::run(&options, command),
        Command::Probe(command) => return probe::run(command),
        Command::Doctor(arguments) => return probe::doctor(arguments),
        _ => {}
    }
    let planner = match planner() {
        Ok(planner) => planner,
        Err(status) => return status,
    };
    let result = match command {
        Command::Plan(arguments) => match &arguments.requests {
            Some(path) => return plan_requests(&planner, path),
            None => plan(&planner, &arguments),
        },
        Command::Run(_)
        | Command::Bench(_)
        | Command::Embed(_)
        | Command::Engine(_)
        | Command::Ledger(_)
        | Command::Reconcile(_)
        | Command::Metrics(_)
        | Command::Probe(_)
        | Command::Doctor(_) => unreachable!("answered above"),
        Command::Fit(question) => fit(&planner, &question),
        Command::Compare(question) => compare(&planner, &question),
        Command::Export(question) => export(&planner, &question),
        Command::Price(arguments) => cost::run(&arguments, prices.as_ref()),
        Command::Train(arguments) => train(&planner, &arguments),
        Command::FitEfficiency(arguments) => return efficiency::run(&planner, &arguments),
        Command::Calibrate(arguments) => return calibrate::run(&planner, &arguments),
        Command::Plot(arguments) => return plot::run(&planner, &arguments),
        Command::Search(arguments) => hardware_search::run(&planner, &arguments),
        Command::Devices(arguments) => device_list::run(&planner, &arguments),
        Command::Sweep(arguments) => return sweep::run(&planner, &arguments),
        Command::Models(arguments) => return models(&options, &arguments),
        Command::Chip(command) => return chip::run(&planner, &command),
    };
    result.unwrap_or_else(|failure| refuse(&failure))
}

/// The models that can be planned without the network.
fn models(options: &LocateOptions, arguments: &ModelsArguments) -> ExitCode {
    let found = arguments.run(options);
    if found.is_empty() {
        let _ = writeln!(
            io::stderr(),
            "no model on this machine or in the catalogue has a name that holds all these words"
        );
    }
    let text = if arguments.json { found.iter().map(json).collect() } else { location::render(&found) };
    say(&text, !found.is_empty())
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

/// Prints `text`, and gives the status of a yes or a no.
fn say(text: &str, is_yes: bool) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever read our output has had enough of it.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(error),
        _ if is_yes => ExitCode::SUCCESS,
        _ => ExitCode::from(NO),
    }
}

/// One JSON object on one line.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("answers hold only strings and numbers") + "\n"
}

/// The request that the flags spell; `--device local` stands for what this machine has.
fn asked(question: &Question) -> Result<PlanRequest, PlanFailure> {
    with_this_machine(question.request())
}

fn plan(planner: &Planner, arguments: &PlanArguments) -> Result<ExitCode, PlanFailure> {
    if arguments.question.as_log {
        let lines = planner.log(&asked(&arguments.question)?)?;
        return Ok(say(&(lines.join("\n") + "\n"), true));
    }
    let report = planner.report(&asked(&arguments.question)?)?;
    let is_yes = report.answer.verdict != Verdict::DoesNotFit;
    let text = if arguments.question.json { json(&report) } else { render::report(&report) };
    Ok(say(&text, is_yes))
}

fn fit(planner: &Planner, question: &Question) -> Result<ExitCode, PlanFailure> {
    let answer = planner.fit(&asked(question)?)?;
    let text = if question.json { json(&answer) } else { render::fit(&answer) };
    Ok(say(&text, answer.best_weights.is_some()))
}

fn compare(planner: &Planner, question: &Question) -> Result<ExitCode, PlanFailure> {
    let answer = planner.compare(&asked(question)?)?;
    let text = if question.json { json(&answer) } else { render::compare(&answer) };
    Ok(say(&text, true))
}

fn export(planner: &Planner, question: &Question) -> Result<ExitCode, PlanFailure> {
    let answer = planner.export(&asked(question)?)?;
    let text = if question.json { json(&answer) } else { answer.text };
    Ok(say(&text, true))
}

fn train(planner: &Planner, arguments: &TrainArguments) -> Result<ExitCode, PlanFailure> {
    let answer = planner.train(&arguments.request(), &arguments.training())?;
    let text = if arguments.json { json(&answer) } else { render::train(&answer) };
    Ok(say(&text, answer.verdict != Verdict::DoesNotFit))
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
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}
