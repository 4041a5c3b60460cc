//! The use case "plan": a request in, an answer out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hwledger_core::advice::constraint;
use hwledger_core::cache::sequence_memory;
use hwledger_core::cost::PriceBook;
use hwledger_core::device::DeviceError;
use hwledger_core::engine::deployment::deployment_of;
use hwledger_core::engine::{EngineError, MemoryPlan, default_context};
use hwledger_core::inverse::Question;
use hwledger_core::projection::{Efficiencies, Gap, Projection, Speed};
use hwledger_core::settings::{Device, Engine};
use hwledger_core::speculation::{prediction_layers, with_output};
use hwledger_core::verdict::Verdict;
use hwledger_core::{Assumptions, ElementType, Estimate, ModelSpec, Settings};

use hwledger_formats::device_file::DeviceDescription;

use crate::answer::{Answer, DeviceAnswer, MemoryAnswer, PathAnswer, SCHEMA};
use crate::calibrate::Learned;
use crate::cost::CostRequest;
use crate::default_engine::default_engine;
use crate::devices::DeviceNames;
use crate::locate::{LocateError, LocateOptions};
use crate::model::LoadedModel;
use crate::request::{DeviceRequest, DraftRequest, PlanRequest};

/// Context where nobody says: enough for a chat, small enough not to mislead.
const CONTEXT_DEFAULT: u64 = 4096;

/// Models kept in memory; a run over more asks for each again.
const MODELS_KEPT: usize = 512;

/// Why a request has no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanFailure {
    /// A value that means nothing.
    #[error("`{key}` cannot be `{value}`")]
    BadRequest {
        /// The request key.
        key: String,
        /// Its value.
        value: String,
        /// What would do.
        hint: String,
    },
    /// The request is not an object of the contract's shape.
    #[error("the request cannot be read: {0}")]
    NotARequest(String),
    /// Nothing by that name, or it cannot be opened.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// A device name that may mean several.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The model's files cannot be read.
    #[error("`{model}` cannot be read: {message}")]
    ModelUnreadable {
        /// What was asked for.
        model: String,
        /// Why not.
        message: String,
    },
    /// The engine refuses these settings.
    #[error(transparent)]
    Refused(#[from] EngineError),
}

impl PlanFailure {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadRequest { .. } | Self::NotARequest(_) => "bad_request",
            Self::Locate(_) => "model_not_found",
            Self::Device(_) => "bad_device",
            Self::ModelUnreadable { .. } => "model_unreadable",
            Self::Refused(_) => "refused",
        }
    }

    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::BadRequest { hint, .. } => Some(hint.clone()),
            Self::Locate(error) => error.hint(),
            Self::Refused(EngineError::WeightFormat(error)) => Some(error.hint()),
            _ => None,
        }
    }
}

/// An error with its causes, as one sentence; a cause that a message names itself comes once.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        if !text.contains(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        cause = error.source();
    }
    text
}

/// Answers plan requests, keeping the models that it has read.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    models: Arc<Mutex<HashMap<String, Arc<LoadedModel>>>>,
    devices: DeviceNames,
    options: LocateOptions,
    learned: Option<Arc<Learned>>,
    prices: Option<Arc<PriceBook>>,
}

impl Planner {
    /// A planner that has read nothing yet and looks for models as `options` say.
    pub fn new(options: LocateOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// The same planner, its speeds corrected by what was measured.
    pub fn with_calibration(self, learned: Learned) -> Self {
        Self { learned: Some(Arc::new(learned)), ..self }
    }

    /// The same planner, which knows these devices beside those of the catalogue.
    ///
    /// # Errors
    ///
    /// A figure that no device has.
    pub fn with_devices(mut self, devices: &[DeviceDescription]) -> Result<Self, PlanFailure> {
        self.devices.describe(devices)?;
        Ok(self)
    }

    /// The prices that plans and searches take.
    pub fn prices(&self) -> &PriceBook {
        self.prices.as_deref().unwrap_or_else(|| PriceBook::embedded())
    }

    /// The same planner with these prices.
    pub fn with_prices(self, prices: PriceBook) -> Self {
        Self { prices: Some(Arc::new(prices)), ..self }
    }

    /// The model behind `reference`, read at most once.
    pub fn model(&self, reference: &str) -> Result<Arc<LoadedModel>, PlanFailure> {
        // A panic elsewhere leaves whole entries behind, so a poisoned lock still guards a sound map.
        let known = self.models.lock().unwrap_or_else(PoisonError::into_inner).get(reference).cloned();
        if let Some(model) = known {
            return Ok(model);
        }
        let model = Arc::new(LoadedModel::load(reference, &self.options)?);
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if models.len() >= MODELS_KEPT {
            models.clear();
        }
        models.insert(reference.to_owned(), Arc::clone(&model));
        Ok(model)
    }

    /// The devices that `requests` name, one entry per card.
    pub(crate) fn expand(
        &self,
        requests: &[DeviceRequest],
        assumptions: &mut Assumptions,
    ) -> Result<Vec<Device>, PlanFailure> {
        self.devices.expand(requests, assumptions)
    }

    /// The devices that `requests` name, each kind once, whatever their counts.
    pub(crate) fn distinct_devices(
        &self,
        requests: &[DeviceRequest],
        assumptions: &mut Assumptions,
    ) -> Result<Vec<Device>, PlanFailure> {
        let mut distinct: Vec<Device> = Vec::new();
        for device in self.devices.expand(requests, assumptions)? {
            if !distinct.contains(&device) {
                distinct.push(device);
            }
        }
        Ok(distinct)
    }

    /// Reads a request: its model, its engine, its settings, and what had to be assumed.
    pub fn prepare(&self, request: &PlanRequest) -> Result<Prepared, PlanFailure> {
        if request.model.is_empty() {
            return Err(PlanFailure::NotARequest("it names no `model`".to_owned()));
        }
        if let Some(cost) = &request.cost {
            cost.check()?;
        }
        let mut assumptions = Assumptions::default();
        let devices = self.devices.expand(&request.devices, &mut assumptions)?;
        let mut settings = request.settings(devices, &mut assumptions)?;
        settings.host = self.host(request, &mut assumptions);
        let model = self.model(&request.model)?;
        for note in &model.notes {
            assumptions.note("model", note, "how the model was found");
        }
        for diagnostic in &model.diagnostics {
            assumptions.note("model", &diagnostic.to_string(), "read from the model's files");
        }
        let engine = default_engine(model.is_gguf, &settings, &mut assumptions);
        let longest = model.spec.context_max.unwrap_or(CONTEXT_DEFAULT).max(1);
        let own = model.own_context.filter(|_| engine == Engine::Ollama);
        let context = match (settings.context, default_context(engine, &model.spec, &settings)) {
            (None, _) if let Some(own) = own => {
                assumptions.note("context", &own, "the model's own `num_ctx`");
                own
            }
            (None, Some(usual)) => {
                assumptions.note("context", &usual, "the engine's default for this much memory on the cards");
                usual
            }
            (asked, _) => assumptions.or(asked, "context", CONTEXT_DEFAULT.min(longest), "no context was asked for"),
        };
        if context > longest && model.spec.context_max.is_some() {
            let why = format!("more than the {longest} tokens that the model was trained for");
            assumptions.note("context", &context, why);
        }
        settings.context = Some(context);
        let draft = self.draft(request, &model, &mut assumptions)?;
        let (learned, cost, prices) = (self.learned.clone(), request.cost.clone(), self.prices.clone());
        Ok(Prepared { model, draft, engine, settings, assumptions, context, learned, cost, prices })
    }

    /// The machine that holds the devices, if it was named and is known.
    fn host(&self, request: &PlanRequest, assumptions: &mut Assumptions) -> Option<Device> {
        let name = request.host.as_ref()?.name.clone()?;
        let asked = DeviceRequest { name, count: Some(1), ..DeviceRequest::default() };
        match self.devices.expand(std::slice::from_ref(&asked), &mut Assumptions::default()) {
            Ok(mut found) if found.first().is_some_and(|device| device.spec.is_some()) => Some(found.swap_remove(0)),
            Ok(_) => {
                assumptions.note("host.name", &asked.name, "no such processor is known");
                None
            }
            Err(failure) => {
                assumptions.note("host.name", &asked.name, failure.to_string());
                None
            }
        }
    }

    /// The draft model that a request names, or the model's own prediction layers.
    fn draft(
        &self,
        request: &PlanRequest,
        model: &LoadedModel,
        assumptions: &mut Assumptions,
    ) -> Result<Option<Arc<ModelSpec>>, PlanFailure> {
        match &request.draft {
            None => Ok(None),
            Some(DraftRequest { model: Some(name), .. }) => Ok(Some(Arc::new(self.model(name)?.spec.clone()))),
            Some(DraftRequest { model: None, .. }) => match prediction_layers(&model.spec) {
                Some(layers) => {
                    assumptions.note("draft.model", "own", "the model's own multi-token-prediction layers draft");
                    Ok(Some(Arc::new(layers)))
                }
                None => Err(PlanFailure::BadRequest {
                    key: "draft".to_owned(),
                    value: "without a model".to_owned(),
                    hint: "name `draft.model`: the model has no multi-token-prediction layers of its own".to_owned(),
                }),
            },
        }
    }

    /// Plans one request.
    pub fn plan(&self, request: &PlanRequest) -> Result<Answer, PlanFailure> {
        self.prepare(request)?.answer(request.id.clone())
    }
}

/// A request that has been read.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The model.
    pub model: Arc<LoadedModel>,
    /// What drafts for it, if anything.
    pub draft: Option<Arc<ModelSpec>>,
    /// The engine, asked for or usual.
    pub engine: Engine,
    /// The settings, the context filled in.
    pub settings: Settings,
    /// What was taken for granted so far.
    pub assumptions: Assumptions,
    /// The context that the plan is for.
    pub context: u64,
    /// What corrects its speeds, if anything.
    pub(crate) learned: Option<Arc<Learned>>,
    /// What was asked about cost; nothing is said of it where nobody asked.
    pub cost: Option<CostRequest>,
    /// The prices, where they are not the built-in ones.
    pub(crate) prices: Option<Arc<PriceBook>>,
}

impl Prepared {
    /// The question that inverse searches vary.
    pub fn question(&self) -> Question<'_> {
        Question {
            engine: self.engine,
            model: &self.model.spec,
            draft: self.draft.as_deref(),
            settings: &self.settings,
        }
    }

    /// The types of cached keys and values, as far as they are known without the engine.
    pub fn cache_types(&self) -> (ElementType, ElementType) {
        (self.settings.kv_type_k.unwrap_or(ElementType::F16), self.settings.kv_type_v.unwrap_or(ElementType::F16))
    }

    /// How fast it is, as far as that can be said; why not is told as an assumption.
    ///
    /// `held` is the number of requests of this context that the engine's cache pool holds.
    pub fn speed(&self, held: Option<Estimate<f64>>, assumptions: &mut Assumptions) -> Speed {
        let efficiencies = Efficiencies::embedded();
        match self.projection_of(held, efficiencies, assumptions) {
            Ok(projection) => projection.speed(efficiencies),
            Err(gap) => {
                assumptions.note("speed", "unknown", gap.to_string());
                Speed::default()
            }
        }
    }

    /// What it takes, as sums of causes, under this request's own memory plan.
    ///
    /// # Errors
    ///
    /// What is not known that the formulas need.
    pub fn projection(&self, efficiencies: &Efficiencies, assumptions: &mut Assumptions) -> Result<Projection, Gap> {
        let held = self.question().plan(&self.settings).ok().and_then(|plan| plan.max_concurrency);
        self.projection_of(held, efficiencies, assumptions)
    }

    /// What it takes where the cache pool holds `held` requests of this context.
    ///
    /// # Errors
    ///
    /// What is not known that the formulas need.
    fn projection_of(
        &self,
        held: Option<Estimate<f64>>,
        efficiencies: &Efficiencies,
        assumptions: &mut Assumptions,
    ) -> Result<Projection, Gap> {
        let mut settings = self.settings.clone();
        settings.engine = Some(self.engine);
        let held = held_requests(held, &settings, self.context);
        let draft = self.draft.as_deref().map(|draft| with_output(draft, &self.model.spec));
        let model = &self.model.spec;
        Projection::resolve(self.engine, model, draft.as_ref(), &settings, held, efficiencies, assumptions)
    }

    /// How the weights are computed, on the device where that is worst.
    fn path(&self) -> Option<PathAnswer> {
        let found = deployment_of(self.engine, &self.model.spec, &self.settings)?;
        Some(PathAnswer { name: found.path.name(), reason: found.reason, hint: found.hint })
    }

    /// The answer that formulas alone give.
    pub(crate) fn formula_answer(self) -> Result<Answer, PlanFailure> {
        Self { learned: None, ..self }.answer(None)
    }

    /// The answer under these settings.
    pub fn answer(mut self, id: Option<String>) -> Result<Answer, PlanFailure> {
        let (key, value) = self.cache_types();
        let kv = sequence_memory(&self.model.spec, self.context, key, value);
        let mut assumptions = std::mem::take(&mut self.assumptions);
        let planned = self.question().plan_noting(&self.settings, &mut assumptions);
        let (memory, devices, verdict, constraint) = match planned {
            Ok(plan) => {
                note_host(&plan, &mut assumptions);
                let devices = plan.devices.iter().map(DeviceAnswer::of).collect();
                (MemoryAnswer::of(&plan), devices, Verdict::of_plan(&plan), constraint(&plan))
            }
            Err(error @ EngineError::NotModelled(_)) => {
                assumptions.note("memory", "unknown", error.to_string());
                (MemoryAnswer::UNKNOWN, Vec::new(), Verdict::Unknown, None)
            }
            Err(error) => return Err(error.into()),
        };
        let formula = self.speed(memory.max_concurrency, &mut assumptions);
        if verdict == Verdict::DoesNotFit && formula.decode_tokens_per_s.is_some() {
            assumptions.note("speed", "if it fitted", "the plan does not fit; its speeds are what it would have");
        }
        let corrected = self.learned.as_ref().and_then(|learned| learned.apply(&self, &formula, &mut assumptions));
        let speed = corrected.unwrap_or(formula);
        let mut cost = self.cost.as_ref().and_then(|request| self.cost(request, &speed, &mut assumptions));
        if let Some(energy) = cost.as_mut().and_then(|cost| cost.energy.as_mut()).filter(|_| self.learned.is_some()) {
            energy.correct(&self.best_energy(&formula, &speed, &mut assumptions));
        }
        Ok(Answer {
            schema: SCHEMA,
            id,
            model: self.model.description.clone(),
            engine: self.engine.name(),
            context: self.context,
            kv,
            memory,
            devices,
            verdict,
            constraint,
            path: self.path(),
            speed,
            speed_formula: corrected.map(|_| formula),
            cost,
            assumptions,
        })
    }
}

/// Requests that the engine's cache pools hold at once, all replicas together, where `held` of the
/// whole `context` fit into the pool of one.
pub(crate) fn held_requests(held: Option<Estimate<f64>>, settings: &Settings, context: u64) -> Option<f64> {
    // The pool was measured in requests of the whole context; these may be shorter.
    let length = [settings.depth, settings.prompt, settings.generate].into_iter().flatten().sum::<u64>();
    let replicas = settings.data_parallel.unwrap_or(1).max(1) as f64;
    let shorter = if length == 0 { 1.0 } else { context as f64 / length as f64 };
    held.map(|requests| requests.value * replicas * shorter.max(1.0))
}

/// Says so where a host of unknown size is taken to be large enough.
fn note_host(plan: &MemoryPlan, assumptions: &mut Assumptions) {
    let host = plan.devices.iter().find(|device| device.is_host() && device.capacity.is_none());
    if let (Some(host), true) = (host, plan.devices.len() > 1)
        && let Some(total) = host.needed()
    {
        assumptions.note(
            "host.memory_gib",
            "enough",
            format!("nobody said how much it has; the plan needs {}", total.value),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::with_causes;

    #[derive(Debug, thiserror::Error)]
    #[error("the tables are not there")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("`a.db`: {0}")]
        Naming(#[source] Inner),
        #[error("`a.db` cannot be read")]
        Silent(#[source] Inner),
    }

    #[test]
    fn each_cause_comes_once() {
        assert_eq!(with_causes(&Outer::Naming(Inner)), "`a.db`: the tables are not there");
        assert_eq!(with_causes(&Outer::Silent(Inner)), "`a.db` cannot be read: the tables are not there");
    }
}
