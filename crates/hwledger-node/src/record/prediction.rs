//! What is said before a run.

use hwledger_core::calibration::{Figure, Key, Subject, under_load};
use hwledger_core::{Basis, Estimate};
use hwledger_formats::measurement::{MeasuredRun, TestKind, to_line};
use hwledger_ledger::event::{Decimal, Draft, Estimate as Recorded, PredictionMade, random_identity};
use hwledger_ledger::vault::Vault;
use hwledger_probe::machine::{self as probe, Source};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::measurement::Others;
use super::telemetry::Sampler;
use super::{RecordError, blob, observe};
use crate::calibrate::{CalibrateRequest, figures, key, predicted_memory, request_of, subject};
use crate::ledger::Ledger;
use crate::machine::{self, Machine};
use crate::planner::{Planner, Prepared};
use crate::probe::own_snapshot;

/// Assumptions of a plan that an event lists at most: what matters most comes first.
const ASSUMPTIONS_MAX: usize = 64;

/// What a prediction rests on: the content of the blob that its event names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PredictionBasis {
    /// `hwledger.prediction/1`.
    pub(super) schema: String,
    /// The run without its figures, as a `hwledger.measurement/1` line.
    pub(super) run: Box<RawValue>,
    /// The machine that it will be on, where that is this one.
    pub(super) machine: Option<Machine>,
    /// Share of the processors that others would have left to the run when this was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) share_left: Option<f64>,
    /// For each figure the key that the pair will be filed under, and what the formula says.
    pub(super) figures: Vec<PredictedFigure>,
}

/// What a formula says of one figure, and where the pair will be filed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PredictedFigure {
    pub(super) figure: Figure,
    pub(super) key: Key,
    pub(super) subject: Subject,
    pub(super) formula: f64,
}

/// A prediction that is in the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The run's name.
    pub run: String,
    /// The entry.
    pub index: u64,
    /// What was said, figure by figure: the best that is known, and the formula's where that is something else.
    pub estimates: Vec<(Figure, Estimate<f64>)>,
}

/// Writes predictions and measurements to a ledger.
#[derive(Debug)]
pub struct Recorder<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) sampler: Sampler,
    planner: Planner,
    machine: Option<Machine>,
    pub(super) others: Others,
    pub(super) vault: Option<Vault>,
}

impl<'a> Recorder<'a> {
    /// Records to `ledger` what `planner` says of runs on `machine`, or on devices that the runs name. The ledger is told
    /// of this machine's devices where it does not know them.
    ///
    /// # Errors
    ///
    /// The machine is no device, or the ledger takes nothing.
    pub fn new(ledger: &'a Ledger, planner: Planner, machine: Option<Machine>) -> Result<Self, RecordError> {
        let planner = match &machine {
            Some(machine) => planner.with_devices(&[machine.device()])?,
            None => planner,
        };
        observe(ledger, &own_snapshot())?;
        let sampler = Sampler::new(Source::Live(Box::new(probe::Machine::local())));
        Ok(Self { ledger, sampler, planner, machine, others: Others::look(), vault: None })
    }

    /// The same, with keys under which the addresses of engines are sealed; without them engines are not told of.
    pub fn with_vault(self, vault: Vault) -> Self {
        Self { vault: Some(vault), ..self }
    }

    /// The machine that runs are on.
    pub const fn machine(&self) -> Option<&Machine> {
        self.machine.as_ref()
    }

    fn prepare(&self, run: &MeasuredRun, reference: &str) -> Result<Prepared, RecordError> {
        let request = CalibrateRequest { model: Some(reference.to_owned()), ..CalibrateRequest::default() };
        let mut plan = request_of(run, &request).map_err(RecordError::Run)?;
        plan.instructions = self.machine.as_ref().map(|machine| machine.instructions.clone());
        Ok(self.planner.prepare(&plan)?)
    }

    /// Says what a run will take and give, and makes that durable. `reference` is where the model is found.
    ///
    /// # Errors
    ///
    /// The run cannot be planned, or the ledger takes nothing.
    pub fn predict(&self, run: &MeasuredRun, reference: &str) -> Result<Prediction, RecordError> {
        let mut run = run.clone();
        if run.device.is_none() && self.machine.is_some() {
            run.device = Some(machine::NAME.to_owned());
        }
        let prepared = self.prepare(&run, reference)?;
        let mut answer = prepared.clone().answer(None)?;
        let engine = prepared.engine.name().to_owned();
        let mut estimates: Vec<(Figure, Estimate<f64>)> = Vec::new();
        let mut formulas: Vec<(Figure, Estimate<f64>)> = Vec::new();
        for (figure, slot) in figures(&mut answer.speed) {
            estimates.extend(slot.map(|estimate| (figure, estimate)));
        }
        match &mut answer.speed_formula {
            Some(speed) => {
                for (figure, slot) in figures(speed) {
                    formulas.extend(slot.map(|estimate| (figure, estimate)));
                }
            }
            None => formulas.clone_from(&estimates),
        }
        let mut memory = predicted_memory(&engine, &answer);
        memory.extend(total(&memory));
        estimates.extend(&memory);
        formulas.extend(&memory);
        let formula = answer.speed_formula.unwrap_or(answer.speed);
        let is_shown = |(figure, _): &(Figure, _)| energy_shown_by(run.workload.kind) == Some(*figure);
        let best = prepared.best_energy(&formula, &answer.speed, &mut answer.assumptions);
        estimates.extend(best.into_iter().filter(is_shown));
        formulas.extend(prepared.energy(&formula).into_iter().filter(is_shown));

        // What is filed is of the machine by itself; what is said is of the machine as it is.
        let is_here = run.device.as_deref() == Some(machine::NAME);
        let share_left = is_here.then(|| self.others.share_left(run.settings.threads)).flatten();
        if let Some(share) = share_left {
            for (figure, estimate) in &mut estimates {
                *estimate = under_load(*figure, *estimate, share);
            }
            let why = "what others have the processors do now would leave so much of them to the run";
            answer.assumptions.note("processors.share_left", &format!("{share:.2}"), why);
        }

        let filed = formulas.iter().map(|(figure, estimate)| PredictedFigure {
            figure: *figure,
            key: key(&prepared, *figure),
            subject: subject(&prepared, *figure),
            formula: estimate.value,
        });
        let basis = PredictionBasis {
            schema: "hwledger.prediction/1".to_owned(),
            run: RawValue::from_string(to_line(&run)).map_err(|error| RecordError::Run(error.to_string()))?,
            machine: self.machine.clone(),
            share_left,
            figures: filed.collect(),
        };
        let bytes = serde_json::to_vec(&basis).map_err(|error| RecordError::Run(error.to_string()))?;
        let inputs = blob::keep(self.ledger.folder(), &bytes)?;
        let identity = random_identity().map_err(|error| RecordError::Run(error.to_string()))?;
        let name = identity[..16].to_owned();
        let different = formulas.iter().filter(|(figure, formula)| {
            estimates.iter().any(|(known, said)| known == figure && said.basis != formula.basis)
        });
        let assumptions = answer.assumptions.0.iter().take(ASSUMPTIONS_MAX);
        let event = PredictionMade {
            run: name.clone(),
            model: prepared.model.name.clone(),
            revision: None,
            engine,
            engine_version: run.engine_version.clone(),
            device: run.device.clone().unwrap_or_else(|| "unknown".to_owned()),
            quantisation: prepared.settings.weights.clone(),
            settings: settings(&run),
            inputs,
            program: concat!("hwledger ", env!("CARGO_PKG_VERSION")).to_owned(),
            estimates: estimates.iter().chain(different).filter_map(|(figure, one)| recorded(*figure, *one)).collect(),
            assumptions: assumptions.map(|one| format!("{} = {}: {}", one.what, one.value, one.why)).collect(),
        };
        let receipt = self.ledger.append(&Draft::new("hwledger/record", &format!("run/{name}"), event).once(&name))?;
        Ok(Prediction { run: name, index: receipt.index, estimates })
    }
}

/// The figure of energy that a run of this kind shows: a counter does not tell a prompt's share of a request.
pub(super) const fn energy_shown_by(kind: Option<TestKind>) -> Option<Figure> {
    match kind {
        Some(TestKind::Prefill) => Some(Figure::InputJoulesPerToken),
        Some(TestKind::Decode) => Some(Figure::OutputJoulesPerToken),
        Some(TestKind::PrefillAndDecode | TestKind::Serving) => Some(Figure::RequestJoules),
        Some(TestKind::StartUp) | None => None,
    }
}

/// All memory together.
fn total(parts: &[(Figure, Estimate<f64>)]) -> Option<(Figure, Estimate<f64>)> {
    let sum = |end: fn(&Estimate<f64>) -> f64| parts.iter().map(|(_, part)| end(part)).sum::<f64>();
    let has_weights = parts.iter().any(|(figure, _)| *figure == Figure::WeightsBytes);
    has_weights.then(|| {
        let (value, low, high) = (sum(|part| part.value), sum(|part| part.low), sum(|part| part.high));
        (Figure::TotalBytes, Estimate { value, low, high, basis: Basis::Formula })
    })
}

fn recorded(figure: Figure, estimate: Estimate<f64>) -> Option<Recorded> {
    Some(Recorded {
        figure: figure.name().to_owned(),
        value: Decimal::new(estimate.value)?,
        low: Decimal::new(estimate.low),
        high: Decimal::new(estimate.high),
        basis: estimate.basis.name().to_owned(),
    })
}

/// How the engine is set and what is asked of it, as `name=value`.
fn settings(run: &MeasuredRun) -> Vec<String> {
    words([serde_json::to_value(&run.settings), serde_json::to_value(&run.workload)])
}

/// The fields that these have, as `name=value`.
pub(super) fn words(parts: impl IntoIterator<Item = Result<serde_json::Value, serde_json::Error>>) -> Vec<String> {
    let mut words = Vec::new();
    for part in parts {
        let Ok(serde_json::Value::Object(fields)) = part else { continue };
        words.extend(fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| match value {
            serde_json::Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        }));
    }
    words.sort();
    words
}
