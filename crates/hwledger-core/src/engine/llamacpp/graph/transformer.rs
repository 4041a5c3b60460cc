//! The decoder of an encoder-decoder (t5.cpp): attention biased by distance, and cross-attention.

use super::builder::{Builder, WORD};
use super::inputs::Cache;
use super::tape::Tensor;
use crate::model::{Attention, Layer};

impl Builder<'_> {
    /// Self-attention, cross-attention, feed-forward.
    pub(super) fn cross_attending(
        &mut self,
        layer: &Layer,
        attention: &Attention,
        input: Tensor,
        selects: bool,
    ) -> Tensor {
        let normed = self.norm(input);
        let mixed = self.biased_attention(attention, normed);
        let mixed = self.project(self.model.hidden_size, mixed);
        let middle = self.sum(mixed, input, false);
        let normed = self.norm(middle);
        let mixed = self.cross_attention(attention, normed);
        let mut mixed = self.project(self.model.hidden_size, mixed);
        let mut residual = middle;
        if selects {
            mixed = self.select_outputs(mixed);
            residual = self.select_outputs(residual);
            self.rows = self.shape.outputs;
        }
        let middle = self.sum(mixed, residual, false);
        let normed = self.norm(middle);
        let output = self.feed_forward(layer, normed);
        self.sum(output, middle, false)
    }

    /// Attention over the cache with a learned bias for every distance, which no fused operation takes.
    fn biased_attention(&mut self, attention: &Attention, input: Tensor) -> Tensor {
        let key_width = attention.kv_heads * attention.key_dim;
        let value_width = attention.kv_heads * attention.value_dim;
        let query = self.project(attention.heads * attention.key_dim, input);
        let value = self.project(value_width, input);
        let key = self.project(key_width, input);
        let cells = self.key_cells(Cache::Full);
        self.store(&[key.view(), cells]);
        let cells = self.value_cells(Cache::Full);
        self.store(&[value.view(), cells]);
        let cells = self.cells(Cache::Full);
        let transposed = self.shape.flash_attention.then(|| {
            let bytes = self.shape.value_type.row_bytes(value_width) * cells * self.shape.streams;
            self.fresh(bytes, &[])
        });
        let bytes = cells * self.rows * attention.heads * WORD;
        let scores = self.fresh(bytes, &[query.view()]);
        let weights = self.biased(scores, bytes, cells);
        let mask = self.mask(Cache::Full);
        let weights = self.in_place(&[weights, mask]);
        let bytes = attention.heads * attention.value_dim * self.rows * WORD;
        let mixed = match transposed {
            Some(transposed) => self.fresh(bytes, &[transposed, weights]),
            None => self.fresh(bytes, &[weights]),
        };
        self.fresh(bytes, &[mixed.view()])
    }

    /// Scores plus the bias of each distance.
    pub(super) fn biased(&mut self, scores: Tensor, bytes: u64, others: u64) -> Tensor {
        let distances = self.distances(others);
        let looked_up = self.fresh(bytes, &[distances.view()]);
        let bias = self.fresh(bytes, &[looked_up.view()]);
        self.in_place(&[scores, bias])
    }

    /// Attention to what the encoder handed over; its keys and values are computed in every batch.
    fn cross_attention(&mut self, attention: &Attention, input: Tensor) -> Tensor {
        let others = self.shape.encoder_tokens;
        let bytes = attention.heads * attention.value_dim * self.rows * WORD;
        let encoded = self.encoded();
        let query = self.project(attention.heads * attention.key_dim, input);
        let key_elements = attention.kv_heads * attention.key_dim * others;
        let value_elements = attention.kv_heads * attention.value_dim * others;
        let key = self.fresh(key_elements * WORD, &[encoded]);
        let value = self.fresh(value_elements * WORD, &[encoded]);
        if self.shape.flash_attention {
            let key = self.fresh(key_elements * 2, &[key.view()]);
            let value = self.fresh(value_elements * 2, &[value.view()]);
            let mask = self.encoded_mask();
            return self.fresh(bytes, &[query.view(), key, value, mask]).view();
        }
        let transposed = self.fresh(value_elements * WORD, &[value.view()]);
        let scores = self.fresh(others * self.rows * attention.heads * WORD, &[query.view(), key.view()]);
        let mask = self.encoded_mask();
        let weights = self.in_place(&[scores, mask]);
        let mixed = self.fresh(bytes, &[transposed, weights]);
        self.fresh(bytes, &[mixed.view()])
    }
}
