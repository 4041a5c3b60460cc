//! Gemma 4 (transformers `modeling_gemma4.py`): wider heads in full-attention layers, keys that serve as values,
//! shared caches, per-layer embeddings, experts beside a dense feed-forward.

use hwledger_core::ModelSpec;
use hwledger_core::model::{
    Activation, Attention, CacheOwner, FeedForward, Layer, Mixer, MixtureOfExperts, Modality, Role, Span, Tower,
};

use crate::huggingface::blocks::{AttentionBias, Heads};
use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, spans};
use crate::huggingface::tower::{TowerBuilder, TowerShape, layer_count, square};
use crate::huggingface::towers::conformer;

/// What varies between the layers, read once.
struct Plan<'a> {
    config: Config<'a>,
    dense: Dense,
    /// Layers from here on read the cache of an earlier one.
    first_shared: u64,
    keys_are_values: bool,
    per_layer_width: u64,
    experts: Option<MixtureOfExperts>,
}

/// The language model alone.
pub(super) fn read_text(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let plan = Plan::read(source)?;
    let mut model = plan.dense.frame(source);
    if plan.per_layer_width > 0 {
        let width = plan.per_layer_width * plan.dense.layers;
        let rows = plan.config.required("vocab_size_per_layer_input")?;
        model.embedding.push(source.matrix(Role::PerLayerEmbedding, rows, width));
        model.embedding.push(source.matrix(Role::Other, width, plan.dense.hidden));
        model.embedding.push(source.vector(Role::Norm, plan.per_layer_width));
    }
    for index in 0..plan.dense.layers {
        model.decoder.push(plan.layer(source, index)?);
    }
    Ok(model)
}

/// With its towers, where the file has them.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_text(source)?;
    if let Some(config) = source.root.nested("vision_config") {
        model.towers.push(vision(source, &config, model.hidden_size)?);
    }
    if let Some(config) = source.root.nested("audio_config") {
        model.towers.push(conformer::gemma4(source, &config, model.hidden_size)?);
    }
    Ok(model)
}

impl<'a> Plan<'a> {
    fn read(source: &Source<'a>) -> Result<Self, ConfigError> {
        let config = source.text.clone();
        let mut dense = Dense::read(source, &config, true)?;
        dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
        let window = config.positions("sliding_window")?;
        dense.spans = spans(&config, dense.layers, window, |index| (index + 1) % 6 != 0)?;
        // The reference makes the last layer a full one, whatever the file says.
        if let Some(last) = dense.spans.last_mut() {
            *last = Span::Full;
        }
        let shared = config.count("num_kv_shared_layers")?.unwrap_or(0);
        let first_shared = dense.layers.checked_sub(shared).ok_or_else(|| {
            config.contradiction("num_kv_shared_layers", format!("is {shared}, more than there are layers"))
        })?;
        let experts = if config.flag("enable_moe_block", false)? { Some(experts(&config, dense.width)?) } else { None };
        Ok(Self {
            first_shared,
            keys_are_values: config.flag("attention_k_eq_v", false)?,
            per_layer_width: config.count("hidden_size_per_layer_input")?.unwrap_or(0),
            experts,
            dense,
            config,
        })
    }

    /// Heads of a layer: those of full layers have their own size, and number if keys serve as values.
    fn heads(&self, index: u64, span: Span) -> Result<Heads, ConfigError> {
        let usual = self.dense.heads;
        if let Some(overrides) = self.config.nested("per_layer_config") {
            let own = [format!("{index:02}"), index.to_string()].iter().find_map(|key| overrides.nested(key));
            let Some(own) = own else { return Ok(usual) };
            return Ok(Heads {
                head_dim: own.count("head_dim")?.unwrap_or(usual.head_dim),
                kv_heads: own.count("num_key_value_heads")?.unwrap_or(usual.kv_heads),
                ..usual
            });
        }
        if span != Span::Full {
            return Ok(usual);
        }
        let own = if self.keys_are_values { self.config.count("num_global_key_value_heads")? } else { None };
        Ok(Heads {
            // Gemma4TextConfig takes 512 where the file has no `global_head_dim`.
            head_dim: self.config.count("global_head_dim")?.unwrap_or(512),
            kv_heads: own.unwrap_or(usual.kv_heads),
            ..usual
        })
    }

    /// Whose cache layer `index` reads: the last of the same kind before sharing begins.
    fn owner(&self, index: u64, span: Span) -> Result<CacheOwner, ConfigError> {
        if index < self.first_shared {
            return Ok(CacheOwner::Own);
        }
        let unshared = usize::try_from(self.first_shared).unwrap_or(0).min(self.dense.spans.len());
        let owner = self.dense.spans[..unshared].iter().rposition(|earlier| *earlier == span);
        owner.map(CacheOwner::SharedWith).ok_or_else(|| {
            self.config.contradiction("num_kv_shared_layers", "leaves no earlier layer of the same kind to share with")
        })
    }

    fn layer(&self, source: &Source<'_>, index: u64) -> Result<Layer, ConfigError> {
        let hidden = self.dense.hidden;
        let span = self.dense.attention(index).span;
        let cache = self.owner(index, span)?;
        let heads = self.heads(index, span)?;
        let mut layer = source.layer(format!("model.language_model.layers.{index}"));
        self.attention(&mut layer, heads, cache, span);
        let mut dense = self.dense.clone();
        if cache != CacheOwner::Own && self.config.flag("use_double_wide_mlp", false)? {
            dense.width *= 2;
        }
        let mut feed_forward = dense.feed_forward(&mut layer);
        dense.norms(&mut layer, 4);
        if self.per_layer_width > 0 {
            layer.linear(Role::Other, "per_layer_input_gate", self.per_layer_width, hidden);
            layer.linear(Role::Other, "per_layer_projection", hidden, self.per_layer_width);
            dense.norms(&mut layer, 1);
        }
        if let Some(experts) = &self.experts {
            routed(&mut layer, experts, hidden);
            dense.norms(&mut layer, 3);
            feed_forward = FeedForward::Experts(experts.clone());
        }
        let attention = Attention { cache, ..heads.attention(span) };
        Ok(layer.finish(Mixer::Attention(attention), feed_forward))
    }

    /// Layers that read another's cache have queries only; keys may serve as values in full layers.
    fn attention(&self, layer: &mut LayerBuilder<'_>, heads: Heads, cache: CacheOwner, span: Span) {
        let hidden = self.dense.hidden;
        let query = heads.query_heads * heads.head_dim;
        let key = heads.kv_heads * heads.head_dim;
        let has_bias = self.dense.attention_bias.query_key_value;
        layer.linear_with_bias(Role::Query, "self_attn.q_proj", query, hidden, has_bias);
        layer.norm(heads.head_dim, false);
        if cache == CacheOwner::Own {
            layer.linear_with_bias(Role::Key, "self_attn.k_proj", key, hidden, has_bias);
            if !(self.keys_are_values && span == Span::Full) {
                layer.linear_with_bias(Role::Value, "self_attn.v_proj", key, hidden, has_bias);
            }
            layer.norm(heads.head_dim, false);
        }
        layer.linear_with_bias(Role::AttentionOutput, "self_attn.o_proj", hidden, query, has_bias);
    }
}

fn experts(config: &Config<'_>, dense_width: u64) -> Result<MixtureOfExperts, ConfigError> {
    Ok(MixtureOfExperts {
        experts: config.required("num_experts")?,
        experts_per_token: config.required_of(&["top_k_experts", "num_experts_per_tok"])?,
        expert_width: config.required_of(&["moe_intermediate_size", "expert_intermediate_size"])?,
        shared_width: 0,
        dense_width,
        activation: Activation::Gated,
    })
}

/// A router with a scale per channel and one per expert, and the experts.
fn routed(layer: &mut LayerBuilder<'_>, shape: &MixtureOfExperts, hidden: u64) {
    layer.linear(Role::Router, "router.proj", shape.experts, hidden);
    layer.vector(Role::Router, hidden);
    layer.vector(Role::Router, shape.experts);
    let (experts, width) = (shape.experts, shape.expert_width);
    layer.experts(Role::ExpertGateUp, "experts.0.gate_up_proj", experts, 2 * width, hidden);
    layer.experts(Role::ExpertDown, "experts.0.down_proj", experts, hidden, width);
}

/// The vision tower: a position table per axis, norms on queries and keys, gated feed-forwards.
fn vision(source: &Source<'_>, config: &Config<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let layers = layer_count(config, "num_hidden_layers")?;
    let heads = Heads::read(config, hidden)?;
    let query = heads.query_heads * heads.head_dim;
    let key = heads.kv_heads * heads.head_dim;
    let has_bias = config.flag("attention_bias", false)?;
    let mut tower = TowerBuilder::new(source);
    tower.matrix(2 * config.required("position_embedding_size")?, hidden);
    tower.matrix(hidden, square(config.required("patch_size")?).saturating_mul(3));
    tower.repeat(layers, |tower| {
        for rows in [query, key, key] {
            tower.linear(rows, hidden, has_bias);
        }
        tower.linear(hidden, query, has_bias);
        tower.norm(heads.head_dim, false);
        tower.norm(heads.head_dim, false);
        tower.feed_forward(hidden, width, Activation::Gated, false);
        for _ in 0..4 {
            tower.norm(hidden, false);
        }
    });
    tower.start_projector();
    tower.matrix(text_hidden, hidden);
    Ok(tower.finish(TowerShape {
        modality: Modality::Vision,
        hidden,
        heads: heads.query_heads,
        width,
        layers,
        positions: source.root.count("vision_soft_tokens_per_image")?,
    }))
}
