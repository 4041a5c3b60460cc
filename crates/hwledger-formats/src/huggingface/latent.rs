//! Multi-head latent attention (DeepSeek-V2, section 2.1) and the index of sparse attention (DeepSeek-V3.2).

use hwledger_core::model::{Attention, Indexer, Latent, Role};

use super::builder::LayerBuilder;
use super::config::{Config, ConfigError};

/// Shape of multi-head latent attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LatentShape {
    pub(crate) heads: u64,
    /// Rank of the query latent; queries are projected directly without.
    pub(crate) query_rank: Option<u64>,
    pub(crate) kv_rank: u64,
    /// Elements of a head's key without position.
    pub(crate) nope: u64,
    /// Elements of the rotary key that all heads share; 0 without position.
    pub(crate) rope: u64,
    /// Elements of a head's value.
    pub(crate) value: u64,
    /// Biases on the down-projections and the output.
    pub(crate) has_bias: bool,
}

impl LatentShape {
    /// The keys that DeepSeek introduced.
    pub(crate) fn read(config: &Config<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            heads: config.required("num_attention_heads")?,
            query_rank: config.count("q_lora_rank")?.filter(|&rank| rank > 0),
            kv_rank: config.required("kv_lora_rank")?,
            nope: config.required("qk_nope_head_dim")?,
            // The reference's default in every class that has the key.
            rope: config.count("qk_rope_head_dim")?.unwrap_or(64),
            value: config.required("v_head_dim")?,
            has_bias: config.flag("attention_bias", false)?,
        })
    }

    /// Adds its projections and norms to a layer.
    pub(crate) fn add(self, layer: &mut LayerBuilder<'_>, hidden: u64) -> Attention {
        let Self { heads, kv_rank, nope, rope, value, has_bias, .. } = self;
        let query = heads * (nope + rope);
        if let Some(rank) = self.query_rank {
            layer.linear_with_bias(Role::QueryDown, "self_attn.q_a_proj", rank, hidden, has_bias);
            layer.norm(rank, false);
            layer.linear(Role::QueryUp, "self_attn.q_b_proj", query, rank);
        } else {
            layer.linear(Role::Query, "self_attn.q_proj", query, hidden);
        }
        layer.linear_with_bias(Role::LatentDown, "self_attn.kv_a_proj_with_mqa", kv_rank + rope, hidden, has_bias);
        layer.norm(kv_rank, false);
        layer.linear(Role::LatentUp, "self_attn.kv_b_proj", heads * (nope + value), kv_rank);
        layer.linear_with_bias(Role::AttentionOutput, "self_attn.o_proj", hidden, heads * value, has_bias);
        let latent = Latent { kv_rank, rope_dim: rope, query_rank: self.query_rank, nope_dim: nope };
        Attention {
            key_dim: nope + rope,
            value_dim: value,
            latent: Some(latent),
            ..Attention::full(heads, heads, nope + rope)
        }
    }
}

/// Shape of the index of sparse attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexerShape {
    pub(crate) heads: u64,
    pub(crate) head_dim: u64,
    pub(crate) top_k: u64,
    /// Width that the index queries are projected from: the query latent, or the hidden size without one.
    pub(crate) query_from: u64,
}

impl IndexerShape {
    /// The keys that DeepSeek-V3.2 introduced.
    pub(crate) fn read(config: &Config<'_>, latent: LatentShape, hidden: u64) -> Result<Self, ConfigError> {
        Ok(Self {
            heads: config.required("index_n_heads")?,
            head_dim: config.required("index_head_dim")?,
            top_k: config.required("index_topk")?,
            query_from: latent.query_rank.unwrap_or(hidden),
        })
    }

    /// Adds its tensors to a layer that computes its own index.
    pub(crate) fn add(self, layer: &mut LayerBuilder<'_>, hidden: u64) -> Indexer {
        layer.linear(Role::Indexer, "self_attn.indexer.wq_b", self.heads * self.head_dim, self.query_from);
        layer.linear(Role::Indexer, "self_attn.indexer.wk", self.head_dim, hidden);
        layer.vector(Role::Indexer, self.head_dim);
        layer.vector(Role::Indexer, self.head_dim);
        // The weights of heads stay unquantised in every published file.
        layer.plain_matrix(Role::Indexer, self.heads, hidden);
        self.indexer(true)
    }

    /// The index as a layer sees it that computes it, or that reuses an earlier layer's choice.
    pub(crate) const fn indexer(self, is_owner: bool) -> Indexer {
        Indexer { heads: self.heads, head_dim: self.head_dim, top_k: self.top_k, is_owner }
    }
}
