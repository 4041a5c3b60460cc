//! What a search found.

use hwledger_core::Assumptions;
use hwledger_core::projection::Speed;
use hwledger_core::verdict::Verdict;
use serde::Serialize;

use super::fate::Reason;
use crate::request::PlanRequest;

/// The best combinations for each model.
#[derive(Clone, Debug, Serialize)]
pub struct SearchAnswer {
    /// `hwledger.search/1`.
    pub schema: &'static str,
    /// What combinations compete in.
    pub objectives: Vec<&'static str>,
    /// One entry per model asked for.
    pub models: Vec<ModelFound>,
    /// What had to be assumed.
    pub assumptions: Assumptions,
}

/// The best combinations for one model, and why the rest lost.
#[derive(Clone, Debug, Serialize)]
pub struct ModelFound {
    /// The model.
    pub model: String,
    /// Combinations of device, count, engine, weights and cache type.
    pub combinations: u64,
    /// Those that meet every limit, one for each layout of ranks.
    pub feasible: u64,
    /// Those that nothing beats, by the first objective.
    pub frontier: Vec<Candidate>,
    /// Why the others are not among them, the most frequent reason first.
    pub lost: Vec<Loss>,
    /// Of each device that is not among the best, how far its best combination came.
    pub devices: Vec<DeviceFate>,
}

/// One way to serve a model.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    /// The device.
    pub device: String,
    /// Memory of one of them.
    pub memory_gib: Option<f64>,
    /// How many.
    pub count: u64,
    /// The engine.
    pub engine: &'static str,
    /// The weight format; `as stored` for what the model's files hold.
    pub weights: String,
    /// Bits per weight.
    pub bits: f64,
    /// What the devices cost.
    pub purchase_usd: Option<f64>,
    /// What renting them costs per hour, where somebody is known to.
    pub rent_usd_per_hour: Option<f64>,
    /// What a million generated tokens cost, prompts included.
    pub usd_per_million_tokens: Option<f64>,
    /// Power limits of the devices together.
    pub power_w: Option<f64>,
    /// Whether it fits for certain.
    pub verdict: Verdict,
    /// How fast it is.
    pub speed: Speed,
    /// The plan request that says all about it.
    pub request: PlanRequest,
    /// The command that plans it.
    pub command: String,
}

/// Combinations that ended for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    /// The reason.
    pub reason: Reason,
    /// The same in words.
    pub text: &'static str,
    /// How many.
    pub count: u64,
    /// The factor by which the nearest missed the limit, where there is one.
    pub missed_by: Option<f64>,
    /// The nearest of them.
    pub nearest: Option<PlanRequest>,
}

/// How far the best combination of a device came.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceFate {
    /// The device.
    pub device: String,
    /// Memory of one of them.
    pub memory_gib: Option<f64>,
    /// Why it is not among the best.
    pub reason: Reason,
    /// The same in words.
    pub text: &'static str,
    /// The factor by which it missed the limit, where there is one.
    pub missed_by: Option<f64>,
    /// Which device beats it, or what the engine said.
    pub detail: Option<String>,
}
