//! How fast a model will be: times from mechanism, corrected by measurements.
//!
//! A pass is taken apart into what it asks of the hardware ([`demand`]): weights and cache read,
//! operations, kernels started, bytes exchanged. Each cause has an ideal time on a device
//! ([`rates`]) and an efficiency ([`efficiency`]) that was fitted to published measurements
//! ([`fit`]) by device family, backend, engine and kernel. No constant of a formula is chosen for
//! one model or one device.
//!
//! **Formula**: time = sum over causes of ideal / efficiency, causes that run at the same time
//! joined by a norm ([`term`]).
//!
//! **Source**: roofline (Williams, Waterman, Patterson 2009) for the ideals; the shape of decoding
//! and prefill from Pope et al. 2022, "Efficiently Scaling Transformer Inference"; steady-state
//! batching from Yu et al. 2022, "Orca", and Agrawal et al. 2023, "Sarathi".

pub mod demand;
pub mod efficiency;
pub mod fit;
pub mod key_hasher;
mod local;
mod overflow;
mod own_prior;
mod passes;
pub mod rates;
pub mod resource;
mod serving;
mod speed;
pub mod term;
pub mod vocabulary;
mod workload;

pub use efficiency::{Efficiencies, Priors};
pub use speed::{Novelty, Speed};
pub use workload::{GENERATED_TOKENS, PROMPT_TOKENS};

use crate::Assumptions;
use crate::device::DeploymentPath;
use crate::engine::deployment::{Deployment, deployment_of};
use crate::model::ModelSpec;
use crate::settings::{Engine, Settings};
use passes::Passes;
use resource::Runner;
use term::Cost;
use workload::Workload;

/// Counts of kernels, passes and hand-overs are measured in this unit of time.
const MICROSECOND: f64 = 1e-6;

/// Something without which a speed cannot be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Gap {
    /// The request key that would close it.
    pub key: &'static str,
    /// What is missing.
    pub what: String,
}

impl Gap {
    fn new(key: &'static str, what: String) -> Self {
        Self { key, what }
    }
}

/// A gap where the engine does not run these weights on one of the devices at all.
fn refuse_unsupported(engine: Engine, model: &ModelSpec, settings: &Settings) -> Result<(), Gap> {
    match deployment_of(engine, model, settings) {
        Some(Deployment { path: DeploymentPath::Unsupported, reason, hint }) => {
            let instead = hint.map_or_else(String::new, |hint| format!("; instead: {hint}"));
            Err(Gap::new("engine", format!("{} does not run this: {reason}{instead}", engine.name())))
        }
        _ => Ok(()),
    }
}

/// What one request takes, as sums of causes.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The engine.
    pub engine: Runner,
    /// Engines that share kernels with it.
    pub group: Runner,
    /// Tokens that are cached before this request's own.
    pub cached: f64,
    /// Prompt tokens, cached ones left out.
    pub prompt: f64,
    /// Generated tokens.
    pub generated: f64,
    /// Requests in flight, of all replicas; with a request rate, how many those come to.
    pub concurrency: f64,
    /// Requests that arrive per second, where those were given.
    pub request_rate: Option<f64>,
    /// By what factor the tokens per pass may be fewer or more than taken, where a draft helps.
    pub spread: (f64, f64),
    /// Prefill of one prompt by itself.
    pub prefill: Cost,
    /// One decoding pass of the whole batch, the draft's passes with it, prefills of others left out.
    pub pass: Cost,
    /// Time per generated token of one request.
    pub per_token: Cost,
    /// Time to the first token of one request.
    pub first_token: Cost,
    /// Time from the request to its last token.
    pub whole: Cost,
}

impl Projection {
    /// Takes one request apart. `draft` is what drafts for the model, where the settings ask for
    /// drafts: its output matrix is its own, or, where it has none, the model's. `held` is the number of such requests that the engine's cache pool
    /// holds at once, where it is known: what is more waits.
    ///
    /// # Errors
    ///
    /// A [`Gap`] where a figure that the formulas need is not known: a device without rates, a
    /// format that the engine does not read; or a request rate that cannot be served.
    pub fn resolve(
        engine: Engine,
        model: &ModelSpec,
        draft: Option<&ModelSpec>,
        settings: &Settings,
        held: Option<f64>,
        efficiencies: &Efficiencies,
        assumptions: &mut Assumptions,
    ) -> Result<Self, Gap> {
        refuse_unsupported(engine, model, settings)?;
        let workload = Workload::read(settings, assumptions);
        let passes = Passes::resolve(engine, model, draft, settings, efficiencies, assumptions)?;
        // Local engines allocate the cache of every sequence that they admit.
        let held = held.filter(|_| Runner::group(engine) == Runner::Serving);
        workload.project(engine, &passes, held, efficiencies)
    }
}
