//! `run` and `bench`: models on this machine by the native engine.

use std::cell::Cell;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use hwledger_node::locate::LocateOptions;
use hwledger_node::metrics::exposition;
use hwledger_node::native::{
    FinishReason, LoadProgress, MeasuredRun, MemoryReport, NativeError, NativeOptions, ReplyAnswer, ReplyRequest,
    ReplyToken, ResponseFormat, SamplingSettings, Session, TokenLogprob, Usage, instructions, reply_run, with_reply,
};
use hwledger_node::planner::with_causes;
use hwledger_node::record::{Prediction, Recorder, Surroundings};
use hwledger_node::request::tokens;

use crate::record::{MakePlanner, RecordArguments, note, recorder};
use crate::{fail, json};

/// How a model is run.
#[derive(Debug, Args)]
pub(crate) struct NativeArguments {
    /// Longest sequence in tokens, prompt and reply together (default: 4096, or what the model knows)
    #[arg(long, short, value_name = "TOKENS", value_parser = length)]
    context: Option<usize>,
    #[command(flatten)]
    machine: MachineArguments,
    /// Numbers of the cache, by their name
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = ["f16", "q8_0"])]
    kv_type: String,
}

/// By what a model is computed, and what of it is kept.
#[derive(Debug, Args)]
pub(crate) struct MachineArguments {
    /// Threads that compute (default: one per processor)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,
    /// Use no better instructions than this set; a wrong name lists them
    #[arg(long, value_name = "SET")]
    pub(crate) instructions: Option<String>,
    /// Make repacked weights anew instead of keeping them on disk for the next start
    #[arg(long)]
    pub(crate) no_packed_cache: bool,
}

pub(crate) fn length(text: &str) -> Result<usize, String> {
    let count = tokens(text)?;
    usize::try_from(count).map_err(|error| error.to_string())
}

impl NativeArguments {
    pub(crate) fn options(&self) -> Result<NativeOptions, NativeError> {
        Ok(NativeOptions {
            context: self.context,
            threads: self.machine.threads.map(usize::from),
            instructions: self.machine.instructions.as_deref().map(instructions).transpose()?,
            has_small_cache: self.kv_type == "q8_0",
            sequences: None,
            keeps_nothing: self.machine.no_packed_cache,
        })
    }
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Model: a GGUF file, a directory with safetensors, or a name of a store on this machine
    #[arg(value_name = "MODEL")]
    model: String,
    /// What to answer; what is piped in comes before it. Without either, a conversation in the terminal
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    #[command(flatten)]
    native: NativeArguments,
    #[command(flatten)]
    record: RecordArguments,
    /// Instructions that stand before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Complete the text as it is, without the model's chat template
    #[arg(long)]
    raw: bool,
    /// Most tokens of a reply
    #[arg(long, short = 'n', value_name = "TOKENS", value_parser = length)]
    tokens_max: Option<usize>,
    /// Divides the logits; 0 takes the likeliest token
    #[arg(long, short, value_name = "NUMBER", default_value_t = 0.8)]
    temperature: f32,
    /// Keep so many of the likeliest tokens; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 40)]
    top_k: usize,
    /// Keep the likeliest tokens until their probabilities reach this
    #[arg(long, value_name = "FRACTION", default_value_t = 0.95)]
    top_p: f32,
    /// Drop tokens less likely than this part of the likeliest
    #[arg(long, value_name = "FRACTION", default_value_t = 0.05)]
    min_p: f32,
    /// Divide the logits of tokens that came lately
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Where random numbers start (default: the clock)
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// End the reply at this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Reply in a format: text, or `json_object` for any JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json_object"])]
    response_format: String,
    /// Reply with JSON that follows this schema: a file, or the schema itself
    #[arg(long, value_name = "FILE|TEXT", conflicts_with = "response_format")]
    json_schema: Option<String>,
    /// Reply with text that follows the grammar in this file, in Lark's notation or in GBNF
    #[arg(long, value_name = "FILE", conflicts_with_all = ["response_format", "json_schema"])]
    grammar: Option<PathBuf>,
    /// Tell the log-probability of each token, and of so many of the likeliest in its place
    #[arg(long, value_name = "COUNT", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    logprobs: Option<usize>,
    /// Print one JSON object, once the reply is there
    #[arg(long)]
    json: bool,
    /// An image; no model of the native engine reads any yet
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    #[command(flatten)]
    told: Told,
}

/// What is told beside replies, on standard error.
#[derive(Debug, Args)]
struct Told {
    /// Print times, speeds and memory after each reply
    #[arg(long, short)]
    verbose: bool,
    /// Print the engine's readings on standard error at the end, in the text format of Prometheus
    #[arg(long)]
    readings: bool,
}

/// How long a model loads before anything is said about it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Loads a model; where that takes a while, a line of the terminal says how far it is.
pub(crate) fn open(model: &str, locate: &LocateOptions, arguments: &NativeArguments) -> Result<Session, NativeError> {
    let options = arguments.options()?;
    with_progress(|tell| Session::open_with_progress(model, locate, &options, tell))
}

/// Loads something; where that takes a while, a line of the terminal says how far it is.
pub(crate) fn with_progress<T>(load: impl FnOnce(&dyn Fn(LoadProgress)) -> T) -> T {
    let (start, is_shown) = (Instant::now(), Cell::new(false));
    let is_terminal = io::stderr().is_terminal();
    let loaded = load(&|progress| {
        if is_terminal && start.elapsed() > PATIENCE {
            is_shown.set(true);
            // A terminal that is gone misses nothing.
            let _ = write!(io::stderr(), "\r{}{CLEAR}", loading(progress));
        }
    });
    if is_shown.get() {
        let _ = write!(io::stderr(), "\r{CLEAR}");
    }
    loaded
}

/// Clears the rest of a terminal's line.
const CLEAR: &str = "\x1b[K";

fn loading(progress: LoadProgress) -> String {
    let gb = |bytes: u64| bytes as f64 / 1e9;
    format!("loading: {:.2} of {:.2} GB", gb(progress.bytes_read), gb(progress.bytes))
}

/// Says why something cannot be run, and what to do about it.
pub(crate) fn report(error: &NativeError) -> ExitCode {
    let status = fail(with_causes(error));
    if let Some(hint) = error.hint() {
        let _ = writeln!(io::stderr(), "hint: {hint}");
    }
    status
}

/// `run`.
pub(crate) fn run(planner: &MakePlanner<'_>, locate: &LocateOptions, arguments: &RunArguments) -> ExitCode {
    if let Some(image) = arguments.image.first() {
        return fail(format_args!("`{}` cannot be shown: the native engine reads no images", image.display()));
    }
    match answer(planner, locate, arguments) {
        Ok(status) => status,
        Err(Failure::Usage(words)) => fail(words),
        Err(Failure::Native(error)) => report(&error),
        Err(Failure::Terminal(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Terminal(error)) => fail(error),
    }
}

/// Why no answer could be given.
pub(crate) enum Failure {
    /// What is asked cannot be read.
    Usage(String),
    Native(NativeError),
    Terminal(io::Error),
}

impl From<NativeError> for Failure {
    fn from(error: NativeError) -> Self {
        Self::Native(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Terminal(error)
    }
}

fn answer(planner: &MakePlanner<'_>, locate: &LocateOptions, arguments: &RunArguments) -> Result<ExitCode, Failure> {
    let mut prompt = arguments.prompt.join(" ");
    let is_piped = !io::stdin().is_terminal();
    if is_piped && prompt.is_empty() {
        io::stdin().read_to_string(&mut prompt)?;
    } else if is_piped {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        if !text.is_empty() {
            prompt = format!("{text}\n{prompt}");
        }
    }
    let has_prompt = !prompt.is_empty() || is_piped;
    if arguments.json && !has_prompt {
        return Err(Failure::Usage("`--json` needs a prompt".to_owned()));
    }
    let format = arguments.format()?;
    let ledger = arguments.record.ledger();
    let threads = arguments.native.machine.threads.map(usize::from);
    let recorder = ledger.as_ref().and_then(|ledger| recorder(ledger, planner().ok()?, threads, false));
    let mut session = open(&arguments.model, locate, &arguments.native)?;
    for note in session.notes() {
        writeln!(io::stderr(), "note: {note}")?;
    }
    let mut chat = Chat { arguments, recorder: recorder.as_ref(), format, messages: Vec::new() };
    chat.messages.extend(arguments.system.iter().map(|text| ("system".to_owned(), text.clone())));
    let status = if has_prompt {
        chat.reply(&mut session, prompt)?;
        ExitCode::SUCCESS
    } else {
        converse(&mut session, &mut chat)?
    };
    if arguments.told.readings {
        write!(io::stderr(), "{}", exposition(&session.readings()))?;
    }
    Ok(status)
}

impl RunArguments {
    /// What the reply must look like.
    fn format(&self) -> Result<ResponseFormat, Failure> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|error| Failure::Usage(format!("cannot read `{}`: {error}", path.display())))
        };
        if let Some(path) = &self.grammar {
            return Ok(ResponseFormat::Grammar(read(path)?));
        }
        let Some(schema) = &self.json_schema else {
            let is_json = self.response_format == "json_object";
            return Ok(if is_json { ResponseFormat::JsonObject } else { ResponseFormat::Text });
        };
        let is_text = schema.trim_start().starts_with('{');
        Ok(ResponseFormat::JsonSchema(if is_text { schema.clone() } else { read(Path::new(schema))? }))
    }
}

/// A conversation in the terminal.
fn converse(session: &mut Session, chat: &mut Chat<'_>) -> Result<ExitCode, Failure> {
    writeln!(
        io::stderr(),
        "{}: {} tokens of context. /clear forgets, /bye or Ctrl-D ends.",
        session.name,
        session.context()
    )?;
    loop {
        write!(io::stderr(), ">>> ")?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        match line.trim() {
            "" => {}
            "/bye" => return Ok(ExitCode::SUCCESS),
            "/clear" => chat.messages.retain(|(role, _)| role == "system"),
            text => {
                let kept = chat.messages.len();
                match chat.reply(session, text.to_owned()) {
                    Ok(()) => {}
                    // The conversation is as it was before: the person may say something else.
                    Err(Failure::Native(error)) => {
                        chat.messages.truncate(kept);
                        report(&error);
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
    }
}

/// Tokens that a reply is expected to have where nobody says.
const REPLY_TOKENS: usize = 128;

struct Chat<'a> {
    arguments: &'a RunArguments,
    recorder: Option<&'a Recorder<'a>>,
    format: ResponseFormat,
    messages: Vec<(String, String)>,
}

impl Chat<'_> {
    /// Says what a reply will take, before it is made.
    fn predict(
        &self,
        session: &Session,
        request: &ReplyRequest,
    ) -> Result<Option<(MeasuredRun, Prediction, Surroundings)>, Failure> {
        let Some((recorder, machine)) = self.recorder.and_then(|recorder| Some((recorder, recorder.machine()?))) else {
            return Ok(None);
        };
        let prompt = session.prompt(request)?.len();
        let most = session.context().saturating_sub(prompt).max(1);
        let tokens_max = request.tokens_max.unwrap_or(REPLY_TOKENS).min(most);
        let native = self.arguments.native.options()?;
        let model = &self.arguments.model;
        let run = reply_run(&session.name, &native, machine.threads, prompt.max(1), tokens_max);
        let prediction = recorder.predict(&run, model).map_err(|error| note(&error)).ok();
        Ok(prediction.map(|prediction| (run, prediction, recorder.watch(true))))
    }

    /// Answers `text`, printing the reply as it comes.
    fn reply(&mut self, session: &mut Session, text: String) -> Result<(), Failure> {
        self.messages.push(("user".to_owned(), text));
        let arguments = self.arguments;
        let request = ReplyRequest {
            messages: self.messages.clone(),
            is_raw: arguments.raw,
            tokens_max: arguments.tokens_max,
            sampling: SamplingSettings {
                temperature: arguments.temperature,
                top_k: arguments.top_k,
                top_p: arguments.top_p,
                min_p: arguments.min_p,
                repetition_penalty: arguments.repetition_penalty,
                seed: arguments.seed.unwrap_or_else(clock),
                logprobs: arguments.logprobs,
                ..SamplingSettings::default()
            },
            format: self.format.clone(),
            stops: arguments.stop.clone(),
        };
        let recorded = self.predict(session, &request)?;
        let mut output = io::stdout().lock();
        let mut closed = Ok(());
        let reply = session.reply(&request, |part| {
            if !arguments.json {
                closed = output.write_all(part.as_bytes()).and_then(|()| output.flush());
            }
            closed.is_ok()
        })?;
        closed?;
        if let (Some(recorder), Some((run, prediction, mut surroundings))) = (self.recorder, recorded) {
            let measured = with_reply(&run, &reply.usage);
            let is_whole = run.workload.generate == Some(reply.usage.reply_tokens as u64);
            surroundings.set_work(if is_whole { Ok(1.0) } else { Err("the reply was shorter than expected") });
            if let Err(error) = recorder.measure(&prediction, &measured, &surroundings, "hwledger run") {
                note(&error);
            }
        }
        if reply.reason == FinishReason::Length && self.format != ResponseFormat::Text {
            writeln!(io::stderr(), "note: the reply ended after {} tokens, incomplete", reply.usage.reply_tokens)?;
        }
        if arguments.told.verbose {
            writeln!(io::stderr(), "{}", usage(&reply.usage, session))?;
        }
        if arguments.json {
            let answer = ReplyAnswer::new(session, reply, arguments.logprobs.is_some());
            return Ok(output.write_all(json(&answer).as_bytes())?);
        }
        writeln!(output)?;
        for token in &reply.tokens {
            writeln!(io::stderr(), "{}", probabilities(token))?;
        }
        self.messages.push(("assistant".to_owned(), reply.text));
        Ok(())
    }
}

/// A token and its probability, then the likeliest in its place.
fn probabilities(token: &ReplyToken) -> String {
    let shown = |token: &TokenLogprob| format!("{:?} {:.4}", token.token, token.logprob);
    let likeliest: Vec<String> = token.top_logprobs.iter().map(shown).collect();
    let between = if likeliest.is_empty() { "" } else { "  of " };
    format!("{}{between}{}", shown(&token.chosen), likeliest.join(", "))
}

/// A number that differs from run to run.
fn clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().wrapping_mul(1_000_000_007) ^ u64::from(since.subsec_nanos()))
}

fn usage(usage: &Usage, session: &Session) -> String {
    let report = session.memory();
    let MemoryReport { weights, cache, activations } = report;
    let prefill = usage.prompt_tokens as f64 / usage.prefill.as_secs_f64();
    let decode = usage.time_per_token().map_or_else(|| "-".to_owned(), |seconds| format!("{:.1}", 1.0 / seconds));
    format!(
        "prompt {} tokens, {prefill:.1} tokens/s; reply {} tokens, {decode} tokens/s; first token after {:.3} s\n\
         memory: {}",
        usage.prompt_tokens,
        usage.reply_tokens,
        usage.time_to_first_token().as_secs_f64(),
        memory([weights, cache, activations], report.overhead()),
    )
}

/// What the engine has taken, and what the process holds beside it.
pub(crate) fn memory([weights, cache, activations]: [usize; 3], overhead: Option<usize>) -> String {
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let overhead = overhead.map_or_else(String::new, |bytes| format!("; beside them {:.1} MiB (measured)", mib(bytes)));
    format!(
        "weights {:.1} MiB, cache {:.1} MiB, activations {:.1} MiB{overhead}",
        mib(weights),
        mib(cache),
        mib(activations)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_gigabytes() {
        let progress = LoadProgress { bytes_read: 1_234_567_890, bytes: 40_000_000_000 };
        assert_eq!(loading(progress), "loading: 1.23 of 40.00 GB");
    }
}
