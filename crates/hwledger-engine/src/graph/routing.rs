//! Which experts a token goes to, and how much each counts.

use std::cmp::Ordering;

use crate::model::{ExpertGroups, ExpertWeights, Routing, Settings};

/// Below this a sum of weights is not divided by: all of them are zero (the references of DeepSeek-V3).
const SUM_MIN: f32 = 1e-20;

/// The experts of one token with their weights, from the router's logits.
pub(super) fn route(settings: &Settings, weights: &ExpertWeights, logits: &[f32]) -> Vec<(usize, f32)> {
    let routing = settings.conventions.routing;
    let scores = match routing {
        Routing::SoftmaxThenChoose | Routing::ChooseThenSoftmax => softmax(logits),
        Routing::SigmoidThenChoose => logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
    };
    // Logits tell apart what is the same once rounded to weights.
    let choices: Vec<f32> = match (&weights.choice_bias, routing) {
        (Some(bias), _) => scores.iter().zip(bias).map(|(score, bias)| score + bias).collect(),
        (None, Routing::SigmoidThenChoose) => scores.clone(),
        (None, _) => logits.to_vec(),
    };
    let mut order: Vec<usize> = match settings.expert_groups {
        Some(groups) => members(&choices, groups, routing),
        None => (0..logits.len()).collect(),
    };
    order.sort_by(|&a, &b| best_first(&choices, a, b));
    order.truncate(weights.used);
    let mut shares: Vec<f32> = order.iter().map(|&expert| scores[expert]).collect();
    let sum: f32 = shares.iter().sum();
    let normalises = settings.normalises_experts || routing == Routing::ChooseThenSoftmax;
    for share in &mut shares {
        if normalises {
            *share /= sum.max(SUM_MIN);
        }
        *share *= settings.expert_scale;
    }
    order.into_iter().zip(shares).collect()
}

/// The largest first, of equal ones the earlier.
fn best_first(values: &[f32], a: usize, b: usize) -> Ordering {
    values[b].total_cmp(&values[a]).then(a.cmp(&b))
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().max_by(f32::total_cmp).unwrap_or(0.0);
    let all: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    logits.iter().map(|logit| (logit - largest).exp() / all).collect()
}

/// The experts of the best groups. A group is as good as its best expert (DeepSeek-V2), or, of experts that are
/// chosen each for itself, as its best two together (DeepSeek-V3).
fn members(choices: &[f32], groups: ExpertGroups, routing: Routing) -> Vec<usize> {
    let size = choices.len() / groups.count;
    let counted = if routing == Routing::SigmoidThenChoose { 2 } else { 1 };
    let worth: Vec<f32> = choices
        .chunks_exact(size)
        .map(|group| {
            let mut group = group.to_vec();
            group.sort_by(|a, b| b.total_cmp(a));
            group.iter().take(counted).sum()
        })
        .collect();
    let mut order: Vec<usize> = (0..groups.count).collect();
    order.sort_by(|&a, &b| best_first(&worth, a, b));
    order[..groups.used].iter().flat_map(|group| group * size..(group + 1) * size).collect()
}
