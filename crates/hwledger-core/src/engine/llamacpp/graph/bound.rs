//! Whether a graph's sizes can be counted at all.
//!
//! Headers may claim anything. Every size in a graph is at most a width of the model times
//! tokens times cells times a small factor; where even that fits 64 bits, the arithmetic of
//! the builder cannot wrap, and where it does not, the model fits nowhere.

use super::shape::GraphShape;
use crate::model::{Attention, FeedForward, Layer, ModelSpec, Recurrent};

/// Small factors in sizes: bytes of an element, parallel projections, image features.
const FACTOR: u64 = 64;

/// Whether no size of the graph can exceed 64 bits.
pub(super) fn is_countable(model: &ModelSpec, shape: &GraphShape) -> bool {
    let widest = model
        .decoder
        .kinds
        .iter()
        .map(layer_width)
        .fold(model.hidden_size.max(model.vocabulary_size), u64::max)
        .max(model.embedding.iter().map(|weight| weight.columns).max().unwrap_or(0))
        .max(1);
    let cells = shape.cells.max(shape.window_cells.unwrap_or(0)).max(shape.encoder_tokens).max(shape.tokens).max(1);
    let rows = shape.tokens.max(shape.outputs).max(shape.sequences).max(1);
    widest
        .checked_mul(cells)
        .and_then(|size| size.checked_mul(rows))
        .and_then(|size| size.checked_mul(shape.streams.max(1)))
        .is_some_and(|size| size < u64::MAX / FACTOR)
}

fn layer_width(layer: &Layer) -> u64 {
    let attention = layer.mixer.attention().map_or(0, attention_width);
    let recurrent = layer.mixer.recurrent().map_or(0, recurrent_width);
    attention.max(recurrent).max(feed_forward_width(&layer.feed_forward))
}

fn attention_width(attention: &Attention) -> u64 {
    let latent = attention.latent.map_or(0, |latent| {
        let sum = latent.kv_rank.saturating_add(latent.rope_dim).saturating_add(latent.nope_dim);
        sum.saturating_add(latent.query_rank.unwrap_or(0))
    });
    let head = attention.key_dim.saturating_add(attention.value_dim).saturating_add(latent);
    let index = attention.indexer.map_or(0, |indexer| {
        let width = indexer.heads.max(1).saturating_mul(indexer.head_dim);
        width.max(indexer.head_dim.saturating_mul(indexer.head_dim)).max(indexer.top_k)
    });
    let heads = attention.heads.max(1).saturating_add(attention.kv_heads);
    heads.saturating_mul(head).max(index).max(attention.key_dim.saturating_mul(attention.key_dim))
}

fn recurrent_width(recurrent: &Recurrent) -> u64 {
    let channels = recurrent.convolution_channels.saturating_mul(recurrent.convolution_taps.max(1));
    let inner = recurrent.inner_size.saturating_add(recurrent.heads).saturating_add(recurrent.state_size);
    inner
        .saturating_mul(3)
        .max(channels)
        .max(recurrent.state_elements)
        .max(recurrent.shift_elements)
        .saturating_add(recurrent.convolution_channels)
}

fn feed_forward_width(feed_forward: &FeedForward) -> u64 {
    match feed_forward {
        FeedForward::None => 0,
        FeedForward::Dense { width, .. } => *width,
        FeedForward::Experts(experts) => experts
            .expert_width
            .max(experts.experts_per_token)
            .saturating_mul(experts.experts_per_token.max(1))
            .max(experts.experts)
            .max(experts.shared_width)
            .max(experts.dense_width),
    }
}
