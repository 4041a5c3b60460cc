//! The hardware, engine and weights that serve a model best, and why the rest lost.
//!
//! Every combination of device, count, engine, weight format, cache type and layout is tried in
//! order of what it costs to find out: whether the engine runs there, whether it may be bought and
//! powered, whether its weights fit, whether all of it fits, how fast it is. What meets every limit
//! competes; [`hwledger_core::pareto`] tells what nothing else beats.

mod answer;
mod evaluate;
mod fate;
mod request;
mod space;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hwledger_core::Assumptions;
use hwledger_core::pareto::frontier;

pub use answer::{Candidate, DeviceFate, Loss, ModelFound, SearchAnswer};
pub use fate::Reason;
pub use request::{Objective, SearchRequest};

use crate::planner::{PlanFailure, Planner};
use evaluate::{Evaluator, Found};
use fate::Fates;
use space::Space;

/// Most combinations of one search: beyond, nobody waits for the end.
const COMBINATIONS_MAX: u64 = 50_000_000;

impl Planner {
    /// The best ways to serve each of the request's models, and why the rest lost.
    ///
    /// # Errors
    ///
    /// A model that is not found, a device or a value that means nothing.
    pub fn search(&self, request: &SearchRequest) -> Result<SearchAnswer, PlanFailure> {
        if request.models.is_empty() {
            return Err(PlanFailure::NotARequest("it names no model in `models`".to_owned()));
        }
        let mut assumptions = Assumptions::default();
        let asked = request.checked(&mut assumptions)?;
        let mut models = Vec::with_capacity(request.models.len());
        for name in &request.models {
            let model = self.model(name)?;
            let space = Space::of(self, request, &asked, &model, &mut assumptions)?;
            let combinations = space.combinations();
            if combinations > COMBINATIONS_MAX {
                return Err(PlanFailure::NotARequest(format!(
                    "{combinations} combinations are more than the {COMBINATIONS_MAX} that are searched; name fewer \
                     devices, engines, weights or counts"
                )));
            }
            let evaluator = Evaluator::new(request, &asked, name, &model, &space, self.prices());
            let (found, mut fates) = evaluate_all(&evaluator, &space);
            let directions: Vec<_> = asked.objectives.iter().map(|objective| objective.direction()).collect();
            let points: Vec<Vec<f64>> =
                found.iter().map(|one| asked.objectives.iter().map(|objective| objective.of(one)).collect()).collect();
            let mut best = frontier(&points, &directions);
            fates.beaten(&found, &points, &best, &directions, &asked.objectives);
            best.sort_by(|&a, &b| {
                points[a]
                    .iter()
                    .zip(&points[b])
                    .fold(std::cmp::Ordering::Equal, |order, (a, b)| order.then(a.total_cmp(b)))
            });
            models.push(ModelFound {
                model: name.clone(),
                combinations,
                feasible: found.len() as u64,
                frontier: best.iter().map(|&index| evaluator.candidate(&found[index])).collect(),
                lost: fates.losses(&evaluator),
                devices: fates.devices(&space),
            });
        }
        Ok(SearchAnswer {
            schema: "hwledger.search/1",
            objectives: asked.objectives.iter().map(|objective| objective.name()).collect(),
            models,
            assumptions,
        })
    }
}

/// Tries every combination, device by device, on all cores.
fn evaluate_all(evaluator: &Evaluator<'_>, space: &Space) -> (Vec<Found>, Fates) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(space.devices.len());
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= space.devices.len() {
                        break;
                    }
                    let result = evaluator.device(index);
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // The answer does not depend on which core was faster.
    results.sort_by_key(|(index, _)| *index);
    let mut found = Vec::new();
    let mut fates = Fates::default();
    for (_, (own, fate)) in results {
        found.extend(own);
        fates.merge(fate);
    }
    (found, fates)
}

#[cfg(test)]
mod tests;
