//! llama.cpp, and what its fork `ik_llama.cpp` changes: weights, caches, states
//! and buffers per device, under the names that its own log uses.

mod architecture;
mod cache;
mod compute;
pub mod graph;
mod log;
mod overhead;
mod parameters;
mod placement;
mod release;
mod repack;
#[cfg(test)]
mod repack_tests;
mod weights;

pub use cache::{CacheGeometry, LayerMemory};
pub use log::log_lines;
pub use parameters::ContextParameters;
pub use placement::Placement;
pub use release::Release;
pub use repack::Packed;
pub use weights::WeightBytes;

use super::{Components, DeviceMemory, EngineError, MemoryPlan};
use crate::model::{ModelSpec, Stack};
use crate::settings::SplitMode;
use crate::{Assumptions, Bytes, Estimate, Settings};

/// The name of the machine that holds the cards, in every plan.
pub(crate) const HOST: &str = "host";

/// Everything that llama.cpp decides before it allocates.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The context's parameters.
    pub parameters: ContextParameters,
    /// Which device holds which layer.
    pub placement: Placement,
    /// Weights by device.
    pub weights: WeightBytes,
    /// Cache and state by card.
    pub cards: Vec<LayerMemory>,
    /// Cache and state on the host.
    pub host: LayerMemory,
}

impl Layout {
    /// Decides where everything goes.
    ///
    /// # Errors
    ///
    /// [`EngineError::Refused`] where the engine would not start.
    pub fn resolve(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<Self, EngineError> {
        let parameters = ContextParameters::resolve(model, settings, assumptions)?;
        let placement = Placement::resolve(model, settings, assumptions);
        let weights = WeightBytes::resolve(model, settings, &placement, parameters.release, assumptions)?;
        let mut layout = Self {
            parameters,
            cards: vec![LayerMemory::default(); placement.cards.len()],
            host: LayerMemory::default(),
            placement,
            weights,
        };
        layout.add_caches(model);
        Ok(layout)
    }

    fn add_caches(&mut self, model: &ModelSpec) {
        if !architecture::has_cache(model) {
            return;
        }
        let geometry = CacheGeometry::new(model, &self.parameters);
        let kinds: Vec<LayerMemory> = model.decoder.kinds.iter().map(|layer| geometry.layer(layer)).collect();
        let encoder_layers = model.encoder.as_ref().map_or(0, Stack::len);
        for (index, &kind) in model.decoder.order.iter().enumerate() {
            let memory = kinds[usize::from(kind)];
            let card = self.placement.card_of((encoder_layers + index) as u64);
            match card {
                Some(_) if self.placement.split_mode == SplitMode::Tensor => self.divide(memory),
                Some(card) => self.cards[card].add(memory),
                None => self.host.add(memory),
            }
        }
    }

    /// Tensor parallelism divides the cache's heads among the cards.
    fn divide(&mut self, memory: LayerMemory) {
        let part = |bytes: u64, share: f64| Bytes(bytes).scaled(share).0;
        for (index, card) in self.cards.iter_mut().enumerate() {
            let share = self.placement.share(index);
            card.add(LayerMemory {
                key: part(memory.key, share),
                value: part(memory.value, share),
                index: part(memory.index, share),
                state: part(memory.state, share),
            });
        }
    }

    /// Bytes of logits (and embeddings) handed to the caller.
    ///
    /// **Formula**: 4 x vocabulary x sequences; with embeddings, and for encoder-decoder models
    /// always, the hidden state as well. **Source**: `llama_context::output_reserve`, called with
    /// `n_seq_max` at the start.
    pub fn output_bytes(&self, model: &ModelSpec) -> u64 {
        let width = if model.encoder.is_some() || self.parameters.embeddings {
            model.vocabulary_size.saturating_add(model.hidden_size)
        } else {
            model.vocabulary_size
        };
        width.saturating_mul(4).saturating_mul(self.parameters.n_seq_max)
    }
}

impl LayerMemory {
    fn add(&mut self, other: Self) {
        self.key = self.key.saturating_add(other.key);
        self.value = self.value.saturating_add(other.value);
        self.index = self.index.saturating_add(other.index);
        self.state = self.state.saturating_add(other.state);
    }
}

/// The memory of `model` in llama.cpp under `settings`.
///
/// # Errors
///
/// [`EngineError::Refused`] where the engine would not start.
pub fn plan(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
    let layout = Layout::resolve(model, settings, assumptions)?;
    Ok(memory_plan(model, settings, &layout))
}

/// The plan of a layout.
pub(crate) fn memory_plan(model: &ModelSpec, settings: &Settings, layout: &Layout) -> MemoryPlan {
    let mut devices = Vec::with_capacity(layout.cards.len() + 1);
    let compute = compute::Compute::of(model, layout);
    for (index, card) in layout.placement.cards.iter().enumerate() {
        let components = Components {
            weights: Some(layout.weights.estimate(layout.weights.cards[index])),
            repacked: Some(Estimate::ZERO),
            kv_cache: Some(exact(layout.cards[index].attention())),
            recurrent_state: Some(exact(layout.cards[index].state)),
            compute: Some(compute.cards[index]),
            output: Some(Estimate::ZERO),
            overhead: Some(overhead::of_card(model, card, settings.backend.as_deref())),
        };
        devices.push(DeviceMemory::new(card.name.clone(), components, card.memory));
    }
    let components = Components {
        weights: Some(layout.weights.on_host()),
        repacked: Some(layout.weights.repacked()),
        kv_cache: Some(exact(layout.host.attention())),
        recurrent_state: Some(exact(layout.host.state)),
        compute: Some(compute.host),
        output: Some(exact(layout.output_bytes(model))),
        overhead: Some(overhead::of_host()),
    };
    let parameters = &layout.parameters;
    devices.push(DeviceMemory {
        weight_buffers: layout.weights.host_buffers(parameters.release),
        reclaimable: layout.weights.reclaimable(),
        ..DeviceMemory::new(HOST.to_owned(), components, settings.host_memory)
    });
    let sequences = (parameters.n_ctx / parameters.n_ctx_seq.max(1)).max(1);
    MemoryPlan {
        devices,
        kv_cache_tokens: Some(Estimate::exact(parameters.n_ctx)),
        available_kv: None,
        max_concurrency: Some(Estimate::exact(sequences as f64)),
    }
}

const fn exact(bytes: u64) -> Estimate<Bytes> {
    Estimate::exact(Bytes(bytes))
}
