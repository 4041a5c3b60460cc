//! One model on every engine, side by side.

use hwledger_core::settings::{Engine, Settings};
use hwledger_core::verdict::Verdict;
use serde::Serialize;

use crate::answer::MemoryAnswer;
use crate::planner::{PlanFailure, Planner};
use crate::request::PlanRequest;

/// The same question put to every engine.
#[derive(Clone, Debug, Serialize)]
pub struct CompareAnswer {
    /// `hwledger.compare/1`.
    pub schema: &'static str,
    /// The model's name.
    pub model: String,
    /// The context that all plans are for.
    pub context: u64,
    /// A row per engine.
    pub engines: Vec<EngineRow>,
    /// What had to be assumed.
    pub assumptions: hwledger_core::Assumptions,
}

/// One engine's memory, or why there is none.
#[derive(Clone, Debug, Serialize)]
pub struct EngineRow {
    /// The engine.
    pub engine: &'static str,
    /// Its memory.
    pub memory: Option<MemoryAnswer>,
    /// Whether it fits.
    pub verdict: Verdict,
    /// Why there is no plan.
    pub refusal: Option<String>,
}

impl Planner {
    /// Plans a request on every engine.
    pub fn compare(&self, request: &PlanRequest) -> Result<CompareAnswer, PlanFailure> {
        let prepared = self.prepare(request)?;
        let engines = Engine::ALL
            .iter()
            .filter(|&&engine| engine != Engine::Hwledger)
            .map(|&engine| {
                let settings = Settings { engine: Some(engine), ..prepared.settings.clone() };
                let question = hwledger_core::inverse::Question { engine, settings: &settings, ..prepared.question() };
                match question.plan(&settings) {
                    Ok(plan) => EngineRow {
                        engine: engine.name(),
                        memory: Some(MemoryAnswer::of(&plan)),
                        verdict: Verdict::of_plan(&plan),
                        refusal: None,
                    },
                    Err(error) => EngineRow {
                        engine: engine.name(),
                        memory: None,
                        verdict: Verdict::Unknown,
                        refusal: Some(error.to_string()),
                    },
                }
            })
            .collect();
        let mut assumptions = prepared.assumptions;
        assumptions.0.retain(|assumption| assumption.what != "engine");
        Ok(CompareAnswer {
            schema: "hwledger.compare/1",
            model: prepared.model.name.clone(),
            context: prepared.context,
            engines,
            assumptions,
        })
    }
}
