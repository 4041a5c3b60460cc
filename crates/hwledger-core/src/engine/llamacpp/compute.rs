//! From a layout to the sizes of the graphs that its context reserves.

use super::Layout;
use super::architecture;
use super::cache::CacheGeometry;
use super::graph::{GraphPlacement, GraphShape, compute_buffers};
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

/// Compute buffers by device, as claims.
pub(super) struct Compute {
    /// Of each card.
    pub(super) cards: Vec<Estimate<Bytes>>,
    /// Of the host.
    pub(super) host: Estimate<Bytes>,
}

impl Compute {
    /// The buffers of a layout.
    ///
    /// On a processor alone, the graph's peak. With cards, each card that holds layers runs the same
    /// operations on them, so it needs the peak of that graph; logits exist only where the output
    /// layer is, and pipelining keeps copies of the inputs. The host then holds the inputs alone,
    /// unless it computes layers itself.
    pub(super) fn of(model: &ModelSpec, layout: &Layout) -> Self {
        let shape = layout.graph_shape(model);
        let peak = |shape: &GraphShape| compute_buffers(model, shape, &GraphPlacement::host_only()).host;
        let placement = &layout.placement;
        if placement.cards.is_empty() {
            return Self { cards: Vec::new(), host: estimate(peak(&shape)) };
        }
        let inputs = input_bytes(model, &shape);
        let copies = if placement.is_pipelined() { 3 * inputs } else { 0 };
        let with_logits = peak(&shape);
        let output = placement.output_card();
        let is_alone = output.is_some() && placement.cards.len() == 1 && placement.is_full();
        let without_logits = if is_alone { 0 } else { peak(&GraphShape { outputs: 1, ..shape }) };
        let layers = model.decoder.len() as u64;
        let cards = (0..placement.cards.len())
            .map(|card| {
                if output == Some(card) {
                    on_card(with_logits + copies)
                } else if (0..layers).any(|layer| placement.card_of(layer) == Some(card)) {
                    on_card(without_logits + copies)
                } else {
                    Estimate::ZERO
                }
            })
            .collect();
        let host = match output {
            Some(_) if placement.is_full() => on_card(inputs),
            Some(_) => on_card(without_logits),
            None => on_card(with_logits),
        };
        Self { cards, host }
    }
}

/// Embedded tokens and masks: what a graph reads from the host.
fn input_bytes(model: &ModelSpec, shape: &GraphShape) -> u64 {
    let embedded = shape.tokens.saturating_mul(model.hidden_size).saturating_mul(4);
    let cells = shape.cells.saturating_add(shape.window_cells.unwrap_or(0));
    let mask_width = if shape.flash_attention { 2 } else { 4 };
    embedded.saturating_add(shape.tokens.saturating_mul(cells).saturating_mul(mask_width))
}

/// A card's buffer: kernels of other back ends fuse and split operations differently.
fn on_card(bytes: u64) -> Estimate<Bytes> {
    Estimate::within(Bytes(bytes), 0.7, 1.4)
}

/// A compute buffer with the interval that other builds of the engine fall into: graphs change with
/// most releases, by a tensor or two that live at the peak.
fn estimate(bytes: u64) -> Estimate<Bytes> {
    Estimate::within(Bytes(bytes), 0.95, 1.05)
}
