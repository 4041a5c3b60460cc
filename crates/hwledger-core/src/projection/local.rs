//! Engines that run one model for few users, layer after layer: llama.cpp and its relatives, mlx-lm.

use super::demand::{Demand, LatentPath, Manner, RecurrenceKernel, Step};
use super::efficiency::{Efficiencies, Place};
use super::overflow;
use super::rates::Rates;
use super::resource::{Backend, Kernel, Resource, Runner};
use super::term::{Cost, Phase, Term};
use super::{Gap, MICROSECOND};
use crate::device::Instructions;
use crate::engine::llamacpp::{ContextParameters, Placement, WeightBytes};
use crate::model::{ModelSpec, Role, Weight};
use crate::settings::{Device, DeviceKind, Engine, Settings};
use crate::weight_format::gguf::GgufFormat;
use crate::weight_format::{self, WeightFormat};
use crate::{Assumptions, ElementType};

/// Most tokens that go through matrix-vector kernels.
const VECTOR_TOKENS_MAX: f64 = 8.0;

/// Fewest tokens for which weights on the host are copied to a card instead of used where they
/// are (`ggml_backend_offload_op` of llama.cpp).
const OFFLOAD_TOKENS_MIN: f64 = 32.0;

/// Prompt tokens of one pass of mlx-lm (`prefill_step_size` of `mlx_lm/generate.py`).
const MLX_STEP_TOKENS: u64 = 2048;

/// A device with the part of the model that it holds.
#[derive(Clone, Debug)]
struct Part {
    rates: Rates,
    /// Number of layers of each distinct kind, and of those the layers whose experts are elsewhere.
    layers: Vec<(f64, f64)>,
    /// Bytes of weights that every pass reads.
    weights: f64,
    /// Bytes of routed experts.
    experts: f64,
    has_output: bool,
    is_host: bool,
}

/// A model laid out on devices by an engine that runs layer after layer.
#[derive(Clone, Debug)]
pub(super) struct Local<'a> {
    model: &'a ModelSpec,
    parts: Vec<Part>,
    places: Vec<Place>,
    kernel: Kernel,
    cache_kernel: Kernel,
    flash: Kernel,
    manner: Manner,
    step_tokens: f64,
    is_pipelined: bool,
    output_flops: f64,
}

impl<'a> Local<'a> {
    /// The layout that `settings` give, or what is not known that it needs.
    pub(super) fn resolve(
        engine: Engine,
        model: &'a ModelSpec,
        settings: &Settings,
        efficiencies: &Efficiencies,
        assumptions: &mut Assumptions,
    ) -> Result<Self, Gap> {
        match engine {
            Engine::Mlx => Self::whole(engine, model, settings, efficiencies, assumptions),
            Engine::Ollama => {
                let own = crate::engine::ollama::server_settings(model, settings, &mut Assumptions::default());
                Self::placed(engine, model, &own, efficiencies, assumptions)
            }
            _ => Self::placed(engine, model, settings, efficiencies, assumptions),
        }
    }

    fn placed(
        engine: Engine,
        model: &'a ModelSpec,
        settings: &Settings,
        efficiencies: &Efficiencies,
        assumptions: &mut Assumptions,
    ) -> Result<Self, Gap> {
        // The memory plan has told these defaults already.
        let quiet = &mut Assumptions::default();
        let refused = |error: crate::engine::EngineError| Gap::new("settings", error.to_string());
        let parameters = ContextParameters::resolve(model, settings, quiet).map_err(refused)?;
        let mut placement = Placement::resolve(model, settings, quiet);
        let mut weights =
            WeightBytes::resolve(model, settings, &placement, parameters.release, quiet).map_err(refused)?;
        if let Some(kept) = overflow::experts_kept(model, settings, &weights, &placement) {
            placement.cpu_moe_layers = kept;
            overflow::move_experts(&mut weights, &placement, model);
            let why =
                "the cards do not hold the weights; speeds are of a run that keeps these layers' experts on the host";
            assumptions.note("speed.cpu_moe_layers", &placement.cpu_moe_layers, why);
        }
        let label = settings.weights.as_deref().or(model.stored_format.as_deref()).unwrap_or_default();
        let kernel = GgufFormat::parse(label).map_or(Kernel::Any, Kernel::of_gguf);
        let backend = Backend::resolve(settings, placement.cards.first(), assumptions);
        let uses_host = weights.multiplies_on_host() || placement.cards.is_empty();
        let mut devices: Vec<Rates> = Vec::with_capacity(placement.cards.len() + 1);
        for card in &placement.cards {
            devices.push(Rates::of_device(card, &efficiencies.vocabulary)?);
        }
        if uses_host {
            devices.push(host_rates(settings, placement.cards.is_empty(), efficiencies, assumptions)?);
        }
        let cards = placement.cards.len();
        let parts = Self::parts(model, &placement, &weights, devices, cards);
        let places = parts
            .iter()
            .map(|part| {
                let backend = if part.is_host { Backend::Cpu } else { backend };
                let instructions = Instructions::of(settings);
                Place { instructions, ..place(engine, backend, &part.rates, model, efficiencies) }
            })
            .collect();
        let is_quantised = parameters.type_k.is_quantised();
        Ok(Self {
            model,
            parts,
            places,
            kernel,
            cache_kernel: if is_quantised { Kernel::QuantisedCache } else { Kernel::Any },
            flash: if parameters.flash_attention { Kernel::FlashOn } else { Kernel::FlashOff },
            manner: Manner {
                key: parameters.type_k,
                value: parameters.type_v,
                latent: if parameters.latent_cache { LatentPath::Absorbed } else { LatentPath::Expanded },
                activation_bytes: 4.0,
            },
            step_tokens: parameters.n_ubatch.max(1) as f64,
            is_pipelined: placement.is_pipelined(),
            output_flops: output_flops(model),
        })
    }

    fn parts(
        model: &ModelSpec,
        placement: &Placement,
        weights: &WeightBytes,
        devices: Vec<Rates>,
        cards: usize,
    ) -> Vec<Part> {
        let kinds = model.decoder.kinds.len();
        let encoder = model.encoder.as_ref().map_or(0, crate::model::Stack::len);
        let mut parts: Vec<Part> = devices
            .into_iter()
            .enumerate()
            .map(|(index, rates)| Part {
                rates,
                layers: vec![(0.0, 0.0); kinds],
                weights: weights.cards.get(index).map_or_else(
                    || weights.host.saturating_sub(weights.host_experts).saturating_sub(weights.host_lookups),
                    |bytes| bytes.saturating_sub(weights.card_experts[index]),
                ) as f64,
                experts: weights.card_experts.get(index).copied().unwrap_or(weights.host_experts) as f64,
                has_output: placement.output_card().map_or(index >= cards, |card| card == index),
                is_host: index >= cards,
            })
            .collect();
        for (index, &kind) in model.decoder.order.iter().enumerate() {
            let at = placement.card_of((encoder + index) as u64).unwrap_or(cards).min(parts.len().saturating_sub(1));
            let layer = &mut parts[at].layers[usize::from(kind)];
            layer.0 += 1.0;
            if (index as u64) < placement.cpu_moe_layers && at < cards {
                layer.1 += 1.0;
            }
        }
        parts
    }

    /// Everything on one device, weights as the format holds them.
    fn whole(
        engine: Engine,
        model: &'a ModelSpec,
        settings: &Settings,
        efficiencies: &Efficiencies,
        assumptions: &mut Assumptions,
    ) -> Result<Self, Gap> {
        let device = settings.devices.first().ok_or_else(|| Gap::new("devices", "no device is named".to_owned()))?;
        let rates = Rates::of_device(device, &efficiencies.vocabulary)?;
        let format = WeightFormat::asked(settings).map_err(|error| Gap::new("weights", error.to_string()))?;
        let label = settings.weights.as_deref().or(model.stored_format.as_deref()).unwrap_or_default();
        let kernel = match &format {
            Some(format) => Kernel::of_format(format, label),
            None => label.parse().map_or(Kernel::Bf16, |format: WeightFormat| Kernel::of_format(&format, label)),
        };
        let bytes =
            |weight: &Weight| weight.bytes_as(weight_format::element_type(format.as_ref(), model, weight)) as f64;
        let mut part = Part {
            rates,
            layers: model.decoder.counted().map(|(_, count)| (count as f64, 0.0)).collect(),
            weights: 0.0,
            experts: 0.0,
            has_output: true,
            is_host: false,
        };
        for (layer, count) in model.decoder.counted() {
            for weight in &layer.weights {
                let sum = if weight.role.is_routed_expert() { &mut part.experts } else { &mut part.weights };
                *sum += bytes(weight) * count as f64;
            }
        }
        part.weights += model.head.iter().map(bytes).sum::<f64>();
        if model.is_head_tied {
            part.weights +=
                model.embedding.iter().filter(|own| own.role == Role::TokenEmbedding).map(bytes).sum::<f64>();
        }
        let backend = Backend::resolve(settings, Some(device), assumptions);
        let instructions = Instructions::of(settings);
        let places = vec![Place { instructions, ..place(engine, backend, &part.rates, model, efficiencies) }];
        Ok(Self {
            model,
            parts: vec![part],
            places,
            kernel,
            cache_kernel: Kernel::Any,
            flash: Kernel::FlashOn,
            manner: Manner {
                key: settings.kv_type_k.unwrap_or(ElementType::F16),
                value: settings.kv_type_v.unwrap_or(ElementType::F16),
                latent: LatentPath::Absorbed,
                activation_bytes: 2.0,
            },
            step_tokens: MLX_STEP_TOKENS as f64,
            is_pipelined: false,
            output_flops: output_flops(model),
        })
    }

    /// Rates of the first device.
    pub(super) fn first_rates(&self) -> &Rates {
        &self.parts[0].rates
    }

    /// Operations per second of matrix products with weights of `kernel` on the first device.
    pub(super) fn products_of(&self, kernel: Kernel) -> f64 {
        self.parts[0].rates.products(&self.places[0], kernel)
    }

    /// One decoding pass of `sequences` sequences at `depth` cached tokens each, `tokens` new ones of each.
    pub(super) fn decode(&self, sequences: f64, tokens: f64, depth: f64) -> Cost {
        let step = Step { sequences, tokens, depth };
        let mut cost = Cost::new(self.places.clone());
        for index in 0..self.parts.len() {
            if step.batch_tokens() <= VECTOR_TOKENS_MAX {
                self.decode_part(&mut cost, index, &step, step.batch_tokens());
            } else {
                self.prefill_part(&mut cost, index, &step, step.batch_tokens());
                self.add_cache(&mut cost, index, &step);
            }
        }
        self.add_boundaries(&mut cost, Phase::Decode, 1.0);
        cost.push(self.counted(1.0, Resource::DecodeStep, Phase::Decode));
        cost.push(self.counted(sequences, Resource::SequenceOverhead, Phase::Decode));
        cost
    }

    /// The prefill of `tokens` prompt tokens after `depth` cached ones.
    pub(super) fn prefill(&self, tokens: f64, depth: f64) -> Cost {
        let mut cost = Cost::new(self.places.clone());
        let passes = (tokens / self.step_tokens).ceil().max(1.0);
        let each = tokens / passes;
        // Costs grow linearly with depth, so the middle pass stands for all.
        let step = Step { sequences: 1.0, tokens: each, depth: depth + (tokens - each) / 2.0 };
        for index in 0..self.parts.len() {
            if each <= VECTOR_TOKENS_MAX {
                self.decode_part(&mut cost, index, &step, 1.0);
            } else {
                self.prefill_part(&mut cost, index, &step, 1.0 / passes);
            }
        }
        self.add_boundaries(&mut cost, Phase::Prefill, 1.0);
        cost.push(self.counted(1.0, Resource::PrefillStep, Phase::Prefill));
        let cards = self.parts.len() as f64;
        let overlapped = if self.is_pipelined { (passes + cards - 1.0) / cards } else { passes };
        cost.scale(overlapped);
        cost
    }

    fn counted(&self, count: f64, resource: Resource, phase: Phase) -> Term {
        let place = (self.parts.len() - 1).min(usize::from(u8::MAX));
        let place = if self.parts[place].is_host { 0 } else { place };
        Term {
            ideal: count * MICROSECOND,
            resource,
            kernel: Kernel::Any,
            place: at(place),
            phase,
            overlap: 0,
            scaled_by: None,
        }
    }

    /// Layers of a part with the demands of one pass through them; experts that are elsewhere apart.
    fn demands(&self, part: &Part, step: &Step) -> (Demand, Demand) {
        let (mut own, mut away) = (Demand::default(), Demand::default());
        for (layer, &(count, without_experts)) in self.model.decoder.kinds.iter().zip(&part.layers) {
            if count == 0.0 {
                continue;
            }
            let demand = Demand::of_layer(layer, step, &self.manner);
            own.add(&demand, count);
            if without_experts > 0.0 {
                let experts = Demand {
                    expert_flops: demand.expert_flops,
                    expert_tile_flops: demand.expert_tile_flops,
                    experts_touched: demand.experts_touched,
                    expert_layers: demand.expert_layers,
                    ..Demand::default()
                };
                own.add(&experts, -without_experts);
                away.add(&experts, without_experts);
            }
        }
        (own, away)
    }

    /// Mean share of the experts that a pass touches, over all layers.
    fn touched(&self, step: &Step) -> f64 {
        let (mut touched, mut layers) = (0.0, 0.0);
        for (layer, count) in self.model.decoder.counted() {
            let demand = Demand::of_layer(layer, step, &self.manner);
            touched += demand.experts_touched * count as f64;
            layers += demand.expert_layers * count as f64;
        }
        if layers > 0.0 { touched / layers } else { 1.0 }
    }

    /// A pass of few tokens through one part, with logits of `outputs` of them.
    fn decode_part(&self, cost: &mut Cost, index: usize, step: &Step, outputs: f64) {
        let part = &self.parts[index];
        let (demand, _) = self.demands(part, step);
        let term = |ideal, resource, kernel| Term {
            ideal,
            resource,
            kernel,
            place: at(index),
            phase: Phase::Decode,
            overlap: 0,
            scaled_by: None,
        };
        let bandwidth = part.rates.bandwidth;
        let experts = part.experts * self.touched(step);
        if part.is_host && self.parts.len() > 1 {
            let flops = demand.matmul_flops + self.host_expert_flops(step);
            cost.push(term((part.weights + experts) / bandwidth, Resource::HostWeights, self.kernel));
            cost.push(term(flops / part.rates.vector, Resource::HostOperations, self.kernel));
            cost.push(term(demand.cache_bytes / bandwidth, Resource::CacheRead, self.cache_kernel));
            return;
        }
        let output = if part.has_output { self.output_flops * outputs } else { 0.0 };
        cost.push(term(part.weights / bandwidth, Resource::DecodeWeights, self.kernel));
        cost.push(term(experts / bandwidth, Resource::DecodeExperts, self.kernel));
        let flops = demand.matmul_flops + demand.expert_flops + output;
        let peak = part.rates.vector_products(&self.places[index], self.kernel);
        cost.push(term(flops / peak, Resource::DecodeOperations, self.kernel));
        cost.push(term(demand.cache_bytes / bandwidth, Resource::CacheRead, self.flash));
        cost.push(term(demand.latent_flops / part.rates.matrix16, Resource::DecodeLatent, self.flash));
        for (kernel, recurrence) in recurrence_kernels().zip(&demand.recurrence) {
            cost.push(term(recurrence.state_bytes / bandwidth, Resource::StateTraffic, kernel));
        }
        cost.push(term(demand.launches * MICROSECOND, Resource::DecodeLaunch, Kernel::Any));
    }

    /// Every sequence of a decoding pass reads a cache of its own, however many tokens share the weights.
    fn add_cache(&self, cost: &mut Cost, index: usize, step: &Step) {
        let part = &self.parts[index];
        let bytes = self.demands(part, step).0.cache_bytes;
        let kernel = if part.is_host && self.parts.len() > 1 { self.cache_kernel } else { self.flash };
        cost.push(Term {
            ideal: bytes / part.rates.bandwidth,
            resource: Resource::CacheRead,
            kernel,
            place: at(index),
            phase: Phase::Prefill,
            overlap: 0,
            scaled_by: None,
        });
    }

    /// Operations of the experts whose weights are on the host while their layers are on cards.
    fn host_expert_flops(&self, step: &Step) -> f64 {
        self.parts.iter().map(|part| self.demands(part, step).1.expert_flops).sum::<f64>()
            + self
                .parts
                .iter()
                .filter(|part| part.is_host)
                .map(|part| self.demands(part, step).0.expert_flops)
                .sum::<f64>()
    }

    /// A pass of many tokens through one part, with logits of `outputs` of them.
    fn prefill_part(&self, cost: &mut Cost, index: usize, step: &Step, outputs: f64) {
        let part = &self.parts[index];
        let (demand, _) = self.demands(part, step);
        let touched = self.touched(step);
        if part.is_host && self.parts.len() > 1 {
            return self.host_prefill(cost, index, &demand, step, touched);
        }
        let phase = Phase::Prefill;
        let term = |ideal, resource, kernel, overlap| Term {
            ideal,
            resource,
            kernel,
            place: at(index),
            phase,
            overlap,
            scaled_by: None,
        };
        let peak = part.rates.products(&self.places[index], self.kernel);
        let rates = &part.rates;
        let output = if part.has_output { self.output_flops * outputs } else { 0.0 };
        let group = cost.overlap();
        cost.push(term((demand.matmul_flops + output) / peak, Resource::Matmul, self.kernel, group));
        cost.push(term(part.weights / rates.bandwidth, Resource::PrefillWeights, self.kernel, group));
        let group = cost.overlap();
        cost.push(term(demand.expert_flops / peak, Resource::ExpertMatmul, self.kernel, group));
        cost.push(term(part.experts * touched / rates.bandwidth, Resource::PrefillWeights, self.kernel, group));
        cost.push(term(demand.expert_tile_flops / peak, Resource::ExpertTile, self.kernel, 0));
        let scores = rates.score_products(&self.places[index]);
        cost.push(term(demand.attention_flops / scores, Resource::PrefillAttention, self.flash, 0));
        cost.push(term(demand.latent_flops / rates.matrix16, Resource::PrefillLatent, self.flash, 0));
        for (kernel, recurrence) in recurrence_kernels().zip(&demand.recurrence) {
            cost.push(term(recurrence.flops / rates.vector, Resource::Recurrence, kernel, 0));
        }
        cost.push(term(demand.activation_bytes / rates.bandwidth, Resource::Activations, Kernel::Any, 0));
        cost.push(term(demand.launches * MICROSECOND, Resource::PrefillLaunch, Kernel::Any, 0));
    }

    /// What a pass of many tokens costs for weights that are on the host: copied to the first card
    /// and used there, or used where they are if the batch is too small.
    fn host_prefill(&self, cost: &mut Cost, index: usize, demand: &Demand, step: &Step, touched: f64) {
        let part = &self.parts[index];
        let bytes = part.weights + part.experts * touched;
        let term = |ideal, resource, place: usize| Term {
            ideal,
            resource,
            kernel: self.kernel,
            place: at(place),
            phase: Phase::Prefill,
            overlap: 0,
            scaled_by: None,
        };
        let experts = self.host_expert_flops(step);
        let card = &self.parts[0];
        if step.batch_tokens() < OFFLOAD_TOKENS_MIN || self.places[0].backend == Backend::Cpu {
            cost.push(term(bytes / part.rates.bandwidth, Resource::HostWeights, index));
            cost.push(term((demand.matmul_flops + experts) / part.rates.vector, Resource::HostOperations, index));
        } else {
            let peak = card.rates.products(&self.places[0], self.kernel);
            cost.push(term(bytes / card.rates.host_link, Resource::HostLink, 0));
            cost.push(term(demand.matmul_flops / peak, Resource::Matmul, 0));
            cost.push(term(experts / peak, Resource::ExpertMatmul, 0));
        }
        cost.push(term(demand.attention_flops / part.rates.vector, Resource::HostOperations, index));
    }

    /// Hand-overs: between parts, and to the host and back for every layer whose experts are there.
    fn add_boundaries(&self, cost: &mut Cost, phase: Phase, passes: f64) {
        let away: f64 = self.parts.iter().flat_map(|part| &part.layers).map(|(_, away)| away).sum();
        let count = (self.parts.len() - 1) as f64 + 2.0 * away;
        cost.push(self.counted(count * passes, Resource::Boundary, phase));
    }
}

fn at(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}

fn recurrence_kernels() -> impl Iterator<Item = Kernel> {
    RecurrenceKernel::ALL.into_iter().map(RecurrenceKernel::kernel)
}

/// Operations of one token's logits.
pub(super) fn output_flops(model: &ModelSpec) -> f64 {
    2.0 * model.hidden_size as f64 * model.vocabulary_size as f64
}

/// Where a part's kernels run, as far as efficiencies know it.
pub(super) fn place(engine: Engine, backend: Backend, rates: &Rates, model: &ModelSpec, known: &Efficiencies) -> Place {
    Place {
        engine: Runner::of(engine),
        group: Runner::group(engine),
        backend,
        family: rates.family,
        device: rates.device,
        architecture: known.vocabulary.number(&model.architecture),
        instructions: None,
    }
}

/// The processor's rates: of the named host, of a processor among the devices, or the usual ones.
fn host_rates(
    settings: &Settings,
    is_alone: bool,
    known: &Efficiencies,
    assumptions: &mut Assumptions,
) -> Result<Rates, Gap> {
    let is_own = |device: &&Device| {
        is_alone || matches!(device.kind, DeviceKind::Cpu | DeviceKind::SharedMemory | DeviceKind::Apple)
    };
    if let Some(device) = settings.devices.iter().find(is_own) {
        return Rates::of_processor(device, &known.vocabulary);
    }
    if let Some(host) = &settings.host {
        return Rates::of_processor(host, &known.vocabulary);
    }
    Ok(Rates::usual_host(settings, assumptions))
}
