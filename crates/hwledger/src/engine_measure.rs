//! `engine measure`: measuring an engine that is running.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hwledger_node::record::{AttachRequest, AttachedRun, Load, RunSettings};

use crate::record::{MakePlanner, RecordArguments, recorder, refuse};
use crate::{fail, json, say};

/// Arguments of `engine measure`.
#[derive(Debug, Args)]
pub(crate) struct MeasureArguments {
    /// Where it listens, such as `http://127.0.0.1:8080`; it must speak OpenAI's completions
    #[arg(value_name = "URL")]
    url: String,
    /// Model that it serves, as plans find it: a path, a Hugging Face id, a name of the catalogue
    #[arg(long, value_name = "REF")]
    model: String,
    /// Which engine it is: llama.cpp, vllm, sglang, mlx, ...
    #[arg(long, value_name = "ENGINE")]
    engine: String,
    /// Its version
    #[arg(long, value_name = "VERSION")]
    engine_version: Option<String>,
    /// What it calls its model (default: as `--model`)
    #[arg(long, value_name = "NAME")]
    served_name: Option<String>,
    /// Device that it runs on (default: this machine's processor)
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Environment variable that holds the bearer token it wants
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    /// Process whose peak of memory is read
    #[arg(long, value_name = "PID")]
    process: Option<u32>,
    /// File with what it printed while starting
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Context that it was started with
    #[arg(long, value_name = "TOKENS")]
    context: Option<u64>,
    /// Sequences that it was started with
    #[arg(long, value_name = "COUNT")]
    sequences: Option<u64>,
    /// Threads that it computes with
    #[arg(long, value_name = "COUNT")]
    threads: Option<u64>,
    /// Tokens of prompts
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "256")]
    prompt: Vec<u64>,
    /// Tokens of replies
    #[arg(long, value_name = "TOKENS", default_value_t = 64)]
    generate: u64,
    /// Requests at once
    #[arg(long, value_name = "COUNT", value_delimiter = ',', default_value = "1")]
    concurrency: Vec<u64>,
    /// Requests of each load, for each that is sent at once
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    requests: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    record: RecordArguments,
}

impl MeasureArguments {
    fn loads(&self) -> Vec<Load> {
        let mut loads = Vec::new();
        for &prompt in &self.prompt {
            for &concurrency in &self.concurrency {
                let requests = self.requests.max(1).saturating_mul(concurrency.max(1));
                loads.push(Load { prompt, generate: self.generate, concurrency: concurrency.max(1), requests });
            }
        }
        loads
    }
}

/// `engine measure`.
pub(crate) fn run(planner: &MakePlanner<'_>, arguments: &MeasureArguments) -> ExitCode {
    let token = match &arguments.token_env {
        None => None,
        Some(name) => match std::env::var(name) {
            Ok(token) => Some(token),
            Err(_) => return fail(format_args!("the environment variable `{name}` is not set")),
        },
    };
    let Some(ledger) = arguments.record.ledger() else {
        return fail("there is no ledger to write to; `--record` begins one");
    };
    let planner = match planner() {
        Ok(planner) => planner,
        Err(status) => return status,
    };
    let threads = arguments.threads.and_then(|threads| usize::try_from(threads).ok());
    let Some(recorder) = recorder(&ledger, planner, threads, true) else {
        return fail("this machine cannot be measured");
    };
    let recorder = match arguments.record.vault() {
        Ok(vault) => recorder.with_vault(vault),
        Err(error) => return crate::ledger::refuse(&error),
    };
    let request = AttachRequest {
        url: arguments.url.clone(),
        engine: arguments.engine.clone(),
        engine_version: arguments.engine_version.clone(),
        model: arguments.model.clone(),
        served_name: arguments.served_name.clone(),
        token,
        device: arguments.device.clone(),
        settings: RunSettings {
            context: arguments.context,
            sequences: arguments.sequences,
            threads: arguments.threads,
            ..RunSettings::default()
        },
        process: arguments.process,
        log: arguments.log.clone(),
        loads: arguments.loads(),
    };
    let is_json = arguments.json;
    let mut is_first = true;
    let found = recorder.attach(&request, |run| {
        if !is_json {
            if std::mem::take(&mut is_first) {
                say("run               prompt  at once  replies    first token  per token  tokens/s\n", true);
            }
            say(&line(run), true);
        }
    });
    match found {
        Ok(runs) if is_json => say(&json(&runs), true),
        Ok(runs) => {
            let failures: Vec<&String> = runs.iter().flat_map(|run| &run.failures).collect();
            let text = failures.first().map(|first| format!("{} requests failed: {first}\n", failures.len()));
            say(&text.unwrap_or_default(), failures.is_empty())
        }
        Err(error) => refuse(&error),
    }
}

fn line(run: &AttachedRun) -> String {
    let milliseconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1} ms"));
    let rate = run.output_tokens_per_s.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    format!(
        "{}  {:>6}  {:>7}  {:>7}  {:>13}  {:>9}  {:>8}\n",
        run.run,
        run.prompt_tokens,
        run.concurrency,
        run.replies,
        milliseconds(run.ttft_ms),
        milliseconds(run.tpot_ms),
        rate
    )
}
