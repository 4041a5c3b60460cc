//! Passes of a model with what runs beside it: a draft model, low-rank adapters.

use super::local::Local;
use super::rates::Rates;
use super::resource::{Kernel, Resource, Runner};
use super::serving::Serving;
use super::term::{Cost, Phase, Term};
use super::{Efficiencies, Gap, MICROSECOND};
use crate::model::{Layer, ModelSpec};
use crate::settings::{Engine, Settings};
use crate::speculation::Acceptance;
use crate::{Assumptions, lora};

/// Most tokens that are drafted at once.
const DRAFT_TOKENS_MAX: u64 = 1024;

/// A model laid out by one kind of engine.
#[derive(Clone, Debug)]
enum Layout<'a> {
    Local(Local<'a>),
    Serving(Serving<'a>),
}

impl<'a> Layout<'a> {
    fn resolve(
        engine: Engine,
        model: &'a ModelSpec,
        settings: &Settings,
        efficiencies: &Efficiencies,
        assumptions: &mut Assumptions,
    ) -> Result<Self, Gap> {
        if Runner::group(engine) == Runner::Serving {
            Serving::resolve(engine, model, settings, efficiencies, assumptions).map(Self::Serving)
        } else {
            Local::resolve(engine, model, settings, efficiencies, assumptions).map(Self::Local)
        }
    }

    /// Rates of the first device.
    fn rates(&self) -> &Rates {
        match self {
            Self::Local(own) => own.first_rates(),
            Self::Serving(own) => own.rates(),
        }
    }

    fn decode(&self, sequences: f64, tokens: f64, depth: f64) -> Cost {
        match self {
            Self::Local(own) => own.decode(sequences, tokens, depth),
            Self::Serving(own) => own.decode(sequences, tokens, depth),
        }
    }

    fn prefill(&self, tokens: f64, depth: f64) -> Cost {
        match self {
            Self::Local(own) => own.prefill(tokens, depth),
            Self::Serving(own) => own.prefill(tokens, depth),
        }
    }
}

/// What drafts for a model.
#[derive(Clone, Debug)]
struct Drafting<'a> {
    layout: Layout<'a>,
    tokens: f64,
}

/// Adapters, as one rank sees them.
#[derive(Clone, Copy, Debug)]
struct Adapting {
    /// Bytes of one adapter.
    bytes: f64,
    /// Operations per token.
    flops: f64,
    /// Kernels of one pass.
    launches: f64,
    /// How many are held.
    count: f64,
    bandwidth: f64,
    /// Operations per second of few and of many tokens.
    peaks: (f64, f64),
    /// What few tokens' operations are called: serving engines have matrix kernels only.
    few: Resource,
}

impl Adapting {
    fn of(model: &ModelSpec, adapters: lora::Adapters, layout: &Layout<'_>) -> Self {
        let parameters = lora::parameters(model, adapters.rank, adapters.targets) as f64;
        let covered =
            |layer: &Layer| layer.weights.iter().filter(|weight| adapters.targets.covers(weight)).count() as f64;
        let matrices: f64 = model.decoder.counted().map(|(layer, count)| covered(layer) * count as f64).sum();
        let rates = layout.rates();
        let (ranks, peaks, few) = match layout {
            Layout::Local(own) => (1.0, (rates.vector, own.products_of(Kernel::F16)), Resource::DecodeOperations),
            Layout::Serving(own) => (own.ranks(), (rates.matrix16, rates.matrix16), Resource::Matmul),
        };
        Self {
            bytes: parameters * 2.0 / ranks,
            flops: parameters * 2.0 / ranks,
            launches: 2.0 * matrices,
            count: adapters.count.max(1) as f64,
            bandwidth: rates.bandwidth,
            peaks,
            few,
        }
    }
}

/// A model's passes, everything that runs beside it included.
#[derive(Clone, Debug)]
pub(super) struct Passes<'a> {
    layout: Layout<'a>,
    drafting: Option<Drafting<'a>>,
    adapting: Option<Adapting>,
    /// Tokens that one decoding pass gives.
    pub(super) emitted: f64,
    /// By what factor the tokens per pass may be fewer or more.
    pub(super) spread: (f64, f64),
}

impl<'a> Passes<'a> {
    pub(super) fn resolve(
        engine: Engine,
        model: &'a ModelSpec,
        draft: Option<&'a ModelSpec>,
        settings: &Settings,
        efficiencies: &Efficiencies,
        assumptions: &mut Assumptions,
    ) -> Result<Self, Gap> {
        let layout = Layout::resolve(engine, model, settings, efficiencies, assumptions)?;
        let (mut emitted, mut spread) = (1.0, (1.0, 1.0));
        let drafting = match (draft, &settings.draft) {
            (Some(draft), Some(asked)) => {
                let tokens = asked.tokens.clamp(1, DRAFT_TOKENS_MAX);
                let given = Acceptance::resolve(asked, draft, assumptions).emitted(tokens);
                emitted = given.value;
                spread = (given.low / given.value, given.high / given.value);
                // Adapters and drafts of drafts are the main model's.
                let own = Settings {
                    weights: asked.weights.clone(),
                    weights_bytes: None,
                    draft: None,
                    adapters: None,
                    ..settings.clone()
                };
                let layout = Layout::resolve(engine, draft, &own, efficiencies, &mut Assumptions::default())?;
                Some(Drafting { layout, tokens: tokens as f64 })
            }
            _ => None,
        };
        let adapting = settings.adapters.map(|adapters| Adapting::of(model, adapters, &layout));
        Ok(Self { layout, drafting, adapting, emitted, spread })
    }

    /// Prompts that are computed at the same time, and replicas that know nothing of each other.
    pub(super) fn lanes_and_replicas(&self) -> (f64, f64) {
        match &self.layout {
            Layout::Local(_) => (1.0, 1.0),
            Layout::Serving(own) => (own.lanes(), own.replicas),
        }
    }

    /// One decoding pass of `sequences` sequences of one replica at `depth` cached tokens each; with
    /// a draft, one round of drafting and checking.
    ///
    /// **Formula**: the draft runs `tokens` passes of one token each, the model one pass of
    /// `tokens + 1` tokens per sequence.
    /// **Source**: Leviathan, Kalman, Matias 2023, "Fast Inference from Transformers via Speculative
    /// Decoding", section 3.
    pub(super) fn decode(&self, sequences: f64, depth: f64) -> Cost {
        let checked = self.drafting.as_ref().map_or(1.0, |drafting| drafting.tokens + 1.0);
        let mut cost = self.layout.decode(sequences, checked, depth);
        self.add_adapters(&mut cost, sequences, checked * sequences, Phase::Decode);
        if let Some(drafting) = &self.drafting {
            let draft = drafting.layout.decode(sequences, 1.0, depth + checked / 2.0);
            cost.append(&draft, drafting.tokens);
        }
        cost
    }

    /// The prefill of one prompt of `tokens` tokens after `depth` cached ones, by the draft as well.
    pub(super) fn prefill(&self, tokens: f64, depth: f64) -> Cost {
        let mut cost = self.layout.prefill(tokens, depth);
        self.add_adapters(&mut cost, 1.0, tokens, Phase::Prefill);
        if let Some(drafting) = &self.drafting {
            cost.append(&drafting.layout.prefill(tokens, depth), 1.0);
        }
        cost
    }

    /// The two thin products per matrix of the adapters that `sequences` sequences use.
    ///
    /// **Source**: Hu et al. 2021, section 4.1; Sheng et al. 2023, "S-LoRA", for adapters of one
    /// batch read each once.
    fn add_adapters(&self, cost: &mut Cost, sequences: f64, tokens: f64, phase: Phase) {
        let Some(own) = &self.adapting else { return };
        let (weights, operations, peak, launch) = match phase {
            Phase::Decode => (Resource::DecodeWeights, own.few, own.peaks.0, Resource::DecodeLaunch),
            Phase::Prefill => (Resource::PrefillWeights, Resource::Matmul, own.peaks.1, Resource::PrefillLaunch),
        };
        let term =
            |ideal, resource, kernel| Term { ideal, resource, kernel, place: 0, phase, overlap: 0, scaled_by: None };
        let read = own.bytes * own.count.min(sequences.max(1.0));
        cost.push(term(read / own.bandwidth, weights, Kernel::F16));
        cost.push(term(own.flops * tokens / peak, operations, Kernel::F16));
        cost.push(term(own.launches * MICROSECOND, launch, Kernel::Any));
    }
}
