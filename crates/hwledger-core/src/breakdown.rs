//! Memory layer by layer: what each holds, whatever engine runs it.

use serde::Serialize;

use crate::cache::layer_memory;
use crate::model::{FeedForward, Layer, ModelSpec, Span, Weight};
use crate::{Bytes, ElementType};

/// What one layer holds for one sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerMemory {
    /// Its position.
    pub index: usize,
    /// What it is, in a few words.
    pub kind: String,
    /// Its weights.
    pub weights: Bytes,
    /// Its attention cache at the context.
    pub cache: Bytes,
    /// Its recurrent and convolution state.
    pub state: Bytes,
}

/// Every layer of the decoder, with weights in the element types that `stored_as` gives.
pub fn layers(
    model: &ModelSpec,
    context: u64,
    key: ElementType,
    value: ElementType,
    stored_as: impl Fn(&Weight) -> ElementType,
) -> Vec<LayerMemory> {
    let kinds: Vec<LayerMemory> = model
        .decoder
        .kinds
        .iter()
        .map(|layer| {
            let memory = layer_memory(layer, context, key, value);
            let weights = layer.weights.iter().map(|weight| Bytes(weight.bytes_as(stored_as(weight)))).sum();
            LayerMemory {
                index: 0,
                kind: kind(layer),
                weights,
                cache: Bytes(memory.bytes_per_sequence_at_context),
                state: Bytes(memory.state_bytes_per_sequence),
            }
        })
        .collect();
    let order = model.decoder.order.iter().enumerate();
    order.map(|(index, &kind)| LayerMemory { index, ..kinds[usize::from(kind)].clone() }).collect()
}

/// A layer in a few words: `sliding 1024, 16:8 heads x 256, dense 15360`.
fn kind(layer: &Layer) -> String {
    let mut words = Vec::new();
    if let Some(attention) = layer.mixer.attention() {
        let span = match attention.span {
            Span::Full => "full".to_owned(),
            Span::Sliding(window) => format!("sliding {window}"),
            Span::Chunked(chunk) => format!("chunked {chunk}"),
        };
        words.push(match attention.latent {
            Some(latent) => format!("{span} latent {}+{}", latent.kv_rank, latent.rope_dim),
            None => format!("{span}, {}:{} heads x {}", attention.heads, attention.kv_heads, attention.key_dim),
        });
    }
    if let Some(recurrent) = layer.mixer.recurrent() {
        words.push(format!("{:?} {}", recurrent.kind, recurrent.inner_size).to_lowercase());
    }
    match &layer.feed_forward {
        FeedForward::None => {}
        FeedForward::Dense { width, .. } => words.push(format!("dense {width}")),
        FeedForward::Experts(moe) => {
            words.push(format!("{} of {} experts x {}", moe.experts_per_token, moe.experts, moe.expert_width));
        }
    }
    words.join(", ")
}
