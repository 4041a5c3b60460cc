//! The one type that every reader fills.

use std::fmt;

use hwledger_core::Bytes;
use serde::Serialize;

use super::detect::Format;
use crate::Diagnostic;

/// Where a run was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line on which the record begins, counted from one.
    pub line: u64,
    /// The record, counted from one.
    pub record: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.line)
    }
}

/// A figure with what its repetitions say about it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistic {
    /// The mean.
    pub value: f64,
    /// Standard deviation of the repetitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Repetitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
}

impl Statistic {
    /// A figure without repetitions.
    pub const fn plain(value: f64) -> Self {
        Self { value, deviation: None, samples: None }
    }
}

/// One percentile: `percent` of the values are at most `value`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentile {
    /// 50 is the median.
    pub percent: f64,
    /// In the figure's unit.
    pub value: f64,
}

/// How a duration is spread over requests, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// The mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Standard deviation over requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Percentiles, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percentiles: Vec<Percentile>,
}

impl Latency {
    /// The mean, or the median where there is no mean.
    pub fn typical(&self) -> Option<f64> {
        self.mean.or_else(|| self.percentiles.iter().find(|one| (one.percent - 50.0).abs() < 1e-9).map(|one| one.value))
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.mean.is_none() && self.percentiles.is_empty()
    }
}

/// What a test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    /// A prompt is read.
    Prefill,
    /// Tokens are generated.
    Decode,
    /// A prompt is read and tokens are generated, timed as one.
    PrefillAndDecode,
    /// Requests are served.
    Serving,
    /// Memory is reported at start-up.
    StartUp,
}

impl TestKind {
    /// The name in `hwledger.measurement/1`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::PrefillAndDecode => "prefill_and_decode",
            Self::Serving => "serving",
            Self::StartUp => "start_up",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Prefill, Self::Decode, Self::PrefillAndDecode, Self::Serving, Self::StartUp]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// What was asked of the engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names and meanings are those of the request contract")]
pub struct Workload {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<TestKind>,
    /// Prompt tokens of one request; the mean where they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<u64>,
    /// Generated tokens of one request; the mean where they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    /// Requests that were completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Requests sent per second where they were not all sent at once: what such a run gives is
    /// the load, not what the engine could do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<f64>,
    /// How long the measurement took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
}

/// How the engine was set. Types are as the engine spells them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names and meanings are those of the request contract")]
pub struct RunSettings {
    /// llama.cpp `-ngl`; negative means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_layers: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_moe_layers: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ubatch: Option<u64>,
    /// `on`, `off` or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash_attention: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_type_k: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_type_v: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequences: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batched_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_utilization: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_parallel: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_parallel: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_parallel: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expert_parallel: Option<u64>,
}

/// What was measured. Rates are per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Prompt tokens of one request, or of one batch of requests read together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_tokens_per_s: Option<Statistic>,
    /// Generated tokens of one sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_s: Option<Statistic>,
    /// Prompt and generated tokens of a test that times both as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixed_tokens_per_s: Option<Statistic>,
    /// Generated tokens of all sequences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s: Option<Statistic>,
    /// Prompt and generated tokens of all sequences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens_per_s: Option<Statistic>,
    /// Requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<Statistic>,
    /// Time to the first token.
    #[serde(skip_serializing_if = "Latency::is_empty")]
    pub ttft_ms: Latency,
    /// Mean time per generated token after the first, of each request.
    #[serde(skip_serializing_if = "Latency::is_empty")]
    pub tpot_ms: Latency,
    /// Gaps between tokens.
    #[serde(skip_serializing_if = "Latency::is_empty")]
    pub itl_ms: Latency,
    /// A whole request, or a whole batch.
    #[serde(skip_serializing_if = "Latency::is_empty")]
    pub request_ms: Latency,
    /// Most memory held at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<Bytes>,
    /// Tokens that the cache pool holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_tokens: Option<u64>,
}

/// Memory that a log reports for one device or buffer type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are those of the answer contract")]
pub struct BufferMemory {
    /// The name in the log: `CUDA0`, `CPU_Mapped`, `TP0`.
    pub device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_bytes: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache_bytes: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrent_state_bytes: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_bytes: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overhead_bytes: Option<Bytes>,
}

impl BufferMemory {
    /// Whether this is memory of the machine and not of a card.
    pub fn is_host(&self) -> bool {
        // Weights in tiles of AMX are the processor's too.
        self.device.starts_with("CPU") || self.device.ends_with("_Host") || ["host", "AMX"].contains(&&*self.device)
    }
}

/// One measured run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MeasuredRun {
    /// Where it was read.
    pub place: Place,
    /// The engine, by its name in requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Version or build number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// The model, as far as the output names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Weight format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Bytes of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<Bytes>,
    /// Parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// The device, as the output names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// How many of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_count: Option<u64>,
    /// CUDA, Vulkan, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The processor of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_processor: Option<String>,
    /// How the engine was set.
    pub settings: RunSettings,
    /// What was asked of it.
    pub workload: Workload,
    /// What was measured.
    pub figures: Figures,
    /// Memory by device, where a log reports it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<BufferMemory>,
}

impl MeasuredRun {
    /// A few words for tables of excluded rows.
    pub fn label(&self) -> String {
        let model = self.model.as_deref().unwrap_or("unnamed model");
        let kind = self.workload.kind.map_or("run", TestKind::name);
        format!("{model} {kind}")
    }
}

/// A row that was read and left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// Where it was read.
    pub place: Place,
    /// The model and the test.
    pub what: String,
    /// Why it cannot be used.
    pub reason: String,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurements {
    /// The format, asked for or found.
    pub format: Format,
    /// The runs.
    pub runs: Vec<MeasuredRun>,
    /// Rows left out because they cannot be true.
    pub excluded: Vec<Excluded>,
    /// What was odd without being wrong.
    pub diagnostics: Vec<Diagnostic>,
}
