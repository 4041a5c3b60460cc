//! The tensor table, sorted into the parts of a model.

use hwledger_core::model::{Role, Weight};

use crate::diagnostic::Diagnostic;
use crate::gguf::Header;

use super::feed_forward::name_fused;
use super::tensor_role::{Section, add, layer_role, outer_role, section, weight};

/// Weights by the part that they belong to.
#[derive(Default)]
pub(super) struct Sections {
    pub(super) embedding: Vec<Weight>,
    pub(super) head: Vec<Weight>,
    pub(super) layers: Vec<Vec<Weight>>,
    pub(super) encoder: Vec<Vec<Weight>>,
    pub(super) vision: Vec<Weight>,
    pub(super) audio: Vec<Weight>,
}

impl Sections {
    /// Sorts all tensors. Tensors of layers that the metadata does not count are kept after the last layer.
    pub(super) fn sort(header: &Header, layers: usize, encoder_layers: usize, notes: &mut Vec<Diagnostic>) -> Self {
        let mut sorted =
            Self { layers: vec![Vec::new(); layers], encoder: vec![Vec::new(); encoder_layers], ..Self::default() };
        let mut surplus = 0_u64;
        for tensor in &header.tensors {
            let (place, rest) = section(&tensor.name);
            let (target, role) = match place {
                Section::Layer(index) => (sorted.layers.get_mut(index), layer_role(rest)),
                Section::EncoderLayer(index) => (sorted.encoder.get_mut(index), layer_role(rest)),
                Section::Embedding => (Some(&mut sorted.embedding), outer_role(rest)),
                Section::Head => (Some(&mut sorted.head), outer_role(rest)),
                Section::Vision => (Some(&mut sorted.vision), outer_role(rest)),
                Section::Audio => (Some(&mut sorted.audio), outer_role(rest)),
            };
            if let Some(weights) = target {
                add(weights, weight(tensor, role));
            } else {
                surplus += 1;
                sorted.head.push(weight(tensor, Role::Other));
            }
        }
        if surplus > 0 {
            notes.push(Diagnostic::new(
                "block_count",
                format!(
                    "{surplus} tensors belong to layers beyond the stated number; they are counted as weights only"
                ),
            ));
        }
        for weights in sorted.layers.iter_mut().chain(&mut sorted.encoder) {
            name_fused(weights);
        }
        sorted
    }
}
