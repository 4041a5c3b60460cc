//! Rows that are well-formed and still cannot be true.

use super::run::{Latency, MeasuredRun, Statistic};

/// Tokens or requests per second beyond anything that one engine has done.
const RATE_MAX: f64 = 1e8;
/// A latency of eleven days.
const LATENCY_MS_MAX: f64 = 1e9;
/// Times that a deviation over requests may exceed the mean: queueing gives some.
const LATENCY_DEVIATION_MAX: f64 = 100.0;
/// Bits of one parameter: 32, and half as much again for what a file holds besides.
const BITS_MAX: f64 = 48.0;

/// Why the run cannot be used, if so.
pub(super) fn objection(run: &MeasuredRun) -> Option<String> {
    let figures = &run.figures;
    let rates = [
        ("prefill_tokens_per_s", figures.prefill_tokens_per_s),
        ("decode_tokens_per_s", figures.decode_tokens_per_s),
        ("mixed_tokens_per_s", figures.mixed_tokens_per_s),
        ("output_tokens_per_s", figures.output_tokens_per_s),
        ("total_tokens_per_s", figures.total_tokens_per_s),
        ("requests_per_s", figures.requests_per_s),
    ];
    let latencies = [
        ("ttft_ms", &figures.ttft_ms),
        ("tpot_ms", &figures.tpot_ms),
        ("itl_ms", &figures.itl_ms),
        ("request_ms", &figures.request_ms),
    ];
    let has_figure = rates.iter().any(|(_, rate)| rate.is_some())
        || latencies.iter().any(|(_, latency)| !latency.is_empty())
        || figures.peak_memory_bytes.is_some()
        || figures.kv_cache_tokens.is_some()
        || !run.memory.is_empty();
    if !has_figure {
        return Some("it holds no figure".to_owned());
    }
    rates
        .into_iter()
        .find_map(|(name, rate)| of_rate(name, rate?))
        .or_else(|| latencies.into_iter().find_map(|(name, latency)| of_latency(name, latency)))
        .or_else(|| of_workload(run))
        .or_else(|| of_model(run))
}

fn of_rate(name: &str, rate: Statistic) -> Option<String> {
    let Statistic { value, deviation, .. } = rate;
    if !value.is_finite() || value <= 0.0 {
        return Some(format!("`{name}` is {value}"));
    }
    if value > RATE_MAX {
        return Some(format!("`{name}` is {value}, more than any engine reaches"));
    }
    let deviation = deviation?;
    if !deviation.is_finite() || deviation < 0.0 {
        return Some(format!("the standard deviation of `{name}` is {deviation}"));
    }
    (deviation > value).then(|| format!("the standard deviation of `{name}`, {deviation}, exceeds its mean, {value}"))
}

fn of_latency(name: &str, latency: &Latency) -> Option<String> {
    let is_duration = |value: f64| value.is_finite() && value > 0.0 && value < LATENCY_MS_MAX;
    let values = latency.mean.into_iter().chain(latency.percentiles.iter().map(|one| one.value));
    if let Some(value) = values.into_iter().find(|value| !is_duration(*value)) {
        return Some(format!("`{name}` is {value}"));
    }
    if !latency.percentiles.is_sorted_by(|a, b| a.value <= b.value * (1.0 + 1e-9)) {
        return Some(format!("the percentiles of `{name}` do not ascend"));
    }
    let deviation = latency.deviation?;
    let most = latency.mean.map_or(f64::INFINITY, |mean| mean * LATENCY_DEVIATION_MAX);
    let is_deviation = deviation.is_finite() && (0.0..=most).contains(&deviation);
    (!is_deviation).then(|| format!("the standard deviation of `{name}` is {deviation}"))
}

fn of_workload(run: &MeasuredRun) -> Option<String> {
    let workload = &run.workload;
    if workload.requests == Some(0) {
        return Some("no request was completed".to_owned());
    }
    let duration = workload.duration_s?;
    if !duration.is_finite() || duration <= 0.0 {
        return Some(format!("it took {duration} s"));
    }
    let rate = [run.figures.prefill_tokens_per_s, run.figures.decode_tokens_per_s, run.figures.mixed_tokens_per_s]
        .into_iter()
        .flatten()
        .next()?;
    let tokens = workload.prompt.unwrap_or(0).saturating_add(workload.generate.unwrap_or(0));
    // Only a test of one request times just these tokens.
    if tokens == 0 || workload.requests.is_some() || workload.concurrency.is_some() {
        return None;
    }
    let ratio = rate.value * duration / tokens as f64;
    (!(0.5..=2.0).contains(&ratio)).then(|| format!("{} tokens/s for {tokens} tokens in {duration} s", rate.value))
}

fn of_model(run: &MeasuredRun) -> Option<String> {
    let (size, parameters) = (run.size_bytes?, run.parameters?);
    if parameters == 0 {
        return Some("the model has no parameters".to_owned());
    }
    let bits = size.0 as f64 * 8.0 / parameters as f64;
    (bits > BITS_MAX).then(|| format!("{size} for {parameters} parameters is {bits:.0} bits for each"))
}
