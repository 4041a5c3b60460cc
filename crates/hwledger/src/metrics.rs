//! `metrics serve` and `metrics push`: readings for Prometheus and OpenTelemetry.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use hwledger_node::locate::LocateOptions;
use hwledger_node::metrics::{
    AttachOptions, Attachment, LabelledReading, MetricsPush, MetricsServer, PushError, ServeError, ServeOptions,
    Watcher,
};
use hwledger_node::planner::with_causes;
use hwledger_node::probe::MachineReadings;

use crate::engine::{AttachArguments, Failure, seconds, token_of};
use crate::fail;

/// Where readings go.
#[derive(Debug, Subcommand)]
pub(crate) enum MetricsCommand {
    /// Serve readings at `/metrics` in the text format of Prometheus
    Serve(ServeArguments),
    /// Send readings to an OpenTelemetry collector: OTLP over HTTP
    Push(PushArguments),
}

/// Arguments of `metrics serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Address and port to listen on; others than this machine's own need a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
    /// Environment variable that holds the token which requests must bear
    #[arg(long = "token-env", value_name = "NAME")]
    token: Option<String>,
    /// Name that requests may ask for this server by; may be repeated
    #[arg(long = "host-name", value_name = "NAME")]
    host_names: Vec<String>,
    /// Address of an engine to read; may be repeated
    #[arg(long = "engine", value_name = "URL", required_unless_present = "machine")]
    engines: Vec<String>,
    /// Read this machine too: devices, processors, memory, disks
    #[arg(long)]
    machine: bool,
    /// Seconds from one look at an engine to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    interval: f64,
    /// Environment variable that holds the engines' token
    #[arg(long = "engine-token-env", value_name = "NAME")]
    engine_token: Option<String>,
    #[command(flatten)]
    attach: AttachArguments,
}

/// Arguments of `metrics push`.
#[derive(Debug, Args)]
pub(crate) struct PushArguments {
    /// Address of the collector, such as `http://127.0.0.1:4318`
    #[arg(long, value_name = "URL")]
    otlp: String,
    /// Environment variable that holds the collector's token
    #[arg(long = "otlp-token-env", value_name = "NAME")]
    otlp_token: Option<String>,
    /// Address of an engine to read; may be repeated
    #[arg(long = "engine", value_name = "URL", required_unless_present = "machine")]
    engines: Vec<String>,
    /// Send readings of this machine too: devices, processors, memory, disks
    #[arg(long)]
    machine: bool,
    /// Seconds from one export to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    interval: f64,
    /// End after so many exports (default: go on until interrupted)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Environment variable that holds the engines' token
    #[arg(long = "engine-token-env", value_name = "NAME")]
    engine_token: Option<String>,
    #[command(flatten)]
    attach: AttachArguments,
}

/// `metrics`.
pub(crate) fn run(locate: &LocateOptions, command: &MetricsCommand) -> ExitCode {
    let result = match command {
        MetricsCommand::Serve(arguments) => serve(locate, arguments),
        MetricsCommand::Push(arguments) => push(locate, arguments),
    };
    result.unwrap_or_else(|failure| failure.report())
}

fn attachments(
    addresses: &[String],
    locate: &LocateOptions,
    options: &AttachOptions,
) -> Result<Vec<Attachment>, Failure> {
    let attach = |address: &String| Ok(Attachment::new(address, locate, options.clone())?);
    addresses.iter().map(attach).collect()
}

/// A failure of an engine, which ends nothing: others go on, and it may come back.
fn warn(words: &str) {
    let _ = writeln!(io::stderr(), "warning: {words}");
}

fn refuse(error: &(impl Error + 'static), hint: Option<String>) -> ExitCode {
    let status = fail(with_causes(error));
    if let Some(hint) = hint {
        let _ = writeln!(io::stderr(), "hint: {hint}");
    }
    status
}

fn serve(locate: &LocateOptions, arguments: &ServeArguments) -> Result<ExitCode, Failure> {
    let options = ServeOptions {
        listen: arguments.listen,
        token: token_of(arguments.token.as_deref())?,
        host_names: arguments.host_names.clone(),
    };
    let asked = arguments.attach.options(arguments.interval, arguments.engine_token.as_deref())?;
    let attachments = attachments(&arguments.engines, locate, &asked)?;
    let refused = |error: ServeError| refuse(&error, error.hint());
    let server = match MetricsServer::bind(options) {
        Ok(server) => server,
        Err(error) => return Ok(refused(error)),
    };
    let watcher = Watcher::start(attachments, Duration::from_secs_f64(arguments.interval), warn);
    let _ = writeln!(io::stderr(), "serving http://{}/metrics", server.address());
    let machine = arguments.machine.then(MachineReadings::local);
    let collect = move || {
        let mut readings = watcher.readings();
        readings.extend(machine.iter().flat_map(MachineReadings::readings));
        readings
    };
    Ok(server.run(collect).map_or_else(refused, |()| ExitCode::SUCCESS))
}

fn push(locate: &LocateOptions, arguments: &PushArguments) -> Result<ExitCode, Failure> {
    let asked = arguments.attach.options(arguments.interval, arguments.engine_token.as_deref())?;
    let mut attachments = attachments(&arguments.engines, locate, &asked)?;
    let token = token_of(arguments.otlp_token.as_deref())?;
    let refused = |error: PushError| refuse(&error, error.hint());
    let timeout = Duration::from_secs_f64(arguments.attach.timeout);
    let sender = match MetricsPush::new(&arguments.otlp, locate, token, timeout) {
        Ok(sender) => sender,
        Err(error) => return Ok(refused(error)),
    };
    let machine = arguments.machine.then(MachineReadings::local);
    let mut exports = 0;
    loop {
        let mut readings: Vec<LabelledReading> = machine.iter().flat_map(MachineReadings::readings).collect();
        for attachment in &mut attachments {
            match attachment.scrape() {
                Ok(scraped) => readings.extend(scraped.readings),
                Err(error) => {
                    warn(&with_causes(&error));
                    readings.push(attachment.down());
                }
            }
        }
        exports += 1;
        let is_last = arguments.count.is_some_and(|count| exports >= count);
        match sender.push(&readings) {
            Ok(count) if is_last => {
                let _ = writeln!(io::stderr(), "sent {count} values");
                return Ok(ExitCode::SUCCESS);
            }
            Ok(_) => {}
            Err(error) if is_last => return Ok(refused(error)),
            Err(error) => warn(&with_causes(&error)),
        }
        thread::sleep(Duration::from_secs_f64(arguments.interval));
    }
}
