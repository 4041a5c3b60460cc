//! What is asked of a model, and how its requests wait for each other.

use super::passes::Passes;
use super::resource::{Resource, Runner};
use super::term::Cost;
use super::{Efficiencies, Gap, Projection};
use crate::Assumptions;
use crate::settings::{Engine, Settings};

/// Tokens of a prompt where nobody says: what llama-bench takes.
pub const PROMPT_TOKENS: u64 = 512;
/// Generated tokens where nobody says: what llama-bench takes.
pub const GENERATED_TOKENS: u64 = 128;
/// Most requests of one batch where neither the cache pool nor anybody says: vLLM's `max_num_seqs`.
const SEQUENCES_USUAL: f64 = 256.0;
/// Halvings of the search for the number of requests in flight: 256 requests to within 1e-7.
const HALVINGS: usize = 32;

/// Requests of one replica.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// Requests in flight.
    asked: f64,
    /// Requests that it holds at once, where known.
    held: Option<f64>,
    /// Prompts that are computed at the same time.
    lanes: f64,
    /// Requests that arrive per second, where those decide how many are in flight.
    arriving: Option<f64>,
}

/// The part of a request that says how much is asked.
pub(super) struct Workload {
    /// Prompt tokens that are computed.
    prompt: f64,
    generated: f64,
    /// Tokens that are cached before them.
    depth: f64,
    concurrency: f64,
    /// Whether generation follows the prompt of this request (or only what is cached already).
    follows_prompt: bool,
    request_rate: Option<f64>,
    sequences: Option<f64>,
}

/// The parts of one request's time, where so many run at once.
struct Times {
    pass: Cost,
    per_token: Cost,
    first_token: Cost,
    whole: Cost,
}

impl Workload {
    pub(super) fn read(settings: &Settings, assumptions: &mut Assumptions) -> Self {
        let named = settings.prompt.filter(|&tokens| tokens > 0);
        let prompt = assumptions.or(named, "prompt", PROMPT_TOKENS, "nobody said; what llama-bench takes") as f64;
        let generated = settings.generate.filter(|&tokens| tokens > 0);
        let generated = assumptions.or(generated, "generate", GENERATED_TOKENS, "nobody said; what llama-bench takes");
        // What an earlier request left in the cache is not computed again; the last token always is.
        let found = (prompt * settings.prefix_hit_rate.unwrap_or(0.0)).min(prompt - 1.0).max(0.0);
        Self {
            prompt: prompt - found,
            generated: generated as f64,
            depth: settings.depth.unwrap_or(0) as f64 + found,
            concurrency: settings.concurrency.unwrap_or(1).max(1) as f64,
            follows_prompt: named.is_some(),
            request_rate: settings.request_rate,
            sequences: settings.sequences.map(|sequences| sequences as f64),
        }
    }

    /// The projection of this workload by `passes`, where the cache pool holds `held` such requests.
    pub(super) fn project(
        &self,
        engine: Engine,
        passes: &Passes<'_>,
        held: Option<f64>,
        efficiencies: &Efficiencies,
    ) -> Result<Projection, Gap> {
        let (lanes, replicas) = passes.lanes_and_replicas();
        // Requests are spread evenly over replicas, which know nothing of each other.
        let held = match (held, self.sequences) {
            (Some(pool), Some(slots)) => Some(pool.min(slots)),
            (pool, slots) => pool.or(slots),
        };
        let load = Load {
            asked: (self.concurrency / replicas).max(1.0),
            held: held.map(|held| held / replicas),
            lanes,
            arriving: self.request_rate.map(|rate| rate / replicas),
        };
        let prefill = passes.prefill(self.prompt, self.depth);
        let (times, concurrency) = match load.arriving {
            None => (self.closed(&load, passes, &prefill), self.concurrency),
            Some(rate) => {
                let (times, running) = self.open(&load, rate, passes, &prefill, efficiencies)?;
                (times, running * replicas)
            }
        };
        let Times { pass, per_token, first_token, whole } = times;
        Ok(Projection {
            engine: Runner::of(engine),
            group: Runner::group(engine),
            cached: self.depth,
            prompt: self.prompt,
            generated: self.generated,
            concurrency,
            request_rate: self.request_rate,
            spread: passes.spread,
            prefill,
            pass,
            per_token,
            first_token,
            whole,
        })
    }

    /// Tokens before those that are generated.
    fn before(&self) -> f64 {
        self.depth + if self.follows_prompt { self.prompt } else { 0.0 }
    }

    /// `running` requests in a steady state, each followed by the next: the pass, and the time per token.
    fn steady(&self, running: f64, lanes: f64, passes: &Passes<'_>, prefill: &Cost) -> (Cost, Cost) {
        let pass = passes.decode(running.max(1.0), self.before() + self.generated / 2.0);
        let mut per_token = pass.clone();
        per_token.scale(1.0 / passes.emitted);
        // Every other request is prefilled once while this one generates.
        let others = (running / lanes - 1.0).max(0.0);
        per_token.add(prefill, others / self.generated, Some(Resource::Interference));
        (pass, per_token)
    }

    /// The time of a request whose first token comes after `first_token`.
    fn whole(&self, first_token: &Cost, per_token: &Cost) -> Cost {
        let mut whole = first_token.clone();
        whole.add(per_token, (self.generated - 1.0).max(0.0), None);
        whole
    }

    /// So many users, each with one request at a time, all arriving together.
    fn closed(&self, load: &Load, passes: &Passes<'_>, prefill: &Cost) -> Times {
        let running = load.held.map_or(load.asked, |held| load.asked.min(held)).max(1.0);
        let (pass, per_token) = self.steady(running, load.lanes, passes, prefill);
        let others = (running / load.lanes - 1.0).max(0.0);
        let mut first_token = prefill.clone();
        first_token.add(prefill, others / 2.0, Some(Resource::Queue));
        let mut whole = self.whole(&first_token, &per_token);
        // Requests that the pool does not hold wait for those that it does: Little's law.
        let waiting = load.asked / running - 1.0;
        if waiting > 0.0 {
            let served = whole.clone();
            first_token.add(&served, waiting, Some(Resource::Waiting));
            whole.add(&served, waiting, None);
        }
        Times { pass, per_token, first_token, whole }
    }

    /// Requests that arrive at random, `rate` per second: their times, and how many are in flight.
    ///
    /// **Formula**: the number that run is the one whose throughput is the rate (Little's law). A
    /// prompt waits for those before it as at a server that takes always as long, rho / (2 (1 -
    /// rho)) prefills; a request waits for one of c places by Sakasegawa's approximation,
    /// rho^(sqrt(2 (c + 1)) - 1) / (c (1 - rho)) service times, halved because they vary little.
    /// **Source**: Kleinrock 1975, "Queueing Systems", volume 1 (M/D/1); Sakasegawa 1977, "An
    /// approximation formula Lq = alpha rho^beta / (1 - rho)".
    fn open(
        &self,
        load: &Load,
        rate: f64,
        passes: &Passes<'_>,
        prefill: &Cost,
        efficiencies: &Efficiencies,
    ) -> Result<(Times, f64), Gap> {
        let places = load.held.unwrap_or(SEQUENCES_USUAL).max(1.0);
        let prefill_seconds = prefill.seconds(efficiencies);
        let served = |running: f64| {
            let (pass, per_token) = self.steady(running, load.lanes, passes, prefill);
            let seconds = prefill_seconds + per_token.seconds(efficiencies) * (self.generated - 1.0).max(0.0);
            (pass, per_token, seconds)
        };
        let throughput = |running: f64| running / served(running).2;
        let most = throughput(places);
        let is_prefill_bound = rate * prefill_seconds >= load.lanes;
        if rate >= most || is_prefill_bound {
            let possible = if is_prefill_bound { most.min(load.lanes / prefill_seconds) } else { most };
            return Err(Gap::new(
                "request_rate",
                format!(
                    "{rate:.4} requests per second arrive at each replica and at most {possible:.4} can be served: \
                     the queue grows without end"
                ),
            ));
        }
        let (mut fewest, mut running) = (0.0, places);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(fewest, running);
            if throughput(middle) < rate { fewest = middle } else { running = middle }
        }
        let (pass, per_token, seconds) = served(running);
        let busy = rate * prefill_seconds / load.lanes;
        let mut first_token = prefill.clone();
        first_token.add(prefill, busy / (2.0 * (1.0 - busy)), Some(Resource::Queue));
        // A request that arrives in the middle of a pass waits for its end.
        first_token.add(&pass, (running / 2.0).min(0.5), None);
        let mut whole = self.whole(&first_token, &per_token);
        let used = rate / most;
        let waits = used.powf((2.0 * (places + 1.0)).sqrt() - 1.0) / (places * (1.0 - used)) / 2.0;
        let service = whole.clone();
        first_token.add(&service, waits, Some(Resource::Waiting));
        whole.add(&service, waits, None);
        let in_flight = rate * whole.seconds(efficiencies).max(seconds);
        Ok((Times { pass, per_token, first_token, whole }, in_flight))
    }
}

#[cfg(test)]
mod tests;
