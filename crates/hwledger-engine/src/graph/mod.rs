//! Two graphs: the decoder of every architecture that writes text, over a batch of tokens of any sequences, and the
//! encoder of those that only read it.

mod attention;
mod encoder;
mod experts;
mod feed_forward;
mod latent;
mod routing;
mod workspace;

use std::sync::Arc;

use hwledger_kernels::cache::{CacheFormat, LayerShape, PageShape, Place};
use hwledger_kernels::elementwise::{add_scaled, rms_norm, rms_norm_in_place};
use hwledger_kernels::product::{Matrix, Product, multiply};
use hwledger_kernels::{Activations, Arithmetic, InstructionSet, Pool};

use crate::cache::{Cache, SequenceId};
use crate::error::RunError;
use crate::model::{HeadShape, Model, Projection};

pub use encoder::Encoder;
use workspace::Widths;
pub use workspace::Workspace;

/// Which logits a slice of a batch asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// None: the tokens are only remembered.
    None,
    /// Those after its last token.
    Last,
    /// Those after each token.
    All,
}

/// Some consecutive tokens of one sequence, after those that the cache has.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// The sequence.
    pub sequence: SequenceId,
    /// Its next tokens.
    pub tokens: &'a [u32],
    /// Which logits are wanted.
    pub outputs: Outputs,
}

/// A model with its cache and the threads that compute it.
#[derive(Debug)]
pub struct Decoder {
    model: Arc<Model>,
    cache: Cache,
    machine: Machine,
    workspace: Workspace,
}

/// The threads, and what they can do.
#[derive(Debug)]
pub struct Machine {
    /// The threads.
    pub pool: Pool,
    /// The instructions that kernels use.
    pub set: InstructionSet,
}

/// One run of tokens in the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRun {
    pub(crate) sequence: SequenceId,
    pub(crate) row: usize,
    pub(crate) tokens: usize,
    pub(crate) position: usize,
}

/// A batch laid out.
#[derive(Debug, Default)]
pub(crate) struct BatchLayout {
    pub(crate) runs: Vec<BatchRun>,
    pub(crate) places: Vec<Place>,
    pub(crate) positions: Vec<usize>,
    pub(crate) tokens: Vec<u32>,
    /// Rows whose logits are wanted.
    pub(crate) outputs: Vec<usize>,
}

impl Decoder {
    /// A decoder with an empty cache of at most `pages_max` pages.
    pub fn new(model: Arc<Model>, format: CacheFormat, pages_max: usize, machine: Machine) -> Result<Self, RunError> {
        let shape = page_shape(&model, format);
        let workspace = Workspace::new().map_err(|source| RunError::Memory { what: "activations", source })?;
        Ok(Self { model, cache: Cache::new(shape, pages_max), machine, workspace })
    }

    /// The model.
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The cache.
    pub const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The cache, to create and remove sequences.
    pub const fn cache_mut(&mut self) -> &mut Cache {
        &mut self.cache
    }

    /// Bytes of buffers for activations and logits.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.bytes()
    }

    /// The threads.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Computes a batch and returns the wanted logits, a row of the vocabulary's length each, in order.
    ///
    /// They are the caller's to change. On failure no sequence has changed.
    pub fn step(&mut self, slices: &[Slice<'_>]) -> Result<&mut [f32], RunError> {
        let layout = self.lay_out(slices)?;
        let result = self.compute(&layout);
        if let Err(error) = result {
            self.undo(&layout);
            return Err(error);
        }
        let vocabulary = self.vocabulary();
        let logits = &self.workspace.logits[..layout.outputs.len() * vocabulary];
        if logits.iter().any(|logit| !logit.is_finite()) {
            self.undo(&layout);
            return Err(RunError::NotANumber);
        }
        Ok(&mut self.workspace.logits[..layout.outputs.len() * vocabulary])
    }

    /// Computes a batch and returns what the language head would see, a row of the model's width for every token,
    /// whatever logits are asked for.
    ///
    /// On failure no sequence has changed.
    pub fn states(&mut self, slices: &[Slice<'_>]) -> Result<&[f32], RunError> {
        let layout = self.lay_out(slices)?;
        if let Err(error) = self.compute(&layout) {
            self.undo(&layout);
            return Err(error);
        }
        let Self { model, machine, workspace, .. } = self;
        let (count, hidden) = (layout.tokens.len(), model.embedding.shape.columns);
        let states = &mut workspace.stream[..count * hidden];
        machine.pool.run_on_chunks(states, hidden, &|_, row| {
            rms_norm_in_place(machine.set, row, &model.output_norm, model.settings.epsilon);
        });
        if states.iter().any(|value| !value.is_finite()) {
            self.undo(&layout);
            return Err(RunError::NotANumber);
        }
        Ok(&self.workspace.stream[..count * hidden])
    }

    /// Tokens of the vocabulary: rows of the language head.
    pub fn vocabulary(&self) -> usize {
        self.model.head.as_ref().map_or(self.model.embedding.shape.rows, Projection::rows)
    }

    fn undo(&mut self, layout: &BatchLayout) {
        for run in layout.runs.iter().rev() {
            self.cache.truncate(run.sequence, run.position);
        }
    }

    fn lay_out(&mut self, slices: &[Slice<'_>]) -> Result<BatchLayout, RunError> {
        let vocabulary = self.model.embedding.shape.rows;
        for token in slices.iter().flat_map(|slice| slice.tokens) {
            if *token as usize >= vocabulary {
                return Err(RunError::Token { token: *token, vocabulary });
            }
        }
        let mut layout = BatchLayout::default();
        for slice in slices.iter().filter(|slice| !slice.tokens.is_empty()) {
            let (row, position, tokens) = (layout.tokens.len(), self.cache.tokens(slice.sequence), slice.tokens.len());
            match self.cache.extend(slice.sequence, tokens) {
                Ok(places) => layout.places.extend(places),
                Err(error) => {
                    self.undo(&layout);
                    return Err(error);
                }
            }
            layout.runs.push(BatchRun { sequence: slice.sequence, row, tokens, position });
            layout.positions.extend(position..position + tokens);
            layout.tokens.extend(slice.tokens);
            match slice.outputs {
                Outputs::None => {}
                Outputs::Last => layout.outputs.push(row + tokens - 1),
                Outputs::All => layout.outputs.extend(row..row + tokens),
            }
        }
        Ok(layout)
    }

    fn compute(&mut self, layout: &BatchLayout) -> Result<(), RunError> {
        let vocabulary = self.vocabulary();
        let Self { model, cache, machine, workspace } = self;
        let failed = |source| RunError::Memory { what: "activations", source };
        let count = layout.tokens.len();
        let hidden = model.embedding.shape.columns;
        let logits = layout.outputs.len() * vocabulary;
        workspace.reserve(Widths::of(model), count, logits).map_err(failed)?;
        workspace.turn(model, &layout.positions);
        let scale = model.settings.embedding_scale;
        machine.pool.run_on_chunks(&mut workspace.stream[..count * hidden], hidden, &|token, row| {
            model.embedding.row(layout.tokens[token] as usize, row);
            for value in row {
                *value *= scale;
            }
        });
        for (index, layer) in model.layers.iter().enumerate() {
            attention::compute(model, index, layout, cache, machine, workspace)?;
            finish_part(model, layer.post_attention_norm.as_deref(), count, machine, workspace);
            feed_forward::compute(model, index, count, machine, workspace).map_err(failed)?;
            finish_part(model, layer.post_feed_forward_norm.as_deref(), count, machine, workspace);
        }
        head(model, layout, machine, workspace).map_err(failed)
    }
}

/// What the cache keeps per layer.
pub(crate) fn page_shape(model: &Model, format: CacheFormat) -> PageShape {
    let layers = model.layers.iter().map(|layer| {
        let HeadShape { kv_heads, key, value, .. } = layer.attention.shape;
        match &layer.attention.latent {
            // One row for all heads, whose start is the value.
            Some(latent) => LayerShape { heads: 1, key: latent.rank + latent.rope, value: 0 },
            None => LayerShape { heads: kv_heads, key, value },
        }
    });
    PageShape::new(format, layers.collect())
}

/// Normalises what a part of a layer computed, where the model does, and adds it to the residual stream.
fn finish_part(model: &Model, norm: Option<&[f32]>, count: usize, machine: &Machine, workspace: &mut Workspace) {
    let hidden = model.embedding.shape.columns;
    let (epsilon, scale, set) = (model.settings.epsilon, model.settings.residual_scale, machine.set);
    let Workspace { stream, part, .. } = workspace;
    if let Some(norm) = norm {
        machine.pool.run_on_chunks(&mut part[..count * hidden], hidden, &|_, row| {
            rms_norm_in_place(set, row, norm, epsilon);
        });
    }
    let part = &part[..count * hidden];
    let rows = count.div_ceil(4 * machine.pool.threads()).max(1);
    machine.pool.run_on_chunks(&mut stream[..count * hidden], rows * hidden, &|chunk, values| {
        add_scaled(set, values, &part[chunk * rows * hidden..], scale);
    });
}

/// Fills the batch of a projection's inputs with normalised rows of the residual stream.
pub(crate) fn fill_normalised(
    activations: &mut Activations,
    stream: &[f32],
    norm: Option<&[f32]>,
    needs: &[Arithmetic],
    count: usize,
    model: &Model,
    machine: &Machine,
) -> std::io::Result<()> {
    let hidden = model.embedding.shape.columns;
    let (epsilon, set) = (model.settings.epsilon, machine.set);
    activations.fill(count, hidden, needs, &machine.pool, set, &|token, row| {
        let source = &stream[token * hidden..][..hidden];
        match norm {
            Some(norm) => rms_norm(set, source, norm, epsilon, row),
            None => row.copy_from_slice(source),
        }
    })
}

/// The forms of activations that projections need for a batch.
pub(crate) fn needs<'a>(
    projections: impl IntoIterator<Item = &'a Projection>,
    tokens: usize,
    set: InstructionSet,
) -> Vec<Arithmetic> {
    let weights = projections.into_iter().flat_map(|projection| &projection.matrices);
    let mut needs: Vec<Arithmetic> = Vec::new();
    for weight in weights {
        let need = Arithmetic::of(weight.format, tokens, set);
        if !needs.contains(&need) {
            needs.push(need);
        }
    }
    needs
}

/// Projects a batch, without the bias.
pub(crate) fn project(
    projection: &Projection,
    activations: &Activations,
    out: &mut [f32],
    stride: usize,
    machine: &Machine,
) {
    let matrices: Vec<Matrix<'_>> = projection.matrices.iter().map(Matrix::of).collect();
    multiply(&mut [Product { matrices: &matrices, activations, out, stride }], &machine.pool, machine.set);
}

/// Projects a batch back to the residual stream's width, with the bias.
pub(crate) fn project_back(projection: &Projection, count: usize, machine: &Machine, workspace: &mut Workspace) {
    let hidden = projection.rows();
    let Workspace { inner, part, .. } = workspace;
    project(projection, inner, part, hidden, machine);
    if let Some(bias) = &projection.bias {
        for row in part[..count * hidden].chunks_exact_mut(hidden) {
            add_scaled(machine.set, row, bias, 1.0);
        }
    }
}

/// Logits of the wanted rows.
fn head(model: &Model, layout: &BatchLayout, machine: &Machine, workspace: &mut Workspace) -> std::io::Result<()> {
    let (count, hidden, settings) = (layout.outputs.len(), model.embedding.shape.columns, &model.settings);
    if count == 0 {
        return Ok(());
    }
    let Workspace { stream, outer, logits, .. } = workspace;
    let set = machine.set;
    let weight = model.head.as_ref().map_or(&model.embedding, |head| &head.matrices[0]);
    let vocabulary = weight.shape.rows;
    let needs = [Arithmetic::of(weight.format, count, set)];
    outer.fill(count, hidden, &needs, &machine.pool, set, &|output, row| {
        let source = &stream[layout.outputs[output] * hidden..][..hidden];
        rms_norm(set, source, &model.output_norm, settings.epsilon, row);
    })?;
    let out = &mut logits[..count * vocabulary];
    let matrices = [Matrix::of(weight)];
    multiply(&mut [Product { matrices: &matrices, activations: outer, out, stride: vocabulary }], &machine.pool, set);
    let bias = model.head.as_ref().and_then(|head| head.bias.as_ref());
    let is_plain = bias.is_none() && settings.logit_cap.is_none();
    #[expect(clippy::float_cmp, reason = "exactly one: nothing to multiply")]
    if is_plain && settings.logit_scale == 1.0 {
        return Ok(());
    }
    machine.pool.run_on_chunks(out, vocabulary, &|_, row| {
        if let Some(bias) = bias {
            add_scaled(set, row, bias, 1.0);
        }
        for logit in row {
            *logit *= settings.logit_scale;
            if let Some(cap) = settings.logit_cap {
                *logit = cap * (*logit / cap).tanh();
            }
        }
    });
    Ok(())
}
