//! What is in flight beside weights and caches while mlx-lm computes a chunk.

use super::cache::Run;
use crate::model::{Activation, Attention, FeedForward, Layer, Mixer, ModelSpec};

/// Bytes that the operations of one layer put out for `tokens` tokens, each counted once.
pub(super) fn layer_outputs(model: &ModelSpec, layer: &Layer, tokens: u64, width: u64) -> u64 {
    let hidden = model.hidden_size;
    let mixer = match &layer.mixer {
        Mixer::None => 0,
        Mixer::Attention(attention) => attention_outputs(attention),
        Mixer::Recurrent(recurrent) | Mixer::Both(_, recurrent) => {
            2 * recurrent.convolution_channels + 4 * recurrent.inner_size
        }
    };
    let feed_forward = match &layer.feed_forward {
        FeedForward::None => 0,
        FeedForward::Dense { width, activation } => inner_outputs(*width, *activation),
        FeedForward::Experts(moe) => {
            moe.experts
                + moe.experts_per_token * (inner_outputs(moe.expert_width, moe.activation) + 2 * hidden)
                + inner_outputs(moe.shared_width + moe.dense_width, moe.activation)
        }
    };
    // Two norms, two additions, two projections back to the residual stream.
    tokens * width * (6 * hidden + mixer + feed_forward)
}

const fn attention_outputs(attention: &Attention) -> u64 {
    let query = attention.heads * attention.key_dim;
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

/// Bytes of inputs after which MLX closes a Metal command buffer (`max_mb_per_buffer` of Max-class chips)
/// times the buffers that it keeps in flight (`MAX_ACTIVE_TASKS`).
const IN_FLIGHT_BYTES: u64 = 10 * 50 * 1000 * 1000;

/// What is in flight on Metal: arrays live until the command buffer that reads them is done.
///
/// **Formula**: layers in flight = `IN_FLIGHT_BYTES` / (outputs + weights of a layer) + 1.4, at most all;
/// times the outputs of a layer. The constant stands for buffers that are open and being freed; it was
/// read off seven published peaks of one model (`BENCHMARKS.md` of mlx-lm, Qwen3-4B).
pub(super) fn in_flight_on_metal(model: &ModelSpec, run: &Run, cache_layer: u64, weights: u64, width: u64) -> u64 {
    let tokens = run.largest_chunk().max(1);
    let layers = model.decoder.len().max(1) as u64;
    let mut outputs =
        model.decoder.kinds.iter().map(|layer| layer_outputs(model, layer, tokens, width)).max().unwrap_or(0);
    if run.prefilled() > run.chunk {
        // Every further chunk copies each layer's cache into a longer one.
        outputs += cache_layer;
    }
    let per_layer = (outputs + weights / layers).max(1);
    let in_flight = (IN_FLIGHT_BYTES as f64 / per_layer as f64 + 1.4).min(layers as f64);
    scaled(outputs, in_flight)
}

/// What is alive on a processor: the scores of all heads, the mask, and one layer's outputs.
/// MLX has no fused attention there.
pub(super) fn alive_on_processor(model: &ModelSpec, run: &Run, rotates: bool, width: u64) -> u64 {
    let chunk = run.last_chunk().max(1);
    let layer = |layer: &Layer| {
        let scores = layer.mixer.attention().map_or(0, |attention| {
            let keys = match attention.span.window() {
                Some(window) if rotates => run.rotating_slots_in_prefill(window),
                _ => run.prefilled(),
            };
            let keys = keys.max(1);
            // With sinks the scores are also there with a column more, before and after the softmax;
            // latent attention adds rotary scores to the others as a mask.
            let copies = match (attention.has_sinks, attention.latent) {
                (true, _) => 3,
                (false, Some(_)) => 2,
                (false, None) => 1,
            };
            chunk * keys * (attention.heads * width * copies + 1)
        });
        // 16-bit arithmetic goes through 32-bit copies of some arrays.
        let outputs = layer_outputs(model, layer, chunk, width);
        scores + if width < 4 { outputs * 5 / 4 } else { outputs }
    };
    model.decoder.kinds.iter().map(layer).max().unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates, which is what a size needs"
)]
fn scaled(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}
