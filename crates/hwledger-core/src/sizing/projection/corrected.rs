//! The cascade as this project computes it.

use super::floor::{Floors, execution_dtype, usable_tops};
use super::{Projection, Question, Source, after, inverse, sum, times};
use crate::sizing::capability::Capability;
use crate::sizing::feasibility::Feasibility;
use crate::sizing::tier::{MeasuredCell, RateAnchor, Tier};
use crate::{Assumptions, Basis, Estimate};

/// What one step of the cascade found.
struct Rates {
    decode: Estimate<f64>,
    prefill: Estimate<f64>,
    /// A time to the first token that was measured as such.
    ttft: Option<Estimate<f64>>,
    host_s: f64,
    source: Source,
}

/// A question with what is computed once for all steps.
struct Cascade<'q> {
    question: &'q Question<'q>,
    capability: Capability,
    floors: Floors,
    host_s: f64,
    assumptions: Assumptions,
}

/// Walks the cascade.
pub(super) fn cascade(question: &Question<'_>, capability: Capability, feasibility: Feasibility) -> Projection {
    let floors = Floors::of(question, execution_dtype(question, capability));
    let mut assumptions = Assumptions::default();
    let why = "the tier's own; nobody said how long the host takes";
    let host_ms = assumptions.or(question.host_ms, "host_ms", question.tier.overhead_ms, why);
    if question.npu_share.is_none() {
        assumptions.note("npu_share", &question.tier.npu_share, "the tier's own; nobody said what else runs on it");
    }
    let mut cascade = Cascade { question, capability, floors, host_s: host_ms / 1000.0, assumptions };
    let rates = cascade.rates();
    let ttft_s = match rates.ttft {
        Some(measured) => measured,
        None => after(rates.host_s, inverse(rates.prefill, question.prompt_tokens as f64)),
    };
    let decode_s = inverse(rates.decode, question.decode_tokens as f64);
    Projection {
        decode_tokens_per_second: rates.decode,
        prefill_tokens_per_second: rates.prefill,
        host_s: rates.host_s,
        ttft_s,
        decode_s,
        total_s: sum(ttft_s, decode_s),
        regime: floors.regime(),
        ceiling_tokens_per_second: 1000.0 / floors.decode_bandwidth_ms,
        source: rates.source,
        capability,
        compiler_quality: question.compiler_quality,
        npu_share: question.share(),
        feasibility,
        pattern: None,
        decode_before_pattern: None,
        anchor: None,
        assumptions: cascade.assumptions,
    }
}

/// A decode rate under another bandwidth.
///
/// **Formula**: the usual figure is rate x to / from. It takes the whole time of a token for memory
/// traffic; the other end of the interval takes only the `gb` that the roofline counts for it, and
/// leaves the rest of the time as it was.
fn rescaled_decode(rate: f64, gb: f64, from_gb_s: f64, to_gb_s: f64) -> Estimate<f64> {
    let linear = rate * to_gb_s / from_gb_s;
    let fixed = (1.0 / rate - gb / from_gb_s).max(0.0);
    let partial = 1.0 / (fixed + (1.0 / rate - fixed) * from_gb_s / to_gb_s);
    Estimate { value: linear, low: linear.min(partial), high: linear.max(partial), basis: Basis::Calibrated }
}

/// Whether two factors are the same but for rounding.
fn is_same(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 1e-12
}

/// A measured rate as it is.
const fn as_measured(rate: f64, anchor: Basis) -> Estimate<f64> {
    Estimate { value: rate, low: rate, high: rate, basis: anchor }
}

/// The anchor of the model's key, else of its alias.
fn anchor<'a>(question: &Question<'_>, anchors: &'a [RateAnchor]) -> Option<&'a RateAnchor> {
    let of = |key: &str| anchors.iter().find(|anchor| anchor.model == key);
    of(&question.model.key).or_else(|| question.model.measurement_alias.as_deref().and_then(of))
}

impl<'q> Cascade<'q> {
    fn rates(&mut self) -> Rates {
        let tier = self.question.tier;
        if let Some(cell) = self.cell() {
            return self.measured(cell);
        }
        if let Some(found) = anchor(self.question, &tier.measurements.decode) {
            return self.anchored(found);
        }
        match self.sibling() {
            Some((sibling, found)) => self.same_class(sibling, found),
            None => self.cross_class(),
        }
    }

    /// A run of this model under this workload.
    fn cell(&self) -> Option<&'q MeasuredCell> {
        let question = self.question;
        let cells = &question.tier.measurements.cells;
        let of = |key: &str| cells.iter().find(|cell| cell.model == key && cell.workload == question.workload);
        of(&question.model.key).or_else(|| question.model.measurement_alias.as_deref().and_then(of))
    }

    /// Another tier of the family on which this model was measured.
    fn sibling(&self) -> Option<(&'q Tier, &'q RateAnchor)> {
        let Question { tier, siblings, .. } = *self.question;
        if tier.is_memory_clone() {
            return None;
        }
        let mut kin = siblings.iter().filter(|sibling| sibling.family == tier.family && !sibling.is_memory_clone());
        kin.find_map(|sibling| Some((sibling, anchor(self.question, &sibling.measurements.decode)?)))
    }

    /// Bandwidth of the tier as sold under a share, and of the tier as it is under the question's.
    fn bandwidths(&self, measured_share: f64) -> (f64, f64) {
        let tier = self.question.tier;
        let from = tier.stock_bandwidth_gb_s() * tier.efficiency.bandwidth * measured_share;
        (from, tier.effective_bandwidth_gb_s() * self.question.share())
    }

    /// A decode rate measured on the tier as sold under a share.
    fn own_decode(&self, rate: f64, measured_share: f64, basis: Basis) -> Estimate<f64> {
        let (from, to) = self.bandwidths(measured_share);
        if is_same(from, to) {
            as_measured(rate, basis)
        } else {
            rescaled_decode(rate, self.floors.decode_gb, from, to)
        }
    }

    /// A prefill rate measured on the tier as sold under a share: it follows the bandwidth where the
    /// prompt waits for memory, and stays where it waits for arithmetic; the interval holds both.
    fn own_prefill(&self, rate: f64, measured_share: f64, basis: Basis) -> Estimate<f64> {
        let (from, to) = self.bandwidths(measured_share);
        if is_same(from, to) {
            return as_measured(rate, basis);
        }
        let scaled = rate * to / from;
        let value = if self.floors.is_prefill_bandwidth_bound() { scaled } else { rate };
        Estimate { value, low: rate.min(scaled), high: rate.max(scaled), basis: Basis::Calibrated }
    }

    /// The formula's prefill rate. The utilisation of the arithmetic peak is a figure of the reference
    /// that no measurement here backs, so the interval reaches from half of it to twice it.
    fn floor_prefill(&mut self) -> Estimate<f64> {
        let question = self.question;
        let Floors { prefill_bandwidth_ms, prefill_compute_ms, launch_ms, .. } = self.floors;
        let why = "the reference's; the interval takes it to be good to a factor of 2";
        self.assumptions.note("utilisation of the arithmetic peak", &question.tier.efficiency.llm_utilisation, why);
        let rate = |compute_ms: f64, launch_ms: f64| {
            let prompt_ms = prefill_bandwidth_ms.max(compute_ms) + launch_ms;
            1000.0 * question.prompt_tokens as f64 / prompt_ms * question.compiler_quality
        };
        Estimate {
            value: rate(prefill_compute_ms, 0.0),
            low: rate(2.0 * prefill_compute_ms, launch_ms[2]),
            high: rate(prefill_compute_ms / 2.0, 0.0),
            basis: Basis::Formula,
        }
    }

    fn measured(&mut self, cell: &MeasuredCell) -> Rates {
        let question = self.question;
        let basis = cell.calibration.basis();
        let host_ms = question.host_ms.or(cell.host_ms);
        let host_s = host_ms.map_or(self.host_s, |ms| ms / 1000.0);
        if let (None, Some(ms)) = (question.host_ms, cell.host_ms) {
            self.assumptions.0.retain(|assumption| assumption.what != "host_ms");
            self.assumptions.note("host_ms", &ms, "as measured in the run that the rates are from");
        }
        let prompt = cell.prompt_tokens.unwrap_or(question.prompt_tokens);
        let derived = || {
            let prompt_s = cell.ttft_s? - cell.host_ms.map_or(self.host_s, |ms| ms / 1000.0);
            Some(prompt as f64 / prompt_s).filter(|rate| rate.is_finite() && *rate > 0.0)
        };
        let prefill = match cell.prefill_tokens_per_second.or_else(derived) {
            Some(rate) => self.own_prefill(rate, cell.npu_share, basis),
            None => self.floor_prefill(),
        };
        let (from, to) = self.bandwidths(cell.npu_share);
        let is_unscaled = is_same(from, to);
        let is_same_run = is_unscaled && prompt == question.prompt_tokens && question.host_ms.is_none();
        Rates {
            decode: self.own_decode(cell.decode_tokens_per_second, cell.npu_share, basis),
            prefill,
            ttft: cell.ttft_s.filter(|_| is_same_run).map(|seconds| as_measured(seconds, basis)),
            host_s,
            source: if is_unscaled { Source::Measured } else { self.scaled_source(Source::Measured) },
        }
    }

    /// What a rate is called that was measured on the tier as sold.
    const fn scaled_source(&self, unscaled: Source) -> Source {
        if self.question.tier.is_memory_clone() { Source::ScaledMeasurement } else { unscaled }
    }

    fn anchored(&mut self, found: &RateAnchor) -> Rates {
        let prefill = match anchor(self.question, &self.question.tier.measurements.prefill) {
            Some(prefill) => {
                self.own_prefill(prefill.tokens_per_second, prefill.npu_share, prefill.calibration.basis())
            }
            None => self.floor_prefill(),
        };
        Rates {
            decode: self.own_decode(found.tokens_per_second, found.npu_share, found.calibration.basis()),
            prefill,
            ttft: None,
            host_s: self.host_s,
            source: self.scaled_source(Source::MeasuredAnchor),
        }
    }

    fn same_class(&mut self, sibling: &Tier, found: &RateAnchor) -> Rates {
        let question = self.question;
        let why = "measured there, and of the same family";
        self.assumptions.note("tier", &sibling.name, why);
        let from = sibling.effective_bandwidth_gb_s() * found.npu_share;
        let to = question.tier.effective_bandwidth_gb_s() * question.share();
        let decode = rescaled_decode(found.tokens_per_second, self.floors.decode_gb, from, to);
        let prefill = match anchor(question, &sibling.measurements.prefill) {
            Some(prefill) => self.same_class_prefill(sibling, prefill),
            None => self.floor_prefill(),
        };
        Rates { decode, prefill, ttft: None, host_s: self.host_s, source: Source::SameClassAnchor }
    }

    /// A sibling's prefill rate, scaled by usable arithmetic, for that is what long prompts wait for;
    /// the interval reaches to scaling by bandwidth.
    fn same_class_prefill(&self, sibling: &Tier, found: &RateAnchor) -> Estimate<f64> {
        let question = self.question;
        let there = sibling.capability(question.model.scheme.precision);
        let own_tops = usable_tops(question.tier, execution_dtype(question, self.capability));
        let their_tops = usable_tops(sibling, execution_dtype(question, there));
        let by_bandwidth = found.tokens_per_second * question.tier.effective_bandwidth_gb_s() * question.share()
            / (sibling.effective_bandwidth_gb_s() * found.npu_share);
        if their_tops <= 0.0 {
            return Estimate { value: by_bandwidth, low: by_bandwidth, high: by_bandwidth, basis: Basis::Calibrated };
        }
        let by_arithmetic = found.tokens_per_second * own_tops / their_tops;
        Estimate {
            value: by_arithmetic,
            low: by_arithmetic.min(by_bandwidth),
            high: by_arithmetic.max(by_bandwidth),
            basis: Basis::Calibrated,
        }
    }

    fn cross_class(&mut self) -> Rates {
        let Floors { launch_ms: [low, usual, high], .. } = self.floors;
        let rate = |launch: f64| 1000.0 / (self.floors.decode_ms() + launch);
        let launch = &self.question.tier.launch;
        let is_calibrated = launch.calibration.basis() == Basis::Calibrated;
        if !is_calibrated {
            self.assumptions.note(
                "launch time per layer",
                &format!("{} us", launch.usual_us),
                launch.calibration.reference.clone(),
            );
        }
        let basis = if is_calibrated { Basis::Calibrated } else { Basis::Formula };
        let decode = Estimate { value: rate(usual), low: rate(high), high: rate(low), basis };
        Rates {
            decode: times(decode, self.question.compiler_quality),
            prefill: self.floor_prefill(),
            ttft: None,
            host_s: self.host_s,
            source: Source::CrossClass,
        }
    }
}
