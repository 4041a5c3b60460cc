//! Where the time of a decoding pass and of a prefill goes.

use hwledger_core::Assumptions;
use hwledger_core::projection::resource::Resource;
use hwledger_core::projection::term::Cost;
use hwledger_core::projection::{Efficiencies, Projection};
use serde::Serialize;

use super::PlotError;
use super::heading::{Heading, counted};
use crate::planner::{Planner, Prepared};
use crate::request::PlanRequest;

/// Causes of time, as the projection's terms are grouped for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Weights that are not routed experts', read from memory.
    Weights,
    /// Routed experts: their weights, products and padding.
    Experts,
    /// Matrix products and the unpacking of weights.
    Products,
    /// Attention: cache read, scores, weighted sums.
    Attention,
    /// Recurrences and their states.
    Recurrence,
    /// Activations written and read between kernels.
    Activations,
    /// What a processor does while cards hold the rest, and weights copied to them.
    Host,
    /// Exchanges between devices.
    Communication,
    /// Kernels started.
    Launches,
    /// Scheduling, sampling, synchronisation.
    Step,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Weights,
        Self::Experts,
        Self::Products,
        Self::Attention,
        Self::Recurrence,
        Self::Activations,
        Self::Host,
        Self::Communication,
        Self::Launches,
        Self::Step,
    ];

    /// A few words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "reading weights",
            Self::Experts => "routed experts",
            Self::Products => "matrix products",
            Self::Attention => "attention and its cache",
            Self::Recurrence => "recurrences and their state",
            Self::Activations => "activations",
            Self::Host => "host: its memory, arithmetic, link",
            Self::Communication => "exchanges between devices",
            Self::Launches => "starting kernels",
            Self::Step => "scheduling and sampling",
        }
    }

    /// The cause that a term counts to; factors over whole passes are no cause.
    pub const fn of(resource: Resource) -> Option<Self> {
        use Resource as R;
        Some(match resource {
            R::DecodeWeights | R::PrefillWeights => Self::Weights,
            R::DecodeExperts | R::ExpertMatmul | R::ExpertTile => Self::Experts,
            R::DecodeOperations | R::Matmul => Self::Products,
            R::CacheRead | R::DecodeLatent | R::PrefillAttention | R::PrefillLatent => Self::Attention,
            R::StateTraffic | R::Recurrence => Self::Recurrence,
            R::Activations => Self::Activations,
            R::HostWeights | R::HostOperations | R::HostLink => Self::Host,
            R::Boundary | R::CollectiveStart | R::CollectiveBytes => Self::Communication,
            R::DecodeLaunch | R::PrefillLaunch => Self::Launches,
            R::DecodeStep | R::PrefillStep | R::SequenceOverhead => Self::Step,
            R::Interference | R::Queue | R::Waiting | R::OverallDecode | R::OverallPrefill => return None,
        })
    }
}

/// Two passes, taken apart.
#[derive(Clone, Debug, Serialize)]
pub struct TimePlot {
    /// What it is of.
    #[serde(flatten)]
    pub heading: Heading,
    /// A decoding pass and a prefill.
    pub passes: Vec<PassTime>,
}

/// One pass.
#[derive(Clone, Debug, Serialize)]
pub struct PassTime {
    /// What it computes.
    pub name: String,
    /// How long it takes.
    pub seconds: f64,
    /// Its causes, in the order of [`Cause::ALL`], those that take no time left out.
    pub causes: Vec<CauseTime>,
}

/// What one cause takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CauseTime {
    /// The cause.
    pub cause: Cause,
    /// Its part of the pass.
    pub seconds: f64,
}

impl PassTime {
    fn of(name: String, cost: &Cost, efficiencies: &Efficiencies) -> Self {
        let (seconds, shares) = cost.shares(efficiencies);
        let causes = Cause::ALL.into_iter().filter_map(|cause| {
            let own = cost.terms.iter().zip(&shares).filter(|(term, _)| Cause::of(term.resource) == Some(cause));
            let seconds = seconds * own.map(|(_, share)| share).sum::<f64>();
            (seconds > 0.0).then_some(CauseTime { cause, seconds })
        });
        Self { name, seconds, causes: causes.collect() }
    }
}

/// The causes of a request's time, or what is not known that they need.
pub(super) fn projection(prepared: &Prepared) -> Result<Projection, PlotError> {
    prepared.projection(Efficiencies::embedded(), &mut Assumptions::default()).map_err(PlotError::Speed)
}

/// Requests in flight, as words.
pub(super) fn batch(prepared: &Prepared) -> String {
    counted(prepared.settings.concurrency.unwrap_or(1).max(1), "request", "requests") + " in flight"
}

/// Tokens of a projection, which counts in floating point because it divides them.
pub(super) fn tokens(count: f64) -> String {
    // Requests count tokens in whole numbers far below 2^53; the text of one is exact.
    format!("{count:.0}")
        .parse()
        .map_or_else(|_| format!("{count:.0} tokens"), |count| counted(count, "token", "tokens"))
}

impl Planner {
    /// The time of a decoding pass and of a prefill, by cause.
    pub fn plot_time(&self, request: &PlanRequest) -> Result<TimePlot, PlotError> {
        let prepared = self.prepare(request)?;
        let projection = projection(&prepared)?;
        let efficiencies = Efficiencies::embedded();
        let mut heading = Heading::of_plan("Time by cause", &prepared, &[batch(&prepared)]);
        heading
            .notes
            .push("Causes that run at the same time share it by how much each decides how long it is.".to_owned());
        let passes = vec![
            PassTime::of("one decoding pass".to_owned(), &projection.pass, efficiencies),
            PassTime::of(format!("prefill of {}", tokens(projection.prompt)), &projection.prefill, efficiencies),
        ];
        Ok(TimePlot { heading, passes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_causes_of_a_pass_sum_to_it() {
        let request = PlanRequest {
            model: "qwen3-30b-a3b".to_owned(),
            engine: Some("vllm".to_owned()),
            devices: vec![crate::request::DeviceRequest { name: "H100".to_owned(), ..Default::default() }],
            concurrency: Some(16),
            ..PlanRequest::default()
        };
        let plot = Planner::default().plot_time(&request).expect("the model is in the catalogue");
        assert_eq!(plot.passes.len(), 2);
        for pass in plot.passes {
            let sum: f64 = pass.causes.iter().map(|cause| cause.seconds).sum();
            assert!((sum / pass.seconds - 1.0).abs() < 1e-9, "{sum} is not {}", pass.seconds);
        }
    }
}
