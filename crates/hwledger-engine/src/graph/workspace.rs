//! Buffers of a step, kept from one to the next.

use std::io;

use hwledger_kernels::{Activations, Buffer};

use crate::model::{AttentionWeights, EncoderModel, FeedForwardWeights, Model, Projection, Rotary};

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

    /// Room for a batch and some numbers of logits.
    pub(crate) fn reserve(&mut self, widths: Widths, tokens: usize, logits: usize) -> io::Result<()> {
        self.stream.reserve(tokens * widths.hidden)?;
        self.part.reserve(tokens * widths.hidden)?;
        self.wide.reserve(tokens * widths.wide)?;
        self.mixed.reserve(tokens * widths.mixed)?;
        self.queries.reserve(tokens * widths.queries)?;
        self.absorbed.reserve(tokens * widths.absorbed)?;
        self.latents.reserve(tokens * widths.latents)?;
        while self.chosen.len() < widths.together {
            self.chosen.push(Activations::new()?);
        }
        self.logits.reserve(logits)
    }

    /// Computes the angles of a batch's positions.
    pub(crate) fn turn(&mut self, model: &Model, positions: &[usize]) {
        let is_same = !model.settings.windows_turn_apart();
        for (index, (rotary, (cosines, sines))) in model.settings.rotary.iter().zip(self.angles.iter_mut()).enumerate()
        {
            let positions = if index == 1 && is_same { &[] } else { positions };
            turn(rotary, positions, cosines, sines);
        }
    }
}

/// Computes the angles of positions, `[token][pairs]` each.
pub(crate) fn turn(rotary: &Rotary, positions: &[usize], cosines: &mut Vec<f32>, sines: &mut Vec<f32>) {
    let pairs = rotary.frequencies.len();
    cosines.resize(positions.len() * pairs, 0.0);
    sines.resize(positions.len() * pairs, 0.0);
    if pairs > 0 {
        let rows = cosines.chunks_exact_mut(pairs).zip(sines.chunks_exact_mut(pairs));
        for (&position, (cosines, sines)) in positions.iter().zip(rows) {
            rotary.at(position, cosines, sines);
        }
    }
}

/// Numbers of a row of each buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Widths {
    /// Of the residual stream.
    pub(crate) hidden: usize,
    /// Of the widest input projection.
    pub(crate) wide: usize,
    /// Of the outputs of attention.
    pub(crate) mixed: usize,
    /// Of query heads that were made of a latent.
    pub(crate) queries: usize,
    /// Of queries in the latent's space.
    pub(crate) absorbed: usize,
    /// Of summed latents.
    pub(crate) latents: usize,
    /// Heads of latent attention that are computed together, each with a batch of its own.
    pub(crate) together: usize,
}

impl Widths {
    /// Those of a decoder.
    pub(crate) fn of(model: &Model) -> Self {
        let mut widths = Self { hidden: model.embedding.shape.columns, ..Self::default() };
        for layer in &model.layers {
            widths.add(&layer.attention);
            widths.wide = widths.wide.max(match &layer.feed_forward {
                FeedForwardWeights::Dense(dense) => dense.input.rows(),
                FeedForwardWeights::Experts(experts) => {
                    let shared = experts.shared.as_ref().map_or(0, |shared| shared.input.rows());
                    experts.router.rows().max(shared).max(experts.used * 2 * experts.down.shape.columns)
                }
            });
        }
        widths
    }

    /// Those of an encoder.
    pub(crate) fn of_encoder(model: &EncoderModel) -> Self {
        let mut widths = Self { hidden: model.embedding.shape.columns, ..Self::default() };
        for layer in &model.layers {
            widths.add(&layer.attention);
            widths.wide = widths.wide.max(layer.feed_forward.input.rows());
        }
        widths
    }

    fn add(&mut self, attention: &AttentionWeights) {
        self.wide = self.wide.max(attention.input.rows());
        self.mixed = self.mixed.max(attention.output.columns());
        if let Some(latent) = &attention.latent {
            let heads = attention.shape.heads.min(HEADS_TOGETHER);
            self.together = self.together.max(heads);
            self.queries = self.queries.max(latent.query_up.as_ref().map_or(0, Projection::rows));
            self.absorbed = self.absorbed.max(heads * (latent.rank + latent.rope));
            self.latents = self.latents.max(heads * latent.rank);
        }
    }
}
