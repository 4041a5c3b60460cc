//! Gemma 3n: four copies of the residual stream, of which one at a time is computed and the
//! others are predicted and corrected (gemma3n.cpp).

use super::builder::{Builder, Mixed, WORD};
use super::recipe::SPARSE_LAYERS;
use super::tape::{Kind, Tensor};
use crate::model::{Attention, FeedForward, Layer, Mixer};

/// Copies of the stream.
const STREAMS: u64 = 4;
/// Rank of the learned augmented residual layer beside attention.
const RESIDUAL_RANK: u64 = 64;
impl Builder<'_> {
    /// The other copies of the embedding, each scaled to its length.
    pub(super) fn spread_streams(&mut self, stream: Tensor) -> Tensor {
        let one = self.stream_bytes();
        let others = (STREAMS - 1) * one;
        let repeated = self.fresh(others, &[stream]);
        let projected = self.fresh(others, &[repeated]);
        let squares = self.tape.push(Kind::InPlace, one, &[stream]);
        let lengths = self.project(1, squares);
        let scaled = self.rescaled(projected, lengths);
        self.fresh(STREAMS * one, &[stream, scaled])
    }

    /// Three copies times a length over their own.
    fn rescaled(&mut self, projected: Tensor, lengths: Tensor) -> Tensor {
        let scaled = self.in_place(&[projected, lengths]);
        let squares = self.in_place(&[projected]);
        let own = self.project(STREAMS - 1, squares);
        self.in_place(&[scaled, own])
    }

    /// The mean of all copies, once they are scaled back.
    pub(super) fn gather_streams(&mut self, streams: Tensor) -> Tensor {
        let one = self.stream_bytes();
        let projected = self.fresh((STREAMS - 1) * one, &[streams.view()]);
        let squares = self.fresh(one, &[streams.view()]);
        let lengths = self.project(1, squares);
        let scaled = self.rescaled(projected, lengths);
        let sum = self.fresh(one, &[streams.view(), scaled.view()]);
        let sum = self.in_place(&[sum, scaled.view()]);
        self.select_outputs(sum)
    }

    /// One layer over all copies.
    pub(super) fn alternating(&mut self, layer: &Layer, streams: Tensor) -> Tensor {
        let one = self.stream_bytes();
        let predicted = self.predict(streams);
        let normed = self.norm_of(one, predicted.view());
        let Mixer::Attention(attention) = &layer.mixer else { return streams };
        let stream = self.attend_beside_residual(layer, attention, normed, predicted);
        let output = self.sparse_feed_forward(layer, stream);
        let output = self.sum(output, stream, false);
        let corrected = self.correct(output, predicted);
        self.embed_into_streams(corrected)
    }

    fn predict(&mut self, streams: Tensor) -> Tensor {
        let one = self.stream_bytes();
        let turned = self.fresh(STREAMS * one, &[streams.view()]);
        let normed = self.norm_of(one, streams.view());
        let modes = self.project(STREAMS, normed);
        let mix = self.project(STREAMS * STREAMS, modes);
        let mixed = self.fresh(STREAMS * one, &[turned, mix.view()]);
        let mixed = self.fresh(STREAMS * one, &[mixed.view()]);
        self.in_place(&[mixed, streams])
    }

    /// Attention plus a low-rank path beside it.
    fn attend_beside_residual(
        &mut self,
        layer: &Layer,
        attention: &Attention,
        normed: Tensor,
        predicted: Tensor,
    ) -> Tensor {
        let mixed: Mixed = self.attention(layer, attention, normed);
        let attended = self.project_mixed(mixed);
        let attended = self.in_place(&[attended, predicted.view()]);
        let low = self.project(RESIDUAL_RANK, normed);
        let beside = self.project(self.model.hidden_size, low);
        let beside = self.in_place(&[beside, normed]);
        self.in_place(&[attended, beside])
    }

    fn sparse_feed_forward(&mut self, layer: &Layer, stream: Tensor) -> Tensor {
        let FeedForward::Dense { width, .. } = layer.feed_forward else { return stream };
        let normed = self.norm(stream);
        let up = self.project(width, normed);
        let mut gate = self.project(width, normed);
        if self.index < SPARSE_LAYERS {
            let mean = self.project(1, gate);
            let spread = self.in_place(&[gate, mean]);
            let deviation = self.project(1, spread);
            let cut = self.in_place(&[mean, deviation]);
            gate = self.in_place(&[gate, cut]);
        }
        let inner = self.in_place(&[up, gate]);
        self.project(self.model.hidden_size, inner)
    }

    fn correct(&mut self, output: Tensor, predicted: Tensor) -> Tensor {
        let one = self.stream_bytes();
        let innovation = self.in_place(&[output, predicted.view()]);
        let repeated = self.fresh(STREAMS * one, &[innovation]);
        let normed = self.norm(output);
        let modes = self.project(STREAMS, normed);
        let weights = self.project(STREAMS, modes);
        let weights = self.project(STREAMS, weights.view());
        let weighed = self.in_place(&[repeated, weights]);
        self.in_place(&[weighed, predicted])
    }

    /// The layer's own embedding of each token goes into all copies but the first.
    fn embed_into_streams(&mut self, streams: Tensor) -> Tensor {
        let one = self.stream_bytes();
        let Some((width, all)) = self.layer_embedding_widths() else { return streams };
        let scaled = self.fresh(one, &[streams.view()]);
        let gate = self.project(width, scaled);
        let own = self.mixed_layer_embeddings(all);
        let gated = self.in_place(&[gate, own.view()]);
        let projected = self.project(self.model.hidden_size, gated);
        let others =
            self.fresh((STREAMS - 1) * self.shape.tokens * self.model.hidden_size * WORD, &[streams.view(), projected]);
        self.fresh(STREAMS * one, &[streams.view(), others])
    }
}
