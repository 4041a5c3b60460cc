//! How fast a model runs on a tier: the most trusted source that there is.

mod corrected;
mod floor;
mod reference;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::Compatibility;
use super::capability::{Capability, Level};
use super::deployment::retarget;
use super::error::{SizingError, not_negative, positive, share};
use super::feasibility::{Feasibility, Fit, feasibility};
use super::model::SizingModel;
use super::precision::{Fp4Maturity, Precision};
use super::registry::tiers;
use super::tier::Tier;
use crate::{Assumptions, Estimate};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The model.
    pub model: &'a SizingModel,
    /// The chip.
    pub tier: &'a Tier,
    /// The chips whose measurements may stand in: the registry's, or those that a surface shows.
    pub siblings: &'a [Tier],
    /// The workload's id, by which measured cells are found.
    pub workload: &'a str,
    /// Tokens of the prompt, at least 1.
    pub prompt_tokens: u64,
    /// Tokens to generate, at least 1.
    pub decode_tokens: u64,
    /// Host time of the request; the tier's own where `None`. Zero means zero.
    pub host_ms: Option<f64>,
    /// How near the compiler's code comes to the best: 1 is that. Formulas are multiplied by it,
    /// measurements never, as they hold it already.
    pub compiler_quality: f64,
    /// Share of the memory bandwidth that the model gets; the tier's own where `None`.
    pub npu_share: Option<f64>,
    /// Whether kernels for 4-bit floats reach their peak.
    pub fp4_maturity: Fp4Maturity,
    /// Whose arithmetic is used.
    pub compatibility: Compatibility,
}

impl<'a> Question<'a> {
    /// The usual question: 500 tokens in, 200 out, nothing else said.
    pub fn new(model: &'a SizingModel, tier: &'a Tier) -> Self {
        Self {
            model,
            tier,
            siblings: tiers(),
            workload: "",
            prompt_tokens: 500,
            decode_tokens: 200,
            host_ms: None,
            compiler_quality: 1.0,
            npu_share: None,
            fp4_maturity: Fp4Maturity::Mature,
            compatibility: Compatibility::Corrected,
        }
    }

    /// The share that is asked for, or the tier's.
    pub fn share(&self) -> f64 {
        self.npu_share.unwrap_or(self.tier.npu_share)
    }

    /// The context that the model must hold.
    pub const fn context_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.decode_tokens)
    }

    fn check(&self) -> Result<(), SizingError> {
        positive("prompt tokens", self.prompt_tokens as f64)?;
        positive("generated tokens", self.decode_tokens as f64)?;
        positive("compiler quality", self.compiler_quality)?;
        share("npu share", self.share())?;
        not_negative("host time in ms", self.host_ms.unwrap_or_default())?;
        Ok(())
    }
}

/// What bounds the rate of decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// Reading weights and cache.
    BandwidthBound,
    /// Arithmetic.
    ComputeBound,
    /// What each layer takes beside both.
    LaunchBound,
}

/// Where the rates come from, in falling order of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A run of this model under this workload on this tier.
    Measured,
    /// A private measurement of the silicon.
    MeasuredSiliconAnchor,
    /// A run of this model on this tier.
    MeasuredAnchor,
    /// A measurement of this tier as sold, scaled to the memory that it has now.
    ScaledMeasurement,
    /// A measurement on another tier of the family, scaled.
    SameClassAnchor,
    /// A formula.
    CrossClass,
}

impl Source {
    /// The colour that surfaces show it in.
    pub const fn colour(self) -> &'static str {
        match self {
            Self::Measured | Self::MeasuredSiliconAnchor | Self::MeasuredAnchor => "green",
            Self::ScaledMeasurement | Self::SameClassAnchor => "yellow",
            Self::CrossClass => "orange",
        }
    }

    /// Its word in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::MeasuredSiliconAnchor => "measured_silicon_anchor",
            Self::MeasuredAnchor => "measured_anchor",
            Self::ScaledMeasurement => "scaled_measurement",
            Self::SameClassAnchor => "same_class_anchor",
            Self::CrossClass => "cross_class",
        }
    }
}

/// Which private measurement took the place of the cascade's rates. It holds names, no values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnchorNote {
    /// The cell of the anchor file: tier and precision.
    pub spec_cell: String,
    /// The model's key in the file.
    pub spec_key: String,
    /// When it was measured.
    pub measured_date: Option<String>,
    /// Whether it was scaled to another memory.
    pub is_bandwidth_projected: bool,
}

/// How fast it runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Projection {
    /// Generated tokens per second.
    pub decode_tokens_per_second: Estimate<f64>,
    /// Prompt tokens per second, without host time.
    pub prefill_tokens_per_second: Estimate<f64>,
    /// Host time before the prompt is processed.
    pub host_s: f64,
    /// Time to the first token: host time and prompt.
    pub ttft_s: Estimate<f64>,
    /// Time of generation.
    pub decode_s: Estimate<f64>,
    /// Time of the whole request.
    pub total_s: Estimate<f64>,
    /// What bounds decoding.
    pub regime: Regime,
    /// Decode rate at which reading weights and cache alone would take all the time.
    pub ceiling_tokens_per_second: f64,
    /// Where the rates come from.
    pub source: Source,
    /// How the tier runs the model's precision.
    pub capability: Capability,
    /// The compiler quality that was asked for.
    pub compiler_quality: f64,
    /// The share of the bandwidth that the rates are for.
    pub npu_share: f64,
    /// What it takes in memory.
    pub feasibility: Feasibility,
    /// The workload pattern that was applied.
    pub pattern: Option<String>,
    /// The decode rate before the pattern.
    pub decode_before_pattern: Option<Estimate<f64>>,
    /// The private measurement that was used.
    pub anchor: Option<AnchorNote>,
    /// What was taken for granted.
    pub assumptions: Assumptions,
}

impl Projection {
    /// Puts the times of generation and of the whole request in line with the rates.
    pub(super) fn settle(&mut self, decode_tokens: u64) {
        self.decode_s = inverse(self.decode_tokens_per_second, decode_tokens as f64);
        self.total_s = sum(self.ttft_s, self.decode_s);
    }
}

/// The model's precision does not run on the tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DtypeMismatch {
    /// What the model needs.
    pub precision: Precision,
    /// How the tier runs it.
    pub level: Level,
    /// Why, in words.
    pub reason: String,
    /// What to use instead.
    pub hint: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It runs.
    Projected(Box<Projection>),
    /// It does not fit.
    WontFit {
        /// What it takes and what there is.
        feasibility: Feasibility,
    },
    /// Its precision does not run.
    DtypeMismatch(DtypeMismatch),
}

impl Outcome {
    /// The projection, where it runs.
    pub const fn projected(&self) -> Option<&Projection> {
        match self {
            Self::Projected(projection) => Some(projection),
            Self::WontFit { .. } | Self::DtypeMismatch(_) => None,
        }
    }
}

/// How fast the model runs, or why it does not.
///
/// In order: memory, precision, a measured cell, a measurement on this tier, one on a tier of the
/// same family, the formula (`docs/chip-sizing.md` holds it).
///
/// **Errors**: no tokens, a share outside 0 to 1, a quality or a host time that is no sound number.
///
/// ```
/// use hwledger_core::sizing::{Compatibility, Outcome, Question, SizingModel, project, tier};
/// let model = SizingModel::find("qwen3_30b_a3b")?;
/// let question = Question { compatibility: Compatibility::Reference, ..Question::new(model, tier("NPU Mid")?) };
/// let outcome = project(&question)?;
/// let rate = outcome.projected().expect("it fits").decode_tokens_per_second.value;
/// assert!((rate - 37.85).abs() < 1e-9);
/// # Ok::<(), hwledger_core::sizing::SizingError>(())
/// ```
pub fn project(question: &Question<'_>) -> Result<Outcome, SizingError> {
    question.check()?;
    let Question { model, tier, compatibility, .. } = *question;
    let feasibility = feasibility(model, tier, question.context_tokens(), compatibility);
    if feasibility.fit == Fit::WontFit {
        return Ok(Outcome::WontFit { feasibility });
    }
    let precision = model.scheme.precision;
    let capability = tier.capability(precision);
    let path = floor::execution_dtype(question, capability);
    let has_no_peak = compatibility == Compatibility::Corrected && tier.peaks.of(path) <= 0.0;
    if !capability.level.is_executable() || has_no_peak {
        let reason = if capability.level.is_executable() {
            format!("it would run in {}, and the tier states no peak for that", path.name())
        } else {
            capability.reason.to_owned()
        };
        let hint = retarget(tier, precision);
        return Ok(Outcome::DtypeMismatch(DtypeMismatch { precision, level: capability.level, reason, hint }));
    }
    Ok(Outcome::Projected(Box::new(match compatibility {
        Compatibility::Corrected => corrected::cascade(question, capability, feasibility),
        Compatibility::Reference => reference::cascade(question, capability, feasibility),
    })))
}

/// The time that `count` takes at a rate.
pub(super) fn inverse(rate: Estimate<f64>, count: f64) -> Estimate<f64> {
    Estimate { value: count / rate.value, low: count / rate.high, high: count / rate.low, basis: rate.basis }
}

/// Two times after each other.
pub(super) fn sum(a: Estimate<f64>, b: Estimate<f64>) -> Estimate<f64> {
    Estimate { value: a.value + b.value, low: a.low + b.low, high: a.high + b.high, basis: a.basis.max(b.basis) }
}

/// A time after a fixed one.
pub(super) fn after(fixed: f64, time: Estimate<f64>) -> Estimate<f64> {
    Estimate { value: fixed + time.value, low: fixed + time.low, high: fixed + time.high, basis: time.basis }
}

/// A quantity and everything about it times a factor.
pub(super) fn times(quantity: Estimate<f64>, factor: f64) -> Estimate<f64> {
    let Estimate { value, low, high, basis } = quantity;
    Estimate { value: value * factor, low: low * factor, high: high * factor, basis }
}
