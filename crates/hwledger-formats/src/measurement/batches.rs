//! Results of benchmarks that run batches without a server.

use super::error::MeasurementError;
use super::record::{Record, Value};
use super::run::{Latency, MeasuredRun, Percentile, Statistic, TestKind};

/// `vllm bench throughput --output-json`. It names neither model nor lengths.
pub(super) fn vllm_throughput(record: &Record<'_>) -> Result<MeasuredRun, MeasurementError> {
    let mut run = record.run();
    run.engine = Some("vllm".to_owned());
    run.model = record.text("model_id")?;
    run.workload.kind = Some(TestKind::Serving);
    run.workload.requests = record.count("num_requests")?;
    run.workload.duration_s = record.number("elapsed_time")?;
    run.figures.requests_per_s = Some(Statistic::plain(record.required("requests_per_second")?));
    run.figures.total_tokens_per_s = record.number("tokens_per_second")?.map(Statistic::plain);
    Ok(run)
}

/// `vllm bench latency --output-json`: seconds of one whole batch.
pub(super) fn vllm_latency(record: &Record<'_>) -> Result<MeasuredRun, MeasurementError> {
    let mut run = record.run();
    run.engine = Some("vllm".to_owned());
    run.model = record.text("model_id")?;
    run.workload.kind = Some(TestKind::PrefillAndDecode);
    let seconds: Vec<f64> = record
        .list("latencies")
        .unwrap_or_default()
        .iter()
        .filter_map(|value| if let Value::Number(number) = value { Some(*number) } else { None })
        .collect();
    let mean = record.required("avg_latency")?;
    let deviation = record.number("std_latency")?.or_else(|| deviation(&seconds));
    let mut percentiles = Vec::new();
    if let Some(values) = record.object("percentiles")? {
        for key in values.values.keys() {
            let percent = key.parse().map_err(|_| values.wrong("percentiles", key, "percentages as keys"))?;
            percentiles.extend(values.number(key)?.map(|value| Percentile { percent, value: value * 1e3 }));
        }
    }
    percentiles.sort_by(|a: &Percentile, b| a.percent.total_cmp(&b.percent));
    run.figures.request_ms =
        Latency { mean: Some(mean * 1e3), deviation: deviation.map(|seconds| seconds * 1e3), percentiles };
    Ok(run)
}

fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// `sglang.bench_one_batch --result-filename`, and what `bench_one_batch_server` adds.
pub(super) fn sglang(record: &Record<'_>) -> Result<MeasuredRun, MeasurementError> {
    let mut run = record.run();
    run.engine = Some("sglang".to_owned());
    run.model = record.any_text(&["model_path", "model"]);
    let workload = &mut run.workload;
    workload.prompt = record.count("input_len")?;
    workload.generate = record.count("output_len")?;
    workload.concurrency = record.count("batch_size")?;
    workload.kind = Some(match workload.generate {
        Some(0 | 1) => TestKind::Prefill,
        _ => TestKind::Serving,
    });
    workload.duration_s = either(record, "total_latency", "latency")?;
    let figures = &mut run.figures;
    figures.prefill_tokens_per_s = either(record, "prefill_throughput", "input_throughput")?.map(Statistic::plain);
    figures.output_tokens_per_s =
        either(record, "median_decode_throughput", "output_throughput")?.map(Statistic::plain);
    if let Some(seconds) = record.number("median_decode_latency")? {
        figures.decode_tokens_per_s = Some(Statistic::plain(1.0 / seconds));
        figures.tpot_ms.percentiles.push(Percentile { percent: 50.0, value: seconds * 1e3 });
    }
    figures.ttft_ms.mean = either(record, "prefill_latency", "ttft")?.map(|seconds| seconds * 1e3);
    figures.total_tokens_per_s = record.number("overall_throughput")?.map(Statistic::plain);
    Ok(run)
}

fn either(record: &Record<'_>, one: &str, other: &str) -> Result<Option<f64>, MeasurementError> {
    Ok(record.number(one)?.or(record.number(other)?))
}
