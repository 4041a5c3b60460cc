//! Which layers of a model are worth building.

use super::recipe::{Recipe, Rotation};
use super::shape::GraphPlacement;
use crate::ModelSpec;

/// Longest pattern of layers that is looked for: seven scans and an attention (Jamba).
const PERIOD_MAX: usize = 8;

/// What makes two layers build the same operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    layer: u16,
    card: Option<usize>,
    has_host_experts: bool,
    /// What depends on the layer's number alone.
    phase: bool,
}

/// A stretch of layers that repeats.
#[derive(Clone, Copy, Debug)]
struct Repetition {
    start: usize,
    period: usize,
    /// Whole periods that can be left out.
    spare: usize,
}

/// The layers to build, in order: where a pattern repeats, only its first and last few periods.
///
/// The allocator starts every layer with the same tensors alive, so after a few layers its places
/// repeat too, in step with the pattern or (where the stream moves between two places) with twice
/// the pattern. So an even number of periods is left out.
pub(super) fn layers_to_build(model: &ModelSpec, recipe: &Recipe, placement: &GraphPlacement) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..model.decoder.len()).collect();
    let has_inputs_per_layer = model
        .decoder
        .kinds
        .iter()
        .any(|layer| layer.mixer.attention().is_some_and(|attention| attention.indexer.is_some()));
    if has_inputs_per_layer || recipe.leaks_layers {
        return chosen;
    }
    let mut kinds: Vec<Kind> = chosen.iter().map(|&index| kind_of(model, recipe, placement, index)).collect();
    while let Some(repetition) = longest_repetition(&kinds) {
        let end = repetition.start + repetition.spare * repetition.period;
        chosen.drain(repetition.start..end);
        kinds.drain(repetition.start..end);
    }
    chosen
}

fn kind_of(model: &ModelSpec, recipe: &Recipe, placement: &GraphPlacement, index: usize) -> Kind {
    Kind {
        layer: model.decoder.order[index],
        card: placement.layers.get(index).copied().flatten(),
        has_host_experts: (index as u64) < placement.host_expert_layers,
        phase: match recipe.rotation {
            Rotation::ThreeOfFour => index % 4 == 3,
            _ => index < recipe.first_layers,
        },
    }
}

/// Periods that are kept of a pattern: it takes a few layers for places to settle.
const fn periods_kept(period: usize) -> usize {
    match period {
        1 => 4,
        2 | 3 => 3,
        _ => 2,
    }
}

/// The repetition that spares the most layers, if any does.
fn longest_repetition(kinds: &[Kind]) -> Option<Repetition> {
    let mut best: Option<Repetition> = None;
    for period in 1..=PERIOD_MAX.min(kinds.len() / 2) {
        let mut start = 0;
        for index in 0..=kinds.len() - period {
            if kinds.get(index + period).is_some_and(|later| *later == kinds[index]) {
                continue;
            }
            // Layers from `start` to `index + period` repeat with this period.
            let periods = (index + period - start) / period;
            let spare = periods.saturating_sub(periods_kept(period)) & !1;
            if spare > 0 && best.is_none_or(|other| spare * period > other.spare * other.period) {
                best = Some(Repetition { start, period, spare });
            }
            start = index + 1;
        }
    }
    best
}
