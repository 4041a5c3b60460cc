//! From a layout to the sizes of the graphs that its context reserves.

use super::Layout;
use super::architecture;
use super::cache::CacheGeometry;
use super::graph::{GraphPlacement, GraphShape};
use crate::model::ModelSpec;
use crate::units::round_up;
use crate::{Bytes, Estimate};

/// Context of T5 where the file does not say: the length of its encoder's output.
const ENCODER_TOKENS_UNKNOWN: u64 = 512;

impl Layout {
    /// Sizes of the largest graph.
    ///
    /// **Source**: `llama_context::sched_reserve` and `graph_reserve` of llama.cpp 0.5.0.
    pub fn graph_shape(&self, model: &ModelSpec) -> GraphShape {
        let parameters = &self.parameters;
        let tokens = parameters.n_ctx.min(parameters.n_ubatch).max(1);
        let sequences = parameters.n_seq_max.max(1);
        let geometry = CacheGeometry::new(model, parameters);
        let windowed = model
            .decoder
            .kinds
            .iter()
            .filter_map(|layer| layer.mixer.attention())
            .find(|own| architecture::window(&model.architecture, model.decoder.len(), own.span).is_some())
            .filter(|_| parameters.release.has_window_cache());
        GraphShape {
            tokens: round_up(tokens, sequences),
            outputs: tokens.min(parameters.n_outputs_max).max(1),
            sequences,
            cells: parameters.n_ctx_seq,
            window_cells: windowed.map(|own| geometry.cells(own)),
            streams: parameters.n_stream(),
            flash_attention: parameters.flash_attention,
            key_type: parameters.type_k,
            value_type: parameters.type_v,
            encoder_tokens: model.context_max.unwrap_or(ENCODER_TOKENS_UNKNOWN),
        }
    }

    /// Where the layers run.
    pub fn graph_placement(&self, model: &ModelSpec) -> GraphPlacement {
        let placement = &self.placement;
        let layers = model.decoder.len() as u64;
        GraphPlacement {
            devices: placement.cards.len(),
            layers: (0..layers).map(|layer| placement.card_of(layer)).collect(),
            output: placement.output_card(),
            host_expert_layers: placement.cpu_moe_layers,
            offloads_cache: true,
            offloads_operations: !placement.cards.is_empty(),
            input_copies: if placement.is_pipelined() { 4 } else { 1 },
        }
    }
}

/// A compute buffer with the interval that other builds of the engine fall into: graphs change with
/// most releases, by a tensor or two that live at the peak.
pub(super) fn estimate(bytes: u64) -> Estimate<Bytes> {
    Estimate::within(Bytes(bytes), 0.95, 1.05)
}
