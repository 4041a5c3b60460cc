//! Vision and audio towers being filled, tensor by tensor.

use hwledger_core::ElementType;
use hwledger_core::model::{Activation, Modality, Role, Tower, Weight};

use super::LAYERS_MAX;
use super::blocks::AttentionBias;
use super::builder::Source;
use super::config::{Config, ConfigError};

/// One tower being filled. No quantisation scheme in use covers towers, so all its tensors have the model's own type.
#[derive(Debug)]
pub(crate) struct TowerBuilder {
    dtype: Option<ElementType>,
    role: Role,
    copies: u64,
    weights: Vec<Weight>,
}

/// What describes a tower beside its tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TowerShape {
    pub(crate) modality: Modality,
    pub(crate) hidden: u64,
    pub(crate) heads: u64,
    pub(crate) width: u64,
    pub(crate) layers: u64,
    /// Positions that one image or clip of standard size gives to the language model.
    pub(crate) positions: Option<u64>,
}

/// One pre-norm transformer layer of a tower.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TowerLayer {
    pub(crate) hidden: u64,
    /// Heads times head dimension, where it is not the hidden size.
    pub(crate) inner: u64,
    /// The same of keys and values where queries are grouped.
    pub(crate) key_value: Option<u64>,
    pub(crate) width: u64,
    pub(crate) activation: Activation,
    pub(crate) attention_bias: AttentionBias,
    pub(crate) has_feed_forward_bias: bool,
    pub(crate) has_norm_bias: bool,
}

impl TowerLayer {
    /// The layer of `ViT` (Dosovitskiy et al. 2020): biases everywhere, no gate.
    pub(crate) const fn vit(hidden: u64, width: u64) -> Self {
        Self {
            hidden,
            inner: hidden,
            key_value: None,
            width,
            activation: Activation::Plain,
            attention_bias: AttentionBias { query_key_value: true, output: true },
            has_feed_forward_bias: true,
            has_norm_bias: true,
        }
    }

    /// The layer of Llama: root-mean-square norms, a gate, no biases.
    pub(crate) const fn gated(hidden: u64, width: u64) -> Self {
        Self {
            activation: Activation::Gated,
            attention_bias: AttentionBias { query_key_value: false, output: false },
            has_feed_forward_bias: false,
            has_norm_bias: false,
            ..Self::vit(hidden, width)
        }
    }
}

impl TowerBuilder {
    pub(crate) fn new(source: &Source<'_>) -> Self {
        Self { dtype: source.quantization.dtype(), role: Role::Tower, copies: 1, weights: Vec::with_capacity(32) }
    }

    fn push(&mut self, weight: Weight) {
        self.weights.push(Weight { stored: self.dtype, ..weight.stacked(self.copies) });
    }

    /// A matrix: linear layer without bias, convolution kernel, position table.
    pub(crate) fn matrix(&mut self, rows: u64, columns: u64) {
        self.push(Weight::matrix(self.role, rows, columns));
    }

    /// A linear layer.
    pub(crate) fn linear(&mut self, rows: u64, columns: u64, has_bias: bool) {
        self.matrix(rows, columns);
        if has_bias {
            self.vector(rows);
        }
    }

    /// A vector: class token, scale, bias.
    pub(crate) fn vector(&mut self, length: u64) {
        self.push(Weight::vector(self.role, length));
    }

    /// A norm's scale, and its bias if it has one.
    pub(crate) fn norm(&mut self, length: u64, has_bias: bool) {
        self.vector(length);
        if has_bias {
            self.vector(length);
        }
    }

    /// `count` equal layers, filled by `fill`.
    pub(crate) fn repeat(&mut self, count: u64, fill: impl FnOnce(&mut Self)) {
        if count == 0 {
            return;
        }
        let outer = self.copies;
        self.copies = outer.saturating_mul(count);
        fill(self);
        self.copies = outer;
    }

    /// The four projections of attention.
    pub(crate) fn attention(&mut self, hidden: u64, inner: u64, bias: AttentionBias) {
        for _ in ["query", "key", "value"] {
            self.linear(inner, hidden, bias.query_key_value);
        }
        self.linear(hidden, inner, bias.output);
    }

    /// Up and down, and a gate where there is one.
    pub(crate) fn feed_forward(&mut self, hidden: u64, width: u64, activation: Activation, has_bias: bool) {
        if activation == Activation::Gated {
            self.linear(width, hidden, has_bias);
        }
        self.linear(width, hidden, has_bias);
        self.linear(hidden, width, has_bias);
    }

    /// Two norms, attention and feed-forward.
    pub(crate) fn transformer_layer(&mut self, layer: TowerLayer) {
        self.norm(layer.hidden, layer.has_norm_bias);
        self.norm(layer.hidden, layer.has_norm_bias);
        let bias = layer.attention_bias;
        let key_value = layer.key_value.unwrap_or(layer.inner);
        for rows in [layer.inner, key_value, key_value] {
            self.linear(rows, layer.hidden, bias.query_key_value);
        }
        self.linear(layer.hidden, layer.inner, bias.output);
        self.feed_forward(layer.hidden, layer.width, layer.activation, layer.has_feed_forward_bias);
    }

    /// What follows maps the tower's output into the model.
    pub(crate) fn start_projector(&mut self) {
        self.role = Role::Projector;
    }

    pub(crate) fn finish(self, shape: TowerShape) -> Tower {
        Tower {
            modality: shape.modality,
            hidden_size: shape.hidden,
            heads: shape.heads,
            feed_forward_width: shape.width,
            layers: shape.layers,
            positions: shape.positions,
            weights: self.weights,
        }
    }
}

/// A bounded number of tower layers.
pub(crate) fn layer_count(config: &Config<'_>, key: &str) -> Result<u64, ConfigError> {
    let count = config.required(key)?;
    if count > LAYERS_MAX {
        return Err(config.contradiction(key, format!("is {count}; at most {LAYERS_MAX} layers are believed")));
    }
    Ok(count)
}

/// The square of a side, or as near as numbers go.
pub(crate) const fn square(side: u64) -> u64 {
    side.saturating_mul(side)
}

/// Patches of a square image: `image_size` over `patch_size` in each direction.
pub(crate) fn patches(config: &Config<'_>) -> Result<u64, ConfigError> {
    Ok(square(config.required("image_size")? / config.required("patch_size")?))
}
