//! SGLang's cache pools: full attention, windows and recurrent states, sized by ratios.

use super::super::parallel::Layout;
use crate::ElementType;
use crate::model::{Attention, CacheOwner, ModelSpec, Recurrent, Span};

/// Tokens of the window pool per token of the full pool (`swa_full_tokens_ratio`).
const WINDOW_RATIO: f64 = 0.8;

/// State pool per cache pool where both share the memory (`mamba_full_memory_ratio`).
const STATE_RATIO: f64 = 0.9;

/// Bytes of one token or one state over all layers of each pool, on one rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Cells {
    pub(in crate::engine) full: u64,
    pub(in crate::engine) window: u64,
    pub(in crate::engine) state: u64,
}

fn token_bytes(attention: &Attention, layout: &Layout, key: ElementType, value: ElementType) -> u64 {
    if attention.cache != CacheOwner::Own {
        return 0;
    }
    // Index keys in 8 bits with a 32-bit scale per 128 elements.
    let index = attention
        .indexer
        .filter(|indexer| indexer.is_owner)
        .map_or(0, |indexer| indexer.head_dim + 4 * indexer.head_dim.div_ceil(128));
    index
        + match attention.latent {
            Some(latent) if attention.indexer.is_some() && key.row_bytes(1) == 1 => {
                latent.kv_rank + 4 * latent.kv_rank.div_ceil(128) + 2 * latent.rope_dim
            }
            Some(latent) => key.row_bytes(latent.kv_rank + latent.rope_dim),
            None => {
                let kv_heads = (attention.kv_heads / layout.attention_tensor()).max(1);
                key.row_bytes(kv_heads * attention.key_dim) + value.row_bytes(kv_heads * attention.value_dim)
            }
        }
}

fn state_bytes(recurrent: &Recurrent, layout: &Layout) -> u64 {
    // Temporal states in 32 bits, convolution states in 16 (`MambaPool`).
    let bytes = 4 * recurrent.state_elements + 2 * (recurrent.convolution_elements() + recurrent.shift_elements);
    bytes / layout.attention_tensor()
}

/// The cells of `model`.
pub(in crate::engine) fn cells(model: &ModelSpec, layout: &Layout, key: ElementType, value: ElementType) -> Cells {
    let mut cells = Cells::default();
    let has_full = model
        .decoder
        .kinds
        .iter()
        .any(|layer| layer.mixer.attention().is_some_and(|attention| attention.span == Span::Full));
    for (layer, count) in model.decoder.counted() {
        if let Some(attention) = layer.mixer.attention() {
            let bytes = count * token_bytes(attention, layout, key, value);
            // Only models that mix both have a window pool.
            if attention.span.window().is_some() && has_full {
                cells.window += bytes;
            } else {
                cells.full += bytes;
            }
        }
        cells.state += count * layer.mixer.recurrent().map_or(0, |recurrent| state_bytes(recurrent, layout));
    }
    // Stages hold equal shares of the layers, near enough.
    let stages = layout.pipeline;
    Cells { full: cells.full / stages, window: cells.window / stages, state: cells.state / stages }
}

/// How `memory` is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::engine) struct Pools {
    /// Bytes of recurrent states.
    pub(in crate::engine) state: u64,
    /// Bytes of the attention pools.
    pub(in crate::engine) attention: u64,
    /// Tokens of the full pool.
    pub(in crate::engine) tokens: u64,
}

impl Cells {
    /// Divides `memory`; `sequences` is `max_running_requests` where somebody set it.
    pub(in crate::engine) fn divide(&self, memory: u64, sequences: Option<u64>) -> Pools {
        let state = match (self.state, sequences) {
            (0, _) => 0,
            // With the radix cache a running request may hold three states.
            (state, Some(sequences)) => state.saturating_mul(3 * sequences + 1).min(memory),
            (_, None) => scaled(memory, STATE_RATIO / (1.0 + STATE_RATIO)),
        };
        let attention = memory - state;
        let token = self.full as f64 + WINDOW_RATIO * self.window as f64;
        let tokens = if token > 0.0 { scaled(attention, 1.0 / token) } else { 0 };
        Pools { state, attention, tokens }
    }

    /// Bytes that one sequence of `context` tokens needs.
    pub(in crate::engine) fn request(&self, context: u64) -> u64 {
        context.saturating_mul(self.full).saturating_add(scaled(context.saturating_mul(self.window), WINDOW_RATIO))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates, which is what a size needs"
)]
fn scaled(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    #[test]
    fn window_pools_have_their_share_of_tokens() {
        let cells = cells(&fixture::gpt_oss_120b(), &Layout::SINGLE, ElementType::BF16, ElementType::BF16);
        assert_eq!((cells.full, cells.window), (18 * 2048, 18 * 2048));
        let pools = cells.divide(1 << 30, None);
        assert_eq!(pools.tokens, (1_u64 << 30) * 10 / 18 / (18 * 2048));
    }

    #[test]
    fn states_take_nine_parts_of_nineteen() {
        let cells = cells(&fixture::qwen35_27b(), &Layout::SINGLE, ElementType::BF16, ElementType::BF16);
        assert_eq!(cells.state, 48 * 3_207_168);
        let pools = cells.divide(19_000_000_000, None);
        assert!(pools.state.abs_diff(9_000_000_000) < 1000);
        assert_eq!(cells.divide(19_000_000_000, Some(8)).state, 25 * cells.state);
    }
}
