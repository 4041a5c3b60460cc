//! How a model is divided among devices by the engines that serve from whole cards.

use super::EngineError;
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
