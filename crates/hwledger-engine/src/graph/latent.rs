//! Latent attention of one layer (DeepSeek-V2, section 2.1), in the absorbed form.
//!
//! The cache keeps the latent of each token with its rotary key, one row for all heads. A head's key is a matrix times
//! the latent, so its score is the latent times the transposed matrix times the query: the matrix is applied to the
//! query, and heads attend to rows of the cache as they are. Sums of values are sums of latents for the same reason,
//! and the matrix of values is applied to the sum.
//!
//! Prompts are computed in the same form. Making keys and values of whole contexts would save work in long prompts
//! (a row of the cache is some three times as long as a key), but sum in another order: a sequence would depend on
//! how it was cut into steps.

use std::sync::atomic::{AtomicBool, Ordering};

use hwledger_kernels::Arithmetic;
use hwledger_kernels::attention::{Batch, Run, Scoring, attend};
use hwledger_kernels::cache::Rows;
use hwledger_kernels::elementwise::{add_scaled, rms_norm, rms_norm_in_place, rotate};
use hwledger_kernels::product::{CopiesProduct, multiply_copies};

use crate::cache::Cache;
use crate::error::RunError;
use crate::model::{HeadShape, LatentWeights, Model};

use super::attention::{all_finite, runs_of};
use super::{BatchLayout, Machine, Workspace, needs, project};

/// Heads that are computed at a time: their queries and sums are as long as rows of the cache, and those of all heads
/// of a large model would take more memory than everything else in a step.
pub(super) const HEADS_TOGETHER: usize = 16;

/// One layer's latent attention over one batch.
struct Step<'a> {
    model: &'a Model,
    index: usize,
    latent: &'a LatentWeights,
    machine: &'a Machine,
    /// Tokens of the batch.
    count: usize,
}

/// Attends with the projected inputs that the workspace's wide rows hold; all heads' outputs go to its mixed rows.
pub(super) fn mix(
    model: &Model,
    index: usize,
    latent: &LatentWeights,
    layout: &BatchLayout,
    cache: &mut Cache,
    machine: &Machine,
    workspace: &mut Workspace,
) -> Result<(), RunError> {
    let failed = |source| RunError::Memory { what: "activations", source };
    let step = Step { model, index, latent, machine, count: layout.tokens.len() };
    if !step.prepare_latents(workspace) {
        return Err(RunError::NotANumber);
    }
    step.make_queries(workspace).map_err(failed)?;
    let stride = step.stride();
    let start = stride - latent.rank - latent.rope;
    let rows = Rows { values: &workspace.wide, stride, key: start, value: start };
    cache.write(index, &layout.places, &rows, &machine.pool);
    let runs = runs_of(layout, cache);
    let heads = step.shape().heads;
    for first in (0..heads).step_by(HEADS_TOGETHER) {
        let heads = first..heads.min(first + HEADS_TOGETHER);
        step.absorb(heads.clone(), workspace).map_err(failed)?;
        step.attend(heads.len(), &runs, cache, workspace);
        step.make_values(heads, workspace).map_err(failed)?;
    }
    Ok(())
}

impl Step<'_> {
    fn shape(&self) -> HeadShape {
        self.model.layers[self.index].attention.shape
    }

    /// Numbers of a row of the projected inputs.
    fn stride(&self) -> usize {
        self.model.layers[self.index].attention.input.rows()
    }

    /// Where query heads lie: the rows, and how long each is.
    fn queries<'a>(&self, wide: &'a [f32], queries: &'a [f32]) -> (&'a [f32], usize) {
        match &self.latent.query_up {
            Some(up) => (queries, up.rows()),
            None => (wide, self.stride()),
        }
    }

    /// Adds biases, normalises latents and turns rotary keys. False where any is no number (see `prepare_heads`).
    fn prepare_latents(&self, workspace: &mut Workspace) -> bool {
        let Self { model, latent, machine, count, .. } = *self;
        let (stride, set) = (self.stride(), machine.set);
        let bias = model.layers[self.index].attention.input.bias.as_deref();
        let settings = &model.settings;
        let (cosines, sines) = &workspace.angles[0];
        let pairs = settings.rotary[0].frequencies.len();
        let are_numbers = AtomicBool::new(true);
        machine.pool.run_on_chunks(&mut workspace.wide[..count * stride], stride, &|token, row| {
            if let Some(bias) = bias {
                add_scaled(set, row, bias, 1.0);
            }
            let row = &mut row[stride - latent.rank - latent.rope..];
            let (values, key) = row.split_at_mut(latent.rank);
            rms_norm_in_place(set, values, &latent.norm, settings.epsilon);
            let (cosines, sines) = (&cosines[token * pairs..][..pairs], &sines[token * pairs..][..pairs]);
            rotate(set, key, cosines, sines, settings.conventions.pairs);
            if !all_finite(row) {
                are_numbers.store(false, Ordering::Relaxed);
            }
        });
        are_numbers.into_inner()
    }

    /// Makes query heads of their latent, where they have one, and turns them.
    fn make_queries(&self, workspace: &mut Workspace) -> std::io::Result<()> {
        let Self { model, latent, machine, count, .. } = *self;
        let HeadShape { heads, key, .. } = self.shape();
        let (stride, set, settings) = (self.stride(), machine.set, &model.settings);
        let Workspace { wide, inner, queries, angles, .. } = workspace;
        let (rows, stride) = match &latent.query_up {
            Some(up) => {
                let norm = model.layers[self.index].attention.query_norm.as_deref().unwrap_or_default();
                let needed = needs([up], count, set);
                inner.fill(count, norm.len(), &needed, &machine.pool, set, &|token, row| {
                    rms_norm(set, &wide[token * stride..][..norm.len()], norm, settings.epsilon, row);
                })?;
                project(up, inner, queries, up.rows(), machine);
                (queries, up.rows())
            }
            None => (wide, stride),
        };
        let (cosines, sines) = &angles[0];
        let pairs = settings.rotary[0].frequencies.len();
        machine.pool.run_on_chunks(&mut rows[..count * stride], stride, &|token, row| {
            let (cosines, sines) = (&cosines[token * pairs..][..pairs], &sines[token * pairs..][..pairs]);
            for head in row.chunks_exact_mut(key).take(heads) {
                rotate(set, &mut head[key - latent.rope..], cosines, sines, settings.conventions.pairs);
            }
        });
        Ok(())
    }

    /// Takes the queries of some heads to the latent's space, their rotary parts behind.
    fn absorb(&self, heads: std::ops::Range<usize>, workspace: &mut Workspace) -> std::io::Result<()> {
        let Self { latent, machine, count, .. } = *self;
        let key = self.shape().key;
        let nope = key - latent.rope;
        let (pool, set, width) = (&machine.pool, machine.set, latent.rank + latent.rope);
        let Workspace { wide, queries, absorbed, chosen, .. } = workspace;
        let (queries, query_stride) = self.queries(wide, queries);
        let query = |token: usize, head: usize| &queries[token * query_stride + head * key..][..key];
        let needed = [Arithmetic::of(latent.key_up.format, count, set)];
        for (head, batch) in heads.clone().zip(chosen.iter_mut()) {
            batch.fill(count, nope, &needed, pool, set, &|token, row| {
                row.copy_from_slice(&query(token, head)[..nope]);
            })?;
        }
        let stride = heads.len() * width;
        let mut product = CopiesProduct {
            weight: &latent.key_up,
            first: heads.start,
            activations: &chosen[..heads.len()],
            out: &mut absorbed[..count * stride],
            stride,
            distance: width,
        };
        multiply_copies(&mut product, pool, set);
        pool.run_on_chunks(&mut absorbed[..count * stride], stride, &|token, row| {
            for (head, row) in heads.clone().zip(row.chunks_exact_mut(width)) {
                row[latent.rank..].copy_from_slice(&query(token, head)[nope..]);
            }
        });
        Ok(())
    }

    /// Attends with absorbed queries: weighted sums of latents.
    fn attend(&self, heads: usize, runs: &[Run<'_>], cache: &Cache, workspace: &mut Workspace) {
        let Self { model, latent, machine, count, .. } = *self;
        let scale = model.settings.score_scale.unwrap_or_else(|| 1.0 / (self.shape().key as f32).sqrt());
        let scoring = Scoring { scale, window: None, cap: model.settings.score_cap, sinks: None };
        let mut batch = Batch {
            queries: &workspace.absorbed,
            query_stride: heads * (latent.rank + latent.rope),
            heads,
            value: latent.rank,
            out: &mut workspace.latents[..count * heads * latent.rank],
        };
        attend(cache.pages(), self.index, runs, &mut batch, &scoring, &machine.pool, machine.set);
    }

    /// Makes values of the summed latents of some heads.
    fn make_values(&self, heads: std::ops::Range<usize>, workspace: &mut Workspace) -> std::io::Result<()> {
        let Self { latent, machine, count, .. } = *self;
        let HeadShape { heads: all, value, .. } = self.shape();
        let (pool, set, rank) = (&machine.pool, machine.set, latent.rank);
        let Workspace { latents, mixed, chosen, .. } = workspace;
        let needed = [Arithmetic::of(latent.value_up.format, count, set)];
        let latents = &*latents;
        for (index, batch) in chosen[..heads.len()].iter_mut().enumerate() {
            batch.fill(count, rank, &needed, pool, set, &|token, row| {
                row.copy_from_slice(&latents[(token * heads.len() + index) * rank..][..rank]);
            })?;
        }
        let mut product = CopiesProduct {
            weight: &latent.value_up,
            first: heads.start,
            activations: &chosen[..heads.len()],
            out: &mut mixed[heads.start * value..],
            stride: all * value,
            distance: value,
        };
        multiply_copies(&mut product, pool, set);
        Ok(())
    }
}
