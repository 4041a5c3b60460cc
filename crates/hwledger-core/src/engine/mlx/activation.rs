//! What is in flight beside weights and caches while mlx-lm computes a chunk.

use super::cache::{Run, decompresses, rotates};
use crate::model::{Activation, Attention, FeedForward, Layer, Mixer, ModelSpec, Recurrent, RecurrentKind};

/// Bytes that the operations of one layer put out for `tokens` tokens, each counted once.
pub(super) fn layer_outputs(model: &ModelSpec, layer: &Layer, tokens: u64, width: u64) -> u64 {
    let hidden = model.hidden_size;
    let mixer = match &layer.mixer {
        Mixer::None => 0,
        Mixer::Attention(attention) => attention_outputs(attention),
        Mixer::Recurrent(recurrent) | Mixer::Both(_, recurrent) => recurrent_outputs(recurrent),
    };
    let feed_forward = match &layer.feed_forward {
        FeedForward::None => 0,
        FeedForward::Dense { width, activation } => inner_outputs(*width, *activation),
        FeedForward::Experts(moe) => {
            moe.experts
                + moe.experts_per_token * (inner_outputs(moe.expert_width, moe.activation) + hidden)
                + inner_outputs(moe.shared_width + moe.dense_width, moe.activation)
        }
    };
    // Two norms, two additions, two projections back to the residual stream.
    tokens * width * (6 * hidden + mixer + feed_forward)
}

const fn recurrent_outputs(recurrent: &Recurrent) -> u64 {
    2 * recurrent.convolution_channels + 4 * recurrent.inner_size
}

const fn attention_outputs(attention: &Attention) -> u64 {
    let query = attention.heads * attention.key_dim;
    if attention.latent.is_some() {
        // Queries, attended latents or values, and those brought back in order.
        return query + 2 * attention.heads * attention.value_dim;
    }
    let key_value = attention.kv_heads * (attention.key_dim + attention.value_dim);
    // Projected, rotated; attended, brought back in order.
    2 * query + key_value + key_value / 2 + 2 * attention.heads * attention.value_dim
}

const fn inner_outputs(width: u64, activation: Activation) -> u64 {
    match activation {
        Activation::Gated => 3 * width,
        Activation::Plain => 2 * width,
    }
}

/// Share of one layer's outputs that is alive on Metal, where arrays live until the command buffer
/// that reads them is done. Read off seven published peaks of one model, which give 0.2 to 0.6
/// (`BENCHMARKS.md` of mlx-lm 0.28, Qwen3-4B).
const ALIVE_ON_METAL: f64 = 0.4;

/// Layers whose caches are there in their old and their longer copy at once while they grow: the peak
/// of a 33,898-token prompt of Mistral-7B in pull request 40 of mlx-lm.
const GROWING_LAYERS: f64 = 2.5;

/// Whether Metal has a kernel that attends without holding the scores: for heads of these sizes only
/// (`scaled_dot_product_attention.cpp`, `use_fallback`).
const fn is_fused(attention: &Attention) -> bool {
    attention.latent.is_none() && attention.key_dim == attention.value_dim && matches!(attention.key_dim, 64 | 80 | 128)
}

/// The last full chunk of a prompt and the rest after it: tokens, and keys that they attend to.
fn chunks(run: &Run) -> [(u64, u64); 2] {
    let full = run.prefilled() / run.chunk * run.chunk;
    [(run.chunk.min(full), full), (run.prefilled() - full, run.prefilled())]
}

/// What is alive on Metal: a part of one layer's outputs, caches being copied into longer ones, the
/// scores of all heads where no kernel fuses them, and, up to release 0.28, the logits of the last chunk.
pub(super) fn alive_on_metal(model: &ModelSpec, run: &Run, cache_layer: u64, width: u64, keeps_logits: bool) -> u64 {
    let tokens = run.largest_chunk().max(1);
    let outputs = model.decoder.kinds.iter().map(|layer| layer_outputs(model, layer, tokens, width)).max().unwrap_or(0);
    let growing = if run.grows() { scaled(cache_layer, GROWING_LAYERS) } else { 0 };
    let unfused = |layer: &Layer| {
        let attention = layer.mixer.attention().filter(|attention| !is_fused(attention));
        attention.map_or(0, |attention| {
            chunks(run).map(|chunk| scores(model, attention, run, chunk, width)).into_iter().max().unwrap_or(0)
        })
    };
    let scores = model.decoder.kinds.iter().map(unfused).max().unwrap_or(0);
    let logits = if keeps_logits { (run.last_chunk() + 1) * model.vocabulary_size * width } else { 0 };
    scaled(outputs, ALIVE_ON_METAL) + growing + scores + logits
}

/// Scores of all heads for chunks of 512 tokens, which releases before 0.22 kept on Metal, with a mask,
/// their softmax and those of the next layer.
pub(super) fn unfused_scores(model: &ModelSpec, run: &Run, width: u64) -> u64 {
    let heads = |layer: &Layer| layer.mixer.attention().map_or(0, |attention| attention.heads);
    let heads = model.decoder.kinds.iter().map(heads).max().unwrap_or(0);
    scaled(run.prefilled().min(512) * run.prefilled() * heads * width, 2.5)
}

/// Tokens that the structured scan of Mamba 2 takes at once (`ssm.py`).
const SCAN_TOKENS: u64 = 256;

/// What the recurrence of a layer holds, its outputs included.
fn scan(recurrent: &Recurrent, tokens: u64, width: u64) -> u64 {
    let outputs = recurrent_outputs(recurrent) * width;
    let per_token = match recurrent.kind {
        // Decays, masks and products of heads x tokens x tokens of one chunk in 32 bits, of which about
        // six live together.
        RecurrentKind::Mamba2 => 6 * recurrent.heads * SCAN_TOKENS * 4,
        // A state per token, step by step.
        RecurrentKind::Mamba1 | RecurrentKind::GatedDelta | RecurrentKind::KimiDelta => {
            recurrent.state_elements * width
        }
        _ => 0,
    };
    tokens * (per_token + outputs)
}

/// Scores of all heads of a layer, and the mask. With sinks the scores are also there with a column
/// more, before and after the softmax; latent attention adds rotary scores to the others as a mask.
fn scores(model: &ModelSpec, attention: &Attention, run: &Run, (tokens, keys): (u64, u64), width: u64) -> u64 {
    let keys = match attention.span.window() {
        Some(window) if rotates(model) && run.prefilled() > run.chunk => keys.min(window + tokens),
        _ => keys,
    };
    let copies = match attention.latent {
        _ if attention.has_sinks => 3,
        Some(_) if !decompresses(model) => 2,
        _ => 1,
    };
    tokens * keys * (attention.heads * width * copies + 1)
}

/// What is alive on a processor: the scores of all heads, the mask, and one layer's outputs.
/// MLX has no fused attention there. Prefill asks for caches only, so the last layer is not computed
/// beyond its keys and values.
pub(super) fn alive_on_processor(model: &ModelSpec, run: &Run, width: u64) -> u64 {
    let layer = |layer: &Layer, (tokens, keys): (u64, u64)| {
        let scores =
            layer.mixer.attention().map_or(0, |attention| scores(model, attention, run, (tokens, keys), width));
        let scan = layer.mixer.recurrent().map_or(0, |recurrent| scan(recurrent, tokens, width));
        // 16-bit arithmetic goes through 32-bit copies of some arrays.
        let outputs = layer_outputs(model, layer, tokens, width);
        (scores + if width < 4 { outputs * 5 / 4 } else { outputs }).max(scan)
    };
    let order = &model.decoder.order;
    let computed =
        order.split_last().map_or(&order[..], |(_, before)| if before.is_empty() { &order[..] } else { before });
    let is_computed = |kind: usize| computed.iter().any(|&index| usize::from(index) == kind);
    let kinds = model.decoder.kinds.iter().enumerate().filter(|(kind, _)| is_computed(*kind));
    kinds.flat_map(|(_, kind)| chunks(run).map(|chunk| layer(kind, chunk))).max().unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates, which is what a size needs"
)]
fn scaled(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}
