//! A model as a tape of operations.

use super::recipe::Recipe;
use super::shape::{GraphPlacement, GraphShape};
use super::tape::{Backend, Kind, Tape, Tensor};
use crate::ModelSpec;
use crate::model::Layer;

/// Bytes of a 32-bit float or integer.
pub(super) const WORD: u64 = 4;

/// Inputs of a graph, made when first read: the allocator places them in that order.
#[derive(Debug, Default)]
struct Inputs {
    positions: Option<Tensor>,
    output_rows: Option<Tensor>,
    full: CacheInputs,
    window: CacheInputs,
}

/// Inputs that belong to one cache.
#[derive(Debug, Default)]
struct CacheInputs {
    key_cells: Option<Tensor>,
    value_cells: Option<Tensor>,
    mask: Option<Tensor>,
}

/// Which of a context's caches a layer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    /// The full one.
    Full,
    /// The windowed one.
    Window,
}

/// Builds the tape of one graph.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) tape: Tape,
    pub(super) model: &'a ModelSpec,
    pub(super) shape: &'a GraphShape,
    pub(super) recipe: Recipe,
    placement: &'a GraphPlacement,
    inputs: Inputs,
    /// Rows of the residual stream: all tokens, and in the last layer only the outputs.
    pub(super) rows: u64,
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
            placement,
            inputs: Inputs::default(),
            rows: shape.tokens,
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
        (0..self.model.decoder.len()).collect()
    }

    /// Token embedding: a lookup, beside the unused input for embeddings from elsewhere.
    fn embed(&mut self) -> Tensor {
        let bytes = self.stream_bytes();
        let tokens = self.input(self.shape.tokens * WORD);
        // Nothing reads it in a batch of tokens, so nothing frees it either.
        self.input(bytes);
        let stream = self.fresh(bytes, &[tokens]);
        if self.recipe.scales_embedding { self.in_place(&[stream]) } else { stream }
    }

    fn layer(&mut self, layer: &Layer, input: Tensor, is_last: bool) -> Tensor {
        let normed = self.norm(input);
        let mut attended = match layer.mixer.attention() {
            Some(attention) => self.attention(layer, attention, normed),
            None => normed,
        };
        let mut residual = input;
        if is_last {
            attended = self.select_outputs(attended, self.model.hidden_size);
            residual = self.select_outputs(residual, self.model.hidden_size);
            self.rows = self.shape.outputs;
        }
        let middle = self.in_place(&[attended, residual]);
        let normed = self.norm(middle);
        let output = self.feed_forward(layer, normed);
        self.in_place(&[output, middle])
    }

    /// Final norm and logits; both are handed to the caller, so both are kept.
    fn output(&mut self, stream: Tensor) {
        let normed = self.norm(stream);
        self.tape.keep(normed);
        let logits = self.fresh(self.model.vocabulary_size * self.rows * WORD, &[normed]);
        self.tape.keep(logits);
    }

    /// Bytes of the residual stream.
    pub(super) const fn stream_bytes(&self) -> u64 {
        self.model.hidden_size * self.rows * WORD
    }

    /// A norm with its weight (and bias, which runs in place like the weight).
    pub(super) fn norm(&mut self, input: Tensor) -> Tensor {
        let bytes = self.tape.bytes(input);
        let kind = if self.recipe.layer_norm { Kind::Fresh } else { Kind::InPlace };
        let normed = self.tape.push(kind, bytes, &[input]);
        self.in_place(&[normed])
    }

    /// Only the rows whose logits are asked for.
    fn select_outputs(&mut self, tensor: Tensor, width: u64) -> Tensor {
        let rows = match self.inputs.output_rows {
            Some(rows) => rows,
            None => {
                let rows = self.input(self.shape.outputs * WORD);
                *self.inputs.output_rows.insert(rows)
            }
        };
        self.fresh(width * self.shape.outputs * WORD, &[tensor, rows])
    }

    /// An operation with a result of its own.
    pub(super) fn fresh(&mut self, bytes: u64, sources: &[Tensor]) -> Tensor {
        self.tape.push(Kind::Fresh, bytes, sources)
    }

    /// A matrix product that gives `width` elements per row.
    pub(super) fn project(&mut self, width: u64, input: Tensor) -> Tensor {
        self.fresh(width * self.rows * WORD, &[input])
    }

    /// An elementwise operation on its first source, over whose memory it may write.
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

    /// Positions of the tokens.
    pub(super) fn positions(&mut self) -> Tensor {
        if let Some(positions) = self.inputs.positions {
            return positions;
        }
        let positions = self.input(self.shape.tokens * WORD);
        *self.inputs.positions.insert(positions)
    }

    /// Cells that the batch's keys go to.
    pub(super) fn key_cells(&mut self, cache: Cache) -> Tensor {
        if let Some(cells) = self.cache_inputs(cache).key_cells {
            return cells;
        }
        let cells = self.input(self.shape.tokens * 8);
        *self.cache_inputs(cache).key_cells.insert(cells)
    }

    /// Cells that the batch's values go to; element by element where values are stored transposed.
    pub(super) fn value_cells(&mut self, cache: Cache) -> Tensor {
        if let Some(cells) = self.cache_inputs(cache).value_cells {
            return cells;
        }
        let per_token = if self.shape.flash_attention { 1 } else { self.widest_value() };
        let cells = self.input(self.shape.tokens * per_token * 8);
        *self.cache_inputs(cache).value_cells.insert(cells)
    }

    /// The attention mask of a cache: a 16-bit one for fused attention.
    pub(super) fn mask(&mut self, cache: Cache) -> Tensor {
        if let Some(mask) = self.cache_inputs(cache).mask {
            return mask;
        }
        let element = if self.shape.flash_attention { 2 } else { WORD };
        let mask = self.input(self.cells(cache) * self.shape.tokens * element);
        *self.cache_inputs(cache).mask.insert(mask)
    }

    /// Cells of a cache, per stream.
    pub(super) fn cells(&self, cache: Cache) -> u64 {
        match cache {
            Cache::Full => self.shape.cells,
            Cache::Window => self.shape.window_cells.unwrap_or(self.shape.cells),
        }
    }

    fn cache_inputs(&mut self, cache: Cache) -> &mut CacheInputs {
        match cache {
            Cache::Full => &mut self.inputs.full,
            Cache::Window => &mut self.inputs.window,
        }
    }

    /// The widest row of values of any layer: what transposed value caches are padded to.
    fn widest_value(&self) -> u64 {
        let of = |layer: &Layer| layer.mixer.attention().map_or(0, |attention| attention.kv_heads * attention.value_dim);
        self.model.decoder.kinds.iter().map(of).max().unwrap_or(0)
    }
}
