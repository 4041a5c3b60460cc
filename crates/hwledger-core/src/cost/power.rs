//! Power of a device while it works.

use super::parameter::{Parameter, Parameters};
use crate::Estimate;
use crate::projection::Efficiencies;
use crate::projection::resource::Resource;
use crate::projection::term::Cost;
use crate::units::Watts;

/// Shares of the working time by what limits it; they sum to at most 1, the rest is idle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BoundShares {
    /// Arithmetic limits it.
    pub arithmetic: f64,
    /// Memory limits it.
    pub memory: f64,
    /// Neither does: links, the host, waiting.
    pub other: f64,
}

impl BoundShares {
    /// The shares of a projected time, by the cause of each term.
    pub fn of(cost: &Cost, efficiencies: &Efficiencies) -> Self {
        let (_, shares) = cost.shares(efficiencies);
        let whole: f64 = shares.iter().sum();
        let mut bound = Self::default();
        for (term, share) in cost.terms.iter().zip(shares) {
            let share = if whole > 0.0 { share / whole } else { 0.0 };
            match term.resource {
                Resource::DecodeWeights
                | Resource::DecodeExperts
                | Resource::CacheRead
                | Resource::StateTraffic
                | Resource::PrefillWeights
                | Resource::Activations => bound.memory += share,
                Resource::DecodeOperations
                | Resource::DecodeLatent
                | Resource::Matmul
                | Resource::ExpertMatmul
                | Resource::ExpertTile
                | Resource::PrefillAttention
                | Resource::PrefillLatent
                | Resource::Recurrence => bound.arithmetic += share,
                _ => bound.other += share,
            }
        }
        bound
    }
}

/// Mean power of one device.
///
/// **Formula**: `limit × (idle + (1 − idle) × Σ share × power share)`; the interval is the
/// `power_spread`, at most the limit.
/// **Source**: Patel et al. 2024 (ASPLOS), as the rows of `defaults.tsv` say.
pub fn average_power(limit: Watts, shares: BoundShares, parameters: &Parameters) -> Estimate<Watts> {
    let of = |parameter| parameters.get(parameter);
    let idle = of(Parameter::IdlePowerShare);
    let busy = shares.arithmetic * of(Parameter::ArithmeticPowerShare)
        + shares.memory * of(Parameter::MemoryPowerShare)
        + shares.other * of(Parameter::OtherPowerShare);
    let modelled = limit.scaled(idle + (1.0 - idle) * busy);
    let (low, high) = parameters.span(Parameter::PowerSpread);
    let within = |factor: f64| Watts((modelled.0 * factor).min(limit.0));
    Estimate::formula(within(low), within(of(Parameter::PowerSpread)), within(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_lies_between_idle_and_the_limit() {
        let watts = |shares| average_power(Watts(700.0), shares, Parameters::defaults());
        // 700 × 0.1; 700 × (0.1 + 0.9 × 0.6); 700 × (0.1 + 0.9 × 0.95).
        let cases = [
            (BoundShares::default(), 70.0),
            (BoundShares { memory: 1.0, ..BoundShares::default() }, 448.0),
            (BoundShares { arithmetic: 1.0, ..BoundShares::default() }, 668.5),
        ];
        for (shares, expected) in cases {
            assert!((watts(shares).value.0 - expected).abs() < 1e-9, "{shares:?}");
            assert!(watts(shares).low <= watts(shares).value && watts(shares).high.0 <= 700.0);
        }
    }
}
