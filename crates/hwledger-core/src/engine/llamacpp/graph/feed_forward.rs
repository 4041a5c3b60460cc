//! The operations of feed-forwards, dense and by experts.

use super::attention::has;
use super::builder::{Builder, WORD};
use super::recipe::ExpertWeights;
use super::tape::Tensor;
use crate::model::{Activation, FeedForward, Layer, MixtureOfExperts, Role};

impl Builder<'_> {
    /// The feed-forward of a layer, from the normed stream to what is added to it.
    pub(super) fn feed_forward(&mut self, layer: &Layer, input: Tensor) -> Tensor {
        match &layer.feed_forward {
            FeedForward::None => input,
            FeedForward::Dense { width, activation } => {
                self.dense(input, *width, *activation, has(layer, Role::GateUp))
            }
            FeedForward::Experts(experts) => self.mixture(layer, experts, input),
        }
    }

    /// Gate and up, their product, down; or up, activation, down.
    pub(super) fn dense(&mut self, input: Tensor, width: u64, activation: Activation, is_fused: bool) -> Tensor {
        let bytes = width * self.rows * WORD;
        let inner = match activation {
            Activation::Gated if is_fused => {
                let both = self.project(2 * width, input);
                self.fresh(bytes, &[both])
            }
            Activation::Gated => {
                let gate = self.project(width, input);
                let up = self.project(width, input);
                self.fresh(bytes, &[gate, up])
            }
            Activation::Plain => self.project(width, input),
        };
        // A norm before the last projection (BitNet) runs in place.
        self.project(self.model.hidden_size, inner)
    }

    /// Routed experts, the shared one and a dense network beside them.
    fn mixture(&mut self, layer: &Layer, experts: &MixtureOfExperts, input: Tensor) -> Tensor {
        let route = self.route(layer, experts, input);
        let routed = self.routed(layer, experts, input, route);
        if experts.shared_width == 0 {
            return routed;
        }
        let is_fused = has(layer, Role::SharedGateUp);
        let mut shared = self.dense(input, experts.shared_width, experts.activation, is_fused);
        if self.recipe.gates_shared {
            let gate = self.project(1, input);
            shared = self.in_place(&[shared, gate]);
        }
        self.in_place(&[routed, shared])
    }

    /// Experts on the layer's input beside attention and a dense feed-forward (arctic.cpp). Attention's
    /// projection is read, and so built, after the experts are.
    pub(super) fn beside_experts(
        &mut self,
        layer: &Layer,
        experts: &MixtureOfExperts,
        input: Tensor,
        selects: bool,
    ) -> Tensor {
        let normed = self.norm(input);
        let mixed = self.mix(layer, normed, input);
        let mut residual = input;
        let mut done = None;
        if selects {
            residual = self.select_outputs(input);
            let attended = self.project_mixed(mixed);
            done = Some(self.select_outputs(attended));
            self.rows = self.shape.outputs;
        }
        let expert_input = self.norm(residual);
        let route = self.route(layer, experts, expert_input);
        let routed = self.routed(layer, experts, expert_input, route);
        let attended = match done {
            Some(attended) => attended,
            None => self.project_mixed(mixed),
        };
        let middle = self.sum(attended, residual, false);
        let dense_input = self.norm(middle);
        let dense = self.dense(dense_input, experts.dense_width, experts.activation, false);
        let dense = self.sum(dense, middle, false);
        self.sum(routed, dense, false)
    }

    /// Scores, the choice of experts, and the weights of the chosen ones.
    pub(super) fn route(&mut self, layer: &Layer, experts: &MixtureOfExperts, input: Tensor) -> (Tensor, Tensor) {
        let logits = self.project(experts.experts, input);
        // Llama 4 chooses by the logits and weighs by their sigmoid; DeepSeek-V3 chooses by biased scores.
        let is_biased = self.recipe.expert_weights != ExpertWeights::Softmax
            && layer.weights.iter().any(|weight| weight.role == Role::Router && weight.columns == 1);
        let (scores, choice) = if self.recipe.weighs_input || is_biased {
            let other = self.project(experts.experts, logits);
            if self.recipe.weighs_input { (other, logits) } else { (logits, other) }
        } else {
            (logits, logits)
        };
        let chosen = self.project(experts.experts, choice).view();
        let mut weights = self.project(experts.experts_per_token, scores.view());
        let bytes = self.tape.bytes(weights);
        self.store(&[chosen]);
        match self.recipe.expert_weights {
            ExpertWeights::AsScored => {}
            ExpertWeights::Softmax => weights = self.fresh(bytes, &[weights.view()]),
            ExpertWeights::Normalised => {
                let sum = self.project(1, weights.view());
                weights = self.fresh(bytes, &[weights.view(), sum]);
            }
        }
        (chosen, weights)
    }

    /// The chosen experts' networks, weighed and summed.
    pub(super) fn routed(
        &mut self,
        layer: &Layer,
        experts: &MixtureOfExperts,
        input: Tensor,
        (chosen, weights): (Tensor, Tensor),
    ) -> Tensor {
        let used = experts.experts_per_token;
        let mut input = input.view();
        if self.recipe.weighs_input {
            let repeated = self.project(self.model.hidden_size * used, input);
            input = self.in_place(&[repeated, weights]);
        }
        let inner_bytes = experts.expert_width * used * self.rows * WORD;
        let hidden = self.model.hidden_size;
        let one = experts.expert_width.saturating_mul(hidden);
        let inner = if experts.activation == Activation::Plain {
            self.expert_product(inner_bytes, one, experts.experts, &[input, chosen])
        } else if has(layer, Role::ExpertGateUp) {
            let both = self.expert_product(2 * inner_bytes, one.saturating_mul(2), experts.experts, &[input, chosen]);
            self.fresh(inner_bytes, &[both.view()])
        } else {
            let gate = self.expert_product(inner_bytes, one, experts.experts, &[input, chosen]);
            let up = self.expert_product(inner_bytes, one, experts.experts, &[input, chosen]);
            self.fresh(inner_bytes, &[gate, up])
        };
        let each = self.expert_product(hidden * used * self.rows * WORD, one, experts.experts, &[inner, chosen]);
        let each = if self.recipe.weighs_input { each } else { self.in_place(&[each, weights]) };
        let first = self.fresh(self.stream_bytes(), &[each.view()]);
        // The sums that follow run over the first one, and only keep the experts' outputs alive.
        let sum = if used > 2 { self.in_place(&[first, each.view()]) } else { first };
        self.read_state_ahead();
        sum
    }
}
