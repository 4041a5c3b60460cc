//! Vision networks: a measurement on this tier, one on another scaled, or the roofline.

use serde::Serialize;

use super::error::{SizingError, positive};
use super::precision::Precision;
use super::projection::Source;
use super::tier::{Tier, VisionAnchor};
use crate::{Basis, Estimate};

/// A vision network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VisionModel {
    /// What measurements are found by.
    pub key: String,
    /// Operations of one inference in 10^9.
    pub giga_operations: f64,
    /// Weights and activations that one inference moves, in decimal megabytes.
    pub traffic_mb: f64,
    /// What it runs in.
    pub precision: Precision,
}

/// How fast it runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VisionProjection {
    /// Time of one inference.
    pub latency_ms: Estimate<f64>,
    /// Inferences per second, one after another.
    pub frames_per_second: f64,
    /// Where the time comes from.
    pub source: Source,
    /// Resolution that it was measured at, where it was.
    pub input_resolution: Option<String>,
}

/// Arithmetic that vision networks reach, in TOPS.
///
/// **Formula**: peak x compute efficiency x vision utilisation. Language models have a calibration of
/// their own, and the two are not mixed.
fn usable_tops(tier: &Tier, precision: Precision) -> f64 {
    tier.effective_vision_tops(tier.capability(precision).path) * tier.efficiency.vision_utilisation
}

fn scaled(anchor: &VisionAnchor, speedup: f64, source: Source, basis: Basis) -> VisionProjection {
    let value = anchor.latency_ms / speedup;
    VisionProjection {
        latency_ms: Estimate { value, low: value, high: value, basis },
        frames_per_second: 1000.0 / value,
        source,
        input_resolution: Some(anchor.input_resolution.clone()),
    }
}

/// How fast a vision network runs on `tier`; `None` where its precision does not run there.
///
/// In order: its measurement on this tier; one on another of `siblings`, divided by the ratio of
/// usable arithmetic (held on memory clones, as convolutions wait for arithmetic); the roofline:
/// the larger of operations / usable TOPS and traffic / effective bandwidth, plus the host's time.
///
/// **Errors**: a network without operations or traffic.
pub fn project_vision(
    model: &VisionModel,
    tier: &Tier,
    siblings: &[Tier],
) -> Result<Option<VisionProjection>, SizingError> {
    positive("operations in 10^9", model.giga_operations)?;
    positive("memory traffic in MB", model.traffic_mb)?;
    let usable = usable_tops(tier, model.precision);
    if !tier.capability(model.precision).level.is_executable() || usable <= 0.0 {
        return Ok(None);
    }
    let of = |tier: &Tier| tier.measurements.vision.iter().find(|anchor| anchor.model == model.key).cloned();
    if let Some(anchor) = of(tier) {
        return Ok(Some(scaled(&anchor, 1.0, Source::MeasuredAnchor, anchor.calibration.basis())));
    }
    let elsewhere = siblings.iter().find_map(|sibling| {
        let anchor = of(sibling)?;
        let there = usable_tops(sibling, anchor.precision);
        (there > 0.0).then(|| scaled(&anchor, usable / there, Source::SameClassAnchor, Basis::Calibrated))
    });
    if let Some(projection) = elsewhere {
        return Ok(Some(projection));
    }
    let arithmetic_ms = model.giga_operations / usable;
    // Megabytes over gigabytes per second are milliseconds.
    let memory_ms = model.traffic_mb / tier.effective_bandwidth_gb_s();
    let value = arithmetic_ms.max(memory_ms) + tier.overhead_ms;
    let low = arithmetic_ms.max(memory_ms);
    let high = arithmetic_ms + memory_ms + tier.overhead_ms;
    Ok(Some(VisionProjection {
        latency_ms: Estimate::formula(low, value, high),
        frames_per_second: 1000.0 / value,
        source: Source::CrossClass,
        input_resolution: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::registry::{tier, tiers};
    use super::*;

    fn yolo(key: &str, precision: Precision) -> VisionModel {
        VisionModel { key: key.to_owned(), giga_operations: 8.7, traffic_mb: 20.0, precision }
    }

    #[test]
    fn the_measured_network_is_told_as_measured() {
        let tier = tier("NPU i.MX 95").expect("a tier of the registry");
        let found = project_vision(&yolo("yolov8n_trt_int8_coco128", Precision::Int8), tier, tiers())
            .expect("a sound network")
            .expect("it runs");
        assert!((found.latency_ms.value - 32.0).abs() < 1e-9 && (found.frames_per_second - 31.25).abs() < 1e-9);
        assert_eq!((found.source, found.latency_ms.basis), (Source::MeasuredAnchor, Basis::Measured));
    }

    #[test]
    fn elsewhere_it_is_scaled_by_vision_arithmetic() {
        let mid = tier("NPU Mid").expect("a tier of the registry");
        let found = project_vision(&yolo("yolov8n_trt_int8_coco128", Precision::Int8), mid, tiers())
            .expect("a sound network")
            .expect("it runs");
        let speedup = (200.0 * 0.65 * 0.45) / (2.0 * 0.60 * 0.19);
        assert!((found.latency_ms.value - 32.0 / speedup).abs() < 1e-9);
        assert_eq!(found.source, Source::SameClassAnchor);
    }

    #[test]
    fn without_a_measurement_the_roofline_answers_and_without_units_nothing_does() {
        let mid = tier("NPU Mid").expect("a tier of the registry");
        let found = project_vision(&yolo("other", Precision::Int8), mid, tiers()).expect("sound").expect("it runs");
        assert!(found.latency_ms.low <= found.latency_ms.value && found.latency_ms.value <= found.latency_ms.high);
        assert_eq!(project_vision(&yolo("other", Precision::Fp8), mid, tiers()), Ok(None));
    }
}
