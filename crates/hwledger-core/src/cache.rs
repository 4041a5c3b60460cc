//! What a sequence must remember, whatever the engine: attention cache and recurrent state.

use serde::Serialize;

use crate::ElementType;
use crate::model::{Attention, Layer, ModelSpec};

/// Engine-independent memory of one sequence: no padding, windows capped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SequenceMemory {
    /// Growth per token beyond every window.
    pub bytes_per_token: u64,
    /// Attention cache of one sequence at the asked context.
    pub bytes_per_sequence_at_context: u64,
    /// Recurrent and convolution state of one sequence.
    pub state_bytes_per_sequence: u64,
}

/// Bytes of one token's cache entry in one layer.
fn entry_bytes(attention: &Attention, key: ElementType, value: ElementType) -> u64 {
    let elements = attention.cached_elements_per_token();
    if elements == 0 {
        return 0;
    }
    let index =
        attention.indexer.filter(|indexer| indexer.is_owner).map_or(0, |indexer| key.row_bytes(indexer.head_dim));
    index
        + match attention.latent {
            Some(_) => key.row_bytes(elements),
            None => {
                key.row_bytes(attention.kv_heads * attention.key_dim)
                    + value.row_bytes(attention.kv_heads * attention.value_dim)
            }
        }
}

/// Cache and state of one sequence of `context` tokens in one layer.
pub fn layer_memory(layer: &Layer, context: u64, key: ElementType, value: ElementType) -> SequenceMemory {
    let mut memory = SequenceMemory::default();
    if let Some(attention) = layer.mixer.attention() {
        let entry = entry_bytes(attention, key, value);
        memory.bytes_per_sequence_at_context = entry.saturating_mul(attention.span.tokens_kept(context));
        if attention.span.window().is_none() {
            memory.bytes_per_token = entry;
        }
        if let Some(compression) = attention.compression.filter(|compression| compression.ratio > 0) {
            let compressed = key.row_bytes(compression.entry_elements);
            let kept = compressed.saturating_mul(context / compression.ratio);
            memory.bytes_per_sequence_at_context = memory.bytes_per_sequence_at_context.saturating_add(kept);
            memory.bytes_per_token += compressed / compression.ratio;
        }
    }
    if let Some(recurrent) = layer.mixer.recurrent() {
        let narrow = recurrent.convolution_elements().saturating_add(recurrent.shift_elements);
        memory.state_bytes_per_sequence =
            recurrent.state_elements.saturating_mul(4).saturating_add(narrow.saturating_mul(2));
    }
    memory
}

/// Cache and state of one sequence of `context` tokens.
///
/// **Formula**: for every layer, tokens kept x (key elements + value elements) x element size;
/// tokens kept = min(context, window). Latent attention keeps one latent and one rotary key
/// per token and layer; compressed attention keeps one entry per `ratio` tokens beside its window.
/// States are counted at 4 bytes, convolutions at 2 (what transformers and vLLM hold for bf16 models).
///
/// **Units**: bytes. **Source**: DeepSeek-V2 section 2.1; Mamba-2 section 7; the reference caches of transformers.
pub fn sequence_memory(model: &ModelSpec, context: u64, key: ElementType, value: ElementType) -> SequenceMemory {
    if !model.is_causal {
        return SequenceMemory::default();
    }
    model.decoder.counted().fold(SequenceMemory::default(), |sum, (layer, count)| {
        let one = layer_memory(layer, context, key, value);
        let add = |sum: u64, one: u64| sum.saturating_add(one.saturating_mul(count));
        SequenceMemory {
            bytes_per_token: add(sum.bytes_per_token, one.bytes_per_token),
            bytes_per_sequence_at_context: add(sum.bytes_per_sequence_at_context, one.bytes_per_sequence_at_context),
            state_bytes_per_sequence: add(sum.state_bytes_per_sequence, one.state_bytes_per_sequence),
        }
    })
}
