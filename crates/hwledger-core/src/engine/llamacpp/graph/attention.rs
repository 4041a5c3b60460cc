//! The operations of attention.

use super::builder::{Builder, Cache, WORD};
use super::recipe::HeadNorm;
use super::tape::Tensor;
use crate::model::{Attention, Layer, Role, Weight};

impl Builder<'_> {
    /// Attention over the cache, from the normed residual stream to the projected output.
    pub(super) fn attention(&mut self, layer: &Layer, attention: &Attention, input: Tensor) -> Tensor {
        let cache = match (attention.span.window(), self.shape.window_cells) {
            (Some(_), Some(_)) => Cache::Window,
            _ => Cache::Full,
        };
        let fused = has(layer, Role::QueryKeyValue).then(|| {
            let width = attention.heads * attention.key_dim + attention.kv_heads * (attention.key_dim + attention.value_dim);
            let product = self.project(width, input);
            self.bias(layer, Role::QueryKeyValue, product)
        });
        let query_width = attention.heads * attention.key_dim;
        let key_width = attention.kv_heads * attention.key_dim;
        let value_width = attention.kv_heads * attention.value_dim;
        let query = self.head_projection(layer, Role::Query, fused, input, query_width);
        // With one cache values come before keys, with two after.
        let (key, value) = if self.shape.window_cells.is_some() {
            let key = self.head_projection(layer, Role::Key, fused, input, key_width);
            (key, self.value_projection(layer, fused, input, value_width))
        } else {
            let value = self.value_projection(layer, fused, input, value_width);
            (self.head_projection(layer, Role::Key, fused, input, key_width), value)
        };
        self.store_keys_values(cache, key, value, value_width, fused.is_some());
        let mixed = self.scores_times_values(attention, cache, query);
        let output = self.project(self.model.hidden_size, mixed.view());
        self.bias(layer, Role::AttentionOutput, output)
    }

    /// Queries or keys: projection, bias, norm and rotation in the architecture's order.
    fn head_projection(&mut self, layer: &Layer, role: Role, fused: Option<Tensor>, input: Tensor, width: u64) -> Tensor {
        let mut heads = match fused {
            Some(product) => product.view(),
            None => {
                let product = self.project(width, input);
                let product = self.bias(layer, role, product);
                if self.recipe.head_norm == HeadNorm::WholeProjection { self.norm(product).view() } else { product.view() }
            }
        };
        let bytes = width * self.rows * WORD;
        if self.recipe.head_norm == HeadNorm::PerHead {
            heads = self.head_norm(bytes, heads);
        }
        if self.recipe.rotates {
            let positions = self.positions();
            heads = self.tape.push(super::tape::Kind::InPlace, bytes, &[heads, positions]);
        }
        if self.recipe.head_norm == HeadNorm::AfterRotation {
            heads = self.head_norm(bytes, heads);
        }
        heads
    }

    fn head_norm(&mut self, bytes: u64, heads: Tensor) -> Tensor {
        let kind = if self.recipe.layer_norm { super::tape::Kind::Fresh } else { super::tape::Kind::InPlace };
        let normed = self.tape.push(kind, bytes, &[heads]);
        self.in_place(&[normed])
    }

    fn value_projection(&mut self, layer: &Layer, fused: Option<Tensor>, input: Tensor, width: u64) -> Tensor {
        match fused {
            Some(product) => product.view(),
            None => {
                let product = self.project(width, input);
                self.bias(layer, Role::Value, product).view()
            }
        }
    }

    /// Writes keys and values into the cache. Values that are stored transposed must lie together first.
    fn store_keys_values(&mut self, cache: Cache, key: Tensor, value: Tensor, value_width: u64, is_strided: bool) {
        let cells = self.key_cells(cache);
        self.store(&[key.view(), cells]);
        let value = if is_strided && !self.shape.flash_attention {
            self.fresh(value_width * self.rows * WORD, &[value])
        } else {
            value
        };
        let cells = self.value_cells(cache);
        self.store(&[value.view(), cells]);
    }

    /// softmax(q k) v: one fused operation, or scores for every head and cell.
    fn scores_times_values(&mut self, attention: &Attention, cache: Cache, query: Tensor) -> Tensor {
        let bytes = attention.heads * attention.value_dim * self.rows * WORD;
        if self.shape.flash_attention {
            let mask = self.mask(cache);
            return self.fresh(bytes, &[query.view(), mask]);
        }
        let scores = self.fresh(self.cells(cache) * self.rows * attention.heads * WORD, &[query.view()]);
        let mask = self.mask(cache);
        let weights = self.in_place(&[scores, mask]);
        let mixed = self.fresh(bytes, &[weights]);
        self.fresh(bytes, &[mixed.view()])
    }

    /// Adds a projection's bias where the layer has one.
    pub(super) fn bias(&mut self, layer: &Layer, role: Role, product: Tensor) -> Tensor {
        if has_bias(layer, role) { self.in_place(&[product]) } else { product }
    }
}

/// Whether a layer has a matrix of this role.
pub(super) fn has(layer: &Layer, role: Role) -> bool {
    layer.weights.iter().any(|weight| weight.role == role && !is_bias(weight))
}

/// Whether a layer has a bias of this role.
pub(super) fn has_bias(layer: &Layer, role: Role) -> bool {
    layer.weights.iter().any(|weight| weight.role == role && is_bias(weight))
}

const fn is_bias(weight: &Weight) -> bool {
    weight.columns == 1
}
