//! Which program wrote a file, by what is in it.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::json::{first_keys, start};

/// A format of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `llama-bench`, its default table.
    LlamaBenchTable,
    /// `llama-bench -o csv`.
    LlamaBenchCsv,
    /// `llama-bench -o json` and `-o jsonl`.
    LlamaBenchJson,
    /// `llama-bench -o sql`.
    LlamaBenchSql,
    /// `vllm bench serve --save-result`, `benchmark_serving.py`.
    VllmServing,
    /// `vllm bench throughput --output-json`.
    VllmThroughput,
    /// `vllm bench latency --output-json`.
    VllmLatency,
    /// `sglang.bench_serving --output-file`.
    SglangServing,
    /// `sglang.bench_one_batch --result-filename`.
    SglangBatch,
    /// `hwledger.measurement/1`.
    Own,
    /// What llama.cpp prints while loading.
    LlamaCppLog,
    /// What vLLM prints while starting.
    VllmLog,
    /// What SGLang prints while starting.
    SglangLog,
    /// What Ollama prints while loading.
    OllamaLog,
}

impl Format {
    /// All formats.
    pub const ALL: &'static [Self] = &[
        Self::LlamaBenchTable,
        Self::LlamaBenchCsv,
        Self::LlamaBenchJson,
        Self::LlamaBenchSql,
        Self::VllmServing,
        Self::VllmThroughput,
        Self::VllmLatency,
        Self::SglangServing,
        Self::SglangBatch,
        Self::Own,
        Self::LlamaCppLog,
        Self::VllmLog,
        Self::SglangLog,
        Self::OllamaLog,
    ];

    /// The format's name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LlamaBenchTable => "llama-bench",
            Self::LlamaBenchCsv => "llama-bench-csv",
            Self::LlamaBenchJson => "llama-bench-json",
            Self::LlamaBenchSql => "llama-bench-sql",
            Self::VllmServing => "vllm-serving",
            Self::VllmThroughput => "vllm-throughput",
            Self::VllmLatency => "vllm-latency",
            Self::SglangServing => "sglang-serving",
            Self::SglangBatch => "sglang-batch",
            Self::Own => "hwledger",
            Self::LlamaCppLog => "llama.cpp-log",
            Self::VllmLog => "vllm-log",
            Self::SglangLog => "sglang-log",
            Self::OllamaLog => "ollama-log",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = super::MeasurementError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let name = match name {
            "llama-bench-jsonl" => "llama-bench-json",
            other => other,
        };
        Self::ALL.iter().find(|format| format.name() == name).copied().ok_or(super::MeasurementError::UnknownFormat)
    }
}

/// Bytes of a JSON object that are searched for keys: details of requests come last.
const LOOKED_AT: usize = 1 << 20;

pub(super) fn detect(text: &str) -> Option<Format> {
    let found = start(text).and_then(|at| of_keys(&first_keys(&text[at..], LOOKED_AT)));
    if found.is_some() {
        return found;
    }
    let first = text.trim_start().lines().next().unwrap_or_default();
    if first.contains("avg_ts") && first.contains(',') && first.contains("model_type") {
        return Some(Format::LlamaBenchCsv);
    }
    let has = |needle: &str| text.contains(needle);
    if has("INSERT INTO") && has("avg_ts") {
        return Some(Format::LlamaBenchSql);
    }
    if text.lines().any(super::llama_bench::is_header) {
        return Some(Format::LlamaBenchTable);
    }
    let is_ollama = has("memory.required.full=") || (has("msg=\"model weights\"") && has("size="));
    // Since 0.30 Ollama starts llama.cpp's server, whose lines are all that is said of memory.
    let starts_server = has("msg=\"starting llama-server\"") && has("buffer size =");
    if is_ollama || starts_server {
        return Some(Format::OllamaLog);
    }
    if has("buffer size =") && has("MiB") {
        return Some(Format::LlamaCppLog);
    }
    if has("Load weight end.") || has("KV Cache is allocated.") {
        return Some(Format::SglangLog);
    }
    let vllm = ["odel loading took", "oading model weights took", "model weights take ", "GPU KV cache size:"];
    vllm.into_iter().any(has).then_some(Format::VllmLog)
}

fn of_keys(keys: &[String]) -> Option<Format> {
    let has = |name: &str| keys.iter().any(|key| key == name);
    if has("schema") {
        Some(Format::Own)
    } else if has("avg_ts") && has("n_prompt") {
        Some(Format::LlamaBenchJson)
    } else if has("batch_size") && has("input_len") {
        Some(Format::SglangBatch)
    } else if has("total_output_tokens_retokenized") || has("mean_e2e_latency_ms") {
        Some(Format::SglangServing)
    } else if has("request_throughput") && (has("model_id") || has("tokenizer_id") || has("total_token_throughput")) {
        Some(Format::VllmServing)
    } else if has("requests_per_second") && has("elapsed_time") {
        Some(Format::VllmThroughput)
    } else if has("avg_latency") && has("percentiles") {
        Some(Format::VllmLatency)
    } else {
        None
    }
}
