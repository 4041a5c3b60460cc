//! Decoders whose layers have experts, described by what varies between families.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Layer, Mixer, Role};

use super::builder::Source;
use super::config::{Config, ConfigError};
use super::dense::Dense;
use super::experts::{Mixture, Names};
use super::latent::{IndexerShape, LatentShape};

/// A learned gate on the output of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputGate {
    None,
    /// One value per head.
    PerHead,
    /// One value per element.
    PerElement,
}

/// A decoder of ordinary attention whose feed-forward is a mixture in some layers.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "sparse is the field's own term")]
pub(crate) struct Sparse {
    /// Attention, norms and the layers without experts.
    pub(crate) dense: Dense,
    pub(crate) output_gate: OutputGate,
    pub(crate) mixture: Mixture,
    /// Which layers have experts.
    pub(crate) is_sparse: Vec<bool>,
}

impl Sparse {
    /// Experts in every layer.
    pub(crate) fn everywhere(dense: Dense, mixture: Mixture) -> Self {
        let is_sparse = (0..dense.layers).map(|_| true).collect();
        Self { dense, output_gate: OutputGate::None, mixture, is_sparse }
    }

    /// One layer.
    pub(crate) fn layer(&self, source: &Source<'_>, index: u64) -> Layer {
        let attention = self.dense.attention(index);
        let is_sparse = usize::try_from(index).ok().and_then(|index| self.is_sparse.get(index)).is_some_and(|&is| is);
        let mut layer = source.layer(format!("model.layers.{index}"));
        self.dense.attention_weights(&mut layer);
        let heads = self.dense.heads;
        match self.output_gate {
            OutputGate::None => {}
            OutputGate::PerHead => {
                layer.linear(Role::AttentionGate, "self_attn.g_proj", heads.query_heads, self.dense.hidden);
            }
            OutputGate::PerElement => {
                let rows = heads.query_heads * heads.head_dim;
                layer.linear(Role::AttentionGate, "self_attn.gate_proj", rows, self.dense.hidden);
            }
        }
        let feed_forward = if is_sparse {
            self.mixture.add(&mut layer, self.dense.hidden)
        } else {
            self.dense.feed_forward(&mut layer)
        };
        self.dense.norms(&mut layer, self.dense.norms_per_layer);
        for &(role, length) in &self.dense.extras {
            layer.vector(role, length);
        }
        layer.finish(Mixer::Attention(attention), feed_forward)
    }

    /// The whole model.
    pub(crate) fn build(&self, source: &Source<'_>) -> ModelSpec {
        let mut model = self.dense.frame(source);
        for index in 0..self.dense.layers {
            model.decoder.push(self.layer(source, index));
        }
        model
    }
}

/// The experts of DeepSeek and those who took over its keys.
pub(crate) fn deepseek_experts(config: &Config<'_>) -> Result<Mixture, ConfigError> {
    let width = config.required("moe_intermediate_size")?;
    let shared = config.count_of(&["n_shared_experts", "num_shared_experts"])?.unwrap_or(0);
    let experts = config.required_of(&["n_routed_experts", "num_experts", "num_local_experts"])?;
    let per_token = config.required_of(&["num_experts_per_tok", "num_experts_per_token"])?;
    if per_token > experts {
        let problem = format!("is {per_token}, more than the {experts} experts there are");
        return Err(config.contradiction("num_experts_per_tok", problem));
    }
    Ok(Mixture::gated(experts, per_token, width).with_shared(shared * width).named(Names::USUAL))
}

/// A decoder of latent attention whose feed-forward is a mixture in some layers.
#[derive(Clone, Debug)]
pub(crate) struct LatentSparse {
    pub(crate) hidden: u64,
    pub(crate) vocabulary: u64,
    pub(crate) layers: u64,
    pub(crate) is_head_tied: bool,
    pub(crate) latent: LatentShape,
    /// The index of sparse attention.
    pub(crate) indexer: Option<IndexerShape>,
    /// Which layers compute an index of their own; the others reuse it.
    pub(crate) owns_index: Vec<bool>,
    pub(crate) mixture: Mixture,
    /// Which layers have experts.
    pub(crate) is_sparse: Vec<bool>,
    /// Inner width of layers without experts.
    pub(crate) width: u64,
    pub(crate) norms_per_layer: u64,
}

impl LatentSparse {
    /// One layer.
    pub(crate) fn layer(&self, source: &Source<'_>, index: u64) -> Layer {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let mut layer = source.layer(format!("model.layers.{index}"));
        let mut attention = self.latent.add(&mut layer, self.hidden);
        attention.indexer = self.indexer.map(|shape| {
            // Layers past the list are multi-token-prediction layers, which index for themselves.
            if self.owns_index.get(at).is_none_or(|&owns| owns) {
                shape.add(&mut layer, self.hidden)
            } else {
                shape.indexer(false)
            }
        });
        let feed_forward = if self.is_sparse.get(at).is_none_or(|&is| is) {
            self.mixture.add(&mut layer, self.hidden)
        } else {
            super::blocks::gated_feed_forward(&mut layer, self.hidden, self.width, false)
        };
        for _ in 0..self.norms_per_layer {
            layer.norm(self.hidden, false);
        }
        layer.finish(Mixer::Attention(attention), feed_forward)
    }

    /// The whole model.
    pub(crate) fn build(&self, source: &Source<'_>) -> ModelSpec {
        let mut model = source.decoder(self.hidden, self.vocabulary, self.is_head_tied);
        for index in 0..self.layers {
            model.decoder.push(self.layer(source, index));
        }
        model
    }
}

/// Makes a decoder layer the multi-token-prediction layer of DeepSeek-V3 (section 2.2): norms on the hidden
/// state and the embedding, and their projection back to the hidden size; embedding and head are the model's own.
pub(crate) fn prediction_layer(source: &Source<'_>, layer: Layer, hidden: u64) -> Layer {
    let mut extra = source.layer("model.layers.mtp");
    for _ in 0..3 {
        extra.norm(hidden, false);
    }
    extra.linear(Role::Other, "eh_proj", hidden, 2 * hidden);
    let extra = extra.finish(Mixer::None, hwledger_core::model::FeedForward::None);
    let mut layer = layer;
    layer.weights.extend(extra.weights);
    layer
}
