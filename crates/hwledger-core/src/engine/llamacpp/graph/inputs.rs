//! Inputs of a graph, made when first read: the allocator places them in that order.

use super::builder::{Builder, WORD};
use super::tape::Tensor;
use crate::model::Layer;

/// The inputs made so far.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    positions: Option<Tensor>,
    output_rows: Option<Tensor>,
    state_rows: Option<Tensor>,
    decays: Option<[Tensor; 4]>,
    index_rotation: Option<Tensor>,
    index_cells: Option<Tensor>,
    index_mask: Option<Tensor>,
    distances: Option<Tensor>,
    encoded: Option<Tensor>,
    encoded_mask: Option<Tensor>,
    full: CacheInputs,
    window: CacheInputs,
}

/// Inputs that belong to one cache.
#[derive(Debug, Default)]
struct CacheInputs {
    key_cells: Option<Tensor>,
    value_cells: Option<Tensor>,
    mask: Option<Tensor>,
    key_rotation: Option<Tensor>,
    value_rotation: Option<Tensor>,
}

/// Which of a context's caches a layer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    /// The full one.
    Full,
    /// The windowed one.
    Window,
}

impl Builder<'_> {
    /// Positions of the tokens.
    pub(super) fn positions(&mut self) -> Tensor {
        if let Some(positions) = self.inputs.positions {
            return positions;
        }
        let positions = self.input(self.shape.tokens * self.recipe.position_width * WORD);
        *self.inputs.positions.insert(positions)
    }

    /// Which rows have their logits computed.
    pub(super) fn output_rows(&mut self) -> Tensor {
        if let Some(rows) = self.inputs.output_rows {
            return rows;
        }
        let rows = self.input(self.shape.outputs * WORD);
        *self.inputs.output_rows.insert(rows)
    }

    /// The rotation of index keys and queries.
    pub(super) fn index_rotation(&mut self, width: u64) -> Tensor {
        if let Some(rotation) = self.inputs.index_rotation {
            return rotation;
        }
        let rotation = self.input(width * width * WORD);
        *self.inputs.index_rotation.insert(rotation)
    }

    /// Cells that the batch's index keys go to.
    pub(super) fn index_cells(&mut self) -> Tensor {
        if let Some(cells) = self.inputs.index_cells {
            return cells;
        }
        let cells = self.input(self.shape.tokens * 8);
        *self.inputs.index_cells.insert(cells)
    }

    /// The mask of the index, of 16 bits always: its operation is fused.
    pub(super) fn index_mask(&mut self) -> Tensor {
        if let Some(mask) = self.inputs.index_mask {
            return mask;
        }
        let mask = self.input(self.shape.cells * self.shape.tokens * 2);
        *self.inputs.index_mask.insert(mask)
    }

    /// The bucket of the distance between each token and each of `others` (T5).
    pub(super) fn distances(&mut self, others: u64) -> Tensor {
        if let Some(distances) = self.inputs.distances {
            return distances;
        }
        let distances = self.input(others * self.shape.tokens * WORD);
        *self.inputs.distances.insert(distances)
    }

    /// What an encoder handed over.
    pub(super) fn encoded(&mut self) -> Tensor {
        if let Some(encoded) = self.inputs.encoded {
            return encoded;
        }
        let encoded = self.input(self.model.hidden_size * self.shape.encoder_tokens * WORD);
        *self.inputs.encoded.insert(encoded)
    }

    /// The mask over what an encoder handed over.
    pub(super) fn encoded_mask(&mut self) -> Tensor {
        if let Some(mask) = self.inputs.encoded_mask {
            return mask;
        }
        let element = if self.shape.flash_attention { 2 } else { WORD };
        let mask = self.input(self.shape.encoder_tokens * self.shape.tokens * element);
        *self.inputs.encoded_mask.insert(mask)
    }

    /// Decays of linear attention: over time, over the square of the batch, over a block, over keys.
    pub(super) fn decay_inputs(&mut self, over_time: u64, over_square: u64, over_block: u64) -> [Tensor; 4] {
        if let Some(decays) = self.inputs.decays {
            return decays;
        }
        let decays = [over_time, over_square, over_block, over_time].map(|bytes| self.input(bytes));
        *self.inputs.decays.insert(decays)
    }

    /// Which rows of recurrent state belong to the batch's sequences.
    pub(super) fn state_rows(&mut self) -> Tensor {
        if let Some(rows) = self.inputs.state_rows {
            return rows;
        }
        let rows = self.input(self.shape.sequences * WORD);
        *self.inputs.state_rows.insert(rows)
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

    /// The attention mask of a cache: of 16 bits for fused attention, else of 32.
    pub(super) fn mask(&mut self, cache: Cache) -> Tensor {
        if let Some(mask) = self.cache_inputs(cache).mask {
            return mask;
        }
        // One row of the mask per token, as long as the cells of the token's stream.
        let elements = self.cells(cache) * self.shape.tokens;
        let is_cast = self.shape.build.casts_mask;
        let element = if self.shape.flash_attention && !is_cast { 2 } else { WORD };
        let mut mask = self.input(elements * element);
        if self.shape.flash_attention && is_cast {
            mask = self.fresh(elements * 2, &[mask]);
        }
        *self.cache_inputs(cache).mask.insert(mask)
    }

    /// The mask of a batch that attends to itself alone.
    pub(super) fn batch_mask(&mut self, cache: Cache) -> Tensor {
        if let Some(mask) = self.cache_inputs(cache).mask {
            return mask;
        }
        let element = if self.shape.flash_attention { 2 } else { WORD };
        let mask = self.input(self.shape.tokens * self.shape.tokens * element);
        *self.cache_inputs(cache).mask.insert(mask)
    }

    /// The matrix that spreads outliers of keys before they are quantised.
    pub(super) fn key_rotation(&mut self, cache: Cache, width: u64) -> Tensor {
        if let Some(rotation) = self.cache_inputs(cache).key_rotation {
            return rotation;
        }
        let rotation = self.input(width * width * WORD);
        *self.cache_inputs(cache).key_rotation.insert(rotation)
    }

    /// The same for values.
    pub(super) fn value_rotation(&mut self, cache: Cache, width: u64) -> Tensor {
        if let Some(rotation) = self.cache_inputs(cache).value_rotation {
            return rotation;
        }
        let rotation = self.input(width * width * WORD);
        *self.cache_inputs(cache).value_rotation.insert(rotation)
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
    pub(super) fn widest_value(&self) -> u64 {
        let of =
            |layer: &Layer| layer.mixer.attention().map_or(0, |attention| attention.kv_heads * attention.value_dim);
        self.model.decoder.kinds.iter().map(of).max().unwrap_or(0)
    }
}
