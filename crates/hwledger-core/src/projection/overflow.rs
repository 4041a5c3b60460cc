//! What must stay on the host where cards cannot hold the weights.
//!
//! Runs of models larger than the cards place tensors by hand (llama.cpp's `--override-tensor`),
//! which no request key says: that they ran tells that experts were elsewhere.

use crate::Bytes;
use crate::engine::llamacpp::{Placement, WeightBytes};
use crate::model::{FeedForward, ModelSpec, Stack};
use crate::settings::Settings;

/// Share of a card that weights may take: caches and buffers need the rest.
const WEIGHTS_SHARE: f64 = 0.9;

/// How many layers' experts are kept on the host so that the cards hold the rest; `None` where they
/// hold everything, where nobody knows their memory, where somebody said how many layers, or where
/// there are no experts.
///
/// **Formula**: layers x (bytes beyond the cards / bytes of experts on them), rounded up.
pub(super) fn experts_kept(
    model: &ModelSpec,
    settings: &Settings,
    weights: &WeightBytes,
    placement: &Placement,
) -> Option<u64> {
    let has_experts = model.decoder.kinds.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Experts(_)));
    if settings.cpu_moe_layers.is_some() || !has_experts || placement.cards.is_empty() {
        return None;
    }
    let room: f64 =
        placement.cards.iter().map(|card| card.memory.map(|memory| memory.0 as f64)).sum::<Option<f64>>()?;
    let held: f64 = weights.cards.iter().map(|bytes| *bytes as f64).sum();
    // Up to the whole of the memory a plan is tight, and not impossible.
    if held <= room {
        return None;
    }
    let experts: f64 = weights.card_experts.iter().map(|bytes| *bytes as f64).sum();
    let layers = model.decoder.len() as f64;
    let moved = (layers * (held - room * WEIGHTS_SHARE) / experts.max(1.0)).ceil().clamp(1.0, layers);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and the number of layers")]
    let moved = moved as u64;
    Some(moved)
}

/// Moves the experts of the placement's first layers from the cards to the host, every layer of a
/// card weighing the same: mixtures of types differ by a few percent from layer to layer.
pub(super) fn move_experts(weights: &mut WeightBytes, placement: &Placement, model: &ModelSpec) {
    let encoder = model.encoder.as_ref().map_or(0, Stack::len);
    // Layers whose experts move, and all layers, of each card.
    let mut layers = vec![(0_u64, 0_u64); weights.cards.len()];
    for index in 0..model.decoder.len() {
        if let Some(card) = placement.card_of((encoder + index) as u64).and_then(|card| layers.get_mut(card)) {
            card.0 += u64::from((index as u64) < placement.cpu_moe_layers);
            card.1 += 1;
        }
    }
    let cards = weights.cards.iter_mut().zip(&mut weights.card_experts).zip(layers);
    for ((card, experts), (moved, all)) in cards.filter(|(_, (_, all))| *all > 0) {
        let bytes = Bytes(*experts).scaled(moved as f64 / all as f64).0.min(*experts);
        *experts -= bytes;
        *card = card.saturating_sub(bytes);
        weights.host = weights.host.saturating_add(bytes);
        weights.host_experts = weights.host_experts.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Assumptions;
    use crate::device::find;
    use crate::projection::{Efficiencies, Projection};
    use crate::settings::{Engine, LayerCount};

    fn decode(memory_gib: f64, cpu_moe_layers: Option<u64>) -> (f64, bool) {
        let card = find("RTX 3090", Some(Bytes::from_gibibytes(memory_gib))).expect("it is known").device;
        let settings = Settings {
            weights: Some("Q4_K_M".to_owned()),
            devices: vec![card],
            cpu_moe_layers: cpu_moe_layers.map(LayerCount::Some),
            ..Settings::default()
        };
        let (model, efficiencies) = (crate::model::fixture::gpt_oss_120b(), Efficiencies::embedded());
        let mut told = Assumptions::default();
        let projection = Projection::resolve(Engine::LlamaCpp, &model, None, &settings, None, efficiencies, &mut told)
            .expect("everything is known");
        let is_told = told.0.iter().any(|one| one.what == "speed.cpu_moe_layers");
        (projection.pass.seconds(efficiencies), is_told)
    }

    #[test]
    fn a_card_that_is_too_small_leaves_experts_on_the_host() {
        let (fast, is_told) = decode(96.0, None);
        assert!(!is_told);
        let (slow, is_told) = decode(24.0, None);
        assert!(is_told && slow > 1.5 * fast, "{slow} {fast}");
        let (asked, is_told) = decode(24.0, Some(1));
        assert!(!is_told && asked < slow, "what somebody said holds");
    }
}
