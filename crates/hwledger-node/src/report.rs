//! Everything that a person is shown about one plan.

use hwledger_core::advice::{Change, changes};
use hwledger_core::breakdown::{LayerMemory, layers};
use hwledger_core::engine::log_lines;
use hwledger_core::model::ParameterCount;
use hwledger_core::verdict::Verdict;
use hwledger_core::weight_format::{WeightFormat, element_type};
use serde::Serialize;

use crate::answer::Answer;
use crate::command::command;
use crate::planner::{PlanFailure, Planner, Prepared};
use crate::request::PlanRequest;

/// An answer with what only a person asks for.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The answer, as programs get it.
    #[serde(flatten)]
    pub answer: Answer,
    /// The model's name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Its parameters.
    pub parameters: ParameterCount,
    /// Requests in flight that the speeds are for.
    pub concurrency: u64,
    /// Memory layer by layer, for one sequence.
    pub layer_memory: Vec<LayerMemory>,
    /// The cheapest changes that make it fit, where it does not.
    pub changes: Vec<Change>,
    /// The command that repeats the plan.
    pub command: String,
}

impl Planner {
    /// The lines about memory that the engine's own log would print.
    pub fn log(&self, request: &PlanRequest) -> Result<Vec<String>, PlanFailure> {
        let prepared = self.prepare(request)?;
        Ok(log_lines(prepared.engine, &prepared.model.spec, &prepared.settings)?)
    }

    /// Plans one request and explains the plan.
    pub fn report(&self, request: &PlanRequest) -> Result<Report, PlanFailure> {
        let mut prepared = self.prepare(request)?;
        // A person is told the cost without asking.
        prepared.cost.get_or_insert_default();
        let spec = &prepared.model.spec;
        let layer_memory = prepared.layer_memory();
        let answer = prepared.clone().answer(request.id.clone())?;
        let changes = match answer.verdict {
            Verdict::Fits | Verdict::Unknown => Vec::new(),
            Verdict::Tight | Verdict::DoesNotFit => changes(&prepared.question()),
        };
        Ok(Report {
            answer,
            name: prepared.model.name.clone(),
            architecture: spec.architecture.clone(),
            parameters: spec.parameters(),
            concurrency: request.concurrency.unwrap_or(1),
            layer_memory,
            changes,
            command: command("plan", request),
        })
    }
}

impl Prepared {
    /// Memory layer by layer, for one sequence of the context.
    pub fn layer_memory(&self) -> Vec<LayerMemory> {
        let (key, value) = self.cache_types();
        let format = WeightFormat::asked(&self.settings).ok().flatten();
        let spec = &self.model.spec;
        layers(spec, self.context, key, value, |weight| element_type(format.as_ref(), spec, weight))
    }
}
