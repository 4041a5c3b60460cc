//! The operations of attention over heads.

use super::builder::{Builder, Mixed, WORD};
use super::inputs::Cache;
use super::recipe::{AttentionGate, HeadNorm, Rotation};
use super::tape::{Kind, Tensor};
use crate::ElementType;
use crate::model::{Attention, CacheOwner, Layer, Role};

/// More heads, which no model has, are not taken in parts: a graph of that many operations would take longer to lay out
/// than anybody waits.
const HEADS_IN_PARTS_MAX: u64 = 4096;

/// Queries, keys and values of one layer, before they are stored and compared.
#[derive(Clone, Copy, Debug)]
struct Heads {
    query: Tensor,
    key: Tensor,
    value: Tensor,
}

/// What all steps of one layer's attention share.
#[derive(Clone, Copy, Debug)]
struct Plan {
    cache: Cache,
    rotates: bool,
    query_width: u64,
    key_width: u64,
    value_width: u64,
    /// The one product that holds queries, keys and values.
    fused: Option<Tensor>,
    /// Width of the rotation before keys are quantised.
    key_rotation: Option<u64>,
    /// Width of the rotation before values are quantised.
    value_rotation: Option<u64>,
}

impl Builder<'_> {
    /// Attention over the cache, from the normed residual stream to the projected output.
    pub(super) fn attention(&mut self, layer: &Layer, attention: &Attention, input: Tensor) -> Mixed {
        let is_windowed = attention.span.window().is_some();
        let has_window = self.shape.window_cells.is_some() || !self.model.is_causal;
        let cache = if is_windowed && has_window { Cache::Window } else { Cache::Full };
        let mut plan = self.plan(attention, cache);
        plan.rotates = match self.recipe.rotation {
            Rotation::Every => true,
            Rotation::Never => false,
            Rotation::Windowed => is_windowed || self.shape.window_cells.is_none(),
            Rotation::ThreeOfFour => self.index % 4 != 3,
        };
        if has(layer, Role::QueryKeyValue) {
            plan.fused = Some(self.project(plan.query_width + plan.key_width + plan.value_width, input));
        }
        let mut gate_source = None;
        if attention.cache == CacheOwner::Nobody || !self.model.is_causal {
            let query = self.head_projection(&plan, input, plan.query_width);
            let key = self.head_projection(&plan, input, plan.key_width);
            let value = self.value_projection(&plan, input);
            return Mixed::Pending(self.attend_within_batch(attention, &plan, Heads { query, key, value }).view());
        }
        let mixed = if attention.cache == CacheOwner::Own {
            let heads = self.heads(&plan, input, &mut gate_source);
            self.store_heads(&plan, heads);
            self.scores_times_values(attention, cache, heads.query)
        } else {
            let query = self.query_projection(&plan, input, &mut gate_source);
            let query = self.spread_query(&plan, query);
            self.scores_times_values(attention, cache, query)
        };
        let width = attention.heads * attention.value_dim;
        if self.recipe.gate == AttentionGate::None && !self.recipe.inner_norms {
            return self.pending(&plan, attention, mixed);
        }
        let mixed = match self.pending(&plan, attention, mixed) {
            Mixed::Rotated { mixed, rotation, bytes } => self.fresh(bytes, &[rotation, mixed]),
            Mixed::Pending(mixed) | Mixed::Done(mixed) => mixed,
            Mixed::Scan(tail) => self.finish_scan(tail),
        };
        let mixed = match self.recipe.gate {
            AttentionGate::None => mixed,
            AttentionGate::Own => {
                let gate = self.project(width, input);
                self.tape.push(Kind::InPlace, width * self.rows * WORD, &[mixed, gate])
            }
            AttentionGate::PerHead => {
                let gate = self.project(attention.heads, input);
                self.fresh(width * self.rows * WORD, &[mixed.view(), gate.view()]).view()
            }
            AttentionGate::WithQuery => {
                let gate = self.project(width, gate_source.unwrap_or(input));
                self.tape.push(Kind::InPlace, width * self.rows * WORD, &[mixed, gate])
            }
        };
        Mixed::Pending(if self.recipe.inner_norms { self.norm_of(width * self.rows * WORD, mixed) } else { mixed })
    }

    /// What all steps share; only caches of quantised heads of whole multiples of 64 elements are rotated.
    fn plan(&self, attention: &Attention, cache: Cache) -> Plan {
        let rotates = |element_type: ElementType, head: u64| element_type.is_quantised() && head.is_multiple_of(64);
        Plan {
            cache,
            rotates: true,
            query_width: attention.heads * attention.key_dim,
            key_width: attention.kv_heads * attention.key_dim,
            value_width: attention.kv_heads * attention.value_dim,
            fused: None,
            key_rotation: rotates(self.shape.key_type, attention.key_dim).then(|| largest_power(attention.key_dim)),
            value_rotation: rotates(self.shape.value_type, attention.value_dim).then_some(64),
        }
    }

    /// Stores keys and values that are ready, and attends to all that are stored.
    pub(super) fn attend_to_stored(
        &mut self,
        attention: &Attention,
        query: Tensor,
        key: Tensor,
        value: Tensor,
    ) -> Mixed {
        let plan = self.plan(attention, Cache::Full);
        let query = self.spread_query(&plan, query);
        let key = self.spread_key(&plan, key);
        let value = self.spread_value(&plan, value);
        self.store_heads(&plan, Heads { query, key, value });
        let mixed = self.scores_times_values(attention, plan.cache, query);
        self.pending(&plan, attention, mixed)
    }

    /// What is left to do before the last projection.
    fn pending(&mut self, plan: &Plan, attention: &Attention, mixed: Tensor) -> Mixed {
        match plan.value_rotation {
            Some(width) => {
                let rotation = self.value_rotation(plan.cache, width);
                Mixed::Rotated { mixed, rotation, bytes: attention.heads * attention.value_dim * self.rows * WORD }
            }
            None => Mixed::Pending(mixed),
        }
    }

    /// Queries, keys and values; with one cache values are computed before keys, with two after.
    fn heads(&mut self, plan: &Plan, input: Tensor, gate_source: &mut Option<Tensor>) -> Heads {
        // A rotation is the first source of its product, so its input comes before what it rotates.
        if let Some(width) = plan.key_rotation {
            self.key_rotation(plan.cache, width);
        }
        let query = self.query_projection(plan, input, gate_source);
        let query = self.spread_query(plan, query);
        if self.shape.window_cells.is_some() {
            let key = self.head_projection(plan, input, plan.key_width);
            let key = self.spread_key(plan, key);
            if let Some(width) = plan.value_rotation {
                self.value_rotation(plan.cache, width);
            }
            let value = self.value_projection(plan, input);
            let value = self.spread_value(plan, value);
            Heads { query, key, value }
        } else {
            if let Some(width) = plan.value_rotation {
                self.value_rotation(plan.cache, width);
            }
            let value = self.value_projection(plan, input);
            let value = self.spread_value(plan, value);
            let key = self.head_projection(plan, input, plan.key_width);
            let key = self.spread_key(plan, key);
            Heads { query, key, value }
        }
    }

    /// Queries; where their projection is twice as wide, its other half is left as the source of a gate.
    fn query_projection(&mut self, plan: &Plan, input: Tensor, gate_source: &mut Option<Tensor>) -> Tensor {
        if self.recipe.gate != AttentionGate::WithQuery {
            return self.head_projection(plan, input, plan.query_width);
        }
        let both = self.project(2 * plan.query_width, input).view();
        *gate_source = Some(both);
        let query = self.norm_of(plan.query_width * self.rows * WORD, both);
        let positions = self.positions();
        self.in_place(&[query, positions])
    }

    /// Queries or keys: projection, norm and rotation.
    fn head_projection(&mut self, plan: &Plan, input: Tensor, width: u64) -> Tensor {
        let bytes = width * self.rows * WORD;
        let mut heads = if let Some(product) = plan.fused {
            product.view()
        } else {
            let product = self.project(width, input);
            if self.recipe.head_norm == HeadNorm::WholeProjection { self.norm(product).view() } else { product.view() }
        };
        if self.recipe.head_norm == HeadNorm::PerHead {
            heads = self.norm_of(bytes, heads);
        }
        if plan.rotates {
            let positions = self.positions();
            heads = self.tape.push(Kind::InPlace, bytes, &[heads, positions]);
        }
        heads
    }

    fn value_projection(&mut self, plan: &Plan, input: Tensor) -> Tensor {
        let value = match plan.fused {
            Some(product) => product.view(),
            None => self.project(plan.value_width, input).view(),
        };
        if self.recipe.value_norm { self.norm_of(plan.value_width * self.rows * WORD, value) } else { value }
    }

    /// Where keys are quantised, queries and keys are first multiplied by a rotation that spreads
    /// their outliers (`llama_mul_mat_hadamard`).
    fn spread_query(&mut self, plan: &Plan, query: Tensor) -> Tensor {
        let Some(width) = plan.key_rotation else { return query };
        let rotation = self.key_rotation(plan.cache, width);
        let query = self.gathered(plan, query, plan.query_width);
        self.fresh(plan.query_width * self.rows * WORD, &[rotation, query.view()]).view()
    }

    /// Part of a fused product is not contiguous, and is copied before it is multiplied.
    fn gathered(&mut self, plan: &Plan, part: Tensor, width: u64) -> Tensor {
        if plan.fused.is_some_and(|product| product.node() == part.node()) {
            return self.fresh(width * self.rows * WORD, &[part]);
        }
        part
    }

    fn spread_key(&mut self, plan: &Plan, key: Tensor) -> Tensor {
        let Some(width) = plan.key_rotation else { return key };
        let rotation = self.key_rotation(plan.cache, width);
        let key = self.gathered(plan, key, plan.key_width);
        self.fresh(plan.key_width * self.rows * WORD, &[rotation, key.view()]).view()
    }

    /// The same for values; the rotation is undone on what attention gives.
    fn spread_value(&mut self, plan: &Plan, value: Tensor) -> Tensor {
        let Some(width) = plan.value_rotation else { return value };
        let rotation = self.value_rotation(plan.cache, width);
        let value = self.gathered(plan, value, plan.value_width);
        self.fresh(plan.value_width * self.rows * WORD, &[rotation, value.view()]).view()
    }

    /// Writes keys and values into the cache. Values that are stored transposed must lie together first.
    fn store_heads(&mut self, plan: &Plan, heads: Heads) {
        let cells = self.key_cells(plan.cache);
        self.store(&[heads.key.view(), cells]);
        let mut value = heads.value;
        if !self.shape.flash_attention {
            if plan.fused.is_some() {
                value = self.fresh(plan.value_width * self.rows * WORD, &[value]);
            }
            let widest = self.widest_value();
            if plan.value_width < widest {
                value = self.fresh(widest * self.rows * WORD, &[value]);
            }
        }
        let cells = self.value_cells(plan.cache);
        self.store(&[value.view(), cells]);
    }

    /// Attention of the batch to itself alone, without a cache. The fused operation wants keys and
    /// values of 16 bits.
    fn attend_within_batch(&mut self, attention: &Attention, plan: &Plan, heads: Heads) -> Tensor {
        let bytes = attention.heads * attention.value_dim * self.rows * WORD;
        let is_biased = self.model.architecture == "t5encoder";
        if self.shape.flash_attention && !is_biased {
            let key = self.fresh(plan.key_width * self.rows * 2, &[heads.key.view()]);
            let value = self.fresh(plan.value_width * self.rows * 2, &[heads.value.view()]);
            let mask = self.batch_mask(plan.cache);
            return self.fresh(bytes, &[heads.query.view(), key, value, mask]);
        }
        let transposed = self.fresh(plan.value_width * self.rows * WORD, &[heads.value.view()]);
        let score_bytes = self.rows * self.rows * attention.heads * WORD;
        let mut scores = self.fresh(score_bytes, &[heads.query.view(), heads.key.view()]);
        if is_biased {
            scores = self.biased(scores, score_bytes, self.shape.tokens);
        }
        let mask = self.batch_mask(plan.cache);
        let weights = self.in_place(&[scores, mask]);
        let mixed = self.fresh(bytes, &[transposed, weights]);
        self.fresh(bytes, &[mixed.view()])
    }

    /// softmax(q k) v: one fused operation, or scores for every head and cell.
    fn scores_times_values(&mut self, attention: &Attention, cache: Cache, query: Tensor) -> Tensor {
        let bytes = attention.heads * attention.value_dim * self.rows * WORD;
        let cells = self.cells(cache) * self.shape.streams;
        let key = self.cached(self.shape.key_type.row_bytes(attention.kv_heads * attention.key_dim) * cells);
        let value = self.cached(self.shape.value_type.row_bytes(attention.kv_heads * attention.value_dim) * cells);
        if self.shape.flash_attention {
            let mask = self.mask(cache);
            let mixed = match (key, value) {
                (Some(key), Some(value)) => self.fresh(bytes, &[query.view(), key, value, mask]),
                _ => self.fresh(bytes, &[query.view(), mask]),
            };
            return mixed.view();
        }
        let score_bytes = self.cells(cache) * self.rows * WORD;
        // Heads that share keys, and learned sinks, are never taken in parts.
        let is_whole = attention.heads != attention.kv_heads || attention.has_sinks;
        let parts = if is_whole { 1 } else { self.score_parts(attention.heads, score_bytes) };
        let mixed = self.by_parts(attention.heads, parts, |builder, part| {
            let scores = score_bytes * part;
            let scores = match key {
                Some(key) => builder.fresh(scores, &[key, query.view()]),
                None => builder.fresh(scores, &[query.view()]),
            };
            let mask = builder.mask(cache);
            let weights = builder.in_place(&[scores, mask]);
            let bytes = part * attention.value_dim * builder.rows * WORD;
            match value {
                Some(value) => builder.fresh(bytes, &[value, weights]),
                None => builder.fresh(bytes, &[weights]),
            }
        });
        self.fresh(bytes, &[mixed.view()])
    }

    /// In how many parts the scores of a layer are computed, so that each is within the bound.
    ///
    /// **Source**: `llm_build_kqv` and `build_deepseek2_layer_attention` of the fork (2026).
    pub(super) fn score_parts(&self, heads: u64, bytes_per_head: u64) -> u64 {
        self.beyond_bound(heads, bytes_per_head * heads)
            .map_or(1, |(mebibytes, bound)| mebibytes.div_ceil(bound).min(heads))
    }

    /// The mebibytes of something of so many heads, and the bound that they are beyond.
    pub(super) fn beyond_bound(&self, heads: u64, bytes: u64) -> Option<(u64, u64)> {
        let mebibytes = bytes >> 20;
        let bound = self.shape.attention_max_batch_mib.filter(|&bound| mebibytes > bound)?;
        (heads <= HEADS_IN_PARTS_MAX).then_some((mebibytes, bound))
    }

    /// Attention of so many heads in so many parts, what each gives being appended to what the parts before gave.
    pub(super) fn by_parts(
        &mut self,
        heads: u64,
        parts: u64,
        mut attend: impl FnMut(&mut Self, u64) -> Tensor,
    ) -> Tensor {
        let part = heads.div_ceil(parts.max(1)).max(1);
        let first = attend(self, part.min(heads));
        let bytes_per_head = self.tape.bytes(first) / part.min(heads).max(1);
        let mut joined = first;
        let mut done = part;
        while done < heads {
            let now = part.min(heads - done);
            let next = attend(self, now);
            done += now;
            joined = self.fresh(bytes_per_head * done, &[joined, next]);
        }
        joined
    }
}

/// The largest power of two that divides a head.
const fn largest_power(head: u64) -> u64 {
    1 << head.trailing_zeros()
}

/// Whether a layer has a matrix of this role.
pub(super) fn has(layer: &Layer, role: Role) -> bool {
    layer.weights.iter().any(|weight| weight.role == role && weight.columns > 1)
}
