//! The attention of one layer: project, normalise, turn, remember, attend, project back.

use std::sync::atomic::{AtomicBool, Ordering};

use hwledger_kernels::attention::{Batch, Run, Scoring, attend};
use hwledger_kernels::cache::Rows;
use hwledger_kernels::elementwise::{add_scaled, rms_norm_in_place, rotate};

use crate::cache::Cache;
use crate::error::RunError;
use crate::model::{HeadShape, Model};

use super::{BatchLayout, BatchRun, Machine, Workspace, fill_normalised, latent, needs, project, project_back};

/// Computes a layer's attention into the workspace's part.
pub(super) fn compute(
    model: &Model,
    index: usize,
    layout: &BatchLayout,
    cache: &mut Cache,
    machine: &Machine,
    workspace: &mut Workspace,
) -> Result<(), RunError> {
    let failed = |source| RunError::Memory { what: "activations", source };
    let layer = &model.layers[index];
    let weights = &layer.attention;
    let HeadShape { heads, value, .. } = weights.shape;
    let count = layout.tokens.len();
    let stride = weights.input.rows();
    let needed = needs([&weights.input], count, machine.set);
    let norm = layer.attention_norm.as_deref();
    fill_normalised(&mut workspace.outer, &workspace.stream, norm, &needed, count, model, machine).map_err(failed)?;
    project(&weights.input, &workspace.outer, &mut workspace.wide, stride, machine);
    match &weights.latent {
        Some(latent) => latent::mix(model, index, latent, layout, cache, machine, workspace)?,
        None => mix(model, index, layout, cache, machine, workspace)?,
    }

    let width = heads * value;
    let needed = needs([&weights.output], count, machine.set);
    let mixed = &workspace.mixed;
    let fill = |token: usize, row: &mut [f32]| row.copy_from_slice(&mixed[token * width..][..width]);
    workspace.inner.fill(count, width, &needed, &machine.pool, machine.set, &fill).map_err(failed)?;
    project_back(&weights.output, count, machine, workspace);
    Ok(())
}

/// Attends with the projected inputs that the workspace's wide rows hold; all heads' outputs go to its mixed rows.
fn mix(
    model: &Model,
    index: usize,
    layout: &BatchLayout,
    cache: &mut Cache,
    machine: &Machine,
    workspace: &mut Workspace,
) -> Result<(), RunError> {
    let weights = &model.layers[index].attention;
    let HeadShape { heads, kv_heads, key, value, window } = weights.shape;
    let (count, stride) = (layout.tokens.len(), weights.input.rows());
    if !prepare_heads(model, index, count, machine, workspace) {
        return Err(RunError::NotANumber);
    }
    let keys_start = heads * key;
    let rows = Rows { values: &workspace.wide, stride, key: keys_start, value: keys_start + kv_heads * key };
    cache.write(index, &layout.places, &rows, &machine.pool);
    let runs = runs_of(layout, cache);
    let scoring = Scoring {
        scale: model.settings.score_scale.unwrap_or_else(|| 1.0 / (key as f32).sqrt()),
        window,
        cap: model.settings.score_cap,
        sinks: weights.sinks.as_deref(),
    };
    let mut batch = Batch {
        queries: &workspace.wide,
        query_stride: stride,
        heads,
        value,
        out: &mut workspace.mixed[..count * heads * value],
    };
    attend(cache.pages(), index, &runs, &mut batch, &scoring, &machine.pool, machine.set);
    Ok(())
}

/// The batch's runs with the pages of their sequences.
pub(super) fn runs_of<'a>(layout: &BatchLayout, cache: &'a Cache) -> Vec<Run<'a>> {
    let run = |run: &BatchRun| Run {
        row: run.row,
        tokens: run.tokens,
        position: run.position,
        pages: cache.pages_of(run.sequence),
    };
    layout.runs.iter().map(run).collect()
}

/// Adds biases, normalises queries and keys, and turns them. False where a key or value is no number: the cache's
/// formats have no place for these, and tokens to come would read others in theirs.
fn prepare_heads(model: &Model, index: usize, count: usize, machine: &Machine, workspace: &mut Workspace) -> bool {
    let weights = &model.layers[index].attention;
    let settings = &model.settings;
    let HeadShape { heads, kv_heads, key, window, .. } = weights.shape;
    let stride = weights.input.rows();
    let rotary = settings.rotary_of(index, window.is_some());
    let angles = rotary.map(|rotary| (&workspace.angles[rotary], settings.rotary[rotary].frequencies.len()));
    let (epsilon, set, pairs_of) = (settings.epsilon, machine.set, settings.conventions.pairs);
    let are_numbers = AtomicBool::new(true);
    machine.pool.run_on_chunks(&mut workspace.wide[..count * stride], stride, &|token, row| {
        if let Some(bias) = &weights.input.bias {
            add_scaled(set, row, bias, 1.0);
        }
        let (queries, rest) = row.split_at_mut(heads * key);
        let keys = &mut rest[..kv_heads * key];
        for (values, norm) in [(&mut *queries, &weights.query_norm), (&mut *keys, &weights.key_norm)] {
            if let Some(norm) = norm {
                for part in values.chunks_exact_mut(norm.len()) {
                    rms_norm_in_place(set, part, norm, epsilon);
                }
            }
        }
        if let Some(((cosines, sines), pairs)) = angles {
            let (cosines, sines) = (&cosines[token * pairs..][..pairs], &sines[token * pairs..][..pairs]);
            for head in queries.chunks_exact_mut(key).chain(keys.chunks_exact_mut(key)) {
                rotate(set, head, cosines, sines, pairs_of);
            }
        }
        if !all_finite(&row[heads * key..]) {
            are_numbers.store(false, Ordering::Relaxed);
        }
    });
    are_numbers.into_inner()
}

/// Whether all are finite numbers, by their bits, so that registers are filled.
pub(super) fn all_finite(values: &[f32]) -> bool {
    values.iter().fold(0, |most: u32, value| most.max(value.to_bits() & 0x7fff_ffff)) < f32::INFINITY.to_bits()
}
