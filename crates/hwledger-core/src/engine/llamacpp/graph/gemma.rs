//! What Gemma 3n and 4 do beside attention and feed-forward.

use super::builder::{Builder, WORD};
use super::tape::{Kind, Tensor};
use crate::model::{Activation, Layer, MixtureOfExperts, Role};

/// Embeddings of the batch's tokens for every layer.
#[derive(Clone, Copy, Debug)]
pub(super) enum LayerEmbeddings {
    /// The model has none.
    Absent,
    /// Looked up, and still to be mixed with a projection of the embedding.
    LookedUp {
        /// The lookup, scaled.
        table: Tensor,
        /// The embedding that the projection reads.
        embedding: Tensor,
    },
    /// Mixed, one part per layer.
    Mixed(Tensor),
}

impl Builder<'_> {
    /// Elements of one token's embedding in one layer, and in all.
    pub(super) fn layer_embedding_widths(&self) -> Option<(u64, u64)> {
        let layers = self.model.decoder.len() as u64;
        let table = self.model.embedding.iter().find(|weight| weight.role == Role::PerLayerEmbedding)?;
        (layers > 0).then(|| (table.columns / layers, table.columns))
    }

    /// The lookup comes first of all: it is expanded at once.
    pub(super) fn look_up_layer_embeddings(&mut self, embedding: Tensor) {
        let Some((_, all)) = self.layer_embedding_widths() else { return };
        let tokens = self.input(self.shape.tokens * WORD);
        let table = self.project(all, tokens);
        let table = self.project(all, table.view());
        self.layer_embeddings = LayerEmbeddings::LookedUp { table, embedding };
    }

    /// Adds the layer's own embedding of each token, gated by the stream (gemma4.cpp).
    pub(super) fn add_layer_embedding(&mut self, stream: Tensor, selects: bool) -> Tensor {
        let Some((width, all)) = self.layer_embedding_widths() else { return stream };
        let gate = self.project(width, stream);
        let mixed = self.mixed_layer_embeddings(all);
        let own = if selects {
            let wanted = self.output_rows();
            self.fresh(width * self.rows * WORD, &[mixed.view(), wanted])
        } else {
            mixed.view()
        };
        let gated = self.in_place(&[gate, own]);
        let projected = self.project(self.model.hidden_size, gated);
        self.in_place(&[stream, projected])
    }

    pub(super) fn mixed_layer_embeddings(&mut self, all: u64) -> Tensor {
        match self.layer_embeddings {
            LayerEmbeddings::Mixed(mixed) => mixed,
            LayerEmbeddings::LookedUp { table, embedding } => {
                let bytes = all * self.shape.tokens * WORD;
                let projected = self.fresh(bytes, &[embedding]);
                let normed = self.tape.push(Kind::InPlace, bytes, &[projected.view()]);
                let sum = self.in_place(&[normed, table]);
                let mixed = self.fresh(bytes, &[sum.view()]);
                self.layer_embeddings = LayerEmbeddings::Mixed(mixed);
                mixed
            }
            LayerEmbeddings::Absent => self.fresh(0, &[]),
        }
    }

    /// Experts and a dense network side by side, each between norms of its own (gemma4.cpp).
    pub(super) fn dense_and_experts(&mut self, layer: &Layer, experts: &MixtureOfExperts, stream: Tensor) -> Tensor {
        let router_input = self.norm(stream);
        let route = self.route(layer, experts, router_input);
        let expert_input = self.norm(stream);
        let routed = self.routed(layer, experts, expert_input, route);
        let dense_input = self.norm(stream);
        let dense = self.dense(dense_input, experts.dense_width, Activation::Gated, false);
        let dense = self.norm(dense);
        let routed = self.norm(routed);
        self.in_place(&[dense, routed])
    }
}
