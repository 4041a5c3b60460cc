//! The operations of multi-head latent attention (DeepSeek-V2, section 2.1).

use super::attention::has;
use super::builder::{Builder, Mixed, WORD};
use super::inputs::Cache;
use super::tape::{Kind, Tensor};
use crate::model::{Attention, Latent, Layer, Role};

impl Builder<'_> {
    /// Attention over latents: absorbed into the queries where the file splits the up-projection
    /// in two, else over decompressed heads.
    pub(super) fn latent_attention(&mut self, layer: &Layer, attention: &Attention, input: Tensor) -> Mixed {
        let Some(latent) = attention.latent else { return self.attention(layer, attention, input) };
        let query = self.latent_query(attention, latent, input);
        let keeps_heads = matches!(self.model.architecture.as_str(), "minicpm3" | "plm");
        if keeps_heads || has(layer, Role::LatentUp) && !has(layer, Role::LatentKeyUp) && self.is_file() {
            self.decompressed(attention, latent, query, input)
        } else {
            self.absorbed(attention, latent, query, input)
        }
    }

    /// Whether the description names tensors as files do: configurations know nothing of the split.
    fn is_file(&self) -> bool {
        self.model.file_bytes.is_some()
    }

    fn latent_query(&mut self, attention: &Attention, latent: Latent, input: Tensor) -> Tensor {
        let width = attention.heads * (latent.nope_dim + latent.rope_dim);
        match latent.query_rank {
            Some(rank) => {
                let down = self.project(rank, input);
                self.project(width, down)
            }
            None => self.project(width, input),
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
    fn absorbed(&mut self, attention: &Attention, latent: Latent, query: Tensor, input: Tensor) -> Mixed {
        let heads = attention.heads;
        let latent_bytes = latent.kv_rank * heads * self.rows * WORD;
        let positions = self.positions();
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
            let mask = self.mask(Cache::Full);
            let mixed = self.fresh(latent_bytes, &[query.view(), mask]);
            let values = self.fresh(value_bytes, &[mixed.view()]);
            return Mixed::Pending(self.fresh(value_bytes, &[values.view()]).view());
        }
        let cells = self.cells(Cache::Full);
        let transposed = self.shape.key_type.row_bytes(latent.kv_rank) * cells * self.shape.streams;
        let transposed = self.fresh(transposed, &[]);
        let scores = self.fresh(cells * heads * self.rows * WORD, &[query.view()]);
        let mask = self.mask(Cache::Full);
        let weights = self.in_place(&[scores, mask]);
        let mixed = self.fresh(latent_bytes, &[transposed, weights]);
        let values = self.fresh(value_bytes, &[mixed]);
        Mixed::Pending(self.fresh(value_bytes, &[values.view()]))
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
