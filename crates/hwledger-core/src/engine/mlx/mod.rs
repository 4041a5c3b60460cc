//! MLX (mlx-lm): weights, caches that grow by steps, and what is in flight while a chunk is computed.

mod activation;
mod cache;

use super::parallel::check_magnitude;
use super::shard::activation_type;
use super::{Components, DeviceMemory, EngineError, MemoryPlan};
use crate::model::ModelSpec;
use crate::settings::{Device, DeviceKind};
use crate::weight_format::{self, WeightFormat, asked_or_stored};
use crate::{Assumptions, Bytes, ElementType, Estimate, Settings};

use cache::{Run, cache_bytes};

/// Tokens of one prefill chunk (`prefill_step_size`).
const CHUNK: u64 = 2048;

/// Whether the last chunk of a prompt is computed with logits of all its tokens: up to mlx-lm 0.28.
/// Later ones prefill all tokens but the last without logits.
fn keeps_logits(settings: &Settings) -> bool {
    let Some(version) = settings.engine_version.as_deref() else { return false };
    let mut parts = version.trim_start_matches('v').split('.').map(str::parse::<u64>);
    matches!((parts.next(), parts.next()), (Some(Ok(0)), Some(Ok(minor))) if minor <= 28)
}

fn run(settings: &Settings, assumptions: &mut Assumptions) -> Run {
    let context = settings.context.unwrap_or(4096).max(1);
    let generate = settings.generate.unwrap_or(1);
    let prompt = settings.prompt.unwrap_or_else(|| {
        let prompt = context.saturating_sub(generate);
        assumptions.note("prompt", &prompt, "what the context leaves beside the generated tokens");
        prompt
    });
    let prompt = prompt.saturating_add(settings.depth.unwrap_or(0));
    Run { prompt, generate, chunk: settings.max_batched_tokens.unwrap_or(CHUNK).max(1) }
}

/// Bytes of all weights. Vocabulary tables that are tied count once.
fn weights(model: &ModelSpec, format: Option<&WeightFormat>, settings: &Settings) -> Estimate<Bytes> {
    if let Some(bytes) = settings.weights_bytes {
        return Estimate::within(bytes, 0.99, 1.01);
    }
    let draft = model.draft_layers.iter().flat_map(|layer| &layer.weights);
    let unused: u64 = draft
        .map(|weight| weight.bytes_as(weight_format::element_type(format, model, weight)))
        .fold(0, u64::saturating_add);
    let bytes = model.weights().fold(0_u64, |sum, (weight, count)| {
        let bytes = weight.bytes_as(weight_format::element_type(format, model, weight));
        sum.saturating_add(bytes.saturating_mul(count))
    });
    let bytes = Bytes(bytes.saturating_sub(unused));
    // Published conversions keep some tensors at more bits.
    if matches!(format, Some(WeightFormat::Scheme(_))) {
        Estimate::within(bytes, 0.98, 1.06)
    } else {
        Estimate::within(bytes, 0.999, 1.001)
    }
}

/// What macOS lets the graphics side of an Apple chip hold: two thirds of memory up to 36 GiB, three
/// quarters above (`recommendedMaxWorkingSetSize`); other devices give all that their driver reports.
fn capacity(device: Option<&Device>, is_processor: bool) -> Option<Bytes> {
    let total = device?.total()?.value;
    let is_metal = device.is_some_and(|device| device.kind == DeviceKind::Apple) && !is_processor;
    match is_metal {
        true if total.gibibytes() <= 36.0 => Some(total.scaled(2.0 / 3.0)),
        true => Some(total.scaled(0.75)),
        false => Some(total),
    }
}

/// The memory of `model` at the peak of a run of mlx-lm, as `mx.get_peak_memory` counts it.
///
/// **Formula**: weights + caches + what is in flight during the largest prefill chunk.
/// **Source**: `models/cache.py` and `generate.py` of mlx-lm 0.32, `eval` and `metal/device.cpp` of MLX.
pub fn plan(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
    check_magnitude("mlx", model, settings)?;
    let format = asked_or_stored(model, settings, assumptions)?;
    let activation = activation_type(format.as_ref(), model);
    let run = run(settings, assumptions);
    let sequences = settings.sequences.unwrap_or(1).max(1);
    let (key, value) = (settings.kv_type_k.unwrap_or(activation), settings.kv_type_v.unwrap_or(activation));
    let bytes = cache_bytes(model, &run, key, value, activation);
    let weights = weights(model, format.as_ref(), settings);
    let width = activation.row_bytes(1);
    let is_processor = settings.backend.as_deref().is_some_and(|backend| backend.eq_ignore_ascii_case("cpu"));
    let compute = if is_processor {
        activation::alive_on_processor(model, &run, width)
    } else {
        activation::alive_on_metal(model, &run, bytes.largest_layer, width, keeps_logits(settings))
    };
    // The first chunk is cached unquantised and quantised after it.
    let unquantised = if key == activation {
        0
    } else {
        let first = Run { prompt: run.prompt.min(run.chunk + 1), generate: 1, ..run };
        cache_bytes(model, &first, activation, activation, activation).attention
    };
    // Rotating caches are largest during prefill, when the activations are there too.
    let in_prefill = bytes.attention_in_prefill - bytes.attention;
    let compute = Bytes((compute + in_prefill + unquantised).saturating_mul(sequences));
    // Nobody says how old the release is: before 0.22 attention was not fused.
    let is_old = settings.engine_version.is_none() && !is_processor && run.prefilled() > run.chunk;
    let unfused = if is_old { Bytes(activation::unfused_scores(model, &run, width)) } else { Bytes::ZERO };
    let logits = Bytes(sequences * model.vocabulary_size * (width + ElementType::F32.row_bytes(1)));
    let device = settings.devices.first();
    let components = Components {
        weights: Some(weights),
        repacked: Some(Estimate::ZERO),
        kv_cache: Some(Estimate::exact(Bytes(bytes.attention).times(sequences))),
        recurrent_state: Some(Estimate::exact(Bytes(bytes.state).times(sequences))),
        compute: Some(Estimate::formula(compute.scaled(0.6), compute, compute.scaled(1.5) + unfused)),
        output: Some(Estimate::within(logits, 0.5, 2.0)),
        overhead: Some(Estimate::ZERO),
    };
    Ok(MemoryPlan {
        devices: vec![DeviceMemory::new(
            device.map_or_else(|| "device".to_owned(), |device| device.name.clone()),
            components,
            capacity(device, is_processor),
        )],
        kv_cache_tokens: Some(Estimate::exact(run.full_slots())),
        available_kv: None,
        max_concurrency: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::find;
    use crate::model::fixture;

    /// Peaks that were published: mlx-lm 0.28.2 on an M4 Max (`BENCHMARKS.md`, Qwen3-4B at bf16 and
    /// 4 bits, 2048 + 128 tokens) cannot be had from a fixture; Mistral-7B at 4 bits with a prompt of
    /// 33,898 tokens peaked at 9.111 GB (pull request 40). Llama-3.1-8B differs from it by its
    /// vocabulary and its width of feed-forward, which are as wide, so only the vocabulary is set.
    #[test]
    fn a_published_peak_is_met() {
        let mut model = fixture::llama_8b();
        model.vocabulary_size = 32_768;
        for table in model.embedding.iter_mut().chain(&mut model.head).filter(|weight| weight.rows == 128_256) {
            table.rows = 32_768;
        }
        let settings = Settings {
            weights: Some("MLX-4bit".to_owned()),
            context: Some(34_000),
            prompt: Some(33_898),
            generate: Some(100),
            ..Settings::default()
        };
        let plan = plan(&model, &settings, &mut Assumptions::default()).expect("a valid request");
        let total = plan.summed().total().expect("every part is known");
        assert!((total.value.0 as f64 / 9.111e9 - 1.0).abs() < 0.02, "{}", total.value.0);
        assert!(total.low.0 < 9_111_000_000 && total.high.0 > 9_111_000_000);
    }

    /// Qwen3.6-35B-A3B at 4 bits on an M5 Max, mlx-lm 0.31.3 (issue 1480 of mlx-lm): from 32,768 to
    /// 196,608 tokens the peak grows by 14.2 GB, 87 KB per token, of which the cache is 20. The rest
    /// are the scores of 16 heads of 256, which no Metal kernel fuses.
    #[test]
    fn wide_heads_hold_their_scores_on_metal() {
        let attention = crate::model::Attention::full(16, 2, 256);
        let layers = vec![fixture::dense_layer(2048, attention, 4096); 10];
        let model = fixture::model("qwen3_5", 2048, 248_320, 262_144, layers);
        let total = |prompt: u64| {
            let settings = Settings {
                engine_version: Some("0.31.3".to_owned()),
                context: Some(prompt + 8),
                prompt: Some(prompt),
                generate: Some(8),
                ..Settings::default()
            };
            let plan = plan(&model, &settings, &mut Assumptions::default()).expect("a valid request");
            plan.summed().total().expect("every part is known").value.0
        };
        let growth = (total(196_608) - total(32_768)) as f64;
        assert!((growth / 14.2e9 - 1.0).abs() < 0.1, "{growth}");
    }

    #[test]
    fn a_long_prompt_needs_more_than_its_cache() {
        let device = find("Apple M2 Ultra", None).expect("a known name").device;
        let settings = |prompt| Settings {
            weights: Some("MLX-4bit".to_owned()),
            context: Some(32768),
            prompt: Some(prompt),
            generate: Some(128),
            devices: vec![device.clone()],
            ..Settings::default()
        };
        let model = fixture::llama_8b();
        let total = |prompt| {
            let plan = plan(&model, &settings(prompt), &mut Assumptions::default()).expect("a valid request");
            plan.summed().total().expect("every part is known").value
        };
        let (short, long) = (total(128), total(16384));
        let cache = Bytes(131_072 * 16_256);
        assert!(long.minus(short) > cache, "{short} to {long}");
        assert!(short > Bytes(4_500_000_000) && short < Bytes(5_200_000_000), "{short}");
    }
}
