//! Speculative decoding: a second model, or the model's own prediction layers, beside it.

use crate::engine::{DeviceMemory, EngineError, MemoryPlan, plan_memory};
use crate::model::{ModelSpec, Role, Stack};
use crate::settings::{Draft, Engine};
use crate::{Assumptions, Basis, Bytes, Estimate, Settings};

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
        file_order: None,
        file_bytes: None,
        ..model.clone()
    })
}

/// `draft` as speeds see it: where it has no output matrix of its own, it reads the one of `model`.
pub fn with_output(draft: &ModelSpec, model: &ModelSpec) -> ModelSpec {
    let mut own = draft.clone();
    if own.head.is_empty() && !own.is_head_tied {
        own.head.clone_from(&model.head);
    }
    if own.head.is_empty() && own.embedding.is_empty() && model.is_head_tied {
        own.head = model.embedding.iter().filter(|weight| weight.role == Role::TokenEmbedding).copied().collect();
        own.is_head_tied = false;
    }
    own
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
            Some(known) => {
                known.components = known.components.plus(&device.components);
                known.weight_buffers.append(&mut device.weight_buffers);
                known.reclaimable += device.reclaimable;
            }
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

/// Share of drafted tokens that the model would have chosen too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Acceptance(pub Estimate<f64>);

impl Acceptance {
    /// Of a draft model on usual text: pairs of `T5` and `LaMDA` reach 0.53 to 0.88 (Leviathan, Kalman,
    /// Matias 2023, table 3).
    const OF_DRAFT_MODELS: [f64; 3] = [0.7, 0.53, 0.88];
    /// Of a model's own prediction layer: 0.85 to 0.9 for the second token (DeepSeek-AI 2024,
    /// "DeepSeek-V3 Technical Report", section 5.4.3); further tokens are accepted less often.
    const OF_PREDICTION_LAYERS: [f64; 3] = [0.85, 0.6, 0.9];

    /// What the settings say, or the usual for this kind of draft.
    pub fn resolve(asked: &Draft, draft: &ModelSpec, assumptions: &mut Assumptions) -> Self {
        if let Some(given) = asked.acceptance {
            return Self(Estimate { value: given, low: given, high: given, basis: Basis::Formula });
        }
        let is_own = draft.embedding.is_empty();
        let [value, low, high] = if is_own { Self::OF_PREDICTION_LAYERS } else { Self::OF_DRAFT_MODELS };
        let why = if is_own { "what DeepSeek-V3 reports" } else { "the middle of published pairs, 0.53 to 0.88" };
        assumptions.note("draft.acceptance", &value, why);
        Self(Estimate { value, low, high, basis: Basis::Formula })
    }

    /// Tokens that one round of `drafted` tokens gives, the model's own included.
    ///
    /// **Formula**: (1 - a^(n + 1)) / (1 - a).
    /// **Source**: Leviathan, Kalman, Matias 2023, equation 1.
    pub fn emitted(self, drafted: u64) -> Estimate<f64> {
        let count = drafted as f64 + 1.0;
        let of = |share: f64| {
            if share >= 1.0 { count } else { (1.0 - share.max(0.0).powf(count)) / (1.0 - share.max(0.0)) }
        };
        Estimate { value: of(self.0.value), low: of(self.0.low), high: of(self.0.high), basis: self.0.basis }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_gives_the_tokens_of_the_published_formula() {
        let given = |share| Acceptance(Estimate { value: share, low: share, high: share, basis: Basis::Formula });
        // 1 + 0.8 + 0.64 + 0.512 + 0.4096.
        assert!((given(0.8).emitted(4).value - 3.3616).abs() < 1e-12);
        assert!((given(0.0).emitted(4).value - 1.0).abs() < 1e-12);
        assert!((given(1.0).emitted(4).value - 5.0).abs() < 1e-12);
    }
}
