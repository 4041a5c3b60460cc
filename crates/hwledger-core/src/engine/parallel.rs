//! How a model is divided among devices by the engines that serve from whole cards.

use super::EngineError;
use crate::model::{FeedForward, Layer};
use crate::settings::{Device, Settings};
use crate::{Assumptions, ModelSpec};

/// Parallel sizes of one plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Ranks that share each matrix.
    pub(super) tensor: u64,
    /// Stages that hold consecutive layers.
    pub(super) pipeline: u64,
    /// Replicas of the whole.
    pub(super) data: u64,
    /// Groups among the tensor ranks that each hold all attention heads (SGLang, TensorRT-LLM).
    pub(super) attention_data: u64,
    /// Ranks that share the routed experts, each holding whole ones; 1 where experts are cut like other matrices.
    pub(super) expert: u64,
}

/// Most ranks of one plan.
const RANKS_MAX: u64 = 4096;

/// Most tokens or sequences that a request may name: four thousand million.
const TOKENS_MAX: u64 = 1 << 32;

/// Refuses requests whose sizes could not be added up in 64 bits: no machine holds them.
pub(super) fn check_magnitude(engine: &'static str, model: &ModelSpec, settings: &Settings) -> Result<(), EngineError> {
    let counts = [
        ("context", settings.context),
        ("sequences", settings.sequences),
        ("max_batched_tokens", settings.max_batched_tokens),
        ("prompt", settings.prompt),
        ("generate", settings.generate),
        ("depth", settings.depth),
    ];
    let refused = |setting, why| Err(EngineError::Refused { engine, setting, why });
    for (setting, count) in counts {
        if let Some(count) = count.filter(|&count| count > TOKENS_MAX) {
            return refused(setting, format!("{count} is more than the {TOKENS_MAX} that plans take"));
        }
    }
    let tokens = counts.iter().filter_map(|(_, count)| *count).max().unwrap_or(0).max(1 << 16) as f64;
    let per_token: f64 =
        model.decoder.counted().map(|(layer, count)| count as f64 * elements_per_token(model, layer)).sum();
    // Eight bytes an element, every token against a chunk of keys: more than any formula here multiplies.
    let sequences = settings.sequences.unwrap_or(1).max(1) as f64;
    if per_token * tokens * sequences * 8.0 > 2.0_f64.powi(60) {
        return refused("context", "cache and activations would be larger than 2^60 bytes".to_owned());
    }
    Ok(())
}

/// An upper bound of what one token occupies in a layer, in elements.
fn elements_per_token(model: &ModelSpec, layer: &Layer) -> f64 {
    let product = |a: u64, b: u64| a as f64 * b as f64;
    let attention = layer.mixer.attention().map_or(0.0, |attention| {
        product(4 * (attention.heads + attention.kv_heads), attention.key_dim + attention.value_dim)
    });
    let recurrent = layer.mixer.recurrent().map_or(0.0, |recurrent| {
        recurrent.state_elements as f64
            + 4.0 * (recurrent.inner_size as f64 + product(recurrent.convolution_channels, recurrent.convolution_taps))
            + 2048.0 * recurrent.heads as f64
    });
    let feed_forward = match &layer.feed_forward {
        FeedForward::None => 0.0,
        FeedForward::Dense { width, .. } => 4.0 * *width as f64,
        FeedForward::Experts(moe) => {
            product(moe.experts_per_token, 4 * moe.expert_width + 4 * model.hidden_size)
                + 4.0 * (moe.shared_width + moe.dense_width + moe.experts) as f64
        }
    };
    attention + recurrent + feed_forward + 16.0 * model.hidden_size as f64
}

impl Layout {
    /// One device.
    #[cfg(test)]
    pub(super) const SINGLE: Self = Self { tensor: 1, pipeline: 1, data: 1, attention_data: 1, expert: 1 };

    /// The parallel sizes that `settings` ask for. Where only several devices are named, they share each matrix.
    pub(super) fn read(
        engine: &'static str,
        model: &ModelSpec,
        settings: &Settings,
        assumptions: &mut Assumptions,
    ) -> Result<Self, EngineError> {
        check_magnitude(engine, model, settings)?;
        let pipeline = settings.pipeline_parallel.unwrap_or(1).max(1);
        let data = settings.data_parallel.unwrap_or(1).max(1);
        let devices = settings.devices.len() as u64;
        let tensor = match settings.tensor_parallel {
            Some(tensor) => tensor.max(1),
            None if devices > pipeline * data => {
                let tensor = devices / (pipeline * data);
                assumptions.note("tensor_parallel", &tensor, "the devices named share each matrix");
                tensor
            }
            None => 1,
        };
        let layout = Self {
            tensor,
            pipeline,
            data,
            attention_data: settings.attention_data_parallel.unwrap_or(1).clamp(1, tensor),
            expert: settings.expert_parallel.unwrap_or(1).max(1),
        };
        let refused = |setting, why| Err(EngineError::Refused { engine, setting, why });
        let ranks = tensor.saturating_mul(pipeline).saturating_mul(data);
        if ranks > RANKS_MAX {
            return refused("tensor_parallel", format!("{ranks} ranks are more than the {RANKS_MAX} that plans take"));
        }
        if devices > 0 && devices < ranks {
            return refused("devices", format!("{ranks} ranks need as many devices, and {devices} are named"));
        }
        if pipeline > model.decoder.len().max(1) as u64 {
            return refused("pipeline_parallel", format!("the model has only {} layers", model.decoder.len()));
        }
        Ok(layout)
    }

    /// Ranks among which attention heads are divided.
    pub(super) const fn attention_tensor(&self) -> u64 {
        self.tensor / self.attention_data
    }

    /// First and last layer (exclusive) of a pipeline stage. As vLLM's `get_pp_indices` divides them:
    /// what is left over goes to the stages before the last, one each, from the end.
    pub(super) fn stage_layers(&self, layers: usize, stage: u64) -> (usize, usize) {
        let stages = usize::try_from(self.pipeline).unwrap_or(usize::MAX).max(1);
        let (share, rest) = (layers / stages, layers % stages);
        let size = |index: usize| {
            // Stages stages-1-rest .. stages-1 take one more; with one stage there is no rest.
            let takes_more = index + 1 < stages && index + 1 + rest >= stages;
            share + usize::from(takes_more)
        };
        let stage = usize::try_from(stage).unwrap_or(usize::MAX).min(stages - 1);
        let first = (0..stage).map(size).sum();
        (first, first + size(stage))
    }
}

/// The device of a rank, where devices are named.
pub(super) fn device_of(settings: &Settings, rank: u64) -> Option<&Device> {
    settings.devices.get(usize::try_from(rank).unwrap_or(usize::MAX)).or_else(|| settings.devices.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_sizes_are_refused_instead_of_wrapping() {
        let model = crate::model::fixture::llama_8b();
        let refused = |settings: Settings| check_magnitude("vllm", &model, &settings).is_err();
        assert!(refused(Settings { context: Some(u64::MAX), ..Settings::default() }));
        assert!(refused(Settings { context: Some(1 << 32), sequences: Some(1 << 32), ..Settings::default() }));
        assert!(!refused(Settings { context: Some(10_000_000), sequences: Some(1024), ..Settings::default() }));
    }

    #[test]
    fn stages_take_all_layers_once() {
        for (layers, pipeline) in [(32_usize, 4_u64), (33, 4), (35, 4), (61, 8), (7, 7), (5, 1)] {
            let layout = Layout { pipeline, ..Layout::SINGLE };
            let stages: Vec<_> = (0..pipeline).map(|stage| layout.stage_layers(layers, stage)).collect();
            assert_eq!(stages.first().map(|stage| stage.0), Some(0));
            assert_eq!(stages.last().map(|stage| stage.1), Some(layers), "{layers} over {pipeline}");
            assert!(stages.windows(2).all(|pair| pair[0].1 == pair[1].0));
        }
    }
}
