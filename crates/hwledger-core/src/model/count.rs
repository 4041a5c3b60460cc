//! Parameters: resident and active.

use serde::Serialize;

use super::{FeedForward, Layer, ModelSpec, Role, Stack, Weight};

/// Logical parameters of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ParameterCount {
    /// All of them: tied weights once, towers included, multi-token-prediction layers not.
    pub total: u64,
    /// Text parameters that one token's forward pass uses: the token embedding left out, one output matrix counted.
    pub active_per_token: u64,
    /// The token embedding.
    pub embedding: u64,
    /// Vision and audio towers with their projectors.
    pub vision: u64,
}

fn elements(weights: &[Weight]) -> u64 {
    weights.iter().fold(0, |sum, weight| sum.saturating_add(weight.elements()))
}

impl Layer {
    /// Parameters of this layer, all experts included.
    pub fn parameters(&self) -> u64 {
        elements(&self.weights)
    }

    /// Parameters of this layer that one token passes through.
    pub fn active_parameters(&self) -> u64 {
        let (experts, chosen) = match &self.feed_forward {
            FeedForward::Experts(moe) => (moe.experts, moe.experts_per_token),
            FeedForward::None | FeedForward::Dense { .. } => (1, 1),
        };
        self.weights
            .iter()
            .map(|weight| {
                if weight.role.is_routed_expert() && experts > 0 {
                    // Experts are stacked either as copies or folded into rows; both hold `experts` equal parts.
                    weight.elements() / experts * chosen
                } else {
                    weight.elements()
                }
            })
            .fold(0, u64::saturating_add)
    }
}

impl Stack {
    fn sum(&self, of: impl Fn(&Layer) -> u64) -> u64 {
        self.counted().fold(0, |sum, (layer, count)| sum.saturating_add(of(layer).saturating_mul(count)))
    }

    /// Parameters of all layers.
    pub fn parameters(&self) -> u64 {
        self.sum(Layer::parameters)
    }

    /// Parameters that one token passes through.
    pub fn active_parameters(&self) -> u64 {
        self.sum(Layer::active_parameters)
    }
}

impl ModelSpec {
    /// All weights with the number of times that each occurs, draft layers included.
    pub fn weights(&self) -> impl Iterator<Item = (&Weight, u64)> {
        let stacks = std::iter::once(&self.decoder).chain(&self.encoder).flat_map(Stack::counted);
        let layers = stacks.chain(self.draft_layers.iter().map(|layer| (layer, 1)));
        let outer = self.embedding.iter().chain(&self.head);
        outer
            .chain(self.towers.iter().flat_map(|tower| &tower.weights))
            .map(|weight| (weight, 1))
            .chain(layers.flat_map(|(layer, count)| layer.weights.iter().map(move |weight| (weight, count))))
    }

    /// Bytes of all weights as the files hold them; unknown unless the files state every element type.
    pub fn stored_bytes(&self) -> Option<u64> {
        self.weights().try_fold(0_u64, |sum, (weight, count)| {
            Some(sum.saturating_add(weight.bytes_as(weight.stored?).saturating_mul(count)))
        })
    }

    /// Elements of the token embedding.
    pub fn token_embedding(&self) -> u64 {
        self.embedding.iter().filter(|weight| weight.role == Role::TokenEmbedding).map(Weight::elements).sum()
    }

    /// Parameters by the contract's definitions.
    pub fn parameters(&self) -> ParameterCount {
        let encoder = self.encoder.as_ref();
        let vision = self.towers.iter().fold(0_u64, |sum, tower| sum.saturating_add(elements(&tower.weights)));
        let total = [
            elements(&self.embedding),
            elements(&self.head),
            self.decoder.parameters(),
            encoder.map_or(0, Stack::parameters),
            vision,
        ]
        .into_iter()
        .fold(0, u64::saturating_add);
        let used = |weights: &[Weight]| -> u64 {
            // Tables of positions and types and per-layer tables count: only the input embedding is left out.
            let is_counted = |weight: &&Weight| weight.role != Role::TokenEmbedding;
            weights.iter().filter(is_counted).map(Weight::elements).fold(0, u64::saturating_add)
        };
        let tied = if self.is_head_tied { self.token_embedding() } else { 0 };
        let active_per_token = [
            used(&self.embedding),
            used(&self.head),
            tied,
            self.decoder.active_parameters(),
            encoder.map_or(0, Stack::active_parameters),
        ]
        .into_iter()
        .fold(0, u64::saturating_add);
        ParameterCount { total, active_per_token, embedding: self.token_embedding(), vision }
    }
}
