//! A configuration's description against the real tensors: the tensors win.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Layer, Modality, Role, Stack, Tower, Weight};

use crate::Diagnostic;

use super::name::Place;
use super::stored::{Sections, Stored, auxiliary, guess_logical, unpack};
use super::table::TensorTable;

/// Most disagreements that are listed one by one.
const LISTED_MAX: usize = 8;

/// Replaces the weights that a configuration implies by those that the files hold, and reports disagreements.
///
/// Where both agree on the number of parameters, the configuration's shapes and roles stay and take the files'
/// element types. Packed tensors keep the logical shape that the configuration implies and take the bytes that the
/// files hold. Multi-token-prediction layers are compared apart: the total leaves them out.
pub fn reconcile(model: &mut ModelSpec, table: &TensorTable) -> Vec<Diagnostic> {
    let mut sections = Sections::sort(table, model.encoder.is_some());
    let before = model.parameters().total;
    let mut report = Report::default();
    move_trailing_layers(&mut sections, model.decoder.len());
    outer(model, &mut sections, &mut report);
    stack(&mut model.decoder, "layer", Place::Layer, &mut sections, &mut report);
    if let Some(encoder) = &mut model.encoder {
        stack(encoder, "encoder layer", Place::EncoderLayer, &mut sections, &mut report);
    }
    draft(model, &mut sections, &mut report);
    for (modality, place) in [(Modality::Vision, Place::Vision), (Modality::Audio, Place::Audio)] {
        tower(model, modality, place, &mut sections, &mut report);
    }
    leftovers(model, sections, &mut report);
    model.file_bytes = Some(table.bytes());
    let after = model.parameters().total;
    if before != after {
        report.add("parameters", format!("the configuration implies {before} in all, the files hold {after}"));
    }
    report.finish()
}

/// Most pairs of a tower's tensors that are compared.
const COMPARED_MAX: usize = 1 << 24;

#[derive(Default)]
struct Report {
    notes: Vec<Diagnostic>,
    suppressed: usize,
}

impl Report {
    fn add(&mut self, place: impl Into<String>, message: String) {
        self.notes.push(Diagnostic::new(place, message));
    }

    /// One of possibly many alike.
    fn add_alike(&mut self, place: String, message: String) {
        if self.notes.len() < LISTED_MAX {
            self.add(place, message);
        } else {
            self.suppressed += 1;
        }
    }

    fn finish(mut self) -> Vec<Diagnostic> {
        if self.suppressed > 0 {
            self.add("layers", format!("{} more disagreements of the same kind", self.suppressed));
        }
        self.notes
    }
}

fn elements(weights: &[Weight]) -> u64 {
    weights.iter().fold(0, |sum, weight| sum.saturating_add(weight.elements()))
}

/// Layers beyond the configuration's number predict further tokens (DeepSeek-V3's layer 61).
fn move_trailing_layers(sections: &mut Sections, layers: usize) {
    let surplus: Vec<Place> = sections
        .places
        .keys()
        .copied()
        .filter(|place| matches!(place, Place::Layer(index) if *index >= layers))
        .collect();
    for place in surplus {
        let Place::Layer(index) = place else { continue };
        let draft = Place::Draft(index - layers);
        let tensors = sections.places.remove(&place).unwrap_or_default();
        sections.places.entry(draft).or_default().extend(tensors);
        let bytes = sections.loose_bytes.remove(&place).unwrap_or(0);
        *sections.loose_bytes.entry(draft).or_default() += bytes;
    }
}

/// Tensors that reference modules register as buffers: stored, but neither trained nor counted. Some families count
/// the router's correction as a parameter; then the configuration has it, and this is not asked.
fn is_buffer(name: &str) -> bool {
    const BUFFERS: &[&str] = &[
        "correction_bias",
        "expert_bias",
        "act_fn.beta",
        "act_fn.eps",
        "layer_scalar",
        "std_bias",
        "std_scale",
        "input_max",
        "input_min",
        "output_max",
        "output_min",
        "tid2eid",
        "slope_rate",
        "query_decay",
        "key_decay",
        "diagonal_decay",
    ];
    BUFFERS.iter().any(|end| name.ends_with(end))
}

/// The weights of one part: the configuration's where they account for the same parameters, else the files'.
pub(super) fn settle(expected: &[Weight], real: Vec<Stored>, loose_bytes: u64) -> Vec<Weight> {
    let mut open: Vec<Option<&Weight>> = expected.iter().map(Some).collect();
    let mut take = |wanted: &dyn Fn(&Weight) -> bool| {
        open.iter_mut().find(|slot| slot.is_some_and(wanted)).and_then(Option::take).copied()
    };
    let mut settled = Vec::with_capacity(real.len() + 1);
    let mut rest = loose_bytes;
    let mut unmatched = Vec::new();
    for stored in real {
        let role = stored.weight.role;
        if stored.is_packed {
            // One that whole bits fill, of the same role.
            let fits =
                |weight: &Weight| weight.role == role && !weight.is_vector() && unpack(&stored, weight).is_some();
            let logical = take(&fits).unwrap_or_else(|| guess_logical(&stored));
            if let Some((weight, scales)) = unpack(&stored, &logical) {
                settled.push(weight);
                rest = rest.saturating_add(scales);
            } else {
                rest = rest.saturating_add(stored.bytes).saturating_add(stored.auxiliary_bytes);
            }
            continue;
        }
        let count = stored.weight.elements();
        match take(&|weight| weight.role == role && weight.elements() == count) {
            Some(known) => settled.push(Weight { stored: stored.weight.stored, ..known }),
            None => unmatched.push(stored),
        }
    }
    // Names that say nothing: the configuration knows the role by the size.
    for stored in unmatched {
        let count = stored.weight.elements();
        let known = if stored.weight.role == Role::Other {
            take(&|weight| weight.elements() == count).map(|known| Weight { stored: stored.weight.stored, ..known })
        } else {
            None
        };
        match known {
            Some(known) => settled.push(known),
            None if is_buffer(&stored.name) => rest = rest.saturating_add(stored.bytes),
            None => settled.push(stored.weight),
        }
    }
    settled.extend(auxiliary(rest));
    settled
}

fn stack(stack: &mut Stack, what: &str, place: fn(usize) -> Place, sections: &mut Sections, report: &mut Report) {
    let mut real = Stack::default();
    for (index, layer) in stack.layers().enumerate() {
        let Some(tensors) = sections.places.remove(&place(index)) else {
            report.add_alike(format!("{what} {index}"), "the files hold no tensor of it".to_owned());
            real.push(layer.clone());
            continue;
        };
        let loose = sections.loose_bytes.remove(&place(index)).unwrap_or(0);
        let weights = settle(&layer.weights, tensors, loose);
        let (expected, found) = (layer.parameters(), elements(&weights));
        if expected != found {
            report.add_alike(
                format!("{what} {index}"),
                format!("the configuration implies {expected} parameters, the files hold {found}"),
            );
        }
        real.push(Layer { weights, mixer: layer.mixer.clone(), feed_forward: layer.feed_forward.clone() });
    }
    *stack = real;
}

fn outer(model: &mut ModelSpec, sections: &mut Sections, report: &mut Report) {
    let mut real = sections.places.remove(&Place::Outer).unwrap_or_default();
    if real.is_empty() {
        return;
    }
    let has = |real: &[Stored], role| real.iter().any(|stored| stored.weight.role == role);
    let has_head = has(&real, Role::LanguageHead);
    if model.is_head_tied && has_head && has(&real, Role::TokenEmbedding) {
        report.add(
            "lm_head.weight",
            "the files hold an output matrix, but the configuration ties it to the embedding; engines keep one"
                .to_owned(),
        );
        real.retain(|stored| stored.weight.role != Role::LanguageHead);
    } else if !model.is_head_tied && !has_head && model.head.iter().any(|weight| weight.role == Role::LanguageHead) {
        report.add("lm_head.weight", "the files hold no output matrix; the embedding serves as one".to_owned());
        model.is_head_tied = true;
        model.head.retain(|weight| weight.role != Role::LanguageHead);
    }
    let expected: Vec<Weight> = model.embedding.iter().chain(&model.head).copied().collect();
    let loose = sections.loose_bytes.remove(&Place::Outer).unwrap_or(0);
    let settled = settle(&expected, real, loose);
    let (implied, found) = (elements(&expected), elements(&settled));
    if implied != found {
        report.add(
            "embedding and head",
            format!("the configuration implies {implied} parameters, the files hold {found}"),
        );
    }
    // Each goes where the configuration has its like; what it does not know goes by role.
    let mut head_slots = model.head.clone();
    let mut embedding_slots = model.embedding.clone();
    (model.embedding, model.head) = (Vec::new(), Vec::new());
    for weight in settled {
        let leave = |slots: &mut Vec<Weight>| {
            let like = slots.iter().position(|slot| slot.role == weight.role && slot.elements() == weight.elements());
            like.map(|at| slots.swap_remove(at)).is_some()
        };
        let is_head = if leave(&mut embedding_slots) {
            false
        } else {
            leave(&mut head_slots) || matches!(weight.role, Role::LanguageHead | Role::Norm)
        };
        if is_head { model.head.push(weight) } else { model.embedding.push(weight) }
    }
}

fn draft(model: &mut ModelSpec, sections: &mut Sections, report: &mut Report) {
    let places: Vec<Place> = sections.places.keys().copied().filter(|place| matches!(place, Place::Draft(_))).collect();
    if places.is_empty() {
        if !model.draft_layers.is_empty() {
            report.add(
                "multi-token prediction",
                format!("the files hold none of the {} layers that the configuration names", model.draft_layers.len()),
            );
            model.draft_layers.clear();
        }
        return;
    }
    let mut layers = Vec::with_capacity(places.len());
    for place in places {
        let tensors = sections.places.remove(&place).unwrap_or_default();
        let loose = sections.loose_bytes.remove(&place).unwrap_or(0);
        let Place::Draft(index) = place else { continue };
        // A draft layer that the configuration does not describe is shaped like the last layer.
        let like = model.draft_layers.get(index).or_else(|| model.decoder.layers().next_back());
        let Some(like) = like else { continue };
        let weights = settle(&like.weights, tensors, loose);
        layers.push(Layer { weights, mixer: like.mixer.clone(), feed_forward: like.feed_forward.clone() });
    }
    model.draft_layers = layers;
}

fn tower(model: &mut ModelSpec, modality: Modality, place: Place, sections: &mut Sections, report: &mut Report) {
    let Some(tensors) = sections.places.remove(&place) else { return };
    let loose = sections.loose_bytes.remove(&place).unwrap_or(0);
    let name = match modality {
        Modality::Vision => "vision tower",
        Modality::Audio => "audio tower",
    };
    if let Some(tower) = model.towers.iter_mut().find(|tower| tower.modality == modality) {
        // Two long lists are not compared pair by pair.
        let is_comparable = tower.weights.len().saturating_mul(tensors.len()) <= COMPARED_MAX;
        let expected = if is_comparable { &tower.weights[..] } else { &[] };
        let weights = settle(expected, tensors, loose);
        let (implied, found) = (elements(&tower.weights), elements(&weights));
        if implied != found {
            report.add(name, format!("the configuration implies {implied} parameters, the files hold {found}"));
        }
        tower.weights = weights;
        return;
    }
    let weights = settle(&[], tensors, loose);
    report.add(name, format!("the configuration names none, the files hold one of {} parameters", elements(&weights)));
    model.towers.push(Tower {
        modality,
        hidden_size: 0,
        heads: 0,
        feed_forward_width: 0,
        layers: 0,
        positions: None,
        weights,
    });
}

/// Tensors of encoder layers that the configuration does not have, and scales of parts that were not there.
fn leftovers(model: &mut ModelSpec, sections: Sections, report: &mut Report) {
    let tensors: Vec<Stored> = sections.places.into_values().flatten().collect();
    if !tensors.is_empty() {
        report.add("layers", format!("{} tensors belong to no layer of the configuration", tensors.len()));
    }
    let loose = sections.loose_bytes.into_values().fold(0, u64::saturating_add);
    model.head.extend(settle(&[], tensors, loose));
}
