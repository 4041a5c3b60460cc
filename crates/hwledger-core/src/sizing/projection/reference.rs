//! The cascade as ratchet 0.2.6 computes it, known faults and rounding included.

use super::{Projection, Question, Regime, Source};
use crate::sizing::capability::Capability;
use crate::sizing::feasibility::Feasibility;
use crate::sizing::precision::{Dtype, Fp4Maturity, QuantScheme};
use crate::sizing::tier::{MeasuredCell, RateAnchor, Tier};
use crate::{Assumptions, Basis, Estimate};

/// Rounded to decimal places as Python's `round` does: exactly, halves to even.
fn rounded(value: f64, places: usize) -> f64 {
    // Printing rounds the exact binary value to even, which is what Python does; reading it back is exact.
    format!("{value:.places$}").parse().unwrap_or(value)
}

/// The reference's floors.
struct Floor {
    bandwidth_ms: f64,
    decode: f64,
    prefill: f64,
    ttft_s: f64,
    regime: Regime,
}

/// The type that the reference computes in: the one that the configuration names.
fn nominal_dtype(question: &Question<'_>) -> Dtype {
    let named = QuantScheme::find(&question.model.compute_dtype).map_or(Dtype::Bf16, |scheme| match scheme.name {
        "INT8_W8A8" => Dtype::Int8,
        "FP8" => Dtype::Fp8,
        "NVFP4" | "MXFP4" => Dtype::Fp4,
        _ => Dtype::Bf16,
    });
    let dtype = question.tier.rung.map_or(named, super::super::precision::PrecisionRung::execution_dtype);
    match (dtype, question.fp4_maturity) {
        (Dtype::Fp4, Fp4Maturity::Immature) => Dtype::Bf16,
        (dtype, _) => dtype,
    }
}

fn floor(question: &Question<'_>) -> Floor {
    let Question { model, tier, .. } = *question;
    let active = model.reference.map_or(model.active_params_b, |figures| figures.active_params_b);
    let width = model.scheme.reference_bytes_per_param.unwrap_or(model.scheme.bytes_per_param);
    let gigabytes = active * width;
    let operations = 2.0 * active;
    let tops = tier.peaks.of(nominal_dtype(question)).max(1e-9) * tier.efficiency.llm_utilisation;
    let bandwidth = tier.effective_bandwidth_gb_s();
    let bandwidth_ms = 1000.0 * gigabytes / (bandwidth * question.share());
    let compute_ms = operations / tops;
    let prompt = question.prompt_tokens as f64;
    let prompt_ms = (1000.0 * gigabytes / bandwidth).max(operations * prompt / tops);
    let ttft_s = (prompt_ms + tier.overhead_ms) / 1000.0;
    Floor {
        bandwidth_ms,
        decode: 1000.0 / bandwidth_ms.max(compute_ms) * question.compiler_quality,
        prefill: prompt / ttft_s * question.compiler_quality,
        ttft_s,
        regime: if bandwidth_ms >= compute_ms { Regime::BandwidthBound } else { Regime::ComputeBound },
    }
}

/// What one step of the reference's cascade found.
struct Rates {
    decode: f64,
    prefill: f64,
    ttft_s: f64,
    host_ms: Option<f64>,
    source: Source,
}

fn anchor<'a>(question: &Question<'_>, anchors: &'a [RateAnchor]) -> Option<&'a RateAnchor> {
    let of = |key: &str| anchors.iter().find(|anchor| anchor.model == key);
    of(&question.model.key).or_else(|| question.model.measurement_alias.as_deref().and_then(of))
}

fn measured(question: &Question<'_>, cell: &MeasuredCell, floor: &Floor) -> Rates {
    let prompt = question.prompt_tokens as f64;
    let prefill = cell.prefill_tokens_per_second.or_else(|| cell.ttft_s.map(|seconds| prompt / seconds));
    let prefill = prefill.unwrap_or(floor.prefill);
    Rates {
        decode: cell.decode_tokens_per_second,
        prefill,
        ttft_s: cell.ttft_s.unwrap_or(prompt / prefill),
        host_ms: cell.host_ms,
        source: Source::Measured,
    }
}

/// The prefill rate and the time to the first token beside an anchored decode rate.
fn prefill(question: &Question<'_>, tier: &Tier, quality: f64, floor: &Floor) -> (f64, f64) {
    match anchor(question, &tier.measurements.prefill) {
        Some(found) => {
            let rate = found.tokens_per_second * quality;
            (rate, question.prompt_tokens as f64 / rate)
        }
        None => (floor.prefill, floor.ttft_s),
    }
}

fn rates(question: &Question<'_>, floor: &Floor) -> Rates {
    let Question { model, tier, workload, compiler_quality: quality, .. } = *question;
    let cells = &tier.measurements.cells;
    let cell = |key: &str| cells.iter().find(|cell| cell.model == key && cell.workload == workload);
    if let Some(cell) = cell(&model.key).or_else(|| model.measurement_alias.as_deref().and_then(cell)) {
        return measured(question, cell, floor);
    }
    if let Some(found) = anchor(question, &tier.measurements.decode) {
        let (prefill, ttft_s) = prefill(question, tier, quality, floor);
        let memory = tier.memory.bandwidth_gb_s / tier.stock_bandwidth_gb_s();
        let decode = found.tokens_per_second * memory * quality;
        return Rates { decode, prefill, ttft_s, host_ms: None, source: Source::MeasuredAnchor };
    }
    let mut kin = question.siblings.iter().filter(|sibling| sibling.family == tier.family && !tier.is_memory_clone());
    let sibling = kin.find_map(|sibling| Some((sibling, anchor(question, &sibling.measurements.decode)?)));
    if let Some((sibling, found)) = sibling {
        let memory = tier.effective_bandwidth_gb_s() / sibling.effective_bandwidth_gb_s();
        let (prefill, ttft_s) = prefill(question, sibling, 1.0, floor);
        let decode = found.tokens_per_second * memory;
        return Rates { decode, prefill, ttft_s, host_ms: None, source: Source::SameClassAnchor };
    }
    let Floor { decode, prefill, ttft_s, .. } = *floor;
    Rates { decode, prefill, ttft_s, host_ms: None, source: Source::CrossClass }
}

/// Walks the reference's cascade.
pub(super) fn cascade(question: &Question<'_>, capability: Capability, feasibility: Feasibility) -> Projection {
    let floor = floor(question);
    let rates = rates(question, &floor);
    let basis = match rates.source {
        Source::Measured | Source::MeasuredAnchor => Basis::Measured,
        Source::SameClassAnchor => Basis::Calibrated,
        _ => Basis::Formula,
    };
    let exact = |value: f64, places: usize| {
        let value = rounded(value, places);
        Estimate { value, low: value, high: value, basis }
    };
    // In the reference a host time of 0 is no host time.
    let host_ms = question.host_ms.filter(|ms| *ms > 0.0).or(rates.host_ms).unwrap_or(question.tier.overhead_ms);
    let decode_s = question.decode_tokens as f64 / rates.decode;
    let prompt_s = question.prompt_tokens as f64 / rates.prefill;
    let regime = if rates.source == Source::CrossClass { floor.regime } else { Regime::BandwidthBound };
    let mut assumptions = Assumptions::default();
    assumptions.note("compatibility", "reference", "the arithmetic of ratchet 0.2.6 was asked for");
    Projection {
        decode_tokens_per_second: exact(rates.decode, 2),
        prefill_tokens_per_second: exact(rates.prefill, 2),
        host_s: rounded(host_ms / 1000.0, 3),
        ttft_s: exact(rates.ttft_s, 4),
        decode_s: exact(decode_s, 3),
        total_s: exact(host_ms / 1000.0 + prompt_s + decode_s, 3),
        regime,
        ceiling_tokens_per_second: rounded(1000.0 / floor.bandwidth_ms, 2),
        source: rates.source,
        capability,
        compiler_quality: question.compiler_quality,
        npu_share: question.share(),
        feasibility,
        pattern: None,
        decode_before_pattern: None,
        anchor: None,
        assumptions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_reference() {
        for (value, places, expected) in [(2.675, 2, 2.67), (0.125, 2, 0.12), (16.288_04, 2, 16.29)] {
            assert!((rounded(value, places) - expected).abs() < 1e-12, "{value}");
        }
    }
}
