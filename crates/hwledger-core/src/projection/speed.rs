//! Figures and their intervals, from the causes of time.

use serde::Serialize;

use super::Projection;
use super::efficiency::{Efficiencies, Level, Place};
use super::resource::Backend;
use super::term::{Cost, Slowdowns};
use crate::{Basis, Estimate};

/// How much of a question measurements have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Novelty {
    /// Device and architecture were both measured.
    Seen,
    /// The device was measured, the model's architecture was not.
    NewModel,
    /// The device was not measured.
    NewDevice,
}

impl Novelty {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Seen, Self::NewModel, Self::NewDevice];

    /// The name in data files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::NewModel => "new-model",
            Self::NewDevice => "new-device",
        }
    }

    /// How new a place is to `efficiencies`.
    pub fn of(place: &Place, efficiencies: &Efficiencies) -> Self {
        let has = |level| efficiencies.knows(place, level);
        if !has(Level::Device) {
            Self::NewDevice
        } else if has(Level::Architecture) {
            Self::Seen
        } else {
            Self::NewModel
        }
    }
}

/// More cached tokens than these are a long text.
const DEEP_TOKENS: f64 = 1024.0;

/// Speeds of one request. `None` is "not known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Speed {
    /// Prompt tokens per second of one prompt by itself.
    pub prefill_tokens_per_s: Option<Estimate<f64>>,
    /// Generated tokens per second of one request.
    pub decode_tokens_per_s: Option<Estimate<f64>>,
    /// Milliseconds to the first token, `concurrency` requests arriving together.
    pub ttft_ms: Option<Estimate<f64>>,
    /// Mean milliseconds per generated token of one request after the first.
    pub tpot_ms: Option<Estimate<f64>>,
    /// Generated tokens per second of all requests together.
    pub output_tokens_per_s: Option<Estimate<f64>>,
    /// Requests finished per second.
    pub requests_per_s: Option<Estimate<f64>>,
    /// Milliseconds from a request to its last token.
    pub total_ms: Option<Estimate<f64>>,
}

impl Projection {
    /// The figures at these efficiencies.
    pub fn speed(&self, efficiencies: &Efficiencies) -> Speed {
        let mut slowdowns = Slowdowns::new(efficiencies);
        let novelty = self.novelty(efficiencies);
        let basis = self.basis(efficiencies);
        let backend = self.backend();
        let mut claim = |figure: &'static str, cost: &Cost| {
            let seconds = cost.seconds_with(&mut slowdowns);
            let scatter =
                efficiencies.scatter(self.scatter_figure(figure), [self.engine, self.group], backend, novelty);
            let (fewer, more) = if figure == "prefill" { (1.0, 1.0) } else { self.spread };
            // More tokens per pass is less time.
            let (low, high) = (seconds * scatter.low.exp() / more, seconds * scatter.high.exp() / fewer);
            Estimate { value: seconds, low, high, basis }
        };
        let tokens = self.prompt;
        let prefill = claim("prefill", &self.prefill);
        let per_token = claim(if self.concurrency > 1.0 { "tpot" } else { "decode" }, &self.per_token);
        let first = claim("ttft", &self.first_token);
        let whole = claim("output", &self.whole);
        let (concurrency, generated) = (self.concurrency, self.generated);
        let finished = |count: f64| match self.request_rate {
            // What arrives is served, however fast.
            Some(arriving) => Estimate { basis, ..Estimate::exact(arriving * count) },
            None => rate(whole, concurrency * count),
        };
        Speed {
            prefill_tokens_per_s: Some(rate(prefill, tokens)),
            decode_tokens_per_s: Some(rate(per_token, 1.0)),
            ttft_ms: Some(time(first)),
            tpot_ms: Some(time(per_token)),
            output_tokens_per_s: Some(finished(generated)),
            requests_per_s: Some(finished(1.0)),
            total_ms: Some(time(whole)),
        }
    }

    /// The class of comparisons whose scatter a figure shares: what is read from a long cache, what a
    /// processor beside the cards does, and how well cards take turns at a prompt, is predicted less
    /// well than the rest.
    pub fn scatter_figure(&self, figure: &'static str) -> &'static str {
        let places = &self.pass.places;
        let cards = places.iter().filter(|place| place.backend != Backend::Cpu).count();
        let has_host = cards > 0 && cards < places.len();
        match (figure, has_host, self.cached > DEEP_TOKENS) {
            ("decode", true, _) => "decode_host",
            ("decode", false, true) => "decode_deep",
            ("prefill", true, _) => "prefill_host",
            ("prefill", false, true) => "prefill_deep",
            ("prefill", false, false) if cards > 1 => "prefill_cards",
            _ => figure,
        }
    }

    /// The backend of the first device.
    pub fn backend(&self) -> Option<Backend> {
        self.pass.places.first().map(|place| place.backend)
    }

    /// How new the question is.
    pub fn novelty(&self, efficiencies: &Efficiencies) -> Novelty {
        self.pass.places.first().map_or(Novelty::NewDevice, |place| Novelty::of(place, efficiencies))
    }

    /// What the figures rest on; all costs of a projection are over the same places.
    fn basis(&self, efficiencies: &Efficiencies) -> Basis {
        let is_known = self.pass.places.first().is_some_and(|place| efficiencies.knows(place, Level::Family));
        // A family that nobody measured is arithmetic with other families' efficiencies.
        if is_known && !efficiencies.factors.is_empty() { Basis::Calibrated } else { Basis::Formula }
    }
}

/// `count` per so many seconds.
fn rate(seconds: Estimate<f64>, count: f64) -> Estimate<f64> {
    Estimate {
        value: count / seconds.value,
        low: count / seconds.high,
        high: count / seconds.low,
        basis: seconds.basis,
    }
}

/// In milliseconds.
fn time(seconds: Estimate<f64>) -> Estimate<f64> {
    Estimate { value: seconds.value * 1e3, low: seconds.low * 1e3, high: seconds.high * 1e3, basis: seconds.basis }
}
