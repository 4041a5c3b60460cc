//! The feed-forward of one layer.

use std::io;

use hwledger_kernels::Activations;
use hwledger_kernels::elementwise::{Gate, activate, add_scaled, gated};

use crate::model::{DenseWeights, FeedForwardWeights, Model};

use super::{Machine, Workspace, experts, fill_normalised, needs, project, project_back};

/// Computes a layer's feed-forward into the workspace's part.
pub(super) fn compute(
    model: &Model,
    index: usize,
    count: usize,
    machine: &Machine,
    workspace: &mut Workspace,
) -> io::Result<()> {
    let layer = &model.layers[index];
    let norm = layer.feed_forward_norm.as_deref();
    match &layer.feed_forward {
        FeedForwardWeights::Dense(weights) => {
            let needed = needs([&weights.input], count, machine.set);
            fill_normalised(&mut workspace.outer, &workspace.stream, norm, &needed, count, model, machine)?;
            dense(weights, model.settings.conventions.gate, count, machine, workspace)
        }
        FeedForwardWeights::Experts(weights) => {
            let shared = weights.shared.iter().map(|shared| &shared.input);
            let all = [&weights.router].into_iter().chain(shared).chain(&weights.shared_gate);
            let mut needed = needs(all, count, machine.set);
            for weight in &weights.input {
                // Experts share this batch where it has one token.
                let need = hwledger_kernels::Arithmetic::of(weight.format, 1, machine.set);
                if count == 1 && !needed.contains(&need) {
                    needed.push(need);
                }
            }
            fill_normalised(&mut workspace.outer, &workspace.stream, norm, &needed, count, model, machine)?;
            experts::compute(model, weights, count, machine, workspace)
        }
    }
}

/// One network over the batch that the workspace's outer activations hold, into its part.
pub(super) fn dense(
    weights: &DenseWeights,
    gate: Gate,
    count: usize,
    machine: &Machine,
    workspace: &mut Workspace,
) -> io::Result<()> {
    let stride = weights.input.rows();
    project(&weights.input, &workspace.outer, &mut workspace.wide, stride, machine);
    if let Some(bias) = &weights.input.bias {
        machine.pool.run_on_chunks(&mut workspace.wide[..count * stride], stride, &|_, row| {
            add_scaled(machine.set, row, bias, 1.0);
        });
    }
    let needed = needs([&weights.down], count, machine.set);
    let Workspace { wide, inner, .. } = workspace;
    fill_gated(inner, wide, weights, gate, &needed, count, machine)?;
    project_back(&weights.down, count, machine, workspace);
    Ok(())
}

fn fill_gated(
    inner: &mut Activations,
    wide: &[f32],
    weights: &DenseWeights,
    gate: Gate,
    needed: &[hwledger_kernels::Arithmetic],
    count: usize,
    machine: &Machine,
) -> io::Result<()> {
    let (stride, width, set) = (weights.input.rows(), weights.down.columns(), machine.set);
    inner.fill(count, width, needed, &machine.pool, set, &|token, row| {
        let input = &wide[token * stride..][..stride];
        if weights.is_gated {
            gated(set, gate, &input[..width], &input[width..], row);
        } else {
            activate(set, gate, input, row);
        }
    })
}
