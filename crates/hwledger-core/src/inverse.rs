//! Inverse questions: the largest context, the most sequences, the weights that fit.

use crate::engine::{EngineError, MemoryPlan, plan_memory};
use crate::settings::Engine;
use crate::speculation::plan_with_draft;
use crate::verdict::Verdict;
use crate::{Assumptions, ModelSpec, Settings};

/// A model on an engine, whose settings are to be varied.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The engine.
    pub engine: Engine,
    /// The model.
    pub model: &'a ModelSpec,
    /// A draft model, or the model's own prediction layers, for speculative decoding.
    pub draft: Option<&'a ModelSpec>,
    /// The settings as asked for; each search varies one of them.
    pub settings: &'a Settings,
}

impl Question<'_> {
    /// The plan under other settings; what is assumed in between interests nobody.
    pub fn plan(&self, settings: &Settings) -> Result<MemoryPlan, EngineError> {
        self.plan_noting(settings, &mut Assumptions::default())
    }

    /// The plan under other settings, with what it took for granted.
    pub fn plan_noting(&self, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
        let mut plan = match self.draft {
            None => plan_memory(self.engine, self.model, settings, assumptions)?,
            Some(draft) => plan_with_draft(self.engine, self.model, draft, settings, assumptions)?,
        };
        if let Some(adapters) = settings.adapters {
            adapters.add_to(self.model, &mut plan);
        }
        Ok(plan)
    }

    /// Whether other settings fit; what the engine refuses does not.
    pub fn verdict(&self, settings: &Settings) -> Verdict {
        self.plan(settings).map_or(Verdict::DoesNotFit, |plan| Verdict::of_plan(&plan))
    }

    fn fits(&self, settings: &Settings) -> bool {
        matches!(self.verdict(settings), Verdict::Fits)
    }

    /// The largest context, in steps of `step` tokens up to `limit`, that fits; `None` if none does.
    pub fn largest_context(&self, step: u64, limit: u64) -> Option<u64> {
        let step = step.max(1);
        let mut settings = self.settings.clone();
        let steps = largest(limit / step, |steps| {
            settings.context = Some(steps * step);
            self.fits(&settings)
        });
        steps.map(|steps| steps * step)
    }

    /// The most sequences up to `limit`, each of the asked context, that fit; `None` if not even one does.
    ///
    /// llama.cpp shares its context among slots, so there the context grows with the sequences.
    pub fn most_sequences(&self, limit: u64) -> Option<u64> {
        let mut settings = self.settings.clone();
        let is_shared = matches!(self.engine, Engine::LlamaCpp | Engine::IkLlamaCpp);
        let asked = self.settings.context;
        largest(limit, |count| {
            settings.sequences = Some(count);
            if is_shared {
                settings.context = asked.map(|tokens| tokens.saturating_mul(count));
            }
            self.fits(&settings)
        })
    }
}

/// The largest `n` in `1..=limit` for which `holds` is true, where it is true below some
/// border and false above; `None` if it is false for 1.
pub fn largest(limit: u64, mut holds: impl FnMut(u64) -> bool) -> Option<u64> {
    if limit == 0 || !holds(1) {
        return None;
    }
    let (mut good, mut beyond) = (1, limit.saturating_add(1));
    while beyond - good > 1 {
        let middle = good + (beyond - good) / 2;
        if holds(middle) {
            good = middle;
        } else {
            beyond = middle;
        }
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_is_found_exactly() {
        for border in 1..200 {
            assert_eq!(largest(1000, |n| n <= border), Some(border));
        }
        assert_eq!(largest(1000, |_| true), Some(1000));
        assert_eq!(largest(1000, |_| false), None);
        assert_eq!(largest(0, |_| true), None);
    }
}
