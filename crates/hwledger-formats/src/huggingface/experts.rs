//! Mixtures of experts, tensor by tensor.

use hwledger_core::model::{Activation, FeedForward, MixtureOfExperts, Role};

use super::builder::LayerBuilder;

/// How files name the tensors of a mixture; quantisation exceptions go by these names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    /// The module of one routed expert.
    pub(crate) expert: &'static str,
    /// Its gate, up and down projections.
    pub(crate) projections: [&'static str; 3],
    /// The module of the shared experts.
    pub(crate) shared: &'static str,
}

impl Names {
    /// DeepSeek, Qwen, GLM.
    pub(crate) const USUAL: Self = Self {
        expert: "mlp.experts.0",
        projections: ["gate_proj", "up_proj", "down_proj"],
        shared: "mlp.shared_experts",
    };
    /// Mixtral, MiniMax.
    pub(crate) const MIXTRAL: Self = Self {
        expert: "block_sparse_moe.experts.0",
        projections: ["w1", "w3", "w2"],
        shared: "block_sparse_moe.shared_experts",
    };
    /// Llama 4, LFM 2, Jamba.
    pub(crate) const FEED_FORWARD: Self =
        Self { expert: "feed_forward.experts.0", shared: "feed_forward.shared_expert", ..Self::USUAL };
    /// Nemotron-H, whose experts stand in the place of the mixer.
    pub(crate) const MIXER: Self = Self { expert: "mixer.experts.0", shared: "mixer.shared_experts", ..Self::USUAL };
}

/// Shape of a mixture of experts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mixture {
    /// Routed experts.
    pub(crate) experts: u64,
    /// Routed experts that one token passes through.
    pub(crate) per_token: u64,
    /// Inner width of one routed expert.
    pub(crate) width: u64,
    /// Inner width of all shared experts together; 0 without.
    pub(crate) shared_width: u64,
    /// Gated or plain, for routed and shared experts alike.
    pub(crate) activation: Activation,
    /// Whether a sigmoid gate scales the shared experts.
    pub(crate) has_shared_gate: bool,
    /// Vectors of one element per expert that the reference learns with the router (bias, score correction).
    pub(crate) router_vectors: u64,
    /// Whether the projections of routed experts have biases.
    pub(crate) has_expert_bias: bool,
    /// Whether those of shared experts have.
    pub(crate) has_shared_bias: bool,
    /// The width that routed experts read and write, where it is not the hidden size.
    pub(crate) latent: Option<u64>,
    /// The names of the tensors.
    pub(crate) names: Names,
}

impl Mixture {
    /// Gated experts without anything beside them.
    pub(crate) const fn gated(experts: u64, per_token: u64, width: u64) -> Self {
        Self {
            experts,
            per_token,
            width,
            shared_width: 0,
            activation: Activation::Gated,
            has_shared_gate: false,
            router_vectors: 0,
            has_expert_bias: false,
            has_shared_bias: false,
            latent: None,
            names: Names::USUAL,
        }
    }

    /// The same beside shared experts of `shared_width` in all.
    pub(crate) const fn with_shared(self, shared_width: u64) -> Self {
        Self { shared_width, ..self }
    }

    /// The same under other names.
    pub(crate) const fn named(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// Adds router, routed experts and shared experts to a layer.
    pub(crate) fn add(self, layer: &mut LayerBuilder<'_>, hidden: u64) -> FeedForward {
        layer.plain_matrix(Role::Router, self.experts, hidden);
        for _ in 0..self.router_vectors {
            layer.vector(Role::Router, self.experts);
        }
        if let Some(latent) = self.latent {
            layer.linear(Role::Other, "mixer.fc1_latent_proj", latent, hidden);
            layer.linear(Role::Other, "mixer.fc2_latent_proj", hidden, latent);
        }
        self.add_routed(layer, self.latent.unwrap_or(hidden));
        self.add_shared(layer, hidden);
        FeedForward::Experts(MixtureOfExperts {
            experts: self.experts,
            experts_per_token: self.per_token,
            expert_width: self.width,
            shared_width: self.shared_width,
            dense_width: 0,
            activation: self.activation,
        })
    }

    fn add_routed(self, layer: &mut LayerBuilder<'_>, outer: u64) {
        let Self { experts, width, names, .. } = self;
        let projections = [
            (Role::ExpertGate, names.projections[0], width, outer),
            (Role::ExpertUp, names.projections[1], width, outer),
            (Role::ExpertDown, names.projections[2], outer, width),
        ];
        let skipped = usize::from(self.activation == Activation::Plain);
        for (role, name, rows, columns) in projections.into_iter().skip(skipped) {
            layer.experts(role, &format!("{}.{name}", names.expert), experts, rows, columns);
            if self.has_expert_bias {
                layer.expert_vector(role, experts, rows);
            }
        }
    }

    fn add_shared(self, layer: &mut LayerBuilder<'_>, hidden: u64) {
        let Self { shared_width: width, names, has_shared_bias: has_bias, .. } = self;
        if width == 0 {
            return;
        }
        if self.activation == Activation::Gated {
            layer.linear_with_bias(Role::SharedGate, &format!("{}.gate_proj", names.shared), width, hidden, has_bias);
        }
        layer.linear_with_bias(Role::SharedUp, &format!("{}.up_proj", names.shared), width, hidden, has_bias);
        layer.linear_with_bias(Role::SharedDown, &format!("{}.down_proj", names.shared), hidden, width, has_bias);
        if self.has_shared_gate {
            layer.plain_matrix(Role::SharedRouter, 1, hidden);
        }
    }
}
