//! Speculative decoding: a second model, or the model's own prediction layers, beside it.

use crate::engine::{DeviceMemory, EngineError, MemoryPlan, plan_memory};
use crate::model::{ModelSpec, Stack};
use crate::settings::Engine;
use crate::{Assumptions, Bytes, Estimate, Settings};

/// The multi-token-prediction layers of `model` as a model of their own: they share its
/// embedding, head and towers, so only their layers weigh anything. `None` where it has none.
pub fn prediction_layers(model: &ModelSpec) -> Option<ModelSpec> {
    if model.draft_layers.is_empty() {
        return None;
    }
    let mut decoder = Stack::default();
    for layer in &model.draft_layers {
        decoder.push(layer.clone());
    }
    Some(ModelSpec {
        decoder,
        encoder: None,
        embedding: Vec::new(),
        head: Vec::new(),
        towers: Vec::new(),
        draft_layers: Vec::new(),
        file_bytes: None,
        ..model.clone()
    })
}

/// The plan of `model` with `draft` beside it on the same devices.
///
/// **Formula**: engines that allocate what they need hold both plans, the graph buffers once per model;
/// engines that fill a budget with cache lose from the pool what the draft's weights and activations take,
/// and each token in the pool costs the draft's cache entry as well.
pub fn plan_with_draft(
    engine: Engine,
    model: &ModelSpec,
    draft: &ModelSpec,
    settings: &Settings,
    assumptions: &mut Assumptions,
) -> Result<MemoryPlan, EngineError> {
    let plan = plan_memory(engine, model, settings, assumptions)?;
    let draft_settings = Settings {
        weights: settings.draft.as_ref().and_then(|draft| draft.weights.clone()),
        weights_bytes: None,
        ..settings.clone()
    };
    let beside = plan_memory(engine, draft, &draft_settings, &mut Assumptions::default())?;
    Ok(match (plan.available_kv, beside.available_kv) {
        (Some(_), Some(_)) => shrink_pool(plan, &beside),
        _ => add(plan, beside),
    })
}

/// Both plans, device by device; what lies outside the allocator is there once.
fn add(mut plan: MemoryPlan, beside: MemoryPlan) -> MemoryPlan {
    for mut device in beside.devices {
        device.components.overhead = Some(Estimate::ZERO);
        match plan.devices.iter_mut().find(|known| known.name == device.name) {
            Some(known) => known.components = known.components.plus(&device.components),
            None => plan.devices.push(device),
        }
    }
    plan
}

/// Takes the draft's weights out of every device's pool.
fn shrink_pool(mut plan: MemoryPlan, beside: &MemoryPlan) -> MemoryPlan {
    let before = plan.available_kv;
    let mut taken_in_all = Bytes::ZERO;
    for (device, draft) in plan.devices.iter_mut().zip(&beside.devices) {
        let taken = draft.components.weights.map_or(Bytes::ZERO, |weights| weights.value);
        taken_in_all += taken;
        move_to_weights(device, taken);
    }
    let shrunk = before.map(|pool| pool.minus(taken_in_all));
    // The draft keeps an entry for every token too: the pool's tokens fall by what both entries weigh.
    let per_token = |plan: &MemoryPlan| {
        let tokens = plan.kv_cache_tokens.map_or(0, |tokens| tokens.value).max(1);
        plan.available_kv.map_or(0.0, |pool| pool.value.0 as f64) / tokens as f64
    };
    let (own, drafts) = (per_token(&plan), per_token(beside));
    let share = match (before, shrunk) {
        (Some(before), Some(after)) if before.value > Bytes::ZERO && own > 0.0 => {
            after.value.0 as f64 / before.value.0 as f64 * own / (own + drafts)
        }
        _ => 0.0,
    };
    plan.available_kv = shrunk;
    plan.scale_pool(share);
    plan
}

fn move_to_weights(device: &mut DeviceMemory, taken: Bytes) {
    let parts = &mut device.components;
    parts.weights = parts.weights.map(|weights| weights + Estimate::exact(taken));
    parts.kv_cache = parts.kv_cache.map(|cache| cache.minus(taken));
}
