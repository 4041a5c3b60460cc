//! `engine scrape` and `engine watch`: what a running engine tells of itself.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use hwledger_core::Bytes;
use hwledger_node::ledger::LedgerError;
use hwledger_node::locate::{LocateOptions, Token};
use hwledger_node::metrics::{
    AttachError, AttachOptions, Attachment, GAP_MAX_S, Mapping, Outcome, Reading, Scraped, Unit, mapping_of_file,
    reply_of_file,
};
use hwledger_node::planner::with_causes;
use hwledger_node::record::RecordError;

use crate::engine_measure::{self, MeasureArguments};
use crate::engine_record::EngineRecordArguments;
use crate::record::{MakePlanner, refuse};
use crate::table::Table;
use crate::{fail, json, say};

/// What is done with an engine.
#[derive(Debug, Subcommand)]
pub(crate) enum EngineCommand {
    /// Ask an engine once, or twice for rates, and print every reading
    Scrape(ScrapeArguments),
    /// Ask an engine again and again, one line each time
    Watch(WatchArguments),
    /// Ask an engine for replies, and write to the ledger what was expected of it and what came out
    Measure(Box<MeasureArguments>),
}

/// How engines are asked.
#[derive(Debug, Args)]
pub(crate) struct AttachArguments {
    /// The engine's name, instead of finding it out; a wrong one lists them
    #[arg(long = "engine-name", value_name = "NAME")]
    pub(crate) engine: Option<String>,
    /// File of rows that are tried before those of the built-in mapping (docs/engine-telemetry.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_map: Option<PathBuf>,
    /// Seconds that one answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    pub(crate) timeout: f64,
}

impl AttachArguments {
    /// What an engine is asked with, at an interval, with the token in a variable.
    pub(crate) fn options(&self, interval_s: f64, token: Option<&str>) -> Result<AttachOptions, Failure> {
        Ok(AttachOptions {
            mapping: match &self.metrics_map {
                Some(path) => mapping_of_file(path)?,
                None => Mapping::built_in(),
            },
            engine: self.engine.clone(),
            token: token_of(token)?,
            reply: None,
            timeout: Duration::from_secs_f64(self.timeout),
            // Whoever asks seldom does so on purpose; one missed turn is still a gap.
            gap_max_s: GAP_MAX_S.max(1.5 * interval_s),
        })
    }
}

/// The token in an environment variable.
pub(crate) fn token_of(variable: Option<&str>) -> Result<Option<Token>, Failure> {
    let Some(variable) = variable else { return Ok(None) };
    let text = std::env::var(variable).map_err(|_| Failure::Usage(format!("the variable `{variable}` is not set")))?;
    let token = Token::new(&text);
    token.map(Some).ok_or_else(|| Failure::Usage(format!("the variable `{variable}` holds no token")))
}

/// A time of more than nothing and less than a day.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number of seconds".to_owned())?;
    if seconds > 0.0 && seconds <= 86_400.0 { Ok(seconds) } else { Err("it should lie between 0 and 86400".to_owned()) }
}

/// Arguments of `engine scrape`.
#[derive(Debug, Args)]
pub(crate) struct ScrapeArguments {
    /// Address of the engine, such as `http://127.0.0.1:8000`
    #[arg(value_name = "URL")]
    address: String,
    #[command(flatten)]
    attach: AttachArguments,
    /// Environment variable that holds the engine's token
    #[arg(long = "token-env", value_name = "NAME")]
    token: Option<String>,
    /// Ask again after so many seconds, and tell rates and what happened in between
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    over: Option<f64>,
    /// File with a reply of the engine: Ollama and llama.cpp tell a request's times in it
    #[arg(long, value_name = "FILE")]
    reply: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `engine watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    /// Address of the engine, such as `http://127.0.0.1:8000`
    #[arg(value_name = "URL")]
    address: String,
    #[command(flatten)]
    attach: AttachArguments,
    /// Environment variable that holds the engine's token
    #[arg(long = "token-env", value_name = "NAME")]
    token: Option<String>,
    /// Seconds from one look to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    interval: f64,
    /// End after so many looks (default: go on until interrupted)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print one JSON object each time
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    record: EngineRecordArguments,
}

/// Why there is no answer.
pub(crate) enum Failure {
    Usage(String),
    Attach(AttachError),
    Ledger(LedgerError),
    Record(RecordError),
}

impl From<AttachError> for Failure {
    fn from(error: AttachError) -> Self {
        Self::Attach(error)
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl Failure {
    /// Says so on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Usage(words) => fail(words),
            Self::Ledger(error) => crate::ledger::refuse(error),
            Self::Record(error) => refuse(error),
            Self::Attach(error) => {
                let status = fail(with_causes(error));
                if let Some(hint) = error.hint() {
                    let _ = writeln!(io::stderr(), "hint: {hint}");
                }
                status
            }
        }
    }
}

/// `engine`.
pub(crate) fn run(planner: &MakePlanner<'_>, locate: &LocateOptions, command: &EngineCommand) -> ExitCode {
    let result = match command {
        EngineCommand::Scrape(arguments) => scrape(locate, arguments),
        EngineCommand::Watch(arguments) => watch(locate, arguments),
        EngineCommand::Measure(arguments) => return engine_measure::run(planner, arguments),
    };
    result.unwrap_or_else(|failure| failure.report())
}

fn scrape(locate: &LocateOptions, arguments: &ScrapeArguments) -> Result<ExitCode, Failure> {
    let mut options = arguments.attach.options(arguments.over.unwrap_or_default(), arguments.token.as_deref())?;
    options.reply = arguments.reply.as_deref().map(reply_of_file).transpose()?;
    let mut attachment = Attachment::new(&arguments.address, locate, options)?;
    let mut scraped = attachment.scrape()?;
    if let Some(over) = arguments.over {
        thread::sleep(Duration::from_secs_f64(over));
        scraped = attachment.scrape()?;
    }
    Ok(say(&if arguments.json { json(&scraped) } else { render(&scraped) }, true))
}

fn watch(locate: &LocateOptions, arguments: &WatchArguments) -> Result<ExitCode, Failure> {
    let options = arguments.attach.options(arguments.interval, arguments.token.as_deref())?;
    let mut attachment = Attachment::new(&arguments.address, locate, options)?;
    let Some(recording) = arguments.record.begin()? else {
        return looks(&mut attachment, arguments, |_, is_last| {
            if !is_last {
                thread::sleep(Duration::from_secs_f64(arguments.interval));
            }
            Ok(true)
        });
    };
    let mut recorder = recording.recorder();
    let watched = looks(&mut attachment, arguments, |scraped, is_last| {
        recorder.look(scraped)?;
        Ok(is_last || recording.wait(arguments.interval))
    });
    // Whatever ended it, what was seen is written.
    recorder.finish()?;
    watched
}

/// Looks again and again. `go_on` gets each look and whether it is the last, waits for the next, and says whether to go
/// on.
fn looks(
    attachment: &mut Attachment,
    arguments: &WatchArguments,
    mut go_on: impl FnMut(&Scraped, bool) -> Result<bool, Failure>,
) -> Result<ExitCode, Failure> {
    let mut looks = 0;
    loop {
        let scraped = attachment.scrape()?;
        let text = match arguments.json {
            true => json(&scraped),
            false if looks == 0 => format!("{}\n{}\n{}\n", title(&scraped), HEAD, line(&scraped)),
            false => line(&scraped) + "\n",
        };
        let status = say(&text, true);
        looks += 1;
        let is_last = status != ExitCode::SUCCESS || arguments.count.is_some_and(|count| looks >= count);
        if !go_on(&scraped, is_last)? || is_last {
            return Ok(status);
        }
    }
}

fn title(scraped: &Scraped) -> String {
    let version = scraped.version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
    format!("{}{version} at {}", scraped.engine, scraped.address)
}

const HEAD: &str = "running  waiting  cache used  prompt tokens/s  output tokens/s  first token  next token";

/// The readings that change most, of all models together where they can be summed.
fn line(scraped: &Scraped) -> String {
    let of = |name: &str, is_wanted: &dyn Fn(&Reading) -> bool| {
        let readings = scraped.readings.iter().map(|reading| &reading.reading);
        let values: Vec<f64> = readings
            .filter(|reading| reading.metric.strip_prefix("hwl_engine_") == Some(name) && is_wanted(reading))
            .filter_map(|reading| reading.outcome.value())
            .collect();
        (!values.is_empty()).then_some(values)
    };
    let all = |_: &Reading| true;
    let sum = |name: &str| of(name, &all).map_or("?".to_owned(), |values| trimmed(values.iter().sum()));
    let used = of("kv_used_ratio", &all).filter(|values| values.len() == 1);
    let used = used.map_or("?".to_owned(), |values| percent(values[0]));
    let mean = |name: &str| {
        let is_recent = |reading: &Reading| has(reading, "over", "window") && has(reading, "statistic", "mean");
        let values = of(name, &is_recent).filter(|values| values.len() == 1);
        values.map_or("?".to_owned(), |values| duration(values[0]))
    };
    format!(
        "{:>7}  {:>7}  {used:>10}  {:>15}  {:>15}  {:>11}  {:>10}",
        sum("requests_running"),
        sum("requests_waiting"),
        sum("prompt_tokens_per_second"),
        sum("output_tokens_per_second"),
        mean("time_to_first_token_seconds"),
        mean("inter_token_latency_seconds"),
    )
}

fn has(reading: &Reading, label: &str, value: &str) -> bool {
    reading.labels.iter().any(|(name, found)| name == label && found == value)
}

/// Every reading with a number as a row, and what is not told with the reason.
fn render(scraped: &Scraped) -> String {
    let readings: Vec<&Reading> = scraped.readings.iter().map(|reading| &reading.reading).collect();
    let mut table = Table::new(&["metric", "value", ""]);
    let mut untold: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for reading in &readings {
        let name = reading.metric.strip_prefix("hwl_engine_").unwrap_or(&reading.metric);
        let is_detail = name.ends_with("_bound") || name.ends_with("_seconds_sum") || name.ends_with("_seconds_count");
        match &reading.outcome {
            _ if is_detail || name == "info" || name == "up" => {}
            Outcome::Measured { value } | Outcome::Derived { value } => {
                let bounds = bounds(&readings, reading).map(|bounds| format!("between {bounds}")).unwrap_or_default();
                table.row(vec![labelled(name, reading), shown(*value, reading.unit), bounds]);
            }
            Outcome::Unsupported { reason } | Outcome::Error { reason } => {
                untold.entry(reason).or_default().push(labelled(name, reading));
            }
        }
    }
    let mut lines = vec![title(scraped)];
    lines.extend(table.lines("  "));
    if !untold.is_empty() {
        lines.push("not told".to_owned());
        lines.extend(untold.iter().map(|(reason, names)| format!("  {}: {reason}", names.join(", "))));
    }
    lines.join("\n") + "\n"
}

fn labelled(name: &str, reading: &Reading) -> String {
    let labels: Vec<String> = reading.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name} {}", labels.join(" ")) }
}

/// The bounds of a quantile's bucket.
fn bounds(readings: &[&Reading], quantile: &Reading) -> Option<String> {
    if !quantile.labels.iter().any(|(name, _)| name == "quantile") {
        return None;
    }
    let bound = |bound: &str| {
        let metric = format!("{}_bound", quantile.metric);
        let mut labels = quantile.labels.clone();
        labels.push(("bound".to_owned(), bound.to_owned()));
        let found = readings.iter().find(|reading| reading.metric == metric && reading.labels == labels)?;
        Some(found.outcome.value().map_or("?".to_owned(), duration))
    };
    Some(format!("{} and {}", bound("low")?, bound("high")?))
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates at 0 and 2^64")]
        Unit::Bytes => Bytes(value as u64).to_string(),
        Unit::Ratio => percent(value),
        Unit::Seconds => duration(value),
        Unit::Tokens => format!("{} tokens", trimmed(value)),
        Unit::TokensPerSecond => format!("{} tokens/s", trimmed(value)),
        _ => trimmed(value),
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", 100.0 * ratio)
}

fn duration(seconds: f64) -> String {
    if seconds >= 1.0 { format!("{seconds:.2} s") } else { format!("{:.2} ms", 1000.0 * seconds) }
}

/// A number without decimals where it has none.
fn trimmed(value: f64) -> String {
    if value.fract().abs() < 1e-9 { format!("{value:.0}") } else { format!("{value:.1}") }
}
