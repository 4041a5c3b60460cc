//! The caches of mlx-lm: how many slots each holds after a run.

use crate::ElementType;
use crate::model::{Attention, CacheOwner, ModelSpec, Recurrent, RecurrentKind, Span};
use crate::units::round_up;

/// Slots by which caches grow (`KVCache.step`).
const STEP: u64 = 256;

/// One run: a prompt in chunks, then tokens one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Tokens of the prompt.
    pub(super) prompt: u64,
    /// Tokens generated.
    pub(super) generate: u64,
    /// Most tokens of one prefill chunk (`prefill_step_size`).
    pub(super) chunk: u64,
}

impl Run {
    /// Tokens that go through the model in chunks: all of the prompt but the last.
    pub(super) const fn prefilled(&self) -> u64 {
        self.prompt.saturating_sub(1)
    }

    /// Tokens of the last chunk.
    pub(super) const fn last_chunk(&self) -> u64 {
        let prefilled = self.prefilled();
        if prefilled <= self.chunk { prefilled } else { (prefilled - 1) % self.chunk + 1 }
    }

    /// Tokens of the largest chunk.
    pub(super) const fn largest_chunk(&self) -> u64 {
        if self.prefilled() < self.chunk { self.prefilled() } else { self.chunk }
    }

    /// Whether caches are copied into longer ones on the way.
    pub(super) const fn grows(&self) -> bool {
        self.full_slots() > round_up(self.largest_chunk(), STEP)
    }

    /// Tokens held at the end.
    pub(super) const fn held(&self) -> u64 {
        let held = self.prompt + self.generate.saturating_sub(1);
        if held == 0 { 1 } else { held }
    }

    /// Slots of a cache that keeps everything: whole steps.
    pub(super) const fn full_slots(&self) -> u64 {
        round_up(self.held(), STEP)
    }

    /// Slots of a rotating cache of `window` tokens: a prompt's chunk is kept as it is, growth goes
    /// by steps up to the window, and the first single token trims what is beyond it.
    pub(super) fn rotating_slots(&self, window: u64) -> u64 {
        let kept = self.prefilled();
        if kept > self.chunk || kept >= window {
            return window;
        }
        let wanted = self.held().min(window);
        (kept + round_up(wanted.saturating_sub(kept), STEP)).min(window)
    }

    /// Slots of a rotating cache while a chunk is in it.
    pub(super) const fn rotating_slots_in_prefill(&self, window: u64) -> u64 {
        if self.prefilled() <= self.chunk { self.prefilled() } else { window.saturating_sub(1) + self.last_chunk() }
    }
}

/// Cache and state bytes of one sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheBytes {
    /// Attention caches at the end of the run.
    pub(super) attention: u64,
    /// Attention caches while the last prefill chunk is computed, where larger.
    pub(super) attention_in_prefill: u64,
    /// Recurrent states.
    pub(super) state: u64,
    /// The largest of one layer, which is there twice while it grows.
    pub(super) largest_layer: u64,
}

/// Architectures whose attention in mlx-lm keeps decompressed keys and values of every head.
const DECOMPRESSED: &[&str] = &["deepseek_v2", "minicpm3"];

/// Architectures with windows that mlx-lm caches in full all the same.
const NOT_ROTATING: &[&str] = &["gemma2", "mistral", "phi3", "qwen2", "qwen3", "starcoder2"];

/// Whether keys and values are cached decompressed.
pub(super) fn decompresses(model: &ModelSpec) -> bool {
    DECOMPRESSED.contains(&model.architecture.as_str())
}

/// Whether windows become rotating caches.
pub(super) fn rotates(model: &ModelSpec) -> bool {
    !NOT_ROTATING.contains(&model.architecture.as_str())
}

fn token_bytes(model: &ModelSpec, attention: &Attention, key: ElementType, value: ElementType) -> u64 {
    match (attention.cache, attention.latent) {
        (CacheOwner::Own, Some(latent)) if decompresses(model) => {
            attention.heads * (key.row_bytes(latent.nope_dim + latent.rope_dim) + value.row_bytes(attention.value_dim))
        }
        (CacheOwner::Own, Some(latent)) => {
            let index = attention.indexer.filter(|indexer| indexer.is_owner).map_or(0, |indexer| indexer.head_dim);
            key.row_bytes(latent.kv_rank) + key.row_bytes(latent.rope_dim) + key.row_bytes(index)
        }
        (CacheOwner::Own, None) => {
            attention.kv_heads * (key.row_bytes(attention.key_dim) + value.row_bytes(attention.value_dim))
        }
        _ => 0,
    }
}

fn state_bytes(recurrent: &Recurrent, activation: ElementType) -> u64 {
    let width = activation.row_bytes(1);
    // Delta nets and Mamba 2 accumulate in 32 bits (`gated_delta.py`, `ssm.py`); other states have the
    // type of their inputs.
    let state = match recurrent.kind {
        RecurrentKind::GatedDelta | RecurrentKind::KimiDelta | RecurrentKind::Mamba2 => 4,
        _ => width,
    };
    recurrent.state_elements * state + (recurrent.convolution_elements() + recurrent.shift_elements) * width
}

/// The caches of one sequence after `run`.
pub(super) fn cache_bytes(
    model: &ModelSpec,
    run: &Run,
    key: ElementType,
    value: ElementType,
    activation: ElementType,
) -> CacheBytes {
    let mut bytes = CacheBytes::default();
    let rotates = rotates(model);
    for (layer, count) in model.decoder.counted() {
        if let Some(attention) = layer.mixer.attention() {
            let (own, in_prefill) = match attention.span {
                // Rotating caches cannot be quantised.
                Span::Sliding(window) if rotates => {
                    let token = token_bytes(model, attention, activation, activation);
                    (token * run.rotating_slots(window), token * run.rotating_slots_in_prefill(window))
                }
                _ => {
                    let full = token_bytes(model, attention, key, value) * run.full_slots();
                    (full, full)
                }
            };
            bytes.attention += count * own;
            bytes.attention_in_prefill += count * in_prefill.max(own);
            bytes.largest_layer = bytes.largest_layer.max(own);
        }
        bytes.state += count * layer.mixer.recurrent().map_or(0, |recurrent| state_bytes(recurrent, activation));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;
    use crate::units::MEBIBYTE;

    fn attention_mib(prompt: u64, element_type: ElementType) -> u64 {
        let run = Run { prompt, generate: 1, chunk: 2048 };
        cache_bytes(&fixture::llama_8b(), &run, element_type, element_type, ElementType::F16).attention / MEBIBYTE
    }

    /// `engine-memory` vectors, MLX: Llama-3.1-8B.
    #[test]
    fn mlx_vector_llama_8b() {
        assert_eq!(attention_mib(1000, ElementType::F16), 128);
        let grouped = |bits| ElementType::Grouped { bits, group: 64, group_bits: 32 };
        assert_eq!(attention_mib(32768, grouped(4)), 1152);
        assert_eq!(attention_mib(32768, grouped(8)), 2176);
    }

    /// Slots that mlx-lm 0.32.2 allocated for a window of 512 (bench/engines, gemma3 and cohere2).
    #[test]
    fn rotating_caches_grow_by_steps_and_are_trimmed() {
        let slots = |prompt| Run { prompt, generate: 4, chunk: 2048 }.rotating_slots(512);
        assert_eq!(slots(100), 355);
        assert_eq!(slots(300), 512);
        assert_eq!(slots(700), 512);
        assert_eq!(slots(5000), 512);
    }
}
