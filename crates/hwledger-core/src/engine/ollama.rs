//! Ollama: llama.cpp's server, started with settings that Ollama chooses.

use super::llamacpp;
use super::{EngineError, MemoryPlan};
use crate::model::ModelSpec;
use crate::settings::{LayerCount, Switch};
use crate::units::GIBIBYTE;
use crate::weight_format::gguf::GgufFormat;
use crate::{Assumptions, Bytes, Settings};

/// Contexts by total memory of the cards, as Ollama's server chooses them (autumn 2026).
const CONTEXT_LARGE: (u64, u64) = (47 * GIBIBYTE, 262_144);
const CONTEXT_MIDDLE: (u64, u64) = (23 * GIBIBYTE, 32_768);
const CONTEXT_SMALL: u64 = 4096;

/// Micro-batch of embedding models (`DefaultEmbeddingNumBatch` of `llm/llama_server.go`).
const EMBEDDING_BATCH: u64 = 2048;

/// Batches by context, with the share of free memory that the model may be predicted to take.
const BATCHES: [(u64, u64, f64); 2] = [(32_768, 2048, 0.60), (4096, 1024, 0.75)];
const BATCH_SMALL: u64 = 512;

/// Architectures that Ollama runs with one sequence, whatever is asked.
fn runs_one_sequence(architecture: &str) -> bool {
    matches!(
        architecture,
        "qwen3next"
            | "qwen3_next"
            | "qwen35"
            | "qwen3_5"
            | "qwen35moe"
            | "qwen3_5_moe"
            | "lfm2"
            | "lfm2moe"
            | "lfm2_moe"
            | "nemotron_h"
            | "nemotron_h_moe"
            | "mllama"
            | "qwen3vl"
            | "qwen3_vl"
            | "qwen3vlmoe"
            | "qwen3_vl_moe"
    )
}

/// The memory of `model` in Ollama under `settings`; `context` is `num_ctx`, of one sequence.
///
/// **Source**: `llm/llama_server.go` of Ollama (autumn 2026): the context times the sequences, a
/// batch chosen by context and memory, flash attention and layers left to the server, the projector
/// beside the model.
///
/// # Errors
///
/// [`EngineError::Refused`] where the server would not start.
pub fn plan(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
    llamacpp::plan(model, &server_settings(model, settings, assumptions), assumptions)
}

/// The context where nobody says: by the memory of all cards, at most what the model was trained for.
pub(super) fn default_context(model: &ModelSpec, settings: &Settings) -> u64 {
    let memory: Option<u64> = settings.devices.iter().map(|device| device.memory.map(|memory| memory.0)).sum();
    context_for(memory.unwrap_or(0)).min(model.context_max.unwrap_or(u64::MAX))
}

/// What Ollama starts llama.cpp's server with.
pub(crate) fn server_settings(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Settings {
    let asked = settings.sequences.unwrap_or(1).max(1);
    let sequences = if runs_one_sequence(&model.architecture) { 1 } else { asked };
    if sequences < asked {
        assumptions.note("sequences", &1, "Ollama runs this architecture with one sequence");
    }
    let memory: Option<u64> = settings.devices.iter().map(|device| device.memory.map(|memory| memory.0)).sum();
    let context = settings.context.unwrap_or_else(|| {
        let context = default_context(model, settings);
        assumptions.note("context", &context, "Ollama's default for this much memory on the cards");
        context
    });
    let is_embedding = !model.is_causal || settings.embeddings == Some(true);
    let batch = settings.batch.unwrap_or_else(|| {
        let batch = if is_embedding {
            EMBEDDING_BATCH.min(context)
        } else {
            default_batch(model, settings, context, sequences, memory)
        };
        assumptions.note("batch", &batch, "Ollama's choice for this context and memory");
        batch
    });
    let projector = settings.vision_projector.unwrap_or(if model.towers.is_empty() { Switch::Off } else { Switch::On });
    Settings {
        weights: settings.weights.clone().or_else(|| default_weights(model, settings, assumptions)),
        context: Some(context.saturating_mul(sequences)),
        sequences: Some(sequences),
        batch: Some(batch),
        ubatch: Some(settings.ubatch.unwrap_or(batch)),
        n_outputs_max: Some(sequences),
        embeddings: Some(is_embedding),
        kv_unified: Some(settings.kv_unified.unwrap_or(false)),
        gpu_layers: settings.gpu_layers.or(Some(LayerCount::All)),
        vision_projector: Some(projector),
        ..settings.clone()
    }
}

/// The mixture of the library's default tags, for a model that is known by its configuration only.
fn default_weights(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Option<String> {
    let is_gguf = model.stored_format.as_deref().and_then(GgufFormat::parse).is_some();
    if is_gguf || settings.weights_bytes.is_some() {
        return None;
    }
    assumptions.note("weights", "Q4_K_M", "what the default tags of Ollama's library hold");
    Some("Q4_K_M".to_owned())
}

const fn context_for(memory: u64) -> u64 {
    if memory >= CONTEXT_LARGE.0 {
        CONTEXT_LARGE.1
    } else if memory >= CONTEXT_MIDDLE.0 {
        CONTEXT_MIDDLE.1
    } else {
        CONTEXT_SMALL
    }
}

/// The largest batch that Ollama's own prediction leaves room for; where the cards' memory is
/// not known, it is taken to suffice.
fn default_batch(model: &ModelSpec, settings: &Settings, context: u64, sequences: u64, memory: Option<u64>) -> u64 {
    let available = memory.filter(|&memory| memory > 0);
    for (above, batch, share) in BATCHES {
        let is_roomy = || {
            available.is_none_or(|memory| {
                predicted(model, settings, context.saturating_mul(sequences)).0 as f64 <= memory as f64 * share
            })
        };
        if context > above && is_roomy() {
            return batch;
        }
    }
    BATCH_SMALL
}

/// Ollama's own prediction: the file, and 16-bit keys and values of every layer at the
/// width of hidden / heads; windows, latents and states do not count in it.
///
/// **Source**: `PredictServerVRAM` of `llm/llama_server.go`.
fn predicted(model: &ModelSpec, settings: &Settings, context: u64) -> Bytes {
    let file = settings.weights_bytes.map_or(model.file_bytes, |bytes| Some(bytes.0));
    let file = file.unwrap_or_else(|| model.parameters().total.saturating_mul(9) / 16);
    let heads = model.decoder.kinds.iter().filter_map(|layer| layer.mixer.attention());
    let (kv_heads, query_heads) = heads.fold((u64::MAX, 1), |(kv_heads, query_heads), attention| {
        (kv_heads.min(attention.kv_heads), query_heads.max(attention.heads))
    });
    let kv_heads = if kv_heads == u64::MAX { 1 } else { kv_heads.max(1) };
    let width = kv_heads.saturating_mul(model.hidden_size / query_heads.max(1));
    let cache = width.saturating_mul(4).saturating_mul(model.decoder.len() as u64).saturating_mul(context);
    Bytes(file.saturating_add(cache))
}

/// The lines about memory that the server would print.
///
/// # Errors
///
/// As [`plan`].
pub fn log_lines(model: &ModelSpec, settings: &Settings) -> Result<Vec<String>, EngineError> {
    llamacpp::log_lines(model, &server_settings(model, settings, &mut Assumptions::default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::llama_8b;
    use crate::settings::{Device, DeviceKind};

    fn card(gibibytes: u64) -> Device {
        Device {
            name: "card".to_owned(),
            memory: Some(Bytes(gibibytes * GIBIBYTE)),
            kind: DeviceKind::Nvidia,
            spec: None,
        }
    }

    fn started(settings: &Settings) -> Settings {
        server_settings(&llama_8b(), settings, &mut Assumptions::default())
    }

    #[test]
    fn the_context_follows_the_memory_and_the_sequences() {
        let on = |gibibytes| Settings { devices: vec![card(gibibytes)], ..Settings::default() };
        assert_eq!(started(&on(8)).context, Some(4096));
        assert_eq!(started(&on(24)).context, Some(32_768));
        // Bounded by what the model was trained for.
        assert_eq!(started(&on(80)).context, Some(131_072));
        let four = Settings { context: Some(8192), sequences: Some(4), ..Settings::default() };
        assert_eq!((started(&four).context, started(&four).sequences), (Some(32_768), Some(4)));
    }

    #[test]
    fn the_batch_grows_where_the_prediction_leaves_room() {
        let batch = |context, gibibytes| {
            let settings = Settings {
                context: Some(context),
                weights_bytes: Some(Bytes(5 * GIBIBYTE)),
                devices: vec![card(gibibytes)],
                ..Settings::default()
            };
            started(&settings).ubatch
        };
        assert_eq!(batch(4096, 24), Some(512));
        assert_eq!(batch(16_384, 24), Some(1024));
        // 5 GiB and 4 GiB of cache exceed three quarters of 10 GiB.
        assert_eq!(batch(32_768, 10), Some(512));
        // 5 GiB and 8 GiB of cache are within six tenths of 24 GiB.
        assert_eq!(batch(65_536, 24), Some(2048));
    }

    #[test]
    fn configurations_are_planned_as_the_default_tags() {
        assert_eq!(started(&Settings::default()).weights.as_deref(), Some("Q4_K_M"));
        let mut model = llama_8b();
        model.stored_format = Some("Q8_0".to_owned());
        let settings = server_settings(&model, &Settings::default(), &mut Assumptions::default());
        assert_eq!(settings.weights, None);
    }

    #[test]
    fn some_architectures_run_one_sequence() {
        let mut model = llama_8b();
        model.architecture = "qwen35".to_owned();
        let asked = Settings { sequences: Some(4), ..Settings::default() };
        let mut assumptions = Assumptions::default();
        assert_eq!(server_settings(&model, &asked, &mut assumptions).sequences, Some(1));
        assert!(assumptions.0.iter().any(|assumption| assumption.what == "sequences"));
    }
}
