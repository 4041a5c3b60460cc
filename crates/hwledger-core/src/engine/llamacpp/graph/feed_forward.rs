//! The operations of feed-forwards, dense and by experts.

use super::builder::Builder;
use super::tape::Tensor;
use crate::model::{Activation, FeedForward, Layer, MixtureOfExperts, Role};

impl Builder<'_> {
    /// The feed-forward of a layer, from the normed stream to what is added to it.
    pub(super) fn feed_forward(&mut self, layer: &Layer, input: Tensor) -> Tensor {
        match &layer.feed_forward {
            FeedForward::None => input,
            FeedForward::Dense { width, activation } => {
                self.dense(layer, input, *width, *activation, [Role::Gate, Role::Up, Role::Down])
            }
            FeedForward::Experts(experts) => self.experts(layer, experts, input),
        }
    }

    /// gate and up, their product, down; or up, activation, down.
    pub(super) fn dense(
        &mut self,
        layer: &Layer,
        input: Tensor,
        width: u64,
        activation: Activation,
        [gate, up, down]: [Role; 3],
    ) -> Tensor {
        let inner = match activation {
            Activation::Gated => {
                let gated = self.project(width, input);
                let gated = self.bias(layer, gate, gated);
                let product = self.project(width, input);
                let product = self.bias(layer, up, product);
                let bytes = self.tape.bytes(gated);
                self.fresh(bytes, &[gated, product])
            }
            Activation::Plain => {
                let product = self.project(width, input);
                let product = self.bias(layer, up, product);
                self.in_place(&[product])
            }
        };
        let output = self.project(self.model.hidden_size, inner);
        self.bias(layer, down, output)
    }

    fn experts(&mut self, layer: &Layer, experts: &MixtureOfExperts, input: Tensor) -> Tensor {
        let _ = (layer, experts);
        input
    }
}
