//! The encoder: every token of a text sees all of it, and nothing is kept for later.

use std::io;
use std::sync::Arc;

use hwledger_kernels::bidirectional::{HeadRows, Sequence, attend};
use hwledger_kernels::elementwise::{RotaryPairs, add_scaled, layer_norm, rotate};
use hwledger_kernels::{Activations, uniform_tokens};

use crate::error::RunError;
use crate::model::{EncoderModel, HeadShape, LayerNorm, Projection};

use super::workspace::{Widths, turn};
use super::{Machine, Workspace, feed_forward, needs, project, project_back};

/// An encoder with the threads that compute it.
#[derive(Debug)]
pub struct Encoder {
    model: Arc<EncoderModel>,
    machine: Machine,
    workspace: Workspace,
}

/// Texts one after the other.
struct Batch {
    tokens: Vec<u32>,
    positions: Vec<usize>,
    texts: Vec<Sequence>,
    /// Rows that are computed: those of tokens, and as many more as the arithmetic of large batches asks for.
    rows: usize,
}

impl Encoder {
    /// An encoder without buffers yet.
    pub fn new(model: Arc<EncoderModel>, machine: Machine) -> Result<Self, RunError> {
        let workspace = Workspace::new().map_err(|source| RunError::Memory { what: "activations", source })?;
        Ok(Self { model, machine, workspace })
    }

    /// The model.
    pub const fn model(&self) -> &Arc<EncoderModel> {
        &self.model
    }

    /// The threads.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Bytes of buffers for activations.
    pub fn workspace_bytes(&self) -> usize {
        self.workspace.bytes()
    }

    /// The states of all tokens of some texts after the last layer, `[token][hidden]`, text after text. A text's
    /// states are the same to the last bit whatever is computed beside it.
    pub fn states(&mut self, texts: &[&[u32]]) -> Result<&[f32], RunError> {
        let batch = self.lay_out(texts)?;
        self.compute(&batch).map_err(|source| RunError::Memory { what: "activations", source })?;
        let states = &self.workspace.stream[..batch.tokens.len() * self.model.embedding.shape.columns];
        if states.iter().any(|value| !value.is_finite()) {
            return Err(RunError::NotANumber);
        }
        Ok(states)
    }

    fn lay_out(&self, texts: &[&[u32]]) -> Result<Batch, RunError> {
        let (vocabulary, positions_max) = (self.model.embedding.shape.rows, self.model.positions_max());
        let mut batch = Batch { tokens: Vec::new(), positions: Vec::new(), texts: Vec::new(), rows: 0 };
        for text in texts.iter().filter(|text| !text.is_empty()) {
            if let Some(&token) = text.iter().find(|&&token| token as usize >= vocabulary) {
                return Err(RunError::Token { token, vocabulary });
            }
            if let Some(context) = positions_max.filter(|&max| text.len() > max) {
                return Err(RunError::Context { tokens: text.len(), context });
            }
            batch.texts.push(Sequence { row: batch.tokens.len(), tokens: text.len() });
            batch.positions.extend(0..text.len());
            batch.tokens.extend(*text);
        }
        // Rows of zeros after the last token: short texts are then multiplied as long batches are.
        batch.rows = if texts.is_empty() { 0 } else { batch.tokens.len().max(uniform_tokens(self.machine.set)) };
        batch.positions.resize(batch.rows, 0);
        Ok(batch)
    }

    fn compute(&mut self, batch: &Batch) -> io::Result<()> {
        let Self { model, machine, workspace } = self;
        workspace.reserve(Widths::of_encoder(model), batch.rows, 0)?;
        embed(model, batch, machine, workspace);
        if let Some(rotary) = &model.settings.rotary {
            let (cosines, sines) = &mut workspace.angles[0];
            turn(rotary, &batch.positions, cosines, sines);
        }
        for (index, layer) in model.layers.iter().enumerate() {
            attention(model, index, batch, machine, workspace)?;
            add_and_normalise(model, &layer.attention_norm, batch.rows, machine, workspace);
            let Workspace { stream, outer, .. } = &mut *workspace;
            let hidden = model.embedding.shape.columns;
            fill(outer, stream, hidden, &layer.feed_forward.input, batch.rows, machine)?;
            feed_forward::dense(&layer.feed_forward, model.settings.gate, batch.rows, machine, workspace)?;
            add_and_normalise(model, &layer.feed_forward_norm, batch.rows, machine, workspace);
        }
        Ok(())
    }
}

/// Fills the stream with the sums of tokens, segment and positions, normalised.
fn embed(model: &EncoderModel, batch: &Batch, machine: &Machine, workspace: &mut Workspace) {
    let (hidden, set) = (model.embedding.shape.columns, machine.set);
    let LayerNorm { weight, bias } = &model.embedding_norm;
    machine.pool.run_on_chunks(&mut workspace.stream[..batch.rows * hidden], hidden, &|index, row| {
        let Some(&token) = batch.tokens.get(index) else {
            row.fill(0.0);
            return;
        };
        model.embedding.row(token as usize, row);
        if let Some(segment) = &model.segment {
            add_scaled(set, row, segment, 1.0);
        }
        if let Some(positions) = &model.positions {
            let mut position = vec![0.0; hidden];
            positions.row(model.settings.first_position + batch.positions[index], &mut position);
            add_scaled(set, row, &position, 1.0);
        }
        layer_norm(set, row, weight, bias, model.settings.epsilon);
    });
}

/// Computes a layer's attention into the workspace's part.
fn attention(
    model: &EncoderModel,
    index: usize,
    batch: &Batch,
    machine: &Machine,
    workspace: &mut Workspace,
) -> io::Result<()> {
    let (weights, rows, set) = (&model.layers[index].attention, batch.rows, machine.set);
    let HeadShape { heads, kv_heads, key, value, .. } = weights.shape;
    let (hidden, stride, width) = (model.embedding.shape.columns, weights.input.rows(), heads * value);
    let Workspace { stream, wide, mixed, outer, inner, angles, .. } = workspace;
    fill(outer, stream, hidden, &weights.input, rows, machine)?;
    project(&weights.input, outer, wide, stride, machine);
    let angles = model.settings.rotary.as_ref().map(|rotary| (&angles[0], rotary.frequencies.len()));
    machine.pool.run_on_chunks(&mut wide[..rows * stride], stride, &|token, row| {
        if let Some(bias) = &weights.input.bias {
            add_scaled(set, row, bias, 1.0);
        }
        if let Some(((cosines, sines), pairs)) = angles {
            let (cosines, sines) = (&cosines[token * pairs..][..pairs], &sines[token * pairs..][..pairs]);
            for head in row[..(heads + kv_heads) * key].chunks_exact_mut(key) {
                rotate(set, head, cosines, sines, RotaryPairs::Halves);
            }
        }
    });
    let head_rows = HeadRows { values: wide, stride, heads, kv_heads, key, value };
    let mixed = &mut mixed[..rows * width];
    mixed[batch.tokens.len() * width..].fill(0.0);
    attend(&batch.texts, &head_rows, 1.0 / (key as f32).sqrt(), mixed, &machine.pool, set);
    fill(inner, mixed, width, &weights.output, rows, machine)?;
    project_back(&weights.output, rows, machine, workspace);
    Ok(())
}

/// Fills the inputs of a projection with rows as they are.
fn fill(
    activations: &mut Activations,
    source: &[f32],
    width: usize,
    projection: &Projection,
    rows: usize,
    machine: &Machine,
) -> io::Result<()> {
    let needed = needs([projection], rows, machine.set);
    let copy = |token: usize, row: &mut [f32]| row.copy_from_slice(&source[token * width..][..width]);
    activations.fill(rows, width, &needed, &machine.pool, machine.set, &copy)
}

/// Adds what a part of a layer computed to the stream, and normalises the sums.
fn add_and_normalise(
    model: &EncoderModel,
    norm: &LayerNorm,
    rows: usize,
    machine: &Machine,
    workspace: &mut Workspace,
) {
    let (hidden, epsilon, set) = (model.embedding.shape.columns, model.settings.epsilon, machine.set);
    let Workspace { stream, part, .. } = workspace;
    let part = &part[..rows * hidden];
    machine.pool.run_on_chunks(&mut stream[..rows * hidden], hidden, &|token, row| {
        add_scaled(set, row, &part[token * hidden..][..hidden], 1.0);
        layer_norm(set, row, &norm.weight, &norm.bias, epsilon);
    });
}
