//! Hugging Face transformers: dynamic caches that hold exactly the tokens seen.

use super::paged::{forward_peak, rows};
use super::parallel::{Layout, check_magnitude};
use super::shard::{Sharding, activation_type};
use super::{Components, EngineError, MemoryPlan};
use crate::model::{Attention, CacheOwner, ModelSpec, Recurrent, RecurrentKind, Span};
use crate::settings::{Device, DeviceKind, Switch};
use crate::weight_format::asked_or_stored;
use crate::{Assumptions, Bytes, ElementType, Estimate, Settings};

/// Attention cache of one layer after `tokens` tokens. A window layer keeps one token less than its
/// window: the next token completes it (`DynamicSlidingWindowLayer`).
fn attention_bytes(attention: &Attention, tokens: u64, key: ElementType, value: ElementType) -> u64 {
    if attention.cache != CacheOwner::Own {
        return 0;
    }
    let kept = match attention.span {
        Span::Full => tokens,
        Span::Sliding(window) | Span::Chunked(window) => tokens.min(window.saturating_sub(1)),
    };
    let index =
        attention.indexer.filter(|indexer| indexer.is_owner).map_or(0, |indexer| key.row_bytes(indexer.head_dim));
    let token = match attention.latent {
        Some(latent) => key.row_bytes(latent.kv_rank) + key.row_bytes(latent.rope_dim),
        None => attention.kv_heads * (key.row_bytes(attention.key_dim) + value.row_bytes(attention.value_dim)),
    };
    kept * (token + index)
}

/// State of one layer: the recurrent part in 32 bits, but in the model's type for lightning attention;
/// convolutions with all their taps.
fn state_bytes(recurrent: &Recurrent, width: u64) -> u64 {
    let state = if recurrent.kind == RecurrentKind::Lightning { width } else { 4 };
    let convolution = recurrent.convolution_channels * recurrent.convolution_taps;
    recurrent.state_elements * state + (convolution + recurrent.shift_elements) * width
}

/// Attention cache and states of one sequence.
fn cache_bytes(model: &ModelSpec, tokens: u64, key: ElementType, value: ElementType, width: u64) -> (u64, u64) {
    model.decoder.counted().fold((0, 0), |(cache, state), (layer, count)| {
        let attention = layer.mixer.attention().map_or(0, |attention| attention_bytes(attention, tokens, key, value));
        let recurrent = layer.mixer.recurrent().map_or(0, |recurrent| state_bytes(recurrent, width));
        (cache + count * attention, state + count * recurrent)
    })
}

/// Where the layers go: consecutive ones on each device, unless ranks share each matrix.
fn layout(model: &ModelSpec, settings: &Settings) -> Layout {
    let devices = settings.devices.len().clamp(1, model.decoder.len().max(1)) as u64;
    let pipeline = match settings.tensor_parallel {
        Some(_) => 1,
        None => settings.pipeline_parallel.unwrap_or(devices).max(1),
    };
    Layout { tensor: settings.tensor_parallel.unwrap_or(1).max(1), pipeline, data: 1, attention_data: 1, expert: 1 }
}

/// The memory of `model` as transformers holds it.
///
/// **Formula**: weights + cache of the tokens seen + activations of a forward pass over the prompt.
/// Several devices hold consecutive layers (`device_map="auto"`). **Source**: `cache_utils.py` of
/// transformers 5.23.
pub fn plan(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
    check_magnitude("transformers", model, settings)?;
    let format = asked_or_stored(model, settings, assumptions)?;
    let activation = activation_type(format.as_ref(), model);
    let width = activation.row_bytes(1);
    let layout = layout(model, settings);
    let sharding = Sharding {
        model,
        layout,
        format,
        weights_bytes: settings.weights_bytes.map(|bytes| bytes.0),
        vocabulary_multiple: 1,
        has_towers: settings.vision_projector != Some(Switch::Off),
        has_draft: settings.draft.is_some(),
        is_torch: settings.devices.first().is_some_and(|device| device.kind != DeviceKind::Cpu),
        rotary_bytes: 0,
    };
    let weights: Vec<_> =
        sharding.stages().into_iter().map(|bytes| Estimate::within(Bytes(bytes), 0.995, 1.02)).collect();
    let context = settings.context.unwrap_or(4096).max(1);
    let prompt = settings.prompt.unwrap_or(context);
    let tokens = prompt.saturating_add(settings.depth.unwrap_or(0)).saturating_add(settings.generate.unwrap_or(0));
    let (key, value) = (settings.kv_type_k.unwrap_or(activation), settings.kv_type_v.unwrap_or(activation));
    let sequences = settings.sequences.unwrap_or(1).max(1);
    let (cache, state) = cache_bytes(model, tokens, key, value, width);
    let ranks = layout.pipeline * layout.tensor;
    let per_rank = |bytes: u64| Bytes(bytes.saturating_mul(sequences).div_ceil(ranks));
    let peak = forward_peak(model, settings, layout, width, (prompt.saturating_mul(sequences), sequences));
    let is_processor = settings.backend.as_deref().is_some_and(|backend| backend.eq_ignore_ascii_case("cpu"));
    let overhead = if is_processor { (0.0, 0.0, 0.0) } else { (0.2, 0.5, 0.9) };
    let components = Components {
        weights: None,
        repacked: Some(Estimate::ZERO),
        kv_cache: Some(Estimate::exact(per_rank(cache))),
        recurrent_state: Some(Estimate::exact(per_rank(state))),
        compute: Some(Estimate::within(Bytes(peak), 0.4, 2.5)),
        output: Some(Estimate::exact(Bytes(sequences * model.vocabulary_size * 4))),
        overhead: Some(Estimate::formula(
            Bytes::from_gibibytes(overhead.0),
            Bytes::from_gibibytes(overhead.1),
            Bytes::from_gibibytes(overhead.2),
        )),
    };
    let total = settings.devices.first().and_then(Device::total);
    Ok(MemoryPlan {
        devices: rows(settings, &layout, &weights, components, total),
        kv_cache_tokens: Some(Estimate::exact(tokens.saturating_mul(sequences))),
        available_kv: None,
        max_concurrency: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    fn cache(model: &ModelSpec, tokens: u64) -> (u64, u64) {
        let settings = Settings { context: Some(tokens), prompt: Some(tokens), ..Settings::default() };
        let summed = plan(model, &settings, &mut Assumptions::default()).expect("a valid request").summed();
        let value = |part: Option<Estimate<Bytes>>| part.expect("it is known").value.0;
        (value(summed.kv_cache), value(summed.recurrent_state))
    }

    #[test]
    fn caches_hold_exactly_the_tokens_seen() {
        assert_eq!(cache(&fixture::llama_8b(), 1000).0, 1000 * 131_072);
        // Windows of 128 keep 127 tokens.
        assert_eq!(cache(&fixture::gpt_oss_120b(), 1000).0, 18 * 2048 * (1000 + 127));
        let (_, state) = cache(&fixture::qwen35_27b(), 1000);
        assert_eq!(state, 48 * (48 * 128 * 128 * 4 + 10_240 * 4 * 2));
    }
}
