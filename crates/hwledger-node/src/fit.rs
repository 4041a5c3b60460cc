//! The inverse questions of one model on given devices.

use hwledger_core::advice::weight_ladder;
use hwledger_core::model::Weight;
use hwledger_core::verdict::Verdict;
use hwledger_core::{Bytes, Estimate, Settings};
use serde::Serialize;

use crate::planner::{PlanFailure, Planner, Prepared};
use crate::request::PlanRequest;

/// Contexts are searched in these steps: llama.cpp rounds up to them anyway.
const CONTEXT_STEP: u64 = 256;

/// Longest context that is searched where the model does not say.
const CONTEXT_LIMIT: u64 = 1 << 20;

/// Most sequences that are searched.
const SEQUENCES_LIMIT: u64 = 1 << 14;

/// What fits.
#[derive(Clone, Debug, Serialize)]
pub struct FitAnswer {
    /// `hwledger.fit/1`.
    pub schema: &'static str,
    /// The model's name.
    pub model: String,
    /// The engine.
    pub engine: &'static str,
    /// Weight formats from the finest to the coarsest.
    pub weights: Vec<WeightsRow>,
    /// The finest of them that fits.
    pub best_weights: Option<&'static str>,
    /// What had to be assumed.
    pub assumptions: hwledger_core::Assumptions,
}

/// What fits with one weight format.
#[derive(Clone, Debug, Serialize)]
pub struct WeightsRow {
    /// The format; `as stored` for what the files hold, `as asked` for what the request names.
    pub weights: &'static str,
    /// Its weights, all devices together.
    pub weight_bytes: Option<Estimate<Bytes>>,
    /// Everything at the asked context.
    pub total: Option<Estimate<Bytes>>,
    /// Whether the asked context and sequences fit.
    pub verdict: Verdict,
    /// The largest context of the asked number of sequences.
    pub largest_context: Option<u64>,
    /// The most sequences of the asked context.
    pub most_sequences: Option<u64>,
}

impl Planner {
    /// The largest context, the most sequences and the finest weights of a request's devices.
    pub fn fit(&self, request: &PlanRequest) -> Result<FitAnswer, PlanFailure> {
        if request.devices.is_empty() {
            return Err(PlanFailure::BadRequest {
                key: "devices".to_owned(),
                value: "none".to_owned(),
                hint: "name what the model should fit on, for example `--device \"RTX 4090\"`".to_owned(),
            });
        }
        let prepared = self.prepare(request)?;
        let limit = prepared.model.spec.context_max.unwrap_or(CONTEXT_LIMIT).max(CONTEXT_STEP);
        let mut weights = Vec::new();
        if prepared.settings.weights.is_some() || prepared.settings.weights_bytes.is_some() || prepared.model.is_gguf {
            weights.push(row(&prepared, "as asked", &prepared.settings, limit)?);
        } else {
            if is_stored_quantised(&prepared) {
                weights.push(row(&prepared, "as stored", &prepared.settings, limit)?);
            }
            for format in weight_ladder(prepared.engine) {
                let settings = Settings { weights: Some((*format).to_owned()), ..prepared.settings.clone() };
                weights.push(row(&prepared, format, &settings, limit)?);
            }
        }
        let best_weights = weights.iter().find(|row| row.verdict == Verdict::Fits).map(|row| row.weights);
        Ok(FitAnswer {
            schema: "hwledger.fit/1",
            model: prepared.model.name.clone(),
            engine: prepared.engine.name(),
            weights,
            best_weights,
            assumptions: prepared.assumptions,
        })
    }
}

/// Whether the files hold most matrices in fewer than 16 bits, as those of gpt-oss and DeepSeek-V3 do.
fn is_stored_quantised(prepared: &Prepared) -> bool {
    let spec = &prepared.model.spec;
    let narrow = |weight: &Weight| weight.stored.is_some_and(|stored| stored.bytes_per_element() < 1.5);
    let (narrow, all) = spec.weights().fold((0_u64, 0_u64), |(low, all), (weight, count)| {
        let elements = weight.elements().saturating_mul(count);
        (low.saturating_add(if narrow(weight) { elements } else { 0 }), all.saturating_add(elements))
    });
    narrow > all / 2
}

fn row(prepared: &Prepared, name: &'static str, settings: &Settings, limit: u64) -> Result<WeightsRow, PlanFailure> {
    let question = hwledger_core::inverse::Question { settings, ..prepared.question() };
    let plan = question.plan(settings)?;
    let sum = plan.summed();
    Ok(WeightsRow {
        weights: name,
        weight_bytes: sum.weights,
        total: sum.total(),
        verdict: Verdict::of_plan(&plan),
        largest_context: question.largest_context(CONTEXT_STEP, limit),
        most_sequences: question.most_sequences(SEQUENCES_LIMIT),
    })
}
