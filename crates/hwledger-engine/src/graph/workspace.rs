//! Buffers of a step, kept from one to the next.

use std::io;

use hwledger_kernels::{Activations, Buffer};

use crate::model::{FeedForwardWeights, Model, Projection};

use super::latent::HEADS_TOGETHER;

/// Buffers of a step.
#[derive(Debug)]
pub struct Workspace {
    /// The residual stream, `[token][hidden]`.
    pub(crate) stream: Buffer<f32>,
    /// What a part of a layer adds to it, `[token][hidden]`.
    pub(crate) part: Buffer<f32>,
    /// Outputs of input projections: heads, or gate and up, `[token][widest]`.
    pub(crate) wide: Buffer<f32>,
    /// Outputs of attention, `[token][heads x value]`.
    pub(crate) mixed: Buffer<f32>,
    /// Query heads that were made of a latent, `[token][heads x key]`.
    pub(crate) queries: Buffer<f32>,
    /// Queries of some heads in the latent's space, `[token][head][rank + rope]`.
    pub(crate) absorbed: Buffer<f32>,
    /// Weighted sums of latents of some heads, `[token][head][rank]`.
    pub(crate) latents: Buffer<f32>,
    /// `[output][vocabulary]`.
    pub(crate) logits: Buffer<f32>,
    /// Inputs of projections from the residual stream.
    pub(crate) outer: Activations,
    /// Inputs of projections back to it.
    pub(crate) inner: Activations,
    /// Inputs of chosen experts, or of the heads of latent attention, one batch each.
    pub(crate) chosen: Vec<Activations>,
    /// Cosines and sines per rotary, `[token][pairs]`.
    pub(crate) angles: [(Vec<f32>, Vec<f32>); 2],
}

impl Workspace {
    /// No buffers yet.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            stream: Buffer::zeroed(0)?,
            part: Buffer::zeroed(0)?,
            wide: Buffer::zeroed(0)?,
            mixed: Buffer::zeroed(0)?,
            queries: Buffer::zeroed(0)?,
            absorbed: Buffer::zeroed(0)?,
            latents: Buffer::zeroed(0)?,
            logits: Buffer::zeroed(0)?,
            outer: Activations::new()?,
            inner: Activations::new()?,
            chosen: Vec::new(),
            angles: Default::default(),
        })
    }

    /// Bytes of all buffers.
    pub(crate) fn bytes(&self) -> usize {
        let angles: usize = self.angles.iter().map(|(cosines, sines)| (cosines.len() + sines.len()) * 4).sum();
        self.stream.bytes()
            + self.part.bytes()
            + self.wide.bytes()
            + self.mixed.bytes()
            + self.queries.bytes()
            + self.absorbed.bytes()
            + self.latents.bytes()
            + self.logits.bytes()
            + self.outer.buffer_bytes()
            + self.inner.buffer_bytes()
            + self.chosen.iter().map(Activations::buffer_bytes).sum::<usize>()
            + angles
    }

    /// Room for a batch.
    pub(crate) fn reserve(&mut self, model: &Model, tokens: usize, outputs: usize) -> io::Result<()> {
        let hidden = model.embedding.shape.columns;
        let vocabulary = model.head.as_ref().map_or(model.embedding.shape.rows, Projection::rows);
        let (mut wide, mut mixed) = (0, 0);
        let (mut queries, mut absorbed, mut latents, mut together) = (0, 0, 0, 0);
        for layer in &model.layers {
            wide = wide.max(layer.attention.input.rows());
            mixed = mixed.max(layer.attention.output.columns());
            if let Some(latent) = &layer.attention.latent {
                let heads = layer.attention.shape.heads.min(HEADS_TOGETHER);
                together = together.max(heads);
                queries = queries.max(latent.query_up.as_ref().map_or(0, Projection::rows));
                absorbed = absorbed.max(heads * (latent.rank + latent.rope));
                latents = latents.max(heads * latent.rank);
            }
            wide = wide.max(match &layer.feed_forward {
                FeedForwardWeights::Dense(dense) => dense.input.rows(),
                FeedForwardWeights::Experts(experts) => {
                    let shared = experts.shared.as_ref().map_or(0, |shared| shared.input.rows());
                    experts.router.rows().max(shared).max(experts.used * 2 * experts.down.shape.columns)
                }
            });
        }
        self.stream.reserve(tokens * hidden)?;
        self.part.reserve(tokens * hidden)?;
        self.wide.reserve(tokens * wide)?;
        self.mixed.reserve(tokens * mixed)?;
        self.queries.reserve(tokens * queries)?;
        self.absorbed.reserve(tokens * absorbed)?;
        self.latents.reserve(tokens * latents)?;
        while self.chosen.len() < together {
            self.chosen.push(Activations::new()?);
        }
        self.logits.reserve(outputs * vocabulary)
    }

    /// Computes the angles of a batch's positions.
    pub(crate) fn turn(&mut self, model: &Model, positions: &[usize]) {
        let is_same = !model.settings.windows_turn_apart();
        for (index, (rotary, (cosines, sines))) in model.settings.rotary.iter().zip(self.angles.iter_mut()).enumerate()
        {
            let pairs = rotary.frequencies.len();
            let count = if index == 1 && is_same { 0 } else { positions.len() * pairs };
            cosines.resize(count, 0.0);
            sines.resize(count, 0.0);
            if count > 0 {
                let rows = cosines.chunks_exact_mut(pairs).zip(sines.chunks_exact_mut(pairs));
                for (&position, (cosines, sines)) in positions.iter().zip(rows) {
                    rotary.at(position, cosines, sines);
                }
            }
        }
    }
}
