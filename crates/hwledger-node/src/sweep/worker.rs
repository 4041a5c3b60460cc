//! The combinations of some chunks, one after the other.

use std::collections::HashMap;
use std::ops::Range;

use hwledger_core::cache::sequence_memory;
use hwledger_core::engine::EngineError;
use hwledger_core::projection::{Efficiencies, GENERATED_TOKENS, PROMPT_TOKENS, Projection};
use hwledger_core::settings::{Engine, Settings};
use hwledger_core::speculation::with_output;
use hwledger_core::{Assumptions, ModelSpec};

use super::axis::{Prepared as PreparedAxis, copy, with_value};
use super::record::{Run, Told, records};
use super::row::{self, Memory, Row};
use super::{Chunk, SweepRequest};
use crate::planner::{PlanFailure, Planner, Prepared, held_requests, with_causes};
use crate::table::record::Record;
use crate::table::{Block, Field};

/// Memory plans that are remembered.
const PLANS_KEPT: usize = 1 << 14;

/// A memory plan as a row tells it, or why there is none.
type KnownMemory = Result<Memory, String>;

/// Computes rows, keeping what neighbours share.
pub(super) struct Worker<'a> {
    planner: &'a Planner,
    request: &'a SweepRequest,
    axes: &'a [PreparedAxis],
    /// The indices of axes that need the request read again, and what was read at them.
    read: Option<(Vec<usize>, Result<Read, PlanFailure>)>,
    /// Memory plans by the indices of the axes that move memory.
    plans: HashMap<u64, KnownMemory>,
    /// Records are written instead of figures.
    records: Option<&'a Run>,
}

/// A request that was read, its settings about to vary.
struct Read {
    prepared: Prepared,
    draft: Option<ModelSpec>,
    settings: Settings,
    /// Values that its settings hold, by axis.
    applied: Vec<Option<usize>>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        planner: &'a Planner,
        request: &'a SweepRequest,
        axes: &'a [PreparedAxis],
        records: Option<&'a Run>,
    ) -> Self {
        Self { planner, request, axes, read: None, plans: HashMap::new(), records }
    }

    /// The rows of one chunk.
    pub(super) fn chunk(&mut self, fields: &[Field], rows: Range<u64>) -> Chunk {
        let count = usize::try_from(rows.end - rows.start).unwrap_or(0);
        let mut block = Block::with_capacity(fields, count);
        let (mut fits, mut refused) = (0, 0);
        let mut assumptions = Assumptions::default();
        let mut at = vec![0; self.axes.len()];
        let start = rows.start;
        for number in rows {
            let mut rest = number;
            for (index, axis) in at.iter_mut().zip(self.axes).rev() {
                let count = axis.len() as u64;
                *index = usize::try_from(rest % count).unwrap_or(0);
                rest /= count;
            }
            let (engine, row) = self.row(&at, (number == start).then_some(&mut assumptions));
            match row.memory.verdict {
                Some(verdict) => fits += u64::from(verdict <= hwledger_core::verdict::Verdict::Tight),
                None => refused += 1,
            }
            match self.records {
                None => row::push(&mut block, self.axes, &at, engine, &row),
                Some(run) => self.push_records(&mut block, run, number, &row),
            }
        }
        Chunk { block, fits, refused, assumptions }
    }

    fn row(&mut self, at: &[usize], told: Option<&mut Assumptions>) -> (Option<&'static str>, Row) {
        self.read_again(at);
        let Some((_, Ok(read))) = &mut self.read else {
            let why = match &self.read {
                Some((_, Err(failure))) => with_causes(failure),
                _ => String::new(),
            };
            return (None, Row { why: Some(why), ..Row::default() });
        };
        for (axis, (&index, applied)) in self.axes.iter().zip(at.iter().zip(&mut read.applied)) {
            if let Some(values) = &axis.settings
                && *applied != Some(index)
            {
                copy(&axis.key, &values[index], &mut read.settings);
                *applied = Some(index);
            }
        }
        let engine = read.prepared.engine;
        let context = read.settings.context.unwrap_or(read.prepared.context);
        let key = memory_key(self.axes, at, engine);
        if self.plans.len() >= PLANS_KEPT {
            self.plans.clear();
        }
        let question = hwledger_core::inverse::Question { settings: &read.settings, ..read.prepared.question() };
        let mut notes = Assumptions::default();
        let known = match self.plans.get(&key) {
            Some(known) if told.is_none() => known.clone(),
            _ => {
                let planned = match question.plan_noting(&read.settings, &mut notes) {
                    Ok(plan) => Ok(Memory::of(&plan)),
                    Err(EngineError::NotModelled(_)) => Ok(Memory::default()),
                    Err(error) => Err(with_causes(&error)),
                };
                self.plans.insert(key, planned.clone());
                planned
            }
        };
        let memory = match known {
            Ok(memory) => memory,
            Err(why) => {
                return (Some(engine.name()), Row { context: Some(context), why: Some(why), ..Row::default() });
            }
        };
        let held = held_requests(memory.held, &read.settings, context);
        let efficiencies = Efficiencies::embedded();
        let model = &read.prepared.model.spec;
        let draft = read.draft.as_ref();
        let resolved = Projection::resolve(engine, model, draft, &read.settings, held, efficiencies, &mut notes);
        let (mut speed, why) = match resolved {
            Ok(projection) => (projection.speed(efficiencies), None),
            Err(gap) => (hwledger_core::projection::Speed::default(), Some(gap.to_string())),
        };
        if let Some(learned) = &read.prepared.learned {
            let own = Prepared { settings: read.settings.clone(), ..read.prepared.clone() };
            speed = learned.apply(&own, &speed, &mut notes).unwrap_or(speed);
        }
        if let Some(told) = told {
            told.0.extend(read.prepared.assumptions.0.iter().cloned());
            told.0.append(&mut notes.0);
        }
        (Some(engine.name()), Row { context: Some(context), memory, speed, why })
    }

    /// Appends the records of the combination that was computed last.
    fn push_records(&self, block: &mut Block, run: &Run, number: u64, row: &Row) {
        let Some((_, Ok(read))) = &self.read else { return };
        let (spec, settings) = (&read.prepared.model.spec, &read.settings);
        let count = settings.devices.len();
        let device = settings.devices.first().map_or("", |device| &device.name);
        let (key, value) = Prepared { settings: settings.clone(), ..read.prepared.clone() }.cache_types();
        let (prompt, generated) =
            (settings.prompt.unwrap_or(PROMPT_TOKENS), settings.generate.unwrap_or(GENERATED_TOKENS));
        let found = (prompt as f64 * settings.prefix_hit_rate.unwrap_or(0.0)).floor();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
        let computed = prompt.saturating_sub(found as u64).max(1);
        let before = settings.depth.unwrap_or(0).saturating_add(prompt);
        let held = |more: u64| {
            let memory = sequence_memory(spec, before.saturating_add(more), key, value);
            memory.bytes_per_sequence_at_context.saturating_add(memory.state_bytes_per_sequence)
        };
        let told = Told {
            devices: &if count > 1 { format!("{count}x {device}") } else { device.to_owned() },
            precision: settings.weights.as_deref().or(spec.stored_format.as_deref()),
            active: spec.parameters().active_per_token,
            held_bytes: [held(0), held(generated)],
            prompt: computed,
            generated,
        };
        for record in records(run, number, row, &told) {
            record.push_to(block);
        }
    }

    /// Reads the request of a combination, unless the one read last differs in settings alone.
    fn read_again(&mut self, at: &[usize]) {
        let outer: Vec<usize> =
            self.axes.iter().zip(at).filter(|(axis, _)| axis.settings.is_none()).map(|(_, &index)| index).collect();
        if self.read.as_ref().is_some_and(|(known, _)| *known == outer) {
            return;
        }
        self.plans.clear();
        let keys: Vec<_> = self
            .axes
            .iter()
            .zip(at)
            .filter(|(axis, _)| axis.settings.is_none() || axis.key == "context")
            .map(|(axis, &index)| (axis.key.as_str(), &axis.values[index]))
            .collect();
        let read = with_value(&self.request.plan, &keys).and_then(|request| {
            let prepared = self.planner.prepare(&request)?;
            let mut settings = prepared.settings.clone();
            settings.engine = Some(prepared.engine);
            let draft = prepared.draft.as_deref().map(|draft| with_output(draft, &prepared.model.spec));
            Ok(Read { draft, settings, applied: vec![None; self.axes.len()], prepared })
        });
        self.read = Some((outer, read));
    }
}

/// The number of the combination of values that move an engine's memory.
fn memory_key(axes: &[PreparedAxis], at: &[usize], engine: Engine) -> u64 {
    // These two allocate for the run, not for the context.
    let is_by_run = matches!(engine, Engine::Mlx | Engine::Transformers);
    axes.iter()
        .zip(at)
        .filter(|(axis, _)| !(axis.leaves_memory || axis.leaves_most_memory && !is_by_run))
        .fold(0, |key, (axis, &index)| key * axis.len() as u64 + index as u64)
}
