//! Memory of training and fine-tuning: weights, gradients, optimizer states, activations.

use serde::Serialize;

use crate::lora::{self, Targets};
use crate::model::{FeedForward, Layer, Mixer, ModelSpec, Weight};
use crate::weight_format::{WeightFormat, element_type};
use crate::{Assumptions, Bytes, ElementType, Estimate};

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Every parameter.
    Full,
    /// Low-rank adapters over frozen weights as the files hold them.
    Lora {
        /// Their rank.
        rank: u64,
        /// What they change.
        targets: Targets,
    },
    /// Low-rank adapters over frozen weights in 4-bit `NormalFloat` (Dettmers et al. 2023).
    QLora {
        /// Their rank.
        rank: u64,
        /// What they change.
        targets: Targets,
    },
}

/// The optimizer, by the state that it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimizer {
    /// Two moments of 32 bits.
    AdamW,
    /// Two moments of 8 bits (Dettmers et al. 2022).
    AdamW8bit,
    /// One momentum of 32 bits.
    Sgd,
    /// Row and column sums only (Shazeer and Stern 2018).
    Adafactor,
}

impl Optimizer {
    /// Bytes of state per trained parameter. Adafactor's sums vanish beside a matrix.
    pub const fn state_bytes(self) -> u64 {
        match self {
            Self::AdamW => 8,
            Self::AdamW8bit => 2,
            Self::Sgd => 4,
            Self::Adafactor => 0,
        }
    }
}

/// One training run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Training {
    /// What is trained.
    pub method: Method,
    /// With which optimizer.
    pub optimizer: Optimizer,
    /// Sequences per device and step.
    pub batch: u64,
    /// Tokens per sequence.
    pub sequence: u64,
    /// Whether activations inside a layer are computed again in the backward pass.
    pub has_checkpointing: bool,
    /// Whether attention keeps no score matrix.
    pub has_flash_attention: bool,
    /// `ZeRO` stage: 1 divides optimizer states among devices, 2 gradients as well, 3 weights as well.
    pub zero_stage: u64,
    /// Devices that divide them.
    pub devices: u64,
}

/// Memory of one device in training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrainingMemory {
    /// Parameters that are trained.
    pub trained_parameters: u64,
    /// Weights in the forward pass.
    pub weights: Estimate<Bytes>,
    /// 32-bit master copies of the trained weights.
    pub master_weights: Estimate<Bytes>,
    /// Gradients.
    pub gradients: Estimate<Bytes>,
    /// Optimizer states.
    pub optimizer: Estimate<Bytes>,
    /// Activations kept for the backward pass.
    pub activations: Estimate<Bytes>,
    /// Logits, their 32-bit copy and its gradient.
    pub logits: Estimate<Bytes>,
    /// What lies outside the framework's allocator.
    pub overhead: Estimate<Bytes>,
    /// Training tokens beyond which a larger model would do better (Hoffmann et al. 2022: 20 per parameter).
    pub compute_optimal_tokens: u64,
}

impl TrainingMemory {
    /// Everything together.
    pub fn total(&self) -> Estimate<Bytes> {
        [
            self.weights,
            self.master_weights,
            self.gradients,
            self.optimizer,
            self.activations,
            self.logits,
            self.overhead,
        ]
        .into_iter()
        .sum()
    }
}

/// Bytes of one activation: training runs in 16 bits.
const ACTIVATION_BYTES: u64 = 2;

/// Elements that one token leaves behind in a layer for the backward pass.
///
/// **Formula**: the input of every product and norm and the operands of every elementwise product:
/// both norms' inputs and outputs, queries, keys, values and attention's output; gate, up, the
/// activation and its product. Without flash attention the scores and their softmax as well, which
/// grow with the sequence.
///
/// **Source**: Korthikanti et al. 2022, section 4.1, whose `34 s b h` this gives for its layer of
/// width 4h without dropout masks; Dao 2023 for attention without scores.
pub fn layer_activations(layer: &Layer, hidden: u64, sequence: u64, has_flash_attention: bool) -> u64 {
    let mut elements = 4 * hidden;
    if let Some(attention) = layer.mixer.attention() {
        let query = attention.heads * attention.key_dim;
        let output = attention.heads * attention.value_dim;
        let keys_and_values = match attention.latent {
            // Naive attention expands the latent to every head.
            Some(latent) => attention.heads * (attention.key_dim + attention.value_dim) + latent.kv_rank,
            None => attention.kv_heads * (attention.key_dim + attention.value_dim),
        };
        elements += query + keys_and_values + output;
        if !has_flash_attention {
            elements += 2 * attention.heads * attention.span.tokens_kept(sequence);
        }
    }
    if let Mixer::Recurrent(recurrent) | Mixer::Both(_, recurrent) = &layer.mixer {
        // Convolution's input and output, the gate, the scan's output.
        elements += 2 * recurrent.convolution_channels + 2 * recurrent.inner_size;
    }
    elements
        + match &layer.feed_forward {
            FeedForward::None => 0,
            FeedForward::Dense { width, activation } => inner(*activation, *width),
            FeedForward::Experts(moe) => {
                let routed = moe.experts_per_token * (inner(moe.activation, moe.expert_width) + hidden);
                routed + inner(moe.activation, moe.shared_width) + inner(moe.activation, moe.dense_width)
            }
        }
}

/// Inner elements of a feed-forward: gate, up, activation and product, or the projection and its activation.
const fn inner(activation: crate::model::Activation, width: u64) -> u64 {
    match activation {
        crate::model::Activation::Gated => 4 * width,
        crate::model::Activation::Plain => 2 * width,
    }
}

/// Memory of one device.
///
/// **Formula**: weights and gradients at 16 bits and, for trained parameters, a 32-bit master copy and the
/// optimizer's states (Rajbhandari et al. 2020, section 3.1: 2 + 2 + 12 bytes per parameter with Adam),
/// each divided among devices by the `ZeRO` stage; activations of [`layer_activations`] for every token,
/// or with checkpointing the residual stream per layer and one layer in full; logits three times.
///
/// **Errors** are wide: frameworks differ in what they keep. The interval of activations says so.
pub fn training_memory(
    model: &ModelSpec,
    format: Option<&WeightFormat>,
    training: &Training,
    assumptions: &mut Assumptions,
) -> TrainingMemory {
    let all = model.parameters().total;
    let trained = match training.method {
        Method::Full => all,
        Method::Lora { rank, targets } | Method::QLora { rank, targets } => lora::parameters(model, rank, targets),
    };
    let divided = |bytes: u64, stage: u64| {
        let parts = if training.zero_stage >= stage { training.devices.max(1) } else { 1 };
        Estimate::exact(Bytes(bytes.div_ceil(parts)))
    };
    let adapters = if training.method == Method::Full { 0 } else { trained.saturating_mul(2) };
    let weights = frozen_or_trained(model, format, training.method).saturating_add(adapters);
    assumptions.note("precision", "bf16 with 32-bit master weights", "the usual mixed precision");
    let tokens = training.batch.saturating_mul(training.sequence);
    TrainingMemory {
        trained_parameters: trained,
        weights: divided(weights, 3),
        master_weights: divided(trained.saturating_mul(4), 1),
        gradients: divided(trained.saturating_mul(2), 2),
        optimizer: divided(trained.saturating_mul(training.optimizer.state_bytes()), 1),
        activations: activations(model, training, tokens),
        logits: Estimate::within(Bytes(tokens.saturating_mul(model.vocabulary_size).saturating_mul(10)), 0.4, 1.4),
        // Driver context and library workspaces.
        overhead: Estimate::formula(
            Bytes::from_mebibytes(300),
            Bytes::from_mebibytes(600),
            Bytes::from_mebibytes(1500),
        ),
        compute_optimal_tokens: all.saturating_mul(20),
    }
}

/// Bytes of the weights that the forward pass reads.
fn frozen_or_trained(model: &ModelSpec, format: Option<&WeightFormat>, method: Method) -> u64 {
    // 64 elements of 4 bits share a scale of 8 bits, 256 of which share one of 32 (double quantisation).
    const NF4: ElementType = ElementType::Grouped { bits: 4, group: 64, group_bits: 8 };
    let bytes = |weight: &Weight| {
        let is_linear =
            !weight.is_vector() && !weight.role.is_lookup() && weight.role != crate::model::Role::LanguageHead;
        let stored = match method {
            Method::Lora { .. } => element_type(format, model, weight),
            Method::QLora { .. } if is_linear => NF4,
            Method::Full | Method::QLora { .. } => ElementType::BF16,
        };
        weight.bytes_as(stored)
    };
    model.weights().fold(0_u64, |sum, (weight, count)| sum.saturating_add(bytes(weight).saturating_mul(count)))
}

fn activations(model: &ModelSpec, training: &Training, tokens: u64) -> Estimate<Bytes> {
    let per_layer = |layer: &Layer| {
        layer_activations(layer, model.hidden_size, training.sequence, training.has_flash_attention)
            .saturating_mul(ACTIVATION_BYTES)
    };
    let per_token = if training.has_checkpointing {
        let kept = model.hidden_size.saturating_mul(ACTIVATION_BYTES).saturating_mul(model.decoder.len() as u64);
        let again = model.decoder.kinds.iter().map(per_layer).max().unwrap_or(0);
        // The layer computed again holds its activations and their gradients.
        kept.saturating_add(again.saturating_mul(2))
    } else {
        model
            .decoder
            .counted()
            .fold(0, |sum: u64, (layer, count)| sum.saturating_add(per_layer(layer).saturating_mul(count)))
    };
    Estimate::within(Bytes(per_token.saturating_mul(tokens)), 0.7, 1.6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::llama_8b;

    fn full() -> Training {
        Training {
            method: Method::Full,
            optimizer: Optimizer::AdamW,
            batch: 1,
            sequence: 2048,
            has_checkpointing: true,
            has_flash_attention: true,
            zero_stage: 0,
            devices: 1,
        }
    }

    fn plan(training: &Training) -> TrainingMemory {
        training_memory(&llama_8b(), None, training, &mut Assumptions::default())
    }

    #[test]
    fn full_training_with_adam_takes_sixteen_bytes_per_parameter() {
        // Rajbhandari et al. 2020, section 3.1.
        let memory = plan(&full());
        let states = memory.weights + memory.master_weights + memory.gradients + memory.optimizer;
        assert_eq!(states.value, Bytes(16 * memory.trained_parameters));
    }

    #[test]
    fn stages_divide_what_they_say() {
        let alone = plan(&full());
        let stage = |zero_stage| plan(&Training { zero_stage, devices: 8, ..full() });
        let eighth = |bytes: Bytes| Bytes(bytes.0.div_ceil(8));
        assert_eq!(stage(1).optimizer.value, eighth(alone.optimizer.value));
        assert_eq!(stage(1).gradients, alone.gradients);
        assert_eq!(stage(2).gradients.value, eighth(alone.gradients.value));
        assert_eq!(stage(2).weights, alone.weights);
        assert_eq!(stage(3).weights.value, eighth(alone.weights.value));
    }

    #[test]
    fn checkpointing_and_adapters_save_memory() {
        let with = plan(&full());
        let without = plan(&Training { has_checkpointing: false, ..full() });
        assert!(with.activations.value < without.activations.value);
        let adapters = Method::QLora { rank: 16, targets: Targets::AllLinear };
        let memory = plan(&Training { method: adapters, ..full() });
        // A 4-bit base of 7 billion linear parameters, its 16-bit embedding and head, adapters' states.
        assert!(memory.total().value < Bytes::from_gibibytes(12.0), "{}", memory.total().value);
        assert!(memory.total().value > Bytes::from_gibibytes(6.0), "{}", memory.total().value);
    }
}
