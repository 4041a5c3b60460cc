//! Feed-forward layers, from the shapes of their tensors.

use hwledger_core::model::{Activation, FeedForward, MixtureOfExperts, Role, Weight};

use super::hyperparameters::Hyperparameters;

fn matrix(weights: &[Weight], role: Role) -> Option<&Weight> {
    weights.iter().find(|weight| weight.role == role && weight.columns > 1 && weight.rows > 1)
}

/// Some models store gate and up in one tensor under the name of the latter; its role is set right here.
pub(super) fn name_fused(weights: &mut [Weight]) {
    for (down, up, fused) in [
        (Role::Down, Role::Up, Role::GateUp),
        (Role::ExpertDown, Role::ExpertUp, Role::ExpertGateUp),
        (Role::SharedDown, Role::SharedUp, Role::SharedGateUp),
    ] {
        let Some(width) = matrix(weights, down).map(|weight| weight.columns) else { continue };
        for weight in weights.iter_mut().filter(|weight| weight.role == up) {
            if width.checked_mul(2) == Some(weight.rows) {
                weight.role = fused;
            }
        }
    }
}

fn activation(weights: &[Weight], width: u64, gate: Role, fused: Role) -> Activation {
    let is_gated = weights.iter().any(|weight| weight.role == fused)
        || matrix(weights, gate).is_some_and(|gate| gate.rows == width);
    if is_gated { Activation::Gated } else { Activation::Plain }
}

/// What a layer with these tensors computes on each token alone.
pub(super) fn feed_forward(model: &Hyperparameters<'_>, layer: usize, weights: &[Weight]) -> FeedForward {
    let width = |role| matrix(weights, role).map_or(0, |weight| weight.columns);
    let dense_width = width(Role::Down);
    let Some(down) = matrix(weights, Role::ExpertDown) else {
        if dense_width == 0 {
            return FeedForward::None;
        }
        let activation = activation(weights, dense_width, Role::Gate, Role::GateUp);
        return FeedForward::Dense { width: dense_width, activation };
    };
    let stacked = if down.copies > 1 { down.copies } else { model.experts.max(1) };
    FeedForward::Experts(MixtureOfExperts {
        experts: if model.experts > 0 { model.experts } else { stacked },
        experts_per_token: model.experts_used.at(layer).unwrap_or(stacked),
        expert_width: down.columns,
        shared_width: width(Role::SharedDown),
        dense_width,
        activation: activation(weights, down.columns, Role::ExpertGate, Role::ExpertGateUp),
    })
}
