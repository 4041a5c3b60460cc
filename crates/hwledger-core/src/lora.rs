//! Low-rank adapters: what they add to a model's weights.

use crate::engine::{DeviceMemory, MemoryPlan};
use crate::model::{ModelSpec, Role, Weight};
use crate::{Bytes, ElementType, Estimate};

/// Which matrices adapters change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// Query, key, value and output projections.
    Attention,
    /// Every linear layer of the decoder, experts and router left out.
    AllLinear,
}

impl Targets {
    /// Whether `weight` gets an adapter.
    pub const fn covers(self, weight: &Weight) -> bool {
        if weight.is_vector() {
            return false;
        }
        let is_attention = matches!(
            weight.role,
            Role::Query
                | Role::Key
                | Role::Value
                | Role::QueryKeyValue
                | Role::QueryDown
                | Role::QueryUp
                | Role::LatentDown
                | Role::LatentUp
                | Role::AttentionOutput
        );
        let is_other_linear = matches!(
            weight.role,
            Role::Gate
                | Role::Up
                | Role::Down
                | Role::GateUp
                | Role::SharedGate
                | Role::SharedUp
                | Role::SharedDown
                | Role::SharedGateUp
                | Role::RecurrentIn
                | Role::RecurrentOut
        );
        is_attention || (is_other_linear && matches!(self, Self::AllLinear))
    }
}

/// Parameters of one adapter of `rank`.
///
/// **Formula**: for each covered matrix of `rows` by `columns`, rank x (rows + columns).
/// **Source**: Hu et al. 2021, section 4.1: the update is `B A` with `B` rows x rank, `A` rank x columns.
pub fn parameters(model: &ModelSpec, rank: u64, targets: Targets) -> u64 {
    model.decoder.counted().fold(0, |sum: u64, (layer, count)| {
        let one = layer
            .weights
            .iter()
            .filter(|weight| targets.covers(weight))
            .fold(0_u64, |sum, weight| sum.saturating_add(weight.rows.saturating_add(weight.columns)));
        sum.saturating_add(one.saturating_mul(count).saturating_mul(rank))
    })
}

/// Bytes of `adapters` adapters of `rank` in `element_type`.
pub fn bytes(model: &ModelSpec, rank: u64, adapters: u64, targets: Targets, element_type: ElementType) -> Bytes {
    Bytes(element_type.row_bytes(parameters(model, rank, targets))).times(adapters)
}

/// Adapters held beside a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adapters {
    /// Rank of each.
    pub rank: u64,
    /// How many are held at once.
    pub count: u64,
    /// What they change.
    pub targets: Targets,
}

impl Adapters {
    /// Adds the adapters, at 16 bits, to the weights of the devices that hold the model, in proportion to
    /// what each holds; an engine that fills a budget with cache has that much less of it.
    pub fn add_to(self, model: &ModelSpec, plan: &mut MemoryPlan) {
        let added = bytes(model, self.rank, self.count, self.targets, ElementType::F16);
        let held = |device: &DeviceMemory| device.components.weights.map_or(0, |weights| weights.value.0) as f64;
        let all: f64 = plan.devices.iter().map(held).sum();
        let is_pool = plan.available_kv.is_some();
        for device in &mut plan.devices {
            let part = added.scaled(if all > 0.0 { held(device) / all } else { 0.0 });
            let parts = &mut device.components;
            parts.weights = parts.weights.map(|weights| weights + Estimate::exact(part));
            if is_pool {
                parts.kv_cache = parts.kv_cache.map(|cache| cache.minus(part));
            }
        }
        if let Some(before) = plan.available_kv {
            let after = before.minus(added);
            plan.available_kv = Some(after);
            plan.scale_pool(after.value.0 as f64 / (before.value.0 as f64).max(1.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Components;
    use crate::model::fixture::llama_8b;

    #[test]
    fn llama_8b_adapters_have_their_published_sizes() {
        // The usual report of peft for rank 16 on all linear layers of Llama-3.1-8B.
        assert_eq!(parameters(&llama_8b(), 16, Targets::AllLinear), 41_943_040);
        assert_eq!(parameters(&llama_8b(), 16, Targets::Attention), 13_631_488);
    }

    #[test]
    fn adapters_take_their_tokens_from_the_pool() {
        let held = Components { weights: Some(Estimate::exact(Bytes(1 << 34))), ..Components::NOTHING };
        let device = DeviceMemory::new("card".to_owned(), held, None);
        let mut plan = MemoryPlan {
            devices: vec![device],
            kv_cache_tokens: Some(Estimate::exact(1000)),
            available_kv: Some(Estimate::exact(Bytes(4 * 41_943_040))),
            max_concurrency: Some(Estimate::exact(4.0)),
        };
        Adapters { rank: 16, count: 1, targets: Targets::AllLinear }.add_to(&llama_8b(), &mut plan);
        // One adapter of 41,943,040 parameters at 16 bits takes half of this pool.
        assert_eq!(plan.kv_cache_tokens, Some(Estimate::exact(500)));
        assert_eq!(plan.devices[0].components.weights, Some(Estimate::exact(Bytes((1 << 34) + 83_886_080))));
    }
}
