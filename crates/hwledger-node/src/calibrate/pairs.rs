//! Predictions beside measurements, figure by figure.

use hwledger_core::calibration::{Figure, Sample};
use hwledger_core::{Bytes, Estimate};
use hwledger_formats::measurement::{BufferMemory, Latency, MeasuredRun, Statistic, TestKind};

use super::CalibrateRequest;
use super::learned::{figures, key, subject};
use crate::answer::{Answer, DeviceAnswer};
use crate::planner::Planner;

/// Ratios beyond this are no errors of a formula: another unit, another model, a broken run.
const RATIO_MAX: f64 = 1000.0;

/// A measured figure and its relative standard deviation.
pub(crate) type Measured = (Figure, f64, Option<f64>);

impl Planner {
    /// The pairs of a run, or why it has none.
    pub(super) fn pairs(&self, run: &MeasuredRun, request: &CalibrateRequest) -> Result<Vec<Sample>, String> {
        let prepared = self.prepare_run(run, request)?;
        let mut answer = prepared.clone().formula_answer().map_err(|failure| crate::planner::with_causes(&failure))?;
        let mut pairs: Vec<(Measured, f64)> = Vec::new();
        let speeds = speeds(run);
        let mut unpredicted = Vec::new();
        for measured in &speeds {
            match predicted_speed(&mut answer, measured.0) {
                Some(predicted) => pairs.push((*measured, predicted)),
                None => unpredicted.push(measured.0.name()),
            }
        }
        pairs.extend(memory(run, &answer));
        if pairs.is_empty() {
            return Err(match unpredicted.len() {
                0 if run.workload.prompt.is_none() && run.memory.is_empty() => {
                    "it does not say how long prompts and replies are".to_owned()
                }
                0 => "it holds no figure that plans predict".to_owned(),
                _ => format!("no prediction of {}", unpredicted.join(", ")),
            });
        }
        let wild = |predicted: f64, measured: f64| {
            let ratio = measured / predicted;
            !(ratio.is_finite() && (1.0 / RATIO_MAX..=RATIO_MAX).contains(&ratio))
        };
        if let Some(((figure, measured, _), predicted)) =
            pairs.iter().find(|((_, measured, _), predicted)| wild(*predicted, *measured))
        {
            return Err(format!("`{figure}` is {measured} where {predicted} is predicted: not the same thing"));
        }
        let place = run.place.to_string();
        let sample = |((figure, measured, spread), predicted): (Measured, f64)| Sample {
            key: key(&prepared, figure),
            subject: subject(&prepared, figure),
            is_own: !request.is_foreign,
            predicted,
            measured,
            spread,
            weight: 1.0,
            share_left: None,
            place: place.clone(),
        };
        Ok(pairs.into_iter().map(sample).filter(Sample::is_sound).collect())
    }
}

fn predicted_speed(answer: &mut Answer, figure: Figure) -> Option<f64> {
    figures(&mut answer.speed)
        .into_iter()
        .find(|(known, _)| *known == figure)
        .and_then(|(_, slot)| *slot)
        .map(|estimate| estimate.value)
}

/// The speeds of a run that mean what plans mean by them.
fn speeds(run: &MeasuredRun) -> Vec<Measured> {
    let figures = &run.figures;
    let spread = |rate: Statistic| rate.deviation.map(|deviation| deviation / rate.value);
    let rate = |figure, rate: Option<Statistic>| rate.map(|rate| (figure, rate.value, spread(rate)));
    let has_lengths = run.workload.prompt.is_some() && run.workload.generate.is_some();
    let latency =
        |figure, latency: &Latency| latency.typical().filter(|_| has_lengths).map(|value| (figure, value, None));
    let is_one = run.workload.concurrency.is_none_or(|requests| requests <= 1) && run.workload.requests.is_none();
    // A plan's prefill is of one prompt by itself; a server's rates are of all requests from the
    // first to the last, which a batch benchmark does not print.
    let is_served = has_lengths && run.workload.kind == Some(TestKind::Serving) && run.workload.requests.is_some();
    // Requests sent all at once wait for each other; how long is no property of the engine.
    let is_admitted = run.workload.concurrency.is_some() || run.workload.requests.is_none();
    let found = [
        rate(Figure::PrefillTokensPerS, figures.prefill_tokens_per_s.filter(|_| is_one)),
        rate(Figure::DecodeTokensPerS, figures.decode_tokens_per_s),
        latency(Figure::TtftMs, &figures.ttft_ms).filter(|_| is_admitted),
        latency(Figure::TpotMs, &figures.tpot_ms),
        rate(Figure::OutputTokensPerS, figures.output_tokens_per_s.filter(|_| is_served)),
        rate(Figure::RequestsPerS, figures.requests_per_s.filter(|_| is_served)),
        latency(Figure::TotalMs, &figures.request_ms).filter(|_| is_admitted),
    ];
    found.into_iter().flatten().collect()
}

/// The figures of a run that mean what plans mean by them: speeds, and the memory that a log or an engine reports.
pub(crate) fn measured(run: &MeasuredRun) -> Vec<Measured> {
    let memory = measured_memory(run).into_iter().map(|(figure, bytes)| (figure, bytes, None));
    speeds(run).into_iter().chain(memory).collect()
}

/// The rows of a table that are compared: cards, one worker where every worker holds alike, and the host where there is
/// no card.
fn compared<'a, T>(engine: &str, all: &'a [T], is_host: impl Fn(&T) -> bool) -> Vec<&'a T> {
    let cards: Vec<&T> = all.iter().filter(|row| !is_host(row)).collect();
    match engine {
        _ if cards.is_empty() => all.iter().collect(),
        "vllm" | "sglang" => cards.into_iter().take(1).collect(),
        _ => cards,
    }
}

/// Memory that a log reports, all compared rows together.
fn measured_memory(run: &MeasuredRun) -> Vec<(Figure, f64)> {
    let engine = run.engine.as_deref().unwrap_or_default();
    let rows: Vec<BufferMemory> = run.memory.iter().filter(|row| row.device != "all").cloned().collect();
    let rows = compared(engine, &rows, BufferMemory::is_host);
    let sum = |part: fn(&BufferMemory) -> Option<Bytes>| -> Option<f64> {
        let parts: Vec<u64> = rows.iter().filter_map(|row| part(row)).map(|bytes| bytes.0).collect();
        (!parts.is_empty()).then(|| parts.iter().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes)) as f64)
    };
    // SGLang prints what its graphs take, which is another quantity than the activation peak.
    let compute = (engine != "sglang").then(|| sum(|row| row.compute_bytes)).flatten();
    let found = [
        (Figure::WeightsBytes, sum(|row| row.weights_bytes)),
        (Figure::KvCacheBytes, sum(|row| row.kv_cache_bytes)),
        (Figure::ComputeBytes, compute),
        (Figure::OverheadBytes, sum(|row| row.overhead_bytes)),
    ];
    found.into_iter().filter_map(|(figure, bytes)| Some((figure, bytes.filter(|bytes| *bytes > 0.0)?))).collect()
}

/// Weights as an engine's log sums them: all buffers that it prints.
fn printed_weights(device: &DeviceAnswer) -> Option<Estimate<Bytes>> {
    if device.weight_buffers.is_empty() {
        return Some(device.components.weights? + device.components.repacked?);
    }
    let printed: Estimate<Bytes> = device.weight_buffers.iter().map(|buffer| buffer.bytes).sum();
    // Of a processor that nobody named more may be copied, or nothing.
    let all = device.components.weights? + device.components.repacked?;
    Some(Estimate { low: printed.low.min(all.low), high: printed.high.max(all.high), ..printed })
}

/// Memory that a plan says, all compared devices together.
pub(crate) fn predicted_memory(engine: &str, answer: &Answer) -> Vec<(Figure, Estimate<f64>)> {
    let devices = compared(engine, &answer.devices, |device: &DeviceAnswer| device.name == "host");
    let sum = |part: fn(&DeviceAnswer) -> Option<Estimate<Bytes>>| -> Option<Estimate<f64>> {
        let parts: Vec<Estimate<Bytes>> = devices.iter().map(|device| part(device)).collect::<Option<_>>()?;
        let first = *parts.first()?;
        let total = |end: fn(&Estimate<Bytes>) -> Bytes| parts.iter().map(|part| end(part).0 as f64).sum();
        Some(Estimate {
            value: total(|part| part.value),
            low: total(|part| part.low),
            high: total(|part| part.high),
            basis: first.basis,
        })
    };
    let found = [
        (Figure::WeightsBytes, sum(printed_weights)),
        (Figure::KvCacheBytes, sum(|device| device.components.kv_cache)),
        (Figure::ComputeBytes, sum(|device| device.components.compute)),
        (Figure::OverheadBytes, sum(|device| device.components.overhead)),
    ];
    found.into_iter().filter_map(|(figure, bytes)| Some((figure, bytes.filter(|bytes| bytes.value > 0.0)?))).collect()
}

/// Memory that a log reports, beside what the plan says.
fn memory(run: &MeasuredRun, answer: &Answer) -> Vec<(Measured, f64)> {
    let said = predicted_memory(run.engine.as_deref().unwrap_or_default(), answer);
    let pair = |(figure, found): (Figure, f64)| {
        let (_, predicted) = said.iter().find(|(known, _)| *known == figure)?;
        Some(((figure, found, None), predicted.value))
    };
    measured_memory(run).into_iter().filter_map(pair).collect()
}
