//! The use cases of chip sizing: list tiers, project a model onto them, ask what if.

mod what_if;

use hwledger_core::sizing::{
    Calibration, Compatibility, Deployment, Fp4Maturity, KernelSource, Level, MemoryKind, MemoryUpgrade, Outcome,
    Precision, QuantScheme, Question, SizingError, SizingModel, Tier, WorkloadPattern, deployment, project, tier,
    tiers,
};
use serde::Serialize;

use crate::planner::{PlanFailure, Planner};

pub use what_if::{FrontierAnswer, PointAnswer, SliderRow, SweepAnswer, WhatIf};

/// Why a question about chips has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SizingFailure {
    /// A name or a value that means nothing.
    #[error(transparent)]
    Sizing(#[from] SizingError),
    /// The model was not found or cannot be read.
    #[error(transparent)]
    Model(#[from] PlanFailure),
}

impl SizingFailure {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Sizing(error) => error.hint(),
            Self::Model(failure) => failure.hint(),
        }
    }
}

/// All tiers.
#[derive(Clone, Debug, Serialize)]
pub struct TiersAnswer {
    /// `hwledger.chip.tiers/1`.
    pub schema: &'static str,
    /// A row per tier.
    pub tiers: Vec<TierRow>,
}

/// A tier and what follows from it.
#[derive(Clone, Debug, Serialize)]
pub struct TierRow {
    /// The tier.
    #[serde(flatten)]
    pub tier: &'static Tier,
    /// Sustained bandwidth in decimal GB/s, before it is shared.
    pub effective_bandwidth_gb_s: f64,
    /// What it can run.
    pub runs: Vec<RunsRow>,
}

/// One precision on a tier.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RunsRow {
    /// The precision.
    pub precision: Precision,
    /// How well it runs.
    pub level: Level,
    /// Why.
    pub reason: &'static str,
}

/// All reference tiers.
pub fn list_tiers() -> TiersAnswer {
    let row = |tier: &'static Tier| TierRow {
        tier,
        effective_bandwidth_gb_s: tier.effective_bandwidth_gb_s(),
        runs: Precision::ALL
            .into_iter()
            .map(|precision| {
                let capability = tier.capability(precision);
                RunsRow { precision, level: capability.level, reason: capability.reason }
            })
            .collect(),
    };
    TiersAnswer { schema: "hwledger.chip.tiers/1", tiers: tiers().iter().map(row).collect() }
}

/// A model, chips, and how the one runs on the others.
#[derive(Clone, Debug, Default)]
pub struct ChipRequest {
    /// A reference model's key, or anything that a plan takes for a model.
    pub model: String,
    /// Its weight format; as its files hold them where `None`.
    pub weights: Option<String>,
    /// Names of tiers; all of them where empty.
    pub tiers: Vec<String>,
    /// Another memory for them, as `LPDDR5T@11.2`.
    pub memory: Option<String>,
    /// Its width in bits.
    pub bus_bits: Option<u32>,
    /// The workload's id, by which measured cells are found.
    pub workload: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens to generate.
    pub decode_tokens: Option<u64>,
    /// Host time.
    pub host_ms: Option<f64>,
    /// How near the compiler's code comes to the best.
    pub compiler_quality: Option<f64>,
    /// Share of the bandwidth that the model gets.
    pub npu_share: Option<f64>,
    /// Kernels for 4-bit floats widen them first.
    pub is_fp4_immature: bool,
    /// Kernels are compiled anew rather than taken as binaries.
    pub is_fresh_compile: bool,
    /// A workload pattern.
    pub pattern: Option<String>,
    /// Computes as the reference system does.
    pub is_reference: bool,
}

/// A model on chips.
#[derive(Clone, Debug, Serialize)]
pub struct ProjectAnswer {
    /// `hwledger.chip.project/1`.
    pub schema: &'static str,
    /// The model.
    pub model: SizingModel,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens to generate.
    pub decode_tokens: u64,
    /// Whose arithmetic was used.
    pub compatibility: Compatibility,
    /// A row per chip.
    pub tiers: Vec<ProjectRow>,
}

/// A model on one chip.
#[derive(Clone, Debug, Serialize)]
pub struct ProjectRow {
    /// The chip.
    pub tier: String,
    /// Where its figures come from.
    pub calibration: Calibration,
    /// By which path the model gets onto it.
    pub deployment: Deployment,
    /// How it runs.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl ChipRequest {
    const fn compatibility(&self) -> Compatibility {
        if self.is_reference { Compatibility::Reference } else { Compatibility::Corrected }
    }

    /// The memory that is asked for, if any.
    fn upgrade(&self) -> Result<Option<MemoryUpgrade>, SizingError> {
        let Some(text) = &self.memory else { return Ok(None) };
        let hint = "write a kind and a rate in GT/s, as `LPDDR5T@11.2`";
        let wrong = || SizingError::BadValue { what: "memory", given: text.clone(), hint };
        let (kind, rate) = text.split_once('@').ok_or_else(wrong)?;
        let rate_gt_s = rate.trim().parse().map_err(|_| wrong())?;
        Ok(Some(MemoryUpgrade { kind: MemoryKind::find(kind.trim())?, rate_gt_s, bus_bits: self.bus_bits }))
    }

    /// The chips that are asked for, with the memory that is asked for.
    fn chips(&self) -> Result<Vec<Tier>, SizingError> {
        let found: Vec<&Tier> = match self.tiers.as_slice() {
            [] => tiers().iter().collect(),
            names => names.iter().map(|name| tier(name)).collect::<Result<_, _>>()?,
        };
        let upgrade = self.upgrade()?;
        let chip = |tier: &Tier| match upgrade {
            Some(upgrade) => tier.with_memory(upgrade, self.compatibility()),
            None => Ok(tier.clone()),
        };
        found.into_iter().map(chip).collect()
    }
}

impl Planner {
    /// The model of a request: a reference model, or whatever plans find under the name.
    fn sizing_model(&self, request: &ChipRequest) -> Result<SizingModel, SizingFailure> {
        if request.model.is_empty() {
            return Err(SizingModel::find("").expect_err("no model is without a name").into());
        }
        let scheme = request.weights.as_deref().map(QuantScheme::find).transpose()?;
        if let Ok(known) = SizingModel::find(&request.model) {
            let mut model = known.clone();
            if let Some(scheme) = scheme.filter(|scheme| scheme.name != model.scheme.name) {
                // Its file and the reference's figures are of another format.
                model = SizingModel { scheme: *scheme, file_gb: None, reference: None, ..model };
            }
            return Ok(model);
        }
        let loaded = self.model(&request.model)?;
        Ok(SizingModel::of_spec(&request.model, &loaded.spec, scheme)?)
    }

    /// How a model runs on chips.
    pub fn project_chips(&self, request: &ChipRequest) -> Result<ProjectAnswer, SizingFailure> {
        let model = self.sizing_model(request)?;
        let pattern = request.pattern.as_deref().map(WorkloadPattern::find).transpose()?;
        let chips = request.chips()?;
        let mut rows = Vec::new();
        let usual = chips.first().map(|tier| Question::new(&model, tier));
        let prompt_tokens = request.prompt_tokens.or(usual.map(|usual| usual.prompt_tokens)).unwrap_or_default();
        let decode_tokens = request.decode_tokens.or(usual.map(|usual| usual.decode_tokens)).unwrap_or_default();
        for tier in &chips {
            let question = question(request, &model, tier, (prompt_tokens, decode_tokens));
            let mut outcome = project(&question)?;
            if let (Outcome::Projected(projection), Some(pattern)) = (&mut outcome, &pattern) {
                pattern.apply(projection, &model, decode_tokens);
                if projection.pattern.is_none() {
                    let why = "without effect: the model's rates are taken to be the same whatever the use";
                    projection.assumptions.note("workload pattern", &pattern.name, why);
                }
            }
            let kernels = if request.is_fresh_compile { KernelSource::FreshCompile } else { KernelSource::Precompiled };
            let precision = model.scheme.precision;
            rows.push(ProjectRow {
                tier: tier.name.clone(),
                calibration: tier.calibration.clone(),
                deployment: deployment(tier, precision, kernels, question.fp4_maturity),
                outcome,
            });
        }
        let compatibility = request.compatibility();
        let schema = "hwledger.chip.project/1";
        Ok(ProjectAnswer { schema, model, prompt_tokens, decode_tokens, compatibility, tiers: rows })
    }
}

/// The question of a request about one chip.
fn question<'a>(
    request: &'a ChipRequest,
    model: &'a SizingModel,
    tier: &'a Tier,
    (prompt_tokens, decode_tokens): (u64, u64),
) -> Question<'a> {
    let usual = Question::new(model, tier);
    Question {
        workload: request.workload.as_deref().unwrap_or_default(),
        prompt_tokens,
        decode_tokens,
        host_ms: request.host_ms,
        compiler_quality: request.compiler_quality.unwrap_or(usual.compiler_quality),
        npu_share: request.npu_share,
        fp4_maturity: if request.is_fp4_immature { Fp4Maturity::Immature } else { Fp4Maturity::Mature },
        compatibility: request.compatibility(),
        ..usual
    }
}
