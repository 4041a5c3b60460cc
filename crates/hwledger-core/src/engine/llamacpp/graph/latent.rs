//! The operations of multi-head latent attention (DeepSeek-V2, section 2.1).

use super::attention::has;
use super::builder::{Builder, Mixed, WORD};
use super::inputs::Cache;
use super::tape::{Kind, Tensor};
use crate::ElementType;
use crate::model::{Attention, Indexer, Latent, Layer, Role};

/// Tokens of a step from which on the fork decompresses cached latents.
const DECOMPRESSED_TOKENS_MIN: u64 = 128;

impl Builder<'_> {
    /// Attention over latents: absorbed into the queries where the file splits the up-projection
    /// in two, else over decompressed heads.
    pub(super) fn latent_attention(&mut self, layer: &Layer, attention: &Attention, input: Tensor) -> Mixed {
        let Some(latent) = attention.latent else { return self.attention(layer, attention, input) };
        if let Some(indexer) = attention.indexer.filter(|indexer| indexer.is_owner) {
            self.index_keys(indexer, input);
        }
        let (query, low_rank) = self.latent_query(attention, latent, input);
        let keeps_heads = matches!(self.model.architecture.as_str(), "minicpm3" | "plm");
        if keeps_heads || has(layer, Role::LatentUp) && !has(layer, Role::LatentKeyUp) && self.is_file() {
            self.decompressed(attention, latent, query, input)
        } else {
            self.absorbed(attention, latent, [query, low_rank], input)
        }
    }

    /// Whether the description names tensors as files do: configurations know nothing of the split.
    fn is_file(&self) -> bool {
        self.model.file_bytes.is_some()
    }

    /// Queries, and the low-rank form from which an index makes its own.
    fn latent_query(&mut self, attention: &Attention, latent: Latent, input: Tensor) -> (Tensor, Tensor) {
        let width = attention.heads * (latent.nope_dim + latent.rope_dim);
        match latent.query_rank {
            Some(rank) => {
                let down = self.project(rank, input);
                (self.project(width, down), down)
            }
            None => (self.project(width, input), input),
        }
    }

    /// The latent, normed, and its rotary key.
    fn compressed(&mut self, latent: Latent, input: Tensor) -> (Tensor, Tensor) {
        let both = self.project(latent.kv_rank + latent.rope_dim, input);
        let bytes = latent.kv_rank * self.rows * WORD;
        let normed = self.tape.push(Kind::InPlace, bytes, &[both.view()]);
        (both, normed)
    }

    /// Queries are mapped into the latent space; one latent key serves all heads.
    fn absorbed(&mut self, attention: &Attention, latent: Latent, [query, index]: [Tensor; 2], input: Tensor) -> Mixed {
        let heads = attention.heads;
        let latent_bytes = latent.kv_rank * heads * self.rows * WORD;
        let positions = self.positions();
        let decompresses = self.shape.build.decompresses_latents && self.shape.tokens >= DECOMPRESSED_TOKENS_MIN;
        if self.shape.flash_attention && decompresses {
            // The fork writes the latent before it looks at the queries again.
            return self.decompressed_cache(attention, latent, query, input);
        }
        let mapped = self.fresh(latent_bytes, &[query.view()]);
        let rotated = self.fresh(latent.rope_dim * heads * self.rows * WORD, &[query.view(), positions]);
        let entry = latent.kv_rank + latent.rope_dim;
        let query = self.fresh(entry * heads * self.rows * WORD, &[mapped.view(), rotated]);
        let (both, normed) = self.compressed(latent, input);
        let rotated = self.project(latent.rope_dim, both.view());
        let key = self.project_two(entry, normed.view(), rotated);
        let cells = self.key_cells(Cache::Full);
        self.store(&[key.view(), cells]);
        let value_bytes = attention.value_dim * heads * self.rows * WORD;
        if self.shape.flash_attention {
            let mask = self.chosen_mask(attention, index, input);
            let mixed = self.fresh(latent_bytes, &[query.view(), mask]);
            let values = self.fresh(value_bytes, &[mixed.view()]);
            return Mixed::Pending(self.fresh(value_bytes, &[values.view()]).view());
        }
        let cells = self.cells(Cache::Full);
        let transposed = self.shape.key_type.row_bytes(latent.kv_rank) * cells * self.shape.streams;
        let transposed = self.fresh(transposed, &[]);
        let score_bytes = cells * self.rows * WORD;
        let parts = self.score_parts(heads, score_bytes);
        let mut chosen = None;
        let mixed = self.by_parts(heads, parts, |builder, part| {
            let scores = builder.fresh(score_bytes * part, &[query.view()]);
            let mask = *chosen.get_or_insert_with(|| builder.chosen_mask(attention, index, input));
            let weights = builder.in_place(&[scores, mask]);
            builder.fresh(latent.kv_rank * part * builder.rows * WORD, &[transposed, weights])
        });
        let values = self.fresh(value_bytes, &[mixed]);
        Mixed::Pending(self.fresh(value_bytes, &[values.view()]))
    }

    /// What the fork does with a prompt: keys and values of all heads and all cells are computed from
    /// the cached latents at 32 bits, cast to the cache's type, and attended to.
    fn decompressed_cache(&mut self, attention: &Attention, latent: Latent, query: Tensor, input: Tensor) -> Mixed {
        let heads = attention.heads;
        let cells = self.cells(Cache::Full);
        let positions = self.positions();
        let rotated = self.fresh(latent.rope_dim * heads * self.rows * WORD, &[query.view(), positions]);
        let (both, normed) = self.compressed(latent, input);
        let key = self.project(latent.rope_dim, both.view());
        let entry = self.project_two(latent.kv_rank + latent.rope_dim, key.view(), normed);
        let key_cells = self.key_cells(Cache::Full);
        self.store(&[entry, key_cells]);
        let key_dim = latent.nope_dim + latent.rope_dim;
        let query = self.fresh(key_dim * heads * self.rows * WORD, &[rotated.view(), query.view()]);
        // With any card there, keys and values are computed at 16 bits whatever the cache holds.
        let element_type = if self.has_cards() { ElementType::F16 } else { self.shape.key_type };
        let pair = latent.nope_dim + attention.value_dim;
        let parts = self.decompressed_parts(heads, pair * heads * cells * WORD);
        let mut repeated = None;
        let mixed = self.by_parts(heads, parts, |builder, part| {
            let all = builder.fresh(pair * part * cells * WORD, &[]);
            let nope = builder.fresh(element_type.row_bytes(latent.nope_dim) * part * cells, &[all.view()]);
            let value = builder.fresh(element_type.row_bytes(attention.value_dim) * part * cells, &[all.view()]);
            // The rotary key is repeated once, for all parts.
            let rotary = *repeated
                .get_or_insert_with(|| builder.fresh(element_type.row_bytes(latent.rope_dim) * part * cells, &[]));
            let key = builder.fresh(element_type.row_bytes(key_dim) * part * cells, &[rotary, nope]);
            let mask = builder.mask(Cache::Full);
            let bytes = part * attention.value_dim * builder.rows * WORD;
            builder.fresh(bytes, &[query.view(), key, value, mask])
        });
        Mixed::Pending(mixed.view())
    }

    /// In how many parts keys and values are computed: whole fractions of the heads, the largest within the bound.
    ///
    /// **Source**: `build_deepseek2_layer_attention` of the fork (2026). Before January 2026 heads were only
    /// ever halved, which differs where their number is no power of two.
    pub(super) fn decompressed_parts(&self, heads: u64, bytes: u64) -> u64 {
        let Some((mebibytes, bound)) = self.beyond_bound(heads, bytes) else { return 1 };
        let fits = |parts: &u64| heads.is_multiple_of(*parts) && mebibytes / parts <= bound;
        (2..heads).find(fits).unwrap_or(heads)
    }

    /// The index keys of the batch, written to their own cache (deepseek32.cpp).
    fn index_keys(&mut self, indexer: Indexer, input: Tensor) {
        let bytes = indexer.head_dim * self.rows * WORD;
        let rotation = self.index_rotation(indexer.head_dim);
        let key = self.fresh(bytes, &[input]);
        let normed = self.fresh(bytes, &[key]);
        let positions = self.positions();
        let rotated = self.fresh(bytes, &[normed.view(), positions]);
        let spread = self.fresh(bytes, &[rotation, rotated]);
        let cells = self.index_cells();
        self.store(&[spread.view(), cells]);
    }

    /// The mask of the tokens that the index picks; the plain one where a layer has no index.
    fn chosen_mask(&mut self, attention: &Attention, low_rank: Tensor, input: Tensor) -> Tensor {
        let Some(indexer) = attention.indexer.filter(|indexer| indexer.is_owner) else {
            return self.mask(Cache::Full);
        };
        let chosen = indexer.top_k.min(self.cells(Cache::Full));
        // The zeros that unmask are a tensor of each layer's own, placed with the inputs.
        let zeros = self.input(chosen * self.rows * WORD);
        let zeros = self.in_place(&[zeros]);
        let width = indexer.heads * indexer.head_dim;
        let rotation = self.index_rotation(indexer.head_dim);
        let query = self.project(width, low_rank);
        let positions = self.positions();
        let query = self.fresh(width * self.rows * WORD, &[query.view(), positions]);
        let query = self.fresh(width * self.rows * WORD, &[rotation, query]);
        let weights = self.project(indexer.heads, input);
        let weights = self.project(indexer.heads, weights.view());
        let scores = self.cells(Cache::Full) * self.rows * WORD;
        let index_mask = self.index_mask();
        let scores = self.fresh(scores, &[query.view(), weights, index_mask]);
        let picked = self.fresh(chosen * self.rows * WORD, &[scores]);
        let picked = self.fresh(chosen * self.rows * WORD, &[picked]);
        let mask = self.mask(Cache::Full);
        let filled = self.in_place(&[mask]);
        self.store(&[zeros, picked.view(), filled.view()]);
        self.tape.push(Kind::InPlace, self.tape.bytes(mask), &[filled.view(), mask])
    }

    fn project_two(&mut self, width: u64, first: Tensor, second: Tensor) -> Tensor {
        self.fresh(width * self.rows * WORD, &[first, second])
    }

    /// Keys and values of all heads are computed from the latent and cached.
    fn decompressed(&mut self, attention: &Attention, latent: Latent, query: Tensor, input: Tensor) -> Mixed {
        let heads = attention.heads;
        let key_dim = latent.nope_dim + latent.rope_dim;
        let positions = self.positions();
        let query = self.fresh(key_dim * heads * self.rows * WORD, &[query.view(), positions]);
        let (both, normed) = self.compressed(latent, input);
        let up = self.project(heads * (latent.nope_dim + attention.value_dim), normed);
        let value = self.project(heads * attention.value_dim, up.view());
        let rotated = self.project(latent.rope_dim, both.view());
        let repeated = self.project(latent.rope_dim * heads, rotated);
        let key = self.project_two(key_dim * heads, up.view(), repeated);
        let as_heads = Attention { key_dim, kv_heads: heads, latent: None, ..attention.clone() };
        self.attend_to_stored(&as_heads, query, key, value)
    }
}
