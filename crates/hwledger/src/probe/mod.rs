//! `probe` and `doctor`: what this machine has and does.

mod list;
mod report;
mod summarize;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hwledger_node::planner::with_causes;
use hwledger_node::probe::{ProbeError, SourceName};

use crate::ledger::LedgerPlace;
use crate::{fail, json, say};

/// Verbs of `probe`.
#[derive(Debug, Subcommand)]
pub(crate) enum ProbeCommand {
    /// Print everything that is read from this machine, once
    List(ListArguments),
    /// Print what the machine does, again and again
    Watch(WatchArguments),
    /// Write down what the machine does; `watch --source FILE` shows it again
    Record(RecordArguments),
    /// Write to the ledger, window after window, what the machine did; Ctrl-C ends it, and the window under way is written
    Summarize(SummarizeArguments),
    /// Turn a recording into a table, one row per reading
    Export(ExportArguments),
}

/// Arguments of `probe export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The recording
    #[arg(value_name = "RECORDING")]
    recording: PathBuf,
    /// The table: a file named .parquet, .csv or .jsonl
    #[arg(value_name = "TABLE")]
    out: PathBuf,
}

/// Arguments of `probe list`.
#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// What is read: `live`, `mock`, or a recording (its second snapshot)
    #[arg(long, value_name = "live|mock|FILE", default_value = "live")]
    source: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How often and how long.
#[derive(Debug, Args)]
pub(crate) struct PaceArguments {
    /// Time between two snapshots, such as 1s or 500ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// End after so many snapshots
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Say at the end how much processor time the probe itself took
    #[arg(long)]
    overhead: bool,
}

/// Arguments of `probe watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    /// What is watched: `live`, `mock` (`mock:SEED`), or a recording
    #[arg(long, value_name = "live|mock|FILE", default_value = "live")]
    source: String,
    #[command(flatten)]
    pace: PaceArguments,
    /// Print every snapshot whole, one JSON object per line
    #[arg(long)]
    ndjson: bool,
}

/// Arguments of `probe record`.
#[derive(Debug, Args)]
pub(crate) struct RecordArguments {
    /// New file, which only its owner may read
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What is recorded: `live`, or `mock` (`mock:SEED`)
    #[arg(long, value_name = "live|mock", default_value = "live")]
    source: String,
    #[command(flatten)]
    pace: PaceArguments,
}

/// Arguments of `probe summarize`.
#[derive(Debug, Args)]
pub(crate) struct SummarizeArguments {
    /// Time of a window, such as 15m; windows end where the time since 1970 is a multiple of it
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = interval)]
    span: Duration,
    /// Time between two samples, such as 1s or 500ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// End after so many windows
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print one JSON object for each window
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: LedgerPlace,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The shortest time between two snapshots: sensors do not answer faster.
const INTERVAL_LEAST: Duration = Duration::from_millis(50);
const INTERVAL_MOST: Duration = Duration::from_hours(24);

/// `1s`, `500ms`, `2m`; a number alone counts seconds.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.').len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err(format!("`{text}` is no time, such as 1s, 500ms or 2m")),
    };
    let seconds = number.parse::<f64>().map_err(|_| format!("`{text}` is no time, such as 1s, 500ms or 2m"))? * scale;
    let found = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    if (INTERVAL_LEAST..=INTERVAL_MOST).contains(&found) {
        Ok(found)
    } else {
        Err(format!("`{text}` is not between 50ms and a day"))
    }
}

/// `probe`.
pub(crate) fn run(command: &ProbeCommand) -> ExitCode {
    match command {
        ProbeCommand::List(arguments) => {
            finish(hwledger_node::probe::snapshot(&SourceName::parse(&arguments.source)).map(|snapshot| {
                let text = if arguments.json { json(&snapshot) } else { list::render(&snapshot, &arguments.source) };
                say(&text, true)
            }))
        }
        ProbeCommand::Watch(arguments) => finish(watch::show(arguments)),
        ProbeCommand::Record(arguments) => finish(watch::record(arguments)),
        ProbeCommand::Summarize(arguments) => summarize::run(arguments),
        ProbeCommand::Export(ExportArguments { recording, out }) => {
            let exported = hwledger_node::probe::export(recording, out);
            finish(exported.map(|count| say(&format!("{count} readings in {}\n", out.display()), true)))
        }
    }
}

/// `doctor`.
pub(crate) fn doctor(arguments: &DoctorArguments) -> ExitCode {
    finish(hwledger_node::probe::doctor().map(|found| {
        let text = if arguments.json { json(&found) } else { report::render(&found) };
        say(&text, true)
    }))
}

fn finish(result: Result<ExitCode, ProbeError>) -> ExitCode {
    match result {
        Ok(status) => status,
        // Whoever read our output has had enough of it.
        Err(ProbeError::Show(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(with_causes(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::interval;
    use std::time::Duration;

    #[test]
    fn times_have_units() {
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("1.5m"), Ok(Duration::from_secs(90)));
        for wrong in ["", "s", "1h", "0", "10ms", "-1s", "1e9", "9999999999999999999999s", "."] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
