//! Vision and audio towers: files of their own (`mmproj`), or parts of a model file.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Certainty, Modality, Role, Stack, Tower, Weight};

use crate::diagnostic::Diagnostic;
use crate::gguf::Header;

use super::hyperparameters::Keys;
use super::sections::Sections;
use super::stored_format;

/// Describes a projector file: towers without a language model.
pub(super) fn projector_spec(header: &Header, notes: &mut Vec<Diagnostic>) -> ModelSpec {
    let Sections { embedding, head, vision, audio, .. } = Sections::sort(header, 0, 0, notes);
    let towers = inline_towers(header, vision, audio);
    if towers.is_empty() {
        notes.push(Diagnostic::new("general.architecture", "the projector file holds no tower that is known"));
    }
    ModelSpec {
        architecture: "clip".to_owned(),
        hidden_size: towers.first().map_or(0, |tower| tower.hidden_size),
        vocabulary_size: 0,
        context_max: None,
        decoder: Stack::default(),
        encoder: None,
        embedding,
        head,
        is_head_tied: false,
        is_causal: false,
        towers,
        draft_layers: Vec::new(),
        file_order: None,
        file_bytes: Some(header.tensor_bytes()),
        stored_format: stored_format(header),
        certainty: Certainty::Known,
    }
}

/// The towers of a file, from their tensors and the keys under `clip.`.
pub(super) fn inline_towers(header: &Header, vision: Vec<Weight>, audio: Vec<Weight>) -> Vec<Tower> {
    [(Modality::Vision, "vision", vision), (Modality::Audio, "audio", audio)]
        .into_iter()
        .filter(|(_, _, weights)| !weights.is_empty())
        .map(|(modality, name, weights)| tower(header, modality, name, weights))
        .collect()
}

fn tower(header: &Header, modality: Modality, name: &str, weights: Vec<Weight>) -> Tower {
    let prefix = format!("clip.{name}");
    let keys = Keys::new(header, &prefix);
    let get = |suffix| keys.unsigned(suffix);
    Tower {
        modality,
        hidden_size: get("embedding_length").unwrap_or(0),
        heads: get("attention.head_count").unwrap_or(0),
        feed_forward_width: get("feed_forward_length").unwrap_or(0),
        layers: get("block_count").unwrap_or(0),
        positions: positions(&keys),
        weights,
    }
}

/// Positions that one image of the stated size takes in the language model: its patches, merged.
fn positions(keys: &Keys<'_>) -> Option<u64> {
    let side = keys.unsigned("image_size")?.checked_div(keys.unsigned("patch_size")?)?;
    let merge = keys.unsigned("spatial_merge_size").or_else(|| keys.unsigned("projector.scale_factor")).unwrap_or(1);
    let merged = side.checked_div(merge.max(1))?;
    merged.checked_mul(merged).filter(|&count| count > 0)
}

/// Adds the towers of a projector file to the model that they see and hear for.
pub fn add_projector(model: &mut ModelSpec, projector: ModelSpec) {
    let outside =
        projector.embedding.into_iter().chain(projector.head).map(|weight| Weight { role: Role::Projector, ..weight });
    let mut towers = projector.towers;
    if let Some(tower) = towers.first_mut() {
        tower.weights.extend(outside);
    }
    model.towers.extend(towers);
    model.file_bytes = match (model.file_bytes, projector.file_bytes) {
        (Some(model), Some(projector)) => Some(model.saturating_add(projector)),
        _ => None,
    };
}
