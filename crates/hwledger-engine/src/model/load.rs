//! From a file to a model.

use std::cell::RefCell;
use std::path::PathBuf;

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, Attention, FeedForward, Mixer, MixtureOfExperts};
use hwledger_kernels::{PackedWeight, Pool, Shape};

use crate::error::LoadError;

use super::latent;
use super::packed::PackedStore;
use super::tensors::{LoadProgress, Tensors};
use super::{
    AttentionWeights, DenseWeights, ExpertWeights, FeedForwardWeights, HeadShape, LayerWeights, Model, Projection,
    Settings,
};

/// How a model is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// The longest sequence that will be run, in tokens; some models choose their positions by it.
    pub context: usize,
    /// Where repacked weights are kept for the next start; none to make them anew each time.
    pub packed_directory: Option<PathBuf>,
}

/// Loads a model.
///
/// What the engine does not run is refused by name before any weight is read.
pub fn load(tensors: &Tensors, options: &LoadOptions, pool: &Pool) -> Result<Model, LoadError> {
    load_with_progress(tensors, options, pool, &|_| ())
}

/// Loads a model, and tells after each matrix how far it is.
pub fn load_with_progress(
    tensors: &Tensors,
    options: &LoadOptions,
    pool: &Pool,
    tell: &dyn Fn(LoadProgress),
) -> Result<Model, LoadError> {
    let spec = tensors.spec()?;
    check(&spec)?;
    tensors.check_scales()?;
    let settings = tensors.settings(&spec, options.context)?;
    latent::check_turning(&spec, &settings)?;
    let store = PackedStore::open(options.packed_directory.as_deref(), tensors);
    let loader = Loader { tensors, spec: &spec, store: RefCell::new(store), pool, tell };
    let model = loader.model(&settings)?;
    loader.store.into_inner().finish();
    Ok(model)
}

/// Refuses by name what is not computed.
fn check(spec: &ModelSpec) -> Result<(), LoadError> {
    let refuse = |what: &str| Err(LoadError::Unsupported(what.to_owned()));
    if !spec.is_causal {
        return refuse("encoders to write text: `hwledger embed` makes embeddings with them");
    }
    if spec.encoder.is_some() {
        return refuse("encoder-decoder models");
    }
    if !spec.towers.is_empty() {
        return refuse("models with image or sound towers");
    }
    if spec.hidden_size == 0 || spec.vocabulary_size == 0 {
        return refuse("models without width");
    }
    for layer in spec.decoder.layers() {
        let Mixer::Attention(attention) = &layer.mixer else { return refuse("recurrent layers") };
        if let Some(latent) = layer.latent() {
            latent::check(attention, latent)?;
        }
        if attention.indexer.is_some() || attention.compression.is_some() {
            return refuse("sparse attention");
        }
        if matches!(attention.span, hwledger_core::model::Span::Chunked(_)) {
            return refuse("chunked attention");
        }
        if attention.kv_heads == 0 || !attention.heads.is_multiple_of(attention.kv_heads) {
            return refuse("query heads that do not share key heads evenly");
        }
        if attention.heads * attention.key_dim * attention.value_dim == 0 {
            return refuse("attention without heads");
        }
        match &layer.feed_forward {
            FeedForward::Experts(experts) if experts.dense_width > 0 => {
                return refuse("a dense feed-forward beside experts");
            }
            FeedForward::Experts(experts)
                if experts.expert_width == 0 || !(1..=experts.experts).contains(&experts.experts_per_token) =>
            {
                return refuse("experts of no width or number");
            }
            FeedForward::Dense { width: 0, .. } => return refuse("a feed-forward without width"),
            _ => {}
        }
    }
    Ok(())
}

/// Reads a model's weights by their names.
pub(super) struct Loader<'a> {
    pub(super) tensors: &'a Tensors,
    pub(super) spec: &'a ModelSpec,
    pub(super) store: RefCell<PackedStore>,
    pub(super) pool: &'a Pool,
    pub(super) tell: &'a dyn Fn(LoadProgress),
}

#[expect(clippy::cast_possible_truncation, reason = "the kernels refuse to compile for less than 64 bits")]
pub(super) const fn size(value: u64) -> usize {
    value as usize
}

impl Loader<'_> {
    fn model(&self, settings: &Settings) -> Result<Model, LoadError> {
        let (hidden, vocabulary) = (size(self.spec.hidden_size), size(self.spec.vocabulary_size));
        let rows = self.tensors.rows("token_embd.weight").map_or(vocabulary, size);
        let embedding = self.matrix("token_embd.weight", Shape::matrix(rows, hidden))?;
        let head = match self.tensors.rows("output.weight") {
            // As many as embeddings, or tokens would be chosen that cannot be read.
            Some(_) => Some(self.projection(&["output"], &[rows], hidden)?),
            None => None,
        };
        let layers = self.spec.decoder.layers().enumerate();
        Ok(Model {
            spec: self.spec.clone(),
            settings: settings.clone(),
            embedding,
            layers: layers.map(|(index, layer)| self.layer(index, layer, settings)).collect::<Result<_, _>>()?,
            output_norm: self.required_vector("output_norm.weight", hidden)?,
            head,
        })
    }

    fn layer(
        &self,
        index: usize,
        layer: &hwledger_core::model::Layer,
        settings: &Settings,
    ) -> Result<LayerWeights, LoadError> {
        let hidden = size(self.spec.hidden_size);
        let norm = |name: &str| self.vector(&format!("blk.{index}.{name}.weight"), hidden);
        let Mixer::Attention(attention) = &layer.mixer else {
            return Err(LoadError::Unsupported("layers without attention".to_owned()));
        };
        let post_attention = norm("post_attention_norm")?;
        let is_feed_forward_norm = settings.conventions.post_attention_norm_is_feed_forward_norm;
        let (post_attention_norm, feed_forward_norm) =
            if is_feed_forward_norm { (None, post_attention) } else { (post_attention, norm("ffn_norm")?) };
        Ok(LayerWeights {
            attention_norm: norm("attn_norm")?,
            attention: match layer.latent() {
                Some(latent) => self.latent_attention(index, attention, latent)?,
                None => self.attention(index, attention)?,
            },
            post_attention_norm,
            feed_forward_norm,
            feed_forward: match &layer.feed_forward {
                FeedForward::Dense { width, activation } => FeedForwardWeights::Dense(self.dense(
                    index,
                    ["ffn_gate", "ffn_up", "ffn_down"],
                    size(*width),
                    *activation,
                )?),
                FeedForward::Experts(experts) => FeedForwardWeights::Experts(Box::new(self.experts(index, experts)?)),
                FeedForward::None => return Err(LoadError::Unsupported("layers without a feed-forward".to_owned())),
            },
            post_feed_forward_norm: norm("post_ffw_norm")?,
        })
    }

    pub(super) fn attention(&self, index: usize, attention: &Attention) -> Result<AttentionWeights, LoadError> {
        let hidden = size(self.spec.hidden_size);
        let shape = HeadShape {
            heads: size(attention.heads),
            kv_heads: size(attention.kv_heads),
            key: size(attention.key_dim),
            value: size(attention.value_dim),
            window: attention.span.window().map(size),
        };
        let HeadShape { heads, kv_heads, key, value, .. } = shape;
        let name = |part: &str| format!("blk.{index}.{part}");
        let widths = [heads * key, kv_heads * key, kv_heads * value];
        let input = if self.tensors.has(&name("attn_qkv.weight")) {
            let mut input = self.projection(&[&name("attn_qkv")], &[widths.iter().sum()], hidden)?;
            // Older files may have one matrix and three biases.
            if input.bias.is_none() {
                let parts = ["attn_q.bias", "attn_k.bias", "attn_v.bias"];
                let biases: Vec<Option<Vec<f32>>> = parts
                    .iter()
                    .zip(widths)
                    .map(|(part, width)| self.vector(&name(part), width))
                    .collect::<Result<_, _>>()?;
                input.bias = biases.into_iter().collect::<Option<Vec<_>>>().map(|biases| biases.concat());
            }
            input
        } else {
            self.projection(&[&name("attn_q"), &name("attn_k"), &name("attn_v")], &widths, hidden)?
        };
        // A norm is of one head, or of all of them.
        let norm = |part: &str, heads: usize| {
            let name = name(&format!("{part}.weight"));
            let values = self.tensors.vector(&name, None)?;
            match values {
                Some(values) if values.len() != key && values.len() != heads * key => {
                    Err(LoadError::Shape { name, found: vec![values.len() as u64], expected: vec![key as u64] })
                }
                values => Ok(values),
            }
        };
        Ok(AttentionWeights {
            shape,
            input,
            query_norm: norm("attn_q_norm", heads)?,
            key_norm: norm("attn_k_norm", kv_heads)?,
            output: self.projection(&[&name("attn_output")], &[hidden], heads * value)?,
            sinks: self.vector(&name("attn_sinks.weight"), heads)?,
            latent: None,
        })
    }

    pub(super) fn dense(
        &self,
        index: usize,
        [gate, up, down]: [&str; 3],
        width: usize,
        activation: Activation,
    ) -> Result<DenseWeights, LoadError> {
        let hidden = size(self.spec.hidden_size);
        let name = |part: &str| format!("blk.{index}.{part}");
        let is_gated = activation == Activation::Gated;
        let input = if self.tensors.has(&name(&format!("{gate}.weight"))) {
            self.projection(&[&name(gate), &name(up)], &[width, width], hidden)?
        } else {
            self.projection(&[&name(up)], &[if is_gated { 2 * width } else { width }], hidden)?
        };
        Ok(DenseWeights { input, down: self.projection(&[&name(down)], &[hidden], width)?, is_gated })
    }

    fn experts(&self, index: usize, experts: &MixtureOfExperts) -> Result<ExpertWeights, LoadError> {
        let hidden = size(self.spec.hidden_size);
        let (count, width) = (size(experts.experts), size(experts.expert_width));
        let name = |part: &str| format!("blk.{index}.{part}");
        if experts.activation != Activation::Gated {
            return Err(LoadError::Unsupported("experts without a gate".to_owned()));
        }
        let stacked = |rows: usize, columns: usize| Shape { rows, columns, copies: count };
        let input = if self.tensors.has(&name("ffn_gate_up_exps.weight")) {
            vec![self.matrix(&name("ffn_gate_up_exps.weight"), stacked(2 * width, hidden))?]
        } else {
            vec![
                self.matrix(&name("ffn_gate_exps.weight"), stacked(width, hidden))?,
                self.matrix(&name("ffn_up_exps.weight"), stacked(width, hidden))?,
            ]
        };
        let gate_bias = self.vector(&name("ffn_gate_exps.bias"), count * width)?;
        let up_bias = self.vector(&name("ffn_up_exps.bias"), count * width)?;
        let input_bias = match (gate_bias, up_bias) {
            (Some(gate), Some(up)) => Some(
                gate.chunks_exact(width)
                    .zip(up.chunks_exact(width))
                    .flat_map(|(gate, up)| [gate, up].concat())
                    .collect(),
            ),
            _ => None,
        };
        let shared = if experts.shared_width > 0 {
            let names = ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"];
            Some(self.dense(index, names, size(experts.shared_width), experts.activation)?)
        } else {
            None
        };
        let has_shared_gate = self.tensors.has(&name("ffn_gate_inp_shexp.weight"));
        let shared_gate =
            if has_shared_gate { Some(self.projection(&[&name("ffn_gate_inp_shexp")], &[1], hidden)?) } else { None };
        Ok(ExpertWeights {
            router: self.projection(&[&name("ffn_gate_inp")], &[count], hidden)?,
            choice_bias: self.vector(&name("exp_probs_b.bias"), count)?,
            input,
            input_bias,
            down: self.matrix(&name("ffn_down_exps.weight"), stacked(hidden, width))?,
            down_bias: self.vector(&name("ffn_down_exps.bias"), count * hidden)?,
            used: size(experts.experts_per_token),
            shared,
            shared_gate,
        })
    }

    /// A matrix, and what its products are multiplied by.
    pub(super) fn matrix(&self, name: &str, shape: Shape) -> Result<PackedWeight, LoadError> {
        let weight = self.numbers(name, shape)?;
        Ok(match self.tensors.scales(name, shape.copies)? {
            Some(scales) => weight.scaled(&scales),
            None => weight,
        })
    }

    /// The numbers of a matrix, kept from an earlier start or repacked.
    fn numbers(&self, name: &str, shape: Shape) -> Result<PackedWeight, LoadError> {
        let format = self.tensors.packed_format(name);
        if let Some(weight) = format.and_then(|format| self.store.borrow().find(name, format, shape)) {
            return Ok(weight);
        }
        let weight = self.tensors.matrix(name, shape, self.pool)?;
        (self.tell)(self.tensors.progress());
        if format.is_some() {
            self.store.borrow_mut().add(name, &weight);
        }
        Ok(weight)
    }

    /// Matrices on top of each other, by names without `.weight`, with their biases where any has one.
    pub(super) fn projection(&self, names: &[&str], rows: &[usize], columns: usize) -> Result<Projection, LoadError> {
        let mut matrices = Vec::new();
        let mut bias = Vec::new();
        let mut has_bias = false;
        for (name, &rows) in names.iter().zip(rows) {
            matrices.push(self.matrix(&format!("{name}.weight"), Shape::matrix(rows, columns))?);
            match self.vector(&format!("{name}.bias"), rows)? {
                Some(values) => {
                    has_bias = true;
                    bias.extend(values);
                }
                None => bias.resize(bias.len() + rows, 0.0),
            }
        }
        Ok(Projection { matrices, bias: has_bias.then_some(bias) })
    }

    fn vector(&self, name: &str, length: usize) -> Result<Option<Vec<f32>>, LoadError> {
        self.tensors.vector(name, Some(length as u64))
    }

    pub(super) fn required_vector(&self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        self.vector(name, length)?.ok_or_else(|| LoadError::MissingTensor(name.to_owned()))
    }
}
