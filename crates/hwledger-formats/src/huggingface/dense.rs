//! Decoders of attention and dense feed-forward, described by what varies between families.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, Attention, FeedForward, Layer, Mixer, Role, Span, Weight};

use super::blocks::{AttentionBias, Heads, QueryKeyNorm};
use super::builder::{LayerBuilder, Source};
use super::config::{Config, ConfigError};

/// The parameters of one norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormShape {
    /// None at all (`OLMo`, nanochat).
    None,
    /// A scale (root mean square; layer norm without bias).
    Scale,
    /// A scale and a bias (layer norm).
    ScaleAndBias,
}

/// Whether projections that read the same input are one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Projections {
    /// Each its own.
    Separate,
    /// Query, key and value in one, gate and up in one.
    Fused,
}

/// A dense decoder. [`Dense::read`] fills it as for Llama; families change what differs.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    pub(crate) hidden: u64,
    pub(crate) vocabulary: u64,
    pub(crate) layers: u64,
    pub(crate) heads: Heads,
    pub(crate) projections: Projections,
    pub(crate) attention_bias: AttentionBias,
    pub(crate) query_key_norm: QueryKeyNorm,
    pub(crate) width: u64,
    pub(crate) activation: Activation,
    pub(crate) has_feed_forward_bias: bool,
    pub(crate) norm: NormShape,
    pub(crate) norms_per_layer: u64,
    /// Further vectors of each layer.
    pub(crate) extras: Vec<(Role, u64)>,
    pub(crate) has_sinks: bool,
    pub(crate) is_head_tied: bool,
    /// How far back each layer looks; to the first token where the list is empty.
    pub(crate) spans: Vec<Span>,
}

impl Dense {
    /// The keys that most families share, under their usual names, shaped as Llama.
    pub(crate) fn read(source: &Source<'_>, config: &Config<'_>, is_tied: bool) -> Result<Self, ConfigError> {
        let hidden = config.required_of(&["hidden_size", "n_embd", "d_model"])?;
        let width = config.required_of(&["intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"])?;
        Self::with_width(source, config, is_tied, hidden, width)
    }

    /// The same where the feed-forward's width is found in the family's own way.
    pub(crate) fn with_width(
        source: &Source<'_>,
        config: &Config<'_>,
        is_tied: bool,
        hidden: u64,
        width: u64,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            hidden,
            vocabulary: config.required("vocab_size")?,
            layers: config.layers(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"])?,
            heads: Heads::read(config, hidden)?,
            projections: Projections::Separate,
            attention_bias: AttentionBias::default(),
            query_key_norm: QueryKeyNorm::None,
            width,
            activation: Activation::Gated,
            has_feed_forward_bias: false,
            norm: NormShape::Scale,
            norms_per_layer: 2,
            extras: Vec::new(),
            has_sinks: false,
            is_head_tied: source.is_head_tied(is_tied)?,
            spans: Vec::new(),
        })
    }

    /// Embedding, final norm and head, without layers.
    pub(crate) fn frame(&self, source: &Source<'_>) -> ModelSpec {
        let mut model = source.decoder(self.hidden, self.vocabulary, self.is_head_tied);
        match self.norm {
            NormShape::Scale => {}
            NormShape::None => model.head.retain(|weight| weight.role != Role::Norm),
            NormShape::ScaleAndBias => {
                let bias = Weight { stored: source.quantization.dtype(), ..Weight::vector(Role::Norm, self.hidden) };
                model.head.insert(1, bias);
            }
        }
        model
    }

    /// The attention of layer `index`.
    pub(crate) fn attention(&self, index: u64) -> Attention {
        let span = usize::try_from(index).ok().and_then(|index| self.spans.get(index)).copied();
        Attention { has_sinks: self.has_sinks, ..self.heads.attention(span.unwrap_or(Span::Full)) }
    }

    /// A layer with the given attention.
    pub(crate) fn layer(&self, source: &Source<'_>, index: u64, attention: Attention) -> Layer {
        let mut layer = source.layer(format!("model.layers.{index}"));
        self.attention_weights(&mut layer);
        let feed_forward = self.feed_forward(&mut layer);
        self.norms(&mut layer, self.norms_per_layer);
        for &(role, length) in &self.extras {
            layer.vector(role, length);
        }
        layer.finish(Mixer::Attention(attention), feed_forward)
    }

    /// `count` norms of the hidden size.
    pub(crate) fn norms(&self, layer: &mut LayerBuilder<'_>, count: u64) {
        if self.norm != NormShape::None {
            for _ in 0..count {
                layer.norm(self.hidden, self.norm == NormShape::ScaleAndBias);
            }
        }
    }

    /// The projections of attention with their norms and sinks.
    pub(crate) fn attention_weights(&self, layer: &mut LayerBuilder<'_>) {
        let Self { hidden, heads, attention_bias: bias, .. } = *self;
        match self.projections {
            Projections::Separate => super::blocks::attention(layer, hidden, heads, bias, self.query_key_norm),
            Projections::Fused => {
                let query = heads.query_heads * heads.head_dim;
                let rows = query + 2 * heads.kv_heads * heads.head_dim;
                let has_bias = bias.query_key_value;
                layer.linear_with_bias(Role::QueryKeyValue, "self_attn.qkv_proj", rows, hidden, has_bias);
                layer.linear_with_bias(Role::AttentionOutput, "self_attn.o_proj", hidden, query, bias.output);
                super::blocks::query_key_norms(layer, heads, self.query_key_norm);
            }
        }
        if self.has_sinks {
            layer.vector(Role::Sinks, heads.query_heads);
        }
    }

    /// The feed-forward.
    pub(crate) fn feed_forward(&self, layer: &mut LayerBuilder<'_>) -> FeedForward {
        let Self { hidden, width, activation, has_feed_forward_bias: has_bias, .. } = *self;
        match (activation, self.projections) {
            (Activation::Plain, _) => super::blocks::plain_feed_forward(layer, hidden, width, has_bias),
            (Activation::Gated, Projections::Separate) => {
                super::blocks::gated_feed_forward(layer, hidden, width, has_bias)
            }
            (Activation::Gated, Projections::Fused) => {
                layer.linear_with_bias(Role::GateUp, "mlp.gate_up_proj", 2 * width, hidden, has_bias);
                layer.linear_with_bias(Role::Down, "mlp.down_proj", hidden, width, has_bias);
                FeedForward::Dense { width, activation }
            }
        }
    }

    /// The whole model, all layers described by the same fields.
    pub(crate) fn build(&self, source: &Source<'_>) -> ModelSpec {
        let mut model = self.frame(source);
        for index in 0..self.layers {
            model.decoder.push(self.layer(source, index, self.attention(index)));
        }
        model
    }
}

/// The window of each layer: by `layer_types` where it is there, by `is_sliding` of the layer's index otherwise.
pub(crate) fn spans(
    config: &Config<'_>,
    layers: u64,
    window: Option<u64>,
    is_sliding: impl Fn(u64) -> bool,
) -> Result<Vec<Span>, ConfigError> {
    let sliding = window.filter(|&tokens| tokens > 0).map_or(Span::Full, Span::Sliding);
    let Some(kinds) = config.texts("layer_types")? else {
        return Ok((0..layers).map(|index| if is_sliding(index) { sliding } else { Span::Full }).collect());
    };
    let wanted = usize::try_from(layers).unwrap_or(usize::MAX);
    if kinds.len() < wanted {
        return Err(config.contradiction("layer_types", format!("names {} layers of {layers}", kinds.len())));
    }
    kinds[..wanted]
        .iter()
        .map(|&kind| match kind {
            "full_attention" | "attention" => Ok(Span::Full),
            "sliding_attention" | "chunked_attention" if window.is_none() => {
                Err(config.contradiction("layer_types", "has windows, but there is no `sliding_window`"))
            }
            "sliding_attention" => Ok(sliding),
            "chunked_attention" => Ok(window.map_or(Span::Full, Span::Chunked)),
            other => Err(config.contradiction("layer_types", format!("has a layer of unknown kind `{other}`"))),
        })
        .collect()
}

/// Every layer looks back over the same window.
pub(crate) fn uniform_spans(layers: u64, window: Option<u64>) -> Vec<Span> {
    let span = window.filter(|&tokens| tokens > 0).map_or(Span::Full, Span::Sliding);
    (0..layers).map(|_| span).collect()
}
