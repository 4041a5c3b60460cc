//! Results of serving benchmarks: vLLM's and SGLang's.

use super::error::MeasurementError;
use super::record::{Record, Value};
use super::run::{Latency, MeasuredRun, Percentile, Statistic, TestKind};
use crate::Diagnostic;

/// Keys under which people keep the name of the card (`--metadata gpu=...`).
const DEVICE_KEYS: &[&str] = &["gpu", "gpu_name", "gpu_type", "device", "device_name", "accelerator", "hardware"];
const COUNT_KEYS: &[&str] = &["gpu_count", "num_gpus", "device_count"];
const VERSION_KEYS: &[&str] = &["engine_version", "vllm_version", "sglang_version", "version"];

/// `vllm bench serve --save-result`: one object.
pub(super) fn vllm(record: &Record<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<MeasuredRun, MeasurementError> {
    let mut run = serving(record, "e2el")?;
    run.model = record.text("model_id")?;
    let protocol = record.any_text(&["backend", "endpoint_type"]).unwrap_or_default();
    let engine = engine_of(&protocol);
    if engine.is_none() {
        let why = format!("line {}: `{protocol}` names a protocol; the server is taken to be vLLM", record.line);
        diagnostics.push(Diagnostic::new("backend", why));
    }
    run.engine = Some(engine.unwrap_or("vllm").to_owned());
    run.figures.total_tokens_per_s = record.number("total_token_throughput")?.map(Statistic::plain);
    described(record, &mut run);
    Ok(run)
}

/// `sglang.bench_serving`: one object per line.
pub(super) fn sglang(record: &Record<'_>) -> Result<MeasuredRun, MeasurementError> {
    let mut run = serving(record, "e2e_latency")?;
    let protocol = record.text("backend")?.unwrap_or_default();
    run.engine = Some(engine_of(&protocol).unwrap_or("sglang").to_owned());
    run.figures.total_tokens_per_s = record.number("total_throughput")?.map(Statistic::plain);
    described(record, &mut run);
    if let Ok(Some(server)) = record.object("server_info") {
        described(&server, &mut run);
    }
    Ok(run)
}

fn engine_of(protocol: &str) -> Option<&'static str> {
    let known = [
        ("sglang", "sglang"),
        ("vllm", "vllm"),
        ("tgi", "tgi"),
        ("trt", "tensorrt-llm"),
        ("tensorrt", "tensorrt-llm"),
        ("llama.cpp", "llama.cpp"),
    ];
    known.into_iter().find(|(start, _)| protocol.starts_with(start)).map(|(_, engine)| engine)
}

/// What both benchmarks write alike.
fn serving(record: &Record<'_>, whole: &str) -> Result<MeasuredRun, MeasurementError> {
    let mut run = record.run();
    let completed = record.count("completed")?;
    let mean = |key: &str| -> Result<Option<u64>, MeasurementError> {
        Ok(record
            .count(key)?
            .zip(completed)
            .and_then(|(tokens, requests)| (tokens.saturating_add(requests / 2)).checked_div(requests)))
    };
    let workload = &mut run.workload;
    workload.kind = Some(TestKind::Serving);
    workload.requests = completed;
    workload.prompt = mean("total_input_tokens")?;
    workload.generate = mean("total_output_tokens")?;
    workload.concurrency = record.count("max_concurrency")?;
    workload.duration_s = record.number("duration")?;
    // `inf` and `trace` are texts; a finite rate means that the load was chosen.
    workload.request_rate = match record.values.get("request_rate") {
        Some(Value::Number(rate)) if rate.is_finite() => Some(*rate),
        _ => None,
    };
    let figures = &mut run.figures;
    figures.requests_per_s = record.number("request_throughput")?.map(Statistic::plain);
    figures.output_tokens_per_s = record.number("output_throughput")?.map(Statistic::plain);
    figures.ttft_ms = latency(record, "ttft")?;
    figures.tpot_ms = latency(record, "tpot")?;
    figures.itl_ms = latency(record, "itl")?;
    figures.request_ms = latency(record, whole)?;
    Ok(run)
}

/// `mean_ttft_ms`, `std_ttft_ms`, `median_ttft_ms`, `p99_ttft_ms`, and vLLM's older list `percentiles_ttft_ms`.
fn latency(record: &Record<'_>, name: &str) -> Result<Latency, MeasurementError> {
    let mut percentiles = Vec::new();
    if let Some(value) = record.number(&format!("median_{name}_ms"))? {
        percentiles.push(Percentile { percent: 50.0, value });
    }
    let ending = format!("_{name}_ms");
    for key in record.values.keys() {
        let percent =
            key.strip_prefix('p').and_then(|rest| rest.strip_suffix(&ending)).and_then(|text| text.parse().ok());
        if let (Some(percent), Some(value)) = (percent, record.number(key).ok().flatten()) {
            percentiles.push(Percentile { percent, value });
        }
    }
    for pair in record.list(&format!("percentiles_{name}_ms")).unwrap_or_default() {
        if let Value::List(pair) = pair
            && let [Value::Number(percent), Value::Number(value)] = pair[..]
        {
            percentiles.push(Percentile { percent, value });
        }
    }
    percentiles.retain(|one| (0.0..=100.0).contains(&one.percent));
    percentiles.sort_by(|a, b| a.percent.total_cmp(&b.percent));
    percentiles.dedup_by(|a, b| (a.percent - b.percent).abs() < 1e-9);
    let mean = record.number(&format!("mean_{name}_ms"))?;
    let deviation = record.number(&format!("std_{name}_ms"))?;
    // A request of one token has no time per further token: the benchmarks write zeros.
    let is_void = mean == Some(0.0) && percentiles.iter().all(|one| one.value == 0.0);
    Ok(if is_void { Latency::default() } else { Latency { mean, deviation, percentiles } })
}

/// What a server or the person at the benchmark says about the machine and the settings.
fn described(record: &Record<'_>, run: &mut MeasuredRun) {
    let fill = |slot: &mut Option<String>, keys: &[&str]| {
        if slot.is_none() {
            *slot = record.any_text(keys);
        }
    };
    fill(&mut run.model, &["model_path", "model"]);
    fill(&mut run.device, DEVICE_KEYS);
    fill(&mut run.engine_version, VERSION_KEYS);
    fill(&mut run.weights, &["weights", "quantization"]);
    fill(&mut run.settings.kv_type_k, &["kv_cache_dtype"]);
    run.settings.kv_type_k = run.settings.kv_type_k.take().filter(|kind| kind != "auto");
    run.settings.kv_type_v.clone_from(&run.settings.kv_type_k);
    let settings = &mut run.settings;
    let count = |slot: &mut Option<u64>, keys: &[&str]| {
        if slot.is_none() {
            *slot = record.any_count(keys).filter(|count| *count > 0);
        }
    };
    count(&mut run.device_count, COUNT_KEYS);
    count(&mut settings.tensor_parallel, &["tensor_parallel_size", "tp_size", "tp"]);
    count(&mut settings.pipeline_parallel, &["pipeline_parallel_size", "pp_size", "pp"]);
    count(&mut settings.data_parallel, &["data_parallel_size", "dp_size", "dp"]);
    count(&mut settings.expert_parallel, &["ep_size"]);
    count(&mut settings.context, &["max_model_len", "context_length"]);
    count(&mut settings.max_batched_tokens, &["max_num_batched_tokens", "chunked_prefill_size"]);
    count(&mut settings.sequences, &["max_num_seqs", "max_running_requests"]);
    if settings.gpu_memory_utilization.is_none() {
        settings.gpu_memory_utilization = ["gpu_memory_utilization", "mem_fraction_static"]
            .iter()
            .find_map(|key| record.number(key).ok().flatten())
            .filter(|share| *share > 0.0 && *share <= 1.0);
    }
}
