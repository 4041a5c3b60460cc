//! Our own format, `hwledger.measurement/1`: one JSON object per line, keys named as the fields are.

use hwledger_core::Bytes;
use serde::Serialize;

use super::error::MeasurementError;
use super::record::{Record, Value};
use super::run::{BufferMemory, Figures, Latency, MeasuredRun, Percentile, RunSettings, Statistic, TestKind, Workload};
use crate::Diagnostic;

/// The schema's name.
pub const SCHEMA: &str = "hwledger.measurement/1";

/// A run as one line of the format, without the line's end.
///
/// # Panics
///
/// Never: a run holds only texts and numbers, which all have a JSON form.
pub fn to_line(run: &MeasuredRun) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        schema: &'static str,
        #[serde(flatten)]
        run: &'a MeasuredRun,
    }
    serde_json::to_string(&Line { schema: SCHEMA, run }).expect("a run holds only texts and numbers")
}

const KEYS: &[&str] = &[
    "schema",
    "place",
    "engine",
    "engine_version",
    "model",
    "weights",
    "size_bytes",
    "parameters",
    "device",
    "device_count",
    "backend",
    "host_processor",
    "settings",
    "workload",
    "figures",
    "memory",
];

pub(super) fn run(record: &Record<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<MeasuredRun, MeasurementError> {
    let schema = record.text("schema")?.unwrap_or_default();
    if schema != SCHEMA {
        return Err(record.wrong("schema", &schema, "`hwledger.measurement/1`"));
    }
    for key in record.values.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let key: String = key.chars().take(60).collect();
        diagnostics.push(Diagnostic::new(key, format!("line {}: no such key is known; it is ignored", record.line)));
    }
    let mut run = record.run();
    run.engine = record.text("engine")?;
    run.engine_version = record.text("engine_version")?;
    run.model = record.text("model")?;
    run.weights = record.text("weights")?;
    run.size_bytes = record.count("size_bytes")?.map(Bytes);
    run.parameters = record.count("parameters")?;
    run.device = record.text("device")?;
    run.device_count = record.count("device_count")?;
    run.backend = record.text("backend")?;
    run.host_processor = record.text("host_processor")?;
    if let Some(settings) = record.object("settings")? {
        run.settings = read_settings(&settings)?;
    }
    if let Some(workload) = record.object("workload")? {
        run.workload = read_workload(&workload)?;
    }
    if let Some(figures) = record.object("figures")? {
        run.figures = read_figures(&figures)?;
    }
    for value in record.list("memory").unwrap_or_default() {
        let Value::Object(values) = value else {
            return Err(record.wrong("memory", "something else than an object", "a list of objects"));
        };
        run.memory.push(read_memory(&Record { values, ..*record })?);
    }
    Ok(run)
}

fn read_settings(record: &Record<'_>) -> Result<RunSettings, MeasurementError> {
    Ok(RunSettings {
        gpu_layers: record.integer("gpu_layers")?,
        cpu_moe_layers: record.count("cpu_moe_layers")?,
        batch: record.count("batch")?,
        ubatch: record.count("ubatch")?,
        flash_attention: record.text("flash_attention")?,
        kv_type_k: record.text("kv_type_k")?,
        kv_type_v: record.text("kv_type_v")?,
        threads: record.count("threads")?,
        split_mode: record.text("split_mode")?,
        context: record.count("context")?,
        sequences: record.count("sequences")?,
        max_batched_tokens: record.count("max_batched_tokens")?,
        gpu_memory_utilization: record.number("gpu_memory_utilization")?,
        tensor_parallel: record.count("tensor_parallel")?,
        pipeline_parallel: record.count("pipeline_parallel")?,
        data_parallel: record.count("data_parallel")?,
        expert_parallel: record.count("expert_parallel")?,
    })
}

fn read_workload(record: &Record<'_>) -> Result<Workload, MeasurementError> {
    let kind = record.text("kind")?;
    let kind = kind.map(|name| {
        TestKind::named(&name).ok_or_else(|| {
            record.wrong("kind", &name, "one of `prefill`, `decode`, `prefill_and_decode`, `serving`, `start_up`")
        })
    });
    Ok(Workload {
        kind: kind.transpose()?,
        prompt: record.count("prompt")?,
        generate: record.count("generate")?,
        depth: record.count("depth")?,
        concurrency: record.count("concurrency")?,
        requests: record.count("requests")?,
        request_rate: record.number("request_rate")?,
        duration_s: record.number("duration_s")?,
    })
}

/// A plain number, or an object with `value`.
fn read_statistic(record: &Record<'_>, key: &'static str) -> Result<Option<Statistic>, MeasurementError> {
    if let Some(Value::Object(_)) = record.values.get(key) {
        let Some(parts) = record.object(key)? else { return Ok(None) };
        let deviation = parts.number("deviation")?;
        return Ok(Some(Statistic { value: parts.required("value")?, deviation, samples: parts.count("samples")? }));
    }
    Ok(record.number(key)?.map(Statistic::plain))
}

/// A plain number, which is a mean, or an object with `mean`, `deviation` and `percentiles`.
fn read_latency(record: &Record<'_>, key: &str) -> Result<Latency, MeasurementError> {
    let Some(Value::Object(_)) = record.values.get(key) else {
        return Ok(Latency { mean: record.number(key)?, ..Latency::default() });
    };
    let Some(parts) = record.object(key)? else { return Ok(Latency::default()) };
    let mut percentiles = Vec::new();
    for value in parts.list("percentiles").unwrap_or_default() {
        let Value::Object(values) = value else {
            return Err(parts.wrong(
                "percentiles",
                "something else than an object",
                "objects with `percent` and `value`",
            ));
        };
        let one = Record { values, ..parts };
        percentiles.push(Percentile { percent: one.required("percent")?, value: one.required("value")? });
    }
    percentiles.sort_by(|a, b| a.percent.total_cmp(&b.percent));
    Ok(Latency { mean: parts.number("mean")?, deviation: parts.number("deviation")?, percentiles })
}

fn read_figures(record: &Record<'_>) -> Result<Figures, MeasurementError> {
    Ok(Figures {
        prefill_tokens_per_s: read_statistic(record, "prefill_tokens_per_s")?,
        decode_tokens_per_s: read_statistic(record, "decode_tokens_per_s")?,
        mixed_tokens_per_s: read_statistic(record, "mixed_tokens_per_s")?,
        output_tokens_per_s: read_statistic(record, "output_tokens_per_s")?,
        total_tokens_per_s: read_statistic(record, "total_tokens_per_s")?,
        requests_per_s: read_statistic(record, "requests_per_s")?,
        ttft_ms: read_latency(record, "ttft_ms")?,
        tpot_ms: read_latency(record, "tpot_ms")?,
        itl_ms: read_latency(record, "itl_ms")?,
        request_ms: read_latency(record, "request_ms")?,
        peak_memory_bytes: record.count("peak_memory_bytes")?.map(Bytes),
        kv_cache_tokens: record.count("kv_cache_tokens")?,
    })
}

fn read_memory(record: &Record<'_>) -> Result<BufferMemory, MeasurementError> {
    let bytes = |key: &str| record.count(key).map(|count| count.map(Bytes));
    Ok(BufferMemory {
        device: record.text("device")?.unwrap_or_default(),
        weights_bytes: bytes("weights_bytes")?,
        kv_cache_bytes: bytes("kv_cache_bytes")?,
        recurrent_state_bytes: bytes("recurrent_state_bytes")?,
        compute_bytes: bytes("compute_bytes")?,
        output_bytes: bytes("output_bytes")?,
        overhead_bytes: bytes("overhead_bytes")?,
    })
}
