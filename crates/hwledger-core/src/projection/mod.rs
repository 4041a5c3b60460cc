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
pub mod rates;
pub mod resource;
mod serving;
mod speed;
pub mod term;

pub use efficiency::Efficiencies;
pub use speed::{Novelty, Speed};

use crate::Assumptions;
use crate::model::ModelSpec;
use crate::settings::{Engine, Settings};
use resource::{Resource, Runner};
use term::Cost;

/// Counts of kernels, passes and hand-overs are measured in this unit of time.
const MICROSECOND: f64 = 1e-6;

/// Tokens of a prompt where nobody says: what llama-bench takes.
const PROMPT_TOKENS: u64 = 512;
/// Generated tokens where nobody says: what llama-bench takes.
const GENERATED_TOKENS: u64 = 128;

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
    /// Requests in flight, of all replicas.
    pub concurrency: f64,
    /// Prefill of one prompt by itself.
    pub prefill: Cost,
    /// One decoding pass of the whole batch, prefills of others left out.
    pub pass: Cost,
    /// Time per generated token of one request.
    pub per_token: Cost,
    /// Time to the first token of one request.
    pub first_token: Cost,
    /// Time from the request to its last token.
    pub whole: Cost,
}

impl Projection {
    /// Takes one request apart. `held` is the number of such requests that the engine's cache pool
    /// holds at once, where it is known: what is more waits.
    ///
    /// # Errors
    ///
    /// A [`Gap`] where a figure that the formulas need is not known: a device without rates, a
    /// format that the engine does not read.
    pub fn resolve(
        engine: Engine,
        model: &ModelSpec,
        settings: &Settings,
        held: Option<f64>,
        efficiencies: &Efficiencies,
        assumptions: &mut Assumptions,
    ) -> Result<Self, Gap> {
        let workload = Workload::read(settings, assumptions);
        if Runner::group(engine) == Runner::Serving {
            let own = serving::Serving::resolve(engine, model, settings, efficiencies, assumptions)?;
            // Requests are spread evenly over replicas, which know nothing of each other.
            let load = Load {
                asked: (workload.concurrency / own.replicas).max(1.0),
                held: held.map(|held| held / own.replicas),
                lanes: own.lanes(),
            };
            let decode = |sequences, depth| own.decode(sequences, depth);
            return Ok(workload.project(engine, &load, decode, |tokens, depth| own.prefill(tokens, depth)));
        }
        let own = local::Local::resolve(engine, model, settings, efficiencies, assumptions)?;
        let decode = |sequences, depth| own.decode(sequences, depth);
        // These engines allocate the cache of every sequence that they admit.
        let load = Load { asked: workload.concurrency, held: None, lanes: 1.0 };
        Ok(workload.project(engine, &load, decode, |tokens, depth| own.prefill(tokens, depth)))
    }
}

/// Requests of one replica.
struct Load {
    /// Requests in flight.
    asked: f64,
    /// Requests that its cache pool holds at once, where known.
    held: Option<f64>,
    /// Prompts that are computed at the same time.
    lanes: f64,
}

/// The part of a request that says how much is asked.
struct Workload {
    prompt: f64,
    generated: f64,
    depth: f64,
    concurrency: f64,
    /// Whether generation follows the prompt of this request (or only what is cached already).
    follows_prompt: bool,
}

impl Workload {
    fn read(settings: &Settings, assumptions: &mut Assumptions) -> Self {
        let named = settings.prompt.filter(|&tokens| tokens > 0);
        let prompt = assumptions.or(named, "prompt", PROMPT_TOKENS, "nobody said; what llama-bench takes");
        let generated = settings.generate.filter(|&tokens| tokens > 0);
        let generated = assumptions.or(generated, "generate", GENERATED_TOKENS, "nobody said; what llama-bench takes");
        Self {
            prompt: prompt as f64,
            generated: generated as f64,
            depth: settings.depth.unwrap_or(0) as f64,
            concurrency: settings.concurrency.unwrap_or(1).max(1) as f64,
            follows_prompt: named.is_some(),
        }
    }

    fn project(
        &self,
        engine: Engine,
        load: &Load,
        decode: impl Fn(f64, f64) -> Cost,
        prefill: impl Fn(f64, f64) -> Cost,
    ) -> Projection {
        let before = self.depth + if self.follows_prompt { self.prompt } else { 0.0 };
        let running = load.held.map_or(load.asked, |held| load.asked.min(held)).max(1.0);
        let pass = decode(running, before + self.generated / 2.0);
        let prefill = prefill(self.prompt, self.depth);
        let others = (running / load.lanes - 1.0).max(0.0);
        // In a steady state every other request is prefilled once while this one generates.
        let mut per_token = pass.clone();
        per_token.add(&prefill, others / self.generated, Some(Resource::Interference));
        let mut first_token = prefill.clone();
        first_token.add(&prefill, others / 2.0, Some(Resource::Queue));
        let mut whole = first_token.clone();
        whole.add(&per_token, (self.generated - 1.0).max(0.0), None);
        // Requests that the pool does not hold wait for those that it does: Little's law.
        let waiting = load.asked / running - 1.0;
        if waiting > 0.0 {
            let served = whole.clone();
            first_token.add(&served, waiting, Some(Resource::Waiting));
            whole.add(&served, waiting, None);
        }
        Projection {
            engine: Runner::of(engine),
            group: Runner::group(engine),
            cached: self.depth,
            prompt: self.prompt,
            generated: self.generated,
            concurrency: self.concurrency,
            prefill,
            pass,
            per_token,
            first_token,
            whole,
        }
    }
}
