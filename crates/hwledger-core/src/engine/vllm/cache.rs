//! vLLM's cache: pages, groups of layers that share a pool, and what one request takes.

use super::super::parallel::Layout;
use super::release::Release;
use crate::ElementType;
use crate::model::{Attention, CacheOwner, Layer, ModelSpec, Recurrent, Span};
use crate::units::round_up;

/// What a layer keeps, as far as the pool tells layers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Full,
    Sliding(u64),
    Chunked(u64),
    State,
}

/// Layers of one kind of cache.
#[derive(Clone, Copy, Debug)]
struct Kind {
    kept: Kept,
    /// Bytes of one token; of the whole state where `kept` says so.
    bytes: u64,
    layers: u64,
}

/// What is needed to lay the cache out.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheRules<'a> {
    pub(super) model: &'a ModelSpec,
    pub(super) layout: Layout,
    pub(super) release: Release,
    pub(super) key: ElementType,
    pub(super) value: ElementType,
    /// Bytes of one activation, which convolution states have.
    pub(super) activation_bytes: u64,
    pub(super) context: u64,
    pub(super) batched_tokens: u64,
    /// Multi-token-prediction layers draft tokens and keep a cache of their own.
    pub(super) has_draft: bool,
}

/// The pool of one pipeline stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    /// Tokens per block.
    pub(super) block: u64,
    /// Bytes of one block over all layers that it serves.
    pub(super) block_bytes: u64,
    /// Groups of layers, each of which takes blocks of its own.
    pub(super) groups: u64,
    /// Blocks that one request of the full context takes.
    pub(super) request_blocks: u64,
    /// Blocks of those that hold recurrent state.
    pub(super) state_blocks: u64,
}

impl Pool {
    /// Blocks that fit into `bytes`.
    pub(super) const fn blocks(&self, bytes: u64) -> u64 {
        match bytes.checked_div(self.block_bytes) {
            Some(blocks) => blocks,
            None => 0,
        }
    }

    /// Tokens that the start-up log gives for so many blocks.
    pub(super) const fn tokens(&self, blocks: u64) -> u64 {
        blocks / self.groups * self.block
    }
}

impl CacheRules<'_> {
    /// Bytes that one token takes in one layer on one rank.
    fn token_bytes(&self, attention: &Attention) -> u64 {
        if attention.cache != CacheOwner::Own {
            return 0;
        }
        let index = attention.indexer.filter(|indexer| indexer.is_owner).map_or(0, |indexer| {
            // Index keys are kept in 8 bits with one 32-bit scale per 128 elements.
            indexer.head_dim + 4 * indexer.head_dim.div_ceil(128)
        });
        let own = match attention.latent {
            // Sparse latent attention in 8 bits: 512 elements, 16 bytes of scales, 64 rotary elements in 16 bits.
            Some(latent) if attention.indexer.is_some() && self.key.row_bytes(1) == 1 => {
                latent.kv_rank + 4 * latent.kv_rank.div_ceil(128) + 2 * latent.rope_dim
            }
            // The latent is the same for all heads: every rank keeps all of it.
            Some(latent) => self.key.row_bytes(latent.kv_rank + latent.rope_dim),
            None => {
                let kv_heads = (attention.kv_heads / self.layout.attention_tensor()).max(1);
                self.key.row_bytes(kv_heads * attention.key_dim) + self.value.row_bytes(kv_heads * attention.value_dim)
            }
        };
        own + index
    }

    /// Bytes of one sequence's state in one layer on one rank.
    fn state_bytes(&self, recurrent: &Recurrent) -> u64 {
        // `mamba_ssm_cache_dtype` auto takes the model's type, but for these families what their
        // configuration says, which is 32 bits.
        let is_wide =
            ["qwen3_5", "nemotron_h", "kimi_linear"].iter().any(|name| self.model.architecture.starts_with(name));
        let state = recurrent.state_elements * if is_wide { 4 } else { self.activation_bytes };
        let rest = (recurrent.convolution_elements() + recurrent.shift_elements) * self.activation_bytes;
        (state + rest) / self.layout.tensor
    }

    fn add(kinds: &mut Vec<Kind>, kept: Kept, bytes: u64) {
        if bytes == 0 {
            return;
        }
        match kinds.iter_mut().find(|kind| kind.kept == kept && kind.bytes == bytes) {
            Some(kind) => kind.layers += 1,
            None => kinds.push(Kind { kept, bytes, layers: 1 }),
        }
    }

    fn kept(&self, attention: &Attention) -> Kept {
        match attention.span {
            Span::Sliding(window) if self.release.has_cache_groups() => Kept::Sliding(window),
            Span::Chunked(chunk) if self.release.has_cache_groups() => Kept::Chunked(chunk),
            _ => Kept::Full,
        }
    }

    /// The kinds of cache of one stage's layers.
    fn kinds(&self, stage: u64) -> Vec<Kind> {
        let (from, to) = self.layout.stage_layers(self.model.decoder.order.len(), stage);
        let kept = |layer: &Layer| {
            let cached = layer.mixer.attention().map(|attention| (self.kept(attention), self.token_bytes(attention)));
            (cached, layer.mixer.recurrent().map_or(0, |recurrent| self.state_bytes(recurrent)))
        };
        let per_kind: Vec<(Option<(Kept, u64)>, u64)> = self.model.decoder.kinds.iter().map(kept).collect();
        let mut kinds = Vec::with_capacity(4);
        let mut add = |(cached, state): (Option<(Kept, u64)>, u64)| {
            if let Some((kept, bytes)) = cached {
                Self::add(&mut kinds, kept, bytes);
            }
            Self::add(&mut kinds, Kept::State, state);
        };
        for &index in &self.model.decoder.order[from..to] {
            add(per_kind[usize::from(index)]);
        }
        if self.has_draft && stage + 1 == self.layout.pipeline {
            self.model.draft_layers.iter().map(kept).for_each(add);
        }
        kinds
    }

    /// Tokens of a request that layers of this kind keep at most.
    fn tokens_kept(&self, kept: Kept) -> u64 {
        let step = self.batched_tokens;
        match kept {
            Kept::Full => self.context,
            Kept::Sliding(window) => (window.saturating_sub(1) + step).min(self.context),
            Kept::Chunked(chunk) => (chunk + step).min(self.context),
            Kept::State => 0,
        }
    }

    fn request_blocks(&self, kept: Kept, block: u64) -> u64 {
        match kept {
            Kept::State => 1,
            // A window may start in the middle of a block.
            Kept::Sliding(_) => self.tokens_kept(kept).div_ceil(block) + 1,
            Kept::Full | Kept::Chunked(_) => self.tokens_kept(kept).div_ceil(block),
        }
    }

    /// Tokens of a block: 16; 64 where latent attention's kernels ask for it. Where states share the
    /// pool, enough tokens that a page of attention holds a state.
    fn block(&self, kinds: &[Kind]) -> u64 {
        let has_latent =
            self.model.decoder.kinds.iter().any(|layer| layer.mixer.attention().is_some_and(|a| a.latent.is_some()));
        let base = if has_latent { 64 } else { 16 };
        let state = kinds.iter().filter(|kind| kind.kept == Kept::State).map(|kind| kind.bytes).max().unwrap_or(0);
        let token = kinds.iter().filter(|kind| kind.kept != Kept::State).map(|kind| kind.bytes).max().unwrap_or(0);
        if state == 0 || token == 0 { base } else { round_up(state.div_ceil(token), base).max(base) }
    }

    /// The pool of one stage; `None` where its layers keep nothing.
    pub(super) fn pool(&self, stage: u64) -> Option<Pool> {
        let kinds = self.kinds(stage);
        let block = self.block(&kinds);
        let first = kinds.first()?;
        let is_uniform = kinds.iter().all(|kind| kind.kept == first.kept) && first.kept != Kept::State;
        if is_uniform {
            // One group; layers may differ in size, each has a tensor of its own.
            let block_bytes = kinds.iter().map(|kind| kind.bytes * kind.layers).sum::<u64>() * block;
            let request_blocks = self.request_blocks(first.kept, block);
            return Some(Pool { block, block_bytes, groups: 1, request_blocks, state_blocks: 0 });
        }
        // Pages of all kinds are made as large as the largest; smaller ones hold more tokens or are padded.
        let page = |kind: &Kind| if kind.kept == Kept::State { kind.bytes } else { kind.bytes * block };
        let page_bytes = kinds.iter().map(page).max()?;
        let fewest = kinds.iter().map(|kind| kind.layers).min()?;
        let most = kinds.iter().map(|kind| kind.layers).max()?;
        let group_layers = if 2 * most < 3 * fewest { most } else { fewest };
        let groups = kinds.iter().map(|kind| kind.layers.div_ceil(group_layers)).sum::<u64>().max(1);
        let (mut blocks, mut states) = (0, 0);
        for kind in &kinds {
            let tokens = match page_bytes % page(kind) {
                0 => block * (page_bytes / page(kind)),
                _ => block,
            };
            let of_kind = self.request_blocks(kind.kept, tokens) * kind.layers;
            blocks += of_kind;
            states += if kind.kept == Kept::State { of_kind } else { 0 };
        }
        Some(Pool {
            block,
            block_bytes: page_bytes * group_layers,
            groups,
            request_blocks: blocks.div_ceil(group_layers),
            state_blocks: states.div_ceil(group_layers),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;
    use crate::units::{GIBIBYTE, MEBIBYTE};

    fn pool(model: &ModelSpec, key: ElementType, context: u64) -> Pool {
        CacheRules {
            model,
            layout: Layout::SINGLE,
            release: Release::NEWEST,
            key,
            value: key,
            activation_bytes: 2,
            context,
            batched_tokens: 8192,
            has_draft: false,
        }
        .pool(0)
        .expect("the model keeps a cache")
    }

    /// `engine-memory` vectors, vLLM: Llama-3.1-8B bf16 in blocks of 16.
    #[test]
    fn vllm_vector_llama_8b() {
        let pool = pool(&fixture::llama_8b(), ElementType::BF16, 8192);
        assert_eq!((pool.block, pool.block_bytes / 32), (16, 65_536));
        assert_eq!(pool.tokens(pool.blocks(GIBIBYTE)), 8192);
    }

    /// `engine-memory` vectors, vLLM: DeepSeek-V3 in blocks of 64.
    #[test]
    fn vllm_vector_deepseek_v3() {
        let mut model = fixture::deepseek_v3();
        let dense = pool(&model, ElementType::BF16, 8192);
        assert_eq!((dense.block, dense.block_bytes / 61), (64, 73_728));
        assert_eq!(dense.tokens(dense.blocks(GIBIBYTE)), 15_232);
        // With a sparse index the latent is kept in the 656-byte layout, beside the index keys.
        for layer in &mut model.decoder.kinds {
            if let crate::model::Mixer::Attention(attention) = &mut layer.mixer {
                attention.indexer =
                    Some(crate::model::Indexer { heads: 64, head_dim: 128, top_k: 2048, is_owner: true });
            }
        }
        let sparse = pool(&model, ElementType::Fp8, 8192);
        assert_eq!(sparse.block_bytes / 61 - 132 * 64, 41_984);
    }

    /// `engine-memory` vectors, vLLM: Qwen3.5-27B with 32-bit states.
    #[test]
    fn vllm_vector_qwen35_27b() {
        let pool = pool(&fixture::qwen35_27b(), ElementType::BF16, 32768);
        assert_eq!((pool.block, pool.groups), (784, 4));
        // 48 states and one block of each of 16 attention layers.
        assert_eq!((pool.block_bytes * 4) / MEBIBYTE, 196);
        assert_eq!(pool.state_blocks, 3);
        let request = pool.block_bytes * pool.request_blocks;
        assert_eq!(format!("{:.2}", request as f64 / GIBIBYTE as f64), "2.15");
    }

    /// The same with 16-bit states, as releases took that ignored the configuration.
    #[test]
    fn vllm_vector_qwen35_27b_sixteen_bits() {
        let mut model = fixture::qwen35_27b();
        "qwen3_next".clone_into(&mut model.architecture);
        assert_eq!(pool(&model, ElementType::BF16, 32768).block, 400);
    }

    /// `engine-memory` vectors, vLLM: gpt-oss-120b, half of its layers windowed.
    #[test]
    fn vllm_vector_gpt_oss_120b() {
        let pool = pool(&fixture::gpt_oss_120b(), ElementType::BF16, 32768);
        assert_eq!(pool.groups, 2);
        let request = (pool.block_bytes * pool.request_blocks) as f64 / GIBIBYTE as f64;
        assert_eq!(format!("{request:.2}"), "1.41");
    }
}
