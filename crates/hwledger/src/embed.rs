//! `embed`: vectors of texts by the native engine.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Read, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hwledger_node::locate::LocateOptions;
use hwledger_node::native::{
    EmbedOptions, EmbedReport, EmbedRequest, EmbedSession, NativeOptions, Pooling, instructions,
};

use crate::native::{Failure, MachineArguments, length, memory, report, with_progress};
use crate::{fail, json, say};

/// Arguments of `embed`.
#[derive(Debug, Args)]
pub(crate) struct EmbedArguments {
    /// Model: a GGUF file, a directory with safetensors, or a name of a store on this machine
    #[arg(value_name = "MODEL")]
    model: String,
    /// Texts; without any, each line of `--file` or of standard input is one
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// File whose lines are texts
    #[arg(long, value_name = "FILE", conflicts_with = "texts")]
    file: Option<PathBuf>,
    /// Text that is put before each, as many models were trained with
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// States that vectors are made of (default: what the model's files say)
    #[arg(long, value_name = "NAME", value_parser = ["mean", "cls", "last"])]
    pooling: Option<String>,
    /// Keep so many elements of each vector, of models that were trained for it
    #[arg(long, value_name = "COUNT", value_parser = length)]
    dimensions: Option<usize>,
    /// Whether vectors are brought to length one (default: what the model's files say, or else yes)
    #[arg(long, value_name = "BOOL")]
    normalise: Option<bool>,
    /// Cut the end off texts that are too long instead of refusing them
    #[arg(long)]
    truncate: bool,
    /// Longest text in tokens (default: what the model knows)
    #[arg(long, short, value_name = "TOKENS", value_parser = length)]
    context: Option<usize>,
    #[command(flatten)]
    machine: MachineArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// What is printed.
#[derive(Debug, Args)]
struct OutputArguments {
    /// Print the cosines of all pairs of texts instead of their vectors
    #[arg(long)]
    similarity: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print speed and memory
    #[arg(long, short)]
    verbose: bool,
}

impl EmbedArguments {
    /// The texts: those named, or lines.
    fn texts(&self) -> io::Result<Vec<String>> {
        if !self.texts.is_empty() {
            return Ok(self.texts.clone());
        }
        let mut text = String::new();
        match &self.file {
            Some(path) => text = fs::read_to_string(path).map_err(|error| in_file(path, &error))?,
            None if io::stdin().is_terminal() => {}
            None => {
                io::stdin().read_to_string(&mut text)?;
            }
        }
        Ok(text.lines().map(str::to_owned).collect())
    }
}

/// The same error with the file's name.
fn in_file(path: &std::path::Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}` cannot be read: {error}", path.display()))
}

/// `embed`.
pub(crate) fn run(locate: &LocateOptions, arguments: &EmbedArguments) -> ExitCode {
    match embed(locate, arguments) {
        Ok(found) => {
            let text = if arguments.output.json {
                json(&found)
            } else if arguments.output.similarity {
                cosines(&found)
            } else {
                found.embeddings.iter().map(|embedding| json(&embedding.embedding)).collect()
            };
            say(&text, true)
        }
        Err(Failure::Usage(words)) => fail(words),
        Err(Failure::Native(error)) => report(&error),
        Err(Failure::Terminal(error)) => fail(error),
    }
}

fn embed(locate: &LocateOptions, arguments: &EmbedArguments) -> Result<EmbedReport, Failure> {
    let texts = arguments.texts()?;
    let MachineArguments { threads, instructions: set, no_packed_cache } = &arguments.machine;
    let options = EmbedOptions {
        native: NativeOptions {
            context: arguments.context,
            threads: threads.map(usize::from),
            instructions: set.as_deref().map(instructions).transpose()?,
            keeps_nothing: *no_packed_cache,
            ..NativeOptions::default()
        },
        pooling: arguments.pooling.as_deref().and_then(Pooling::named),
        is_normalised: arguments.normalise,
        dimensions: arguments.dimensions,
    };
    let request = EmbedRequest {
        texts,
        prefix: arguments.prefix.clone(),
        may_cut: arguments.truncate,
        compares: arguments.output.similarity,
    };
    let mut session = with_progress(|tell| EmbedSession::open(&arguments.model, locate, &options, tell))?;
    for note in session.notes() {
        writeln!(io::stderr(), "note: {note}")?;
    }
    let found = session.embed(&request)?;
    for embedding in found.embeddings.iter().filter(|embedding| embedding.truncated) {
        let (number, tokens) = (embedding.index + 1, embedding.tokens);
        writeln!(io::stderr(), "note: text {number} was cut to {tokens} tokens")?;
    }
    if arguments.output.verbose {
        let taken = session.memory();
        let seconds = found.time.as_secs_f64();
        writeln!(
            io::stderr(),
            "{} texts, {} tokens, {:.1} tokens/s\n\
             memory: {}",
            found.embeddings.len(),
            found.tokens,
            found.tokens as f64 / seconds,
            memory([taken.weights, taken.cache, taken.activations], taken.overhead()),
        )?;
    }
    Ok(found)
}

/// A row for each text.
fn cosines(report: &EmbedReport) -> String {
    let mut text = String::new();
    for row in report.similarity.iter().flatten() {
        for (index, cosine) in row.iter().enumerate() {
            let space = if index == 0 { "" } else { "  " };
            // Writing to a string cannot fail.
            let _ = match cosine {
                Some(cosine) => write!(text, "{space}{cosine:>7.4}"),
                None => write!(text, "{space}{:>7}", "-"),
            };
        }
        text.push('\n');
    }
    text
}
