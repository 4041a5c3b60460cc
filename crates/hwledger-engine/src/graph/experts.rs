//! A mixture of experts: choose, gather, compute each chosen expert on its tokens, scatter.

use std::io;

use hwledger_kernels::elementwise::{add_scaled, gated};
use hwledger_kernels::product::{Matrix, Product, multiply};
use hwledger_kernels::{Activations, Arithmetic};

use crate::model::{ExpertWeights, Model};

use super::routing::route;
use super::{Machine, Workspace, feed_forward, project};

/// One expert's tokens with the weights of its outputs.
struct Chosen {
    expert: usize,
    tokens: Vec<(usize, f32)>,
}

/// Computes the experts of a layer into the workspace's part. The workspace's outer activations hold the batch.
pub(super) fn compute(
    model: &Model,
    weights: &ExpertWeights,
    count: usize,
    machine: &Machine,
    workspace: &mut Workspace,
) -> io::Result<()> {
    let hidden = model.embedding.shape.columns;
    let chosen = choose(model, weights, count, machine, workspace);
    let shared_gates = shared_gates(weights, count, machine, workspace);
    match &weights.shared {
        Some(shared) => {
            feed_forward::dense(shared, model.settings.conventions.gate, count, machine, workspace)?;
            if let Some(gates) = shared_gates {
                for (row, gate) in workspace.part[..count * hidden].chunks_exact_mut(hidden).zip(gates) {
                    for value in row {
                        *value *= gate;
                    }
                }
            }
        }
        None => workspace.part[..count * hidden].fill(0.0),
    }
    let outputs = routed(model, weights, &chosen, count, machine, workspace)?;
    for (chosen, outputs) in chosen.iter().zip(&outputs) {
        let bias = weights.down_bias.as_ref().map(|bias| &bias[chosen.expert * hidden..][..hidden]);
        for (&(token, weight), output) in chosen.tokens.iter().zip(outputs.chunks_exact(hidden)) {
            let row = &mut workspace.part[token * hidden..][..hidden];
            add_scaled(machine.set, row, output, weight);
            if let Some(bias) = bias {
                add_scaled(machine.set, row, bias, weight);
            }
        }
    }
    Ok(())
}

/// A number per token, between 0 and 1, that the shared expert's output is multiplied by.
fn shared_gates(
    weights: &ExpertWeights,
    count: usize,
    machine: &Machine,
    workspace: &mut Workspace,
) -> Option<Vec<f32>> {
    let gate = weights.shared_gate.as_ref()?;
    let mut logits = vec![0.0; count];
    project(gate, &workspace.outer, &mut logits, 1, machine);
    Some(logits.into_iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect())
}

/// Routes every token; experts in ascending order, those without tokens left out.
fn choose(
    model: &Model,
    weights: &ExpertWeights,
    count: usize,
    machine: &Machine,
    workspace: &mut Workspace,
) -> Vec<Chosen> {
    let experts = weights.router.rows();
    project(&weights.router, &workspace.outer, &mut workspace.wide, experts, machine);
    let mut tokens: Vec<Vec<(usize, f32)>> = vec![Vec::new(); experts];
    for (token, logits) in workspace.wide[..count * experts].chunks_exact_mut(experts).enumerate() {
        if let Some(bias) = &weights.router.bias {
            add_scaled(machine.set, logits, bias, 1.0);
        }
        for (expert, weight) in route(&model.settings, weights, logits) {
            tokens[expert].push((token, weight));
        }
    }
    tokens
        .into_iter()
        .enumerate()
        .filter(|(_, tokens)| !tokens.is_empty())
        .map(|(expert, tokens)| Chosen { expert, tokens })
        .collect()
}

/// The outputs of each chosen expert for its tokens, without the bias.
fn routed(
    model: &Model,
    weights: &ExpertWeights,
    chosen: &[Chosen],
    count: usize,
    machine: &Machine,
    workspace: &mut Workspace,
) -> io::Result<Vec<Vec<f32>>> {
    let (hidden, width, set) = (model.embedding.shape.columns, weights.down.shape.columns, machine.set);
    while workspace.chosen.len() < chosen.len() {
        workspace.chosen.push(Activations::new()?);
    }
    let Workspace { outer, chosen: batches, .. } = workspace;
    let outer = &*outer;
    // A batch of one token is the same for all its experts.
    if count > 1 {
        for (chosen, batch) in chosen.iter().zip(batches.iter_mut()) {
            let tokens = chosen.tokens.len();
            let needed: Vec<Arithmetic> =
                weights.input.iter().map(|weight| Arithmetic::of(weight.format, tokens, set)).collect();
            batch.fill(tokens, hidden, &needed, &machine.pool, set, &|index, row| {
                row.copy_from_slice(&outer.row(chosen.tokens[index].0)[..hidden]);
            })?;
        }
    }
    let mut inputs: Vec<Vec<f32>> = chosen.iter().map(|chosen| vec![0.0; chosen.tokens.len() * 2 * width]).collect();
    let matrices: Vec<Vec<Matrix<'_>>> = chosen
        .iter()
        .map(|chosen| weights.input.iter().map(|weight| Matrix { weight, copy: chosen.expert }).collect())
        .collect();
    let mut products: Vec<Product<'_>> = Vec::new();
    for (index, out) in inputs.iter_mut().enumerate() {
        let activations = if count > 1 { &batches[index] } else { outer };
        products.push(Product { matrices: &matrices[index], activations, out, stride: 2 * width });
    }
    multiply(&mut products, &machine.pool, set);
    let gate = model.settings.conventions.gate;
    for ((chosen, batch), input) in chosen.iter().zip(batches.iter_mut()).zip(&mut inputs) {
        if let Some(bias) = &weights.input_bias {
            let bias = &bias[chosen.expert * 2 * width..][..2 * width];
            for row in input.chunks_exact_mut(2 * width) {
                add_scaled(set, row, bias, 1.0);
            }
        }
        let needed = [Arithmetic::of(weights.down.format, chosen.tokens.len(), set)];
        batch.fill(chosen.tokens.len(), width, &needed, &machine.pool, set, &|index, row| {
            let input = &input[index * 2 * width..][..2 * width];
            gated(set, gate, &input[..width], &input[width..], row);
        })?;
    }
    let mut outputs: Vec<Vec<f32>> = chosen.iter().map(|chosen| vec![0.0; chosen.tokens.len() * hidden]).collect();
    let matrices: Vec<[Matrix<'_>; 1]> =
        chosen.iter().map(|chosen| [Matrix { weight: &weights.down, copy: chosen.expert }]).collect();
    let mut products: Vec<Product<'_>> = outputs
        .iter_mut()
        .zip(&matrices)
        .zip(batches.iter())
        .map(|((out, matrices), activations)| Product { matrices, activations, out, stride: hidden })
        .collect();
    multiply(&mut products, &machine.pool, set);
    Ok(outputs)
}
