//! Why combinations lost.

use std::collections::BTreeMap;

use hwledger_core::pareto::{Direction, dominates};
use serde::Serialize;

use super::answer::{DeviceFate, Loss};
use super::evaluate::{Evaluator, Found, Point};
use super::request::Objective;
use super::space::Space;

/// Why a combination is not among the best, in the order in which combinations are tried: the later,
/// the further it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The engine does not run on the device.
    Engine,
    /// The engine does not read the weights' format.
    Format,
    /// The engine has no kernels for these weights on the device.
    Path,
    /// The weights have too few bits.
    Bits,
    /// No price of the device is known, and there is a limit.
    PriceUnknown,
    /// It costs more than the budget.
    Budget,
    /// Nobody is known to rent it out, and there is a limit.
    RentUnknown,
    /// Renting it costs more than the limit.
    Rent,
    /// Its power is not known, and there is a limit.
    PowerUnknown,
    /// It draws more than the limit.
    Power,
    /// The weights alone are more than its memory.
    Weights,
    /// The engine refuses the settings.
    Refused,
    /// Weights, cache and buffers together do not fit.
    Memory,
    /// How much it needs is not known.
    MemoryUnknown,
    /// How fast it is is not known.
    SpeedUnknown,
    /// Requests arrive faster than they are served.
    Overload,
    /// The first token comes too late.
    Ttft,
    /// Tokens come too slowly.
    Tpot,
    /// All requests together get too few tokens.
    Output,
    /// Another combination is at least as good in everything and better in something.
    Beaten,
}

impl Reason {
    /// What it says of a combination.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Engine => "the engine does not run there",
            Self::Format => "the engine does not read the format",
            Self::Path => "the engine has no kernels for these weights there",
            Self::Bits => "too few bits per weight",
            Self::PriceUnknown => "no price is known",
            Self::Budget => "over the budget",
            Self::RentUnknown => "nobody is known to rent it out",
            Self::Rent => "over the hourly limit",
            Self::PowerUnknown => "its power is not known",
            Self::Power => "over the power limit",
            Self::Weights => "the weights alone do not fit",
            Self::Refused => "the engine refuses it",
            Self::Memory => "weights, cache and buffers do not fit together",
            Self::MemoryUnknown => "its memory is not known",
            Self::SpeedUnknown => "its speed is not known",
            Self::Overload => "requests arrive faster than they are served",
            Self::Ttft => "the first token comes too late",
            Self::Tpot => "tokens come too slowly",
            Self::Output => "too few tokens per second",
            Self::Beaten => "beaten by another",
        }
    }
}

/// The combinations that one reason ended.
#[derive(Clone, Debug, Default)]
struct Ended {
    count: u64,
    /// The one that missed by the smallest factor.
    nearest: Option<(f64, Point)>,
}

/// The furthest that a device came.
#[derive(Clone, Debug)]
struct Furthest {
    reason: Reason,
    missed: f64,
    detail: Option<String>,
}

/// What became of the combinations that are not among the best.
#[derive(Clone, Debug, Default)]
pub(super) struct Fates {
    reasons: BTreeMap<Reason, Ended>,
    devices: BTreeMap<usize, Furthest>,
    /// Devices with a combination among the best.
    best: Vec<usize>,
}

impl Fates {
    /// One combination ended for a reason; `missed` is the factor by which it missed a limit.
    pub(super) fn end(&mut self, reason: Reason, missed: f64, point: Point, detail: Option<&str>) {
        self.end_several(reason, missed, point, detail, 1);
    }

    /// So many combinations ended for a reason, `point` the nearest of them.
    pub(super) fn end_several(&mut self, reason: Reason, missed: f64, point: Point, detail: Option<&str>, count: u64) {
        let ended = self.reasons.entry(reason).or_default();
        ended.count += count;
        if ended.nearest.is_none_or(|(nearest, _)| missed < nearest) {
            ended.nearest = Some((missed, point));
        }
        let is_further =
            self.devices.get(&point.device).is_none_or(|known| (reason, -missed) > (known.reason, -known.missed));
        if is_further {
            self.devices.insert(point.device, Furthest { reason, missed, detail: detail.map(str::to_owned) });
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (reason, ended) in other.reasons {
            let own = self.reasons.entry(reason).or_default();
            own.count += ended.count;
            if let Some((missed, point)) = ended.nearest
                && own.nearest.is_none_or(|(nearest, _)| missed < nearest)
            {
                own.nearest = Some((missed, point));
            }
        }
        self.devices.extend(other.devices);
    }

    /// Notes which of those that met every limit are beaten, and each device's by whom.
    pub(super) fn beaten(
        &mut self,
        found: &[Found],
        points: &[Vec<f64>],
        best: &[usize],
        directions: &[Direction],
        objectives: &[Objective],
    ) {
        self.best = best.iter().map(|&index| found[index].point.device).collect();
        self.best.sort_unstable();
        self.best.dedup();
        let mut is_best = vec![false; found.len()];
        for &index in best {
            is_best[index] = true;
        }
        let mut explained = std::collections::BTreeSet::new();
        for (index, own) in found.iter().enumerate().filter(|(index, _)| !is_best[*index]) {
            let unknown = points[index].iter().position(|value| value.is_nan());
            let reason = match unknown.map(|at| objectives[at]) {
                None => Reason::Beaten,
                Some(Objective::PowerW) => Reason::PowerUnknown,
                Some(Objective::RentUsdPerHour) => Reason::RentUnknown,
                Some(Objective::PurchaseUsd | Objective::UsdPerMillionTokens) => Reason::PriceUnknown,
                Some(_) => Reason::SpeedUnknown,
            };
            let ended = self.reasons.entry(reason).or_default();
            ended.count += 1;
            // One explanation per device is enough, and finding each is work.
            if self.best.binary_search(&own.point.device).is_err() && explained.insert(own.point.device) {
                let by = (reason == Reason::Beaten)
                    .then(|| best.iter().find(|&&other| dominates(&points[other], &points[index], directions)))
                    .flatten();
                self.devices.insert(
                    own.point.device,
                    Furthest { reason, missed: 1.0, detail: by.map(|&other| found[other].point.device.to_string()) },
                );
            }
        }
    }

    /// The reasons with their counts and nearest misses, the most frequent first.
    pub(super) fn losses(&self, evaluator: &Evaluator<'_>) -> Vec<Loss> {
        let mut losses: Vec<_> = self
            .reasons
            .iter()
            .map(|(&reason, ended)| Loss {
                reason,
                text: reason.text(),
                count: ended.count,
                missed_by: ended.nearest.map(|(missed, _)| missed).filter(|missed| missed.is_finite() && *missed > 1.0),
                nearest: ended.nearest.map(|(_, point)| evaluator.request(point)),
            })
            .collect();
        losses.sort_by_key(|loss| std::cmp::Reverse(loss.count));
        losses
    }

    /// The furthest that each device came which is not among the best.
    pub(super) fn devices(&self, space: &Space) -> Vec<DeviceFate> {
        let name = |index: usize| space.devices[index].device.name.clone();
        self.devices
            .iter()
            .filter(|(index, _)| self.best.binary_search(index).is_err())
            .map(|(&index, furthest)| DeviceFate {
                device: name(index),
                memory_gib: space.devices[index].device.memory.map(hwledger_core::Bytes::gibibytes),
                reason: furthest.reason,
                text: furthest.reason.text(),
                missed_by: Some(furthest.missed).filter(|missed| missed.is_finite() && *missed > 1.0),
                detail: match furthest.reason {
                    Reason::Beaten => {
                        furthest.detail.as_ref().and_then(|index| index.parse().ok()).map(|index: usize| name(index))
                    }
                    _ => furthest.detail.clone(),
                },
            })
            .collect()
    }
}
