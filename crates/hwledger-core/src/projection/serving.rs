//! Engines that serve many requests in one batch from whole cards: vLLM, SGLang, TensorRT-LLM, TGI.

use super::demand::{Demand, LatentPath, Manner, RecurrenceKernel, Step, experts_touched};
use super::efficiency::{Efficiencies, Place};
use super::local::{output_flops, place};
use super::rates::Rates;
use super::resource::{Backend, Kernel, Resource};
use super::term::{Cost, Phase, Term};
use super::{Gap, MICROSECOND};
use crate::model::{FeedForward, Layer, ModelSpec, Role, Weight};
use crate::settings::{Engine, Settings};
use crate::weight_format::{self, WeightFormat};
use crate::{Assumptions, ElementType};

/// Most prompt tokens of one pass where nobody says (the engines' defaults lie from 2,048 to 16,384).
const CHUNK_TOKENS: f64 = 8192.0;

/// What one rank holds and computes of one kind of layer.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    count: f64,
    /// Bytes of attention, recurrence and dense matrices.
    weights: f64,
    /// Bytes of routed experts.
    experts: f64,
    /// Operations per token of matrices divided among attention ranks.
    attention_flops: f64,
    /// Operations per token of the other matrices.
    feed_forward_flops: f64,
    /// Operations per token of routed experts.
    expert_flops: f64,
    /// Operations of one token through all routed experts.
    expert_all_flops: f64,
    /// Routed experts, and those that a token passes through.
    routed: (f64, f64),
}

/// A model laid out on the ranks of one replica.
#[derive(Clone, Debug)]
pub(super) struct Serving<'a> {
    model: &'a ModelSpec,
    rates: Rates,
    places: Vec<Place>,
    kernel: Kernel,
    manner: Manner,
    shares: Vec<Share>,
    /// Bytes of the output matrix on a rank.
    output_bytes: f64,
    /// Ranks that share each matrix.
    tensor: f64,
    /// Groups of ranks that each hold all attention heads.
    attention_groups: f64,
    stages: f64,
    chunk: f64,
    /// Replicas of the whole.
    pub(super) replicas: f64,
}

const fn is_feed_forward(role: Role) -> bool {
    matches!(
        role,
        Role::Gate
            | Role::Up
            | Role::Down
            | Role::GateUp
            | Role::SharedGate
            | Role::SharedUp
            | Role::SharedDown
            | Role::SharedGateUp
    )
}

impl<'a> Serving<'a> {
    /// The layout that `settings` give, or what is not known that it needs.
    pub(super) fn resolve(
        engine: Engine,
        model: &'a ModelSpec,
        settings: &Settings,
        efficiencies: &Efficiencies,
        assumptions: &mut Assumptions,
    ) -> Result<Self, Gap> {
        let device = settings.devices.first().ok_or_else(|| Gap::new("devices", "no device is named".to_owned()))?;
        let rates = Rates::of_device(device, &efficiencies.vocabulary)?;
        let label = settings.weights.as_deref().or(model.stored_format.as_deref()).unwrap_or_default();
        let format = WeightFormat::asked(settings).map_err(|error| Gap::new("weights", error.to_string()))?;
        let kernel = match &format {
            Some(format) => Kernel::of_format(format, label),
            None => label.parse().map_or(Kernel::Bf16, |format: WeightFormat| Kernel::of_format(&format, label)),
        };
        let stages = settings.pipeline_parallel.unwrap_or(1).max(1) as f64;
        let data = settings.data_parallel.unwrap_or(1).max(1) as f64;
        let has_experts = model.decoder.kinds.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Experts(_)));
        let devices = settings.devices.len() as f64;
        let named = settings
            .tensor_parallel
            .map_or_else(|| (devices / (stages * data)).floor().max(1.0), |own| own.max(1) as f64);
        // Data parallelism over a mixture of experts divides the experts and repeats the attention.
        let (tensor, groups, replicas) = if has_experts && data > 1.0 {
            (named * data, data, 1.0)
        } else {
            let groups = settings.attention_data_parallel.unwrap_or(1).max(1) as f64;
            (named, groups.min(named), data)
        };
        let layout = Layout { tensor, attention: (tensor / groups).max(1.0), expert: tensor };
        let bytes =
            |weight: &Weight| weight.bytes_as(weight_format::element_type(format.as_ref(), model, weight)) as f64;
        let shares = model.decoder.counted().map(|(layer, count)| share(layer, count as f64, &layout, bytes)).collect();
        let tied = model.embedding.iter().filter(|own| model.is_head_tied && own.role == Role::TokenEmbedding);
        let output_bytes = model.head.iter().chain(tied).map(bytes).sum::<f64>() / tensor;
        let backend = Backend::resolve(settings, Some(device), assumptions);
        let cache = settings.kv_type_k.unwrap_or(ElementType::BF16);
        Ok(Self {
            model,
            places: vec![place(engine, backend, &rates, model, efficiencies)],
            rates,
            kernel,
            manner: Manner {
                key: cache,
                value: settings.kv_type_v.unwrap_or(cache),
                latent: LatentPath::Absorbed,
                activation_bytes: 2.0,
            },
            shares,
            output_bytes,
            tensor,
            attention_groups: groups,
            stages,
            chunk: settings.max_batched_tokens.map_or(CHUNK_TOKENS, |tokens| tokens.max(1) as f64),
            replicas,
        })
    }

    /// Rates of one rank.
    pub(super) const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Ranks that share each matrix.
    pub(super) const fn ranks(&self) -> f64 {
        self.tensor
    }

    /// Prompts that are computed at the same time: one by each group of ranks with all heads, one
    /// in each stage.
    pub(super) const fn lanes(&self) -> f64 {
        self.attention_groups * self.stages
    }

    const fn term(ideal: f64, resource: Resource, kernel: Kernel, phase: Phase, overlap: u16) -> Term {
        Term { ideal, resource, kernel, place: 0, phase, overlap, scaled_by: None }
    }

    /// Demands of attention, recurrence and launches for one group's sequences, on one rank.
    fn mixing(&self, step: &Step, manner: &Manner) -> Demand {
        let mut sum = Demand::default();
        let ranks = (self.tensor / self.attention_groups).max(1.0);
        for (layer, count) in self.model.decoder.counted() {
            let mut demand = Demand::of_layer(layer, step, manner);
            let cache_ranks = layer.mixer.attention().map_or(1.0, |attention| {
                // Every rank holds at least one key-value head; latents are on all of them.
                if attention.latent.is_some() { 1.0 } else { ranks.min(attention.kv_heads.max(1) as f64) }
            });
            demand.cache_bytes /= cache_ranks;
            demand.attention_flops /= ranks;
            demand.latent_flops /= ranks;
            demand.activation_bytes /= ranks;
            for recurrence in &mut demand.recurrence {
                recurrence.state_bytes /= ranks;
                recurrence.flops /= ranks;
            }
            sum.add(&demand, count as f64);
        }
        sum
    }

    /// Matrix products of `tokens` tokens of the whole replica on one rank: operations, of experts,
    /// of padding per token, bytes of weights, of experts.
    fn products(&self, tokens: f64) -> [f64; 5] {
        let group_tokens = tokens / self.attention_groups;
        let mut sums = [0.0; 5];
        for share in &self.shares {
            let touched = experts_touched(share.routed.0, share.routed.1, tokens);
            sums[0] += share.count * (share.attention_flops * group_tokens + share.feed_forward_flops * tokens);
            sums[1] += share.count * share.expert_flops * tokens;
            sums[2] += share.count * share.expert_all_flops * touched;
            sums[3] += share.count * share.weights;
            sums[4] += share.count * share.experts * touched;
        }
        sums
    }

    /// One decoding pass of `sequences` sequences of one replica, each with `depth` cached tokens and
    /// `tokens` new ones.
    pub(super) fn decode(&self, sequences: f64, tokens: f64, depth: f64) -> Cost {
        // Stages work on batches of their own, one after the other.
        let sequences = (sequences / self.stages).max(1.0);
        let step = Step { sequences: (sequences / self.attention_groups).max(1.0), tokens, depth };
        let mixing = self.mixing(&step, &self.manner);
        let products = self.products(sequences.max(self.attention_groups) * tokens);
        let [flops, expert_flops, tile_flops, weights, experts] = products;
        let output = output_flops(self.model) / self.tensor * step.batch_tokens();
        let (rates, kernel, phase) = (&self.rates, self.kernel, Phase::Decode);
        let peak = rates.serving_products(kernel);
        let mut cost = Cost::new(self.places.clone());
        let group = cost.overlap();
        let weights = weights + self.output_bytes;
        cost.push(Self::term(weights / rates.bandwidth, Resource::DecodeWeights, kernel, phase, group));
        cost.push(Self::term((flops + output) / peak, Resource::Matmul, kernel, phase, group));
        let group = cost.overlap();
        cost.push(Self::term(experts / rates.bandwidth, Resource::DecodeExperts, kernel, phase, group));
        cost.push(Self::term(expert_flops / peak, Resource::ExpertMatmul, kernel, phase, group));
        cost.push(Self::term(tile_flops / peak, Resource::ExpertTile, kernel, phase, 0));
        cost.push(Self::term(mixing.cache_bytes / rates.bandwidth, Resource::CacheRead, Kernel::Any, phase, 0));
        cost.push(Self::term(mixing.latent_flops / rates.matrix16, Resource::DecodeLatent, Kernel::Any, phase, 0));
        for (kernel, recurrence) in recurrences(&mixing) {
            cost.push(Self::term(recurrence.0 / rates.bandwidth, Resource::StateTraffic, kernel, phase, 0));
        }
        self.add_counts(&mut cost, &mixing, sequences * tokens, phase);
        cost.push(Self::term(MICROSECOND * self.stages, Resource::DecodeStep, Kernel::Any, phase, 0));
        cost.push(Self::term(MICROSECOND * sequences, Resource::SequenceOverhead, Kernel::Any, phase, 0));
        cost
    }

    /// The prefill of one prompt of `tokens` tokens after `depth` cached ones.
    pub(super) fn prefill(&self, tokens: f64, depth: f64) -> Cost {
        let passes = (tokens / self.chunk).ceil().max(1.0);
        let manner = Manner { latent: LatentPath::Expanded, ..self.manner };
        let step = Step { sequences: 1.0, tokens, depth };
        let mut mixing = self.mixing(&step, &manner);
        mixing.launches *= passes;
        // A prompt is computed by one attention group, while the others compute other prompts: a
        // group's share of the experts serves as many tokens as it has of its own.
        let share = 1.0 / self.attention_groups;
        let each = self.products(tokens / passes * self.attention_groups).map(|sum| sum * passes);
        let [flops, expert_flops, tile_flops, weights, experts] = each;
        let (rates, kernel, phase) = (&self.rates, self.kernel, Phase::Prefill);
        let peak = rates.serving_products(kernel);
        let output = output_flops(self.model) / self.tensor;
        let mut cost = Cost::new(self.places.clone());
        let group = cost.overlap();
        let weights = (weights + self.output_bytes) / rates.bandwidth;
        cost.push(Self::term((flops + output) / peak, Resource::Matmul, kernel, phase, group));
        cost.push(Self::term(weights, Resource::PrefillWeights, kernel, phase, group));
        let group = cost.overlap();
        cost.push(Self::term(expert_flops / peak, Resource::ExpertMatmul, kernel, phase, group));
        cost.push(Self::term(experts / rates.bandwidth, Resource::PrefillWeights, kernel, phase, group));
        cost.push(Self::term(tile_flops / peak, Resource::ExpertTile, kernel, phase, 0));
        let attention = (mixing.attention_flops + mixing.latent_flops) / rates.matrix16;
        cost.push(Self::term(attention, Resource::PrefillAttention, Kernel::Any, phase, 0));
        for (kernel, recurrence) in recurrences(&mixing) {
            cost.push(Self::term(recurrence.1 / rates.vector, Resource::Recurrence, kernel, phase, 0));
        }
        cost.push(Self::term(mixing.activation_bytes / rates.bandwidth, Resource::Activations, Kernel::Any, phase, 0));
        self.add_counts(&mut cost, &mixing, tokens / share, phase);
        cost.push(Self::term(MICROSECOND * passes * self.stages, Resource::PrefillStep, Kernel::Any, phase, 0));
        cost
    }

    /// Kernels started, and collective operations: two sums over all ranks per layer.
    fn add_counts(&self, cost: &mut Cost, mixing: &Demand, tokens: f64, phase: Phase) {
        let launch = if phase == Phase::Decode { Resource::DecodeLaunch } else { Resource::PrefillLaunch };
        cost.push(Self::term(mixing.launches * MICROSECOND, launch, Kernel::Any, phase, 0));
        if self.tensor > 1.0 {
            let count = 2.0 * self.model.decoder.len() as f64;
            // A ring moves every element twice, less one rank's share.
            let moved = tokens * self.model.hidden_size as f64 * 2.0 * 2.0 * (self.tensor - 1.0) / self.tensor;
            cost.push(Self::term(count * MICROSECOND, Resource::CollectiveStart, Kernel::Any, phase, 0));
            let seconds = count * moved / self.rates.peer_link;
            cost.push(Self::term(seconds, Resource::CollectiveBytes, Kernel::Any, phase, 0));
        }
        if self.stages > 1.0 {
            cost.push(Self::term((self.stages - 1.0) * MICROSECOND, Resource::Boundary, Kernel::Any, phase, 0));
        }
    }
}

/// State bytes and operations of each recurrence, with its kernel.
fn recurrences(demand: &Demand) -> impl Iterator<Item = (Kernel, (f64, f64))> {
    RecurrenceKernel::ALL
        .into_iter()
        .map(RecurrenceKernel::kernel)
        .zip(demand.recurrence.map(|own| (own.state_bytes, own.flops)))
}

/// Ranks by what they divide.
struct Layout {
    tensor: f64,
    attention: f64,
    expert: f64,
}

/// What one rank holds and computes of `count` equal layers.
fn share(layer: &Layer, count: f64, layout: &Layout, bytes: impl Fn(&Weight) -> f64) -> Share {
    let routed = match &layer.feed_forward {
        FeedForward::Experts(moe) if moe.experts > 0 => (moe.experts as f64, moe.experts_per_token as f64),
        _ => (1.0, 1.0),
    };
    let mut share = Share { count, routed, ..Share::default() };
    for weight in layer.weights.iter().filter(|weight| !weight.role.is_lookup()) {
        let flops = if weight.is_vector() { 0.0 } else { 2.0 * weight.elements() as f64 };
        if weight.role.is_routed_expert() {
            share.experts += bytes(weight) / layout.expert;
            share.expert_flops += flops * routed.1 / routed.0 / layout.expert;
            share.expert_all_flops += flops / layout.expert;
        } else if is_feed_forward(weight.role) {
            share.weights += bytes(weight) / layout.tensor;
            share.feed_forward_flops += flops / layout.tensor;
        } else {
            share.weights += bytes(weight) / layout.attention;
            share.attention_flops += flops / layout.attention;
        }
    }
    share
}
