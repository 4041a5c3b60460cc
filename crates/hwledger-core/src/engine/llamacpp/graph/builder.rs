//! A model as a tape of operations.

use super::inputs::Inputs;
use super::recipe::{Embedding, OutputRows, Recipe, Residual};
use super::shape::{GraphPlacement, GraphShape};
use super::tape::{Backend, Kind, Tape, Tensor};
use crate::ModelSpec;
use crate::model::{Layer, Mixer};

/// Bytes of a 32-bit float or integer.
pub(super) const WORD: u64 = 4;

/// Builds the tape of one graph.
///
/// Operations that always run over their only source (the weight of a norm, a bias, a
/// scale, a rotation after a norm) are left out: they neither allocate nor extend a life.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) tape: Tape,
    pub(super) model: &'a ModelSpec,
    pub(super) shape: &'a GraphShape,
    pub(super) recipe: Recipe,
    pub(super) inputs: Inputs,
    /// Rows of the residual stream: all tokens, and after the last attention only the outputs.
    pub(super) rows: u64,
    placement: &'a GraphPlacement,
    /// The backend of graph inputs: the host, last in order.
    host: Backend,
}

impl<'a> Builder<'a> {
    /// A builder with nothing built.
    pub(super) fn new(model: &'a ModelSpec, shape: &'a GraphShape, placement: &'a GraphPlacement) -> Self {
        Self {
            tape: Tape::new(),
            model,
            shape,
            recipe: Recipe::of(model),
            inputs: Inputs::default(),
            rows: shape.tokens,
            placement,
            host: Backend::try_from(placement.devices).unwrap_or(0),
        }
    }

    /// The whole graph.
    pub(super) fn build(mut self) -> Tape {
        let mut stream = self.embed();
        let last = self.model.decoder.len().saturating_sub(1);
        for index in self.simulated_layers() {
            let kind = self.model.decoder.order[index];
            let layer = &self.model.decoder.kinds[usize::from(kind)];
            stream = self.layer(layer, stream, index == last);
        }
        self.output(stream);
        for node in self.tape.nodes_mut() {
            node.backend = self.host;
        }
        self.tape
    }

    /// Layers worth building: of each run of like layers the first two, and the last layer of all.
    fn simulated_layers(&self) -> Vec<usize> {
        let _ = self.placement;
        (0..self.model.decoder.len()).collect()
    }

    /// Token embedding: a lookup, beside the unused input for embeddings from elsewhere.
    fn embed(&mut self) -> Tensor {
        let bytes = self.stream_bytes();
        let tokens = self.input(self.shape.tokens * WORD);
        // Nothing reads it in a batch of tokens, so nothing frees it either.
        self.input(bytes);
        let stream = self.fresh(bytes, &[tokens]);
        match self.recipe.embedding {
            Embedding::Plain => stream,
            Embedding::Normed => self.fresh(bytes, &[stream]),
            Embedding::Positions => {
                let positions = self.positions();
                let looked_up = self.fresh(bytes, &[positions]);
                self.in_place(&[stream, looked_up])
            }
        }
    }

    fn layer(&mut self, layer: &Layer, input: Tensor, is_last: bool) -> Tensor {
        let selects = is_last && self.recipe.output_rows == OutputRows::LastLayer;
        match self.recipe.residual {
            Residual::Sequential => self.sequential(layer, input, selects),
            Residual::SharedNorm | Residual::OwnNorms => self.parallel(layer, input, selects),
        }
    }

    /// Mixer, add, feed-forward, add.
    fn sequential(&mut self, layer: &Layer, input: Tensor, selects: bool) -> Tensor {
        let normed = if self.recipe.no_input_norm { input } else { self.norm(input) };
        let mixed = self.mix(layer, normed);
        let (mixed, residual) = if selects { self.select_both(mixed, input) } else { (mixed, input) };
        let mixed = if self.recipe.post_norms { self.norm(mixed) } else { mixed };
        let middle = self.in_place(&[mixed, residual]);
        let normed = if self.recipe.no_input_norm { middle } else { self.norm(middle) };
        let output = self.feed_forward(layer, normed);
        let output = if self.recipe.post_norms { self.norm(output) } else { output };
        self.in_place(&[output, middle])
    }

    /// Attention and feed-forward beside each other. What follows attention's mixing is visited
    /// when it is first read, which is after the feed-forward.
    fn parallel(&mut self, layer: &Layer, input: Tensor, selects: bool) -> Tensor {
        let normed = self.norm(input);
        let attention_input = if self.recipe.residual == Residual::OwnNorms { self.norm(input) } else { normed };
        let mixed = self.mix(layer, attention_input);
        let mut residual = input;
        let mut feed_forward_input = normed;
        if selects {
            feed_forward_input = self.select_outputs(normed, self.model.hidden_size);
            self.rows = self.shape.outputs;
        }
        let output = self.feed_forward(layer, feed_forward_input);
        let mut mixed = mixed;
        if selects {
            mixed = self.select_outputs(mixed, self.model.hidden_size);
            residual = self.select_outputs(residual, self.model.hidden_size);
        }
        let sum = self.in_place(&[output, mixed]);
        self.in_place(&[sum, residual])
    }

    /// The mixer of a layer.
    fn mix(&mut self, layer: &Layer, input: Tensor) -> Tensor {
        match &layer.mixer {
            Mixer::Attention(attention) => self.attention(layer, attention, input),
            Mixer::None | Mixer::Recurrent(_) | Mixer::Both(..) => input,
        }
    }

    /// Final norm and logits; both are handed to the caller, so both are kept.
    fn output(&mut self, stream: Tensor) {
        let mut stream = stream;
        if self.recipe.output_rows == OutputRows::BeforeNorm {
            self.tape.keep(stream);
            stream = self.select_outputs(stream, self.model.hidden_size);
            self.rows = self.shape.outputs;
        }
        let mut normed = self.norm(stream);
        self.tape.keep(normed);
        if self.recipe.output_rows == OutputRows::AfterNorm {
            normed = self.select_outputs(normed, self.model.hidden_size);
            self.tape.keep(normed);
            self.rows = self.shape.outputs;
        }
        let logits = self.fresh(self.model.vocabulary_size * self.rows * WORD, &[normed]);
        self.tape.keep(logits);
    }

    /// Bytes of the residual stream.
    pub(super) const fn stream_bytes(&self) -> u64 {
        self.model.hidden_size * self.rows * WORD
    }

    /// A norm of a whole tensor.
    pub(super) fn norm(&mut self, input: Tensor) -> Tensor {
        let bytes = self.tape.bytes(input);
        self.norm_of(bytes, input)
    }

    /// A norm of (a view of) a tensor that gives `bytes`: `RMSNorm` runs in place, `LayerNorm` does not.
    pub(super) fn norm_of(&mut self, bytes: u64, input: Tensor) -> Tensor {
        let kind = if self.recipe.layer_norm { Kind::Fresh } else { Kind::InPlace };
        self.tape.push(kind, bytes, &[input])
    }

    /// The rows whose logits are wanted, of a mixer's output and of the residual stream.
    fn select_both(&mut self, mixed: Tensor, residual: Tensor) -> (Tensor, Tensor) {
        let mixed = self.select_outputs(mixed, self.model.hidden_size);
        let residual = self.select_outputs(residual, self.model.hidden_size);
        self.rows = self.shape.outputs;
        (mixed, residual)
    }

    fn select_outputs(&mut self, tensor: Tensor, width: u64) -> Tensor {
        let wanted = self.output_rows();
        self.fresh(width * self.shape.outputs * WORD, &[tensor, wanted])
    }

    /// An operation with a result of its own.
    pub(super) fn fresh(&mut self, bytes: u64, sources: &[Tensor]) -> Tensor {
        self.tape.push(Kind::Fresh, bytes, sources)
    }

    /// A matrix product that gives `width` elements per row.
    pub(super) fn project(&mut self, width: u64, input: Tensor) -> Tensor {
        self.fresh(width * self.rows * WORD, &[input])
    }

    /// An elementwise operation as large as its first source, over whose memory it may write.
    pub(super) fn in_place(&mut self, sources: &[Tensor]) -> Tensor {
        let bytes = self.tape.bytes(sources[0]);
        self.tape.push(Kind::InPlace, bytes, sources)
    }

    /// A write into memory that the graph does not own.
    pub(super) fn store(&mut self, sources: &[Tensor]) {
        self.tape.push(Kind::Store, 0, sources);
    }

    /// A new input of the graph.
    pub(super) fn input(&mut self, bytes: u64) -> Tensor {
        self.tape.push(Kind::Input, bytes, &[])
    }
}
