//! From a layout to the sizes of the graphs that its context reserves.

use super::Layout;
use super::architecture;
use super::cache::CacheGeometry;
use super::graph::{BuildRules, GraphPlacement, GraphShape, compute_buffers};
use crate::model::ModelSpec;
use crate::units::round_up;
use crate::{Bytes, Estimate};

/// Context of T5 where the file does not say: the length of its encoder's output.
const ENCODER_TOKENS_UNKNOWN: u64 = 512;
/// The tightest and the loosest bound of attention that users of `ik_llama.cpp` set, in mebibytes.
///
/// **Source**: command lines in its issues and discussions, 2025 and 2026.
const ATTENTION_MAX_BATCH_CHOSEN: [u64; 2] = [64, 2048];

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
            attention_max_batch_mib: parameters.attention_max_batch.mebibytes,
            key_type: parameters.type_k,
            value_type: parameters.type_v,
            build: BuildRules {
                holds_embedding_input: parameters.release.holds_embedding_input(),
                casts_mask: parameters.release.casts_mask(),
                decompresses_latents: parameters.release.is_fork(),
            },
            encoder_tokens: model.context_max.unwrap_or(ENCODER_TOKENS_UNKNOWN),
        }
    }

    /// Mean bytes of a weight's element.
    fn bytes_per_weight(&self, model: &ModelSpec) -> f64 {
        let bytes = self.weights.cards.iter().fold(self.weights.host, |sum, card| sum.saturating_add(*card));
        bytes as f64 / model.parameters().total.max(1) as f64
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
            bytes_per_weight: if placement.cards.is_empty() { 0.0 } else { self.bytes_per_weight(model) },
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
    /// The buffers of a layout: the larger of what reading a prompt and generating a token need.
    /// Only where the host runs layers does the second exceed the first on any device: a single
    /// token is computed where the weights lie, a prompt where cards can borrow them.
    pub(super) fn of(model: &ModelSpec, layout: &Layout) -> Self {
        let shape = layout.graph_shape(model);
        let placement = layout.graph_placement(model);
        let mut buffers = compute_buffers(model, &shape, &placement);
        if placement.devices == 0 {
            let mut compute = Self { cards: Vec::new(), host: estimate(buffers.host) };
            compute.allow_chosen_bounds(model, layout, &shape, &placement);
            return compute;
        }
        if !layout.placement.is_full() {
            let tokens = shape.sequences;
            let generating = GraphShape { tokens, outputs: tokens, ..shape };
            let generating = compute_buffers(model, &generating, &placement);
            buffers.host = buffers.host.max(generating.host);
        }
        let cards = buffers.devices.iter().map(|&bytes| on_card(bytes)).collect();
        let mut compute = Self { cards, host: on_card(buffers.host) };
        compute.allow_chosen_bounds(model, layout, &shape, &placement);
        compute
    }

    /// Where nobody says `-amb`, whatever people choose for it is possible.
    fn allow_chosen_bounds(
        &mut self,
        model: &ModelSpec,
        layout: &Layout,
        shape: &GraphShape,
        placement: &GraphPlacement,
    ) {
        if !layout.parameters.attention_max_batch.is_assumed || !super::parameters::has_latents(model) {
            return;
        }
        for mebibytes in ATTENTION_MAX_BATCH_CHOSEN {
            // A bound that is looser than the default may have been chosen, no bound at all is an old default.
            let bounded = GraphShape { attention_max_batch_mib: Some(mebibytes), ..*shape };
            let chosen = compute_buffers(model, &bounded, placement);
            let include = |claim: &mut Estimate<Bytes>, bytes: u64| {
                claim.low = claim.low.min(Bytes(bytes));
                claim.high = claim.high.max(Bytes(bytes));
            };
            for (card, &bytes) in self.cards.iter_mut().zip(&chosen.devices) {
                include(card, bytes);
            }
            include(&mut self.host, chosen.host);
        }
    }
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
