//! What a sequence must remember, whatever the engine: attention cache and recurrent state.

use serde::Serialize;

use crate::ElementType;
use crate::model::{Attention, ModelSpec};

/// Engine-independent memory of one sequence: no padding, windows capped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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

/// Cache and state of one sequence of `context` tokens.
///
/// **Formula**: for every layer, tokens kept x (key elements + value elements) x element size;
/// tokens kept = min(context, window). Latent attention keeps one latent and one rotary key
/// per token and layer; compressed attention keeps one entry per `ratio` tokens beside its window.
/// States are counted at 4 bytes, convolutions at 2 (what transformers and vLLM hold for bf16 models).
///
/// **Units**: bytes. **Source**: DeepSeek-V2 section 2.1; Mamba-2 section 7; the reference caches of transformers.
pub fn sequence_memory(model: &ModelSpec, context: u64, key: ElementType, value: ElementType) -> SequenceMemory {
    let mut memory =
        SequenceMemory { bytes_per_token: 0, bytes_per_sequence_at_context: 0, state_bytes_per_sequence: 0 };
    if !model.is_causal {
        return memory;
    }
    for (layer, count) in model.decoder.counted() {
        if let Some(attention) = layer.mixer.attention() {
            let entry = entry_bytes(attention, key, value);
            memory.bytes_per_sequence_at_context += count * entry * attention.span.tokens_kept(context);
            if attention.span.window().is_none() {
                memory.bytes_per_token += count * entry;
            }
            if let Some(compression) = attention.compression.filter(|compression| compression.ratio > 0) {
                let compressed = key.row_bytes(compression.entry_elements);
                memory.bytes_per_sequence_at_context += count * compressed * (context / compression.ratio);
                memory.bytes_per_token += count * compressed / compression.ratio;
            }
        }
        if let Some(recurrent) = layer.mixer.recurrent() {
            memory.state_bytes_per_sequence += count
                * (recurrent.state_elements * 4 + (recurrent.convolution_elements() + recurrent.shift_elements) * 2);
        }
    }
    memory
}
