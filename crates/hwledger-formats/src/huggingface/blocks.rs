//! The pieces that most families share: attention and feed-forward blocks, tensor by tensor.

use hwledger_core::model::{Activation, Attention, FeedForward, Role, Span};

use super::builder::LayerBuilder;
use super::config::{Config, ConfigError};

/// Which projections of attention carry a bias.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AttentionBias {
    pub(crate) query_key_value: bool,
    pub(crate) output: bool,
}

/// Norms on queries and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum QueryKeyNorm {
    #[default]
    None,
    /// One scale per element of a head, shared by all heads (Qwen3, Gemma 3).
    PerHead,
    /// One scale per element of the whole projection (OLMo 2, MiniMax-M2).
    Full,
}

/// Head counts and dimensions as the common keys give them.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the field's own terms")]
pub(crate) struct Heads {
    pub(crate) query_heads: u64,
    pub(crate) kv_heads: u64,
    pub(crate) head_dim: u64,
}

impl AttentionBias {
    /// On all four projections, or on none.
    pub(crate) const fn all(has_bias: bool) -> Self {
        Self { query_key_value: has_bias, output: has_bias }
    }

    /// On query, key and value only.
    pub(crate) const fn inputs(has_bias: bool) -> Self {
        Self { query_key_value: has_bias, output: false }
    }
}

impl Heads {
    /// `num_attention_heads`, `num_key_value_heads` (all heads if absent), `head_dim` (hidden / heads if absent).
    pub(crate) fn read(config: &Config<'_>, hidden: u64) -> Result<Self, ConfigError> {
        let heads =
            config.required_of(&["num_attention_heads", "n_head", "num_heads", "n_heads", "attention_heads"])?;
        let kv_heads = config.count("num_key_value_heads")?.filter(|&count| count > 0).unwrap_or(heads);
        let head_dim = match config.count("head_dim")? {
            Some(dim) if dim > 0 => dim,
            _ => hidden / heads,
        };
        if head_dim == 0 {
            return Err(config.contradiction("num_attention_heads", format!("is more than the hidden size {hidden}")));
        }
        Ok(Self { query_heads: heads, kv_heads, head_dim })
    }

    /// Attention of these heads over `span`.
    pub(crate) fn attention(self, span: Span) -> Attention {
        Attention { span, ..Attention::full(self.query_heads, self.kv_heads, self.head_dim) }
    }
}

/// Separate query, key, value and output projections.
pub(crate) fn attention(
    layer: &mut LayerBuilder<'_>,
    hidden: u64,
    heads: Heads,
    bias: AttentionBias,
    norm: QueryKeyNorm,
) {
    let query = heads.query_heads * heads.head_dim;
    let key = heads.kv_heads * heads.head_dim;
    layer.linear_with_bias(Role::Query, "self_attn.q_proj", query, hidden, bias.query_key_value);
    layer.linear_with_bias(Role::Key, "self_attn.k_proj", key, hidden, bias.query_key_value);
    layer.linear_with_bias(Role::Value, "self_attn.v_proj", key, hidden, bias.query_key_value);
    layer.linear_with_bias(Role::AttentionOutput, "self_attn.o_proj", hidden, query, bias.output);
    query_key_norms(layer, heads, norm);
}

/// The norms on queries and keys.
pub(crate) fn query_key_norms(layer: &mut LayerBuilder<'_>, heads: Heads, norm: QueryKeyNorm) {
    match norm {
        QueryKeyNorm::None => {}
        QueryKeyNorm::PerHead => {
            layer.norm(heads.head_dim, false);
            layer.norm(heads.head_dim, false);
        }
        QueryKeyNorm::Full => {
            layer.norm(heads.query_heads * heads.head_dim, false);
            layer.norm(heads.kv_heads * heads.head_dim, false);
        }
    }
}

/// Gate, up and down projections.
pub(crate) fn gated_feed_forward(layer: &mut LayerBuilder<'_>, hidden: u64, width: u64, has_bias: bool) -> FeedForward {
    layer.linear_with_bias(Role::Gate, "mlp.gate_proj", width, hidden, has_bias);
    layer.linear_with_bias(Role::Up, "mlp.up_proj", width, hidden, has_bias);
    layer.linear_with_bias(Role::Down, "mlp.down_proj", hidden, width, has_bias);
    FeedForward::Dense { width, activation: Activation::Gated }
}

/// Up and down projections only.
pub(crate) fn plain_feed_forward(layer: &mut LayerBuilder<'_>, hidden: u64, width: u64, has_bias: bool) -> FeedForward {
    layer.linear_with_bias(Role::Up, "mlp.up_proj", width, hidden, has_bias);
    layer.linear_with_bias(Role::Down, "mlp.down_proj", hidden, width, has_bias);
    FeedForward::Dense { width, activation: Activation::Plain }
}
