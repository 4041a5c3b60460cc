//! From a header to a description of the model.
//!
//! Weights come from the tensor table, with the element type of every tensor;
//! attention, windows and states from the metadata, by the rules of llama.cpp's
//! loaders. Unknown architectures are described by their tensors and keys and
//! say so.

mod architecture;
mod attention;
mod error;
mod feed_forward;
mod file_type;
mod hyperparameters;
mod recurrent;
mod sections;
mod tensor_role;
#[cfg(test)]
mod tests;
mod tower;
mod window;

pub use error::SpecError;
pub use tower::add_projector;

use hwledger_core::ModelSpec;
use hwledger_core::model::{
    Attention, CacheOwner, Certainty, FeedForward, FileOrder, Layer, Mixer, Role, Stack, Weight,
};

use crate::diagnostic::Diagnostic;

use super::{Header, TensorInfo};
use architecture::{RecurrentRule, has_no_language_head, is_known, keeps_no_cache, recurrent_rule};
use hyperparameters::{Hyperparameters, LAYERS_MAX};
use sections::Sections;
use tensor_role::Section;
use window::Windows;

/// Describes the model of a header (of merged headers, for a split file).
///
/// The description's weights add up to the file's tensor data to the byte.
pub fn model_spec(header: &Header) -> Result<(ModelSpec, Vec<Diagnostic>), SpecError> {
    let architecture = header.architecture().ok_or_else(|| SpecError::MissingKey("general.architecture".to_owned()))?;
    check_kind(header, architecture)?;
    let mut notes = Vec::new();
    if architecture == "clip" {
        return Ok((tower::projector_spec(header, &mut notes), notes));
    }
    let model = Hyperparameters::read(header, architecture, &mut notes)?;
    if let Some(split) = header.split().filter(|split| split.tensors > Some(header.tensors.len() as u64)) {
        notes.push(Diagnostic::new(
            "split.count",
            format!(
                "this is part {} of {}; the weights of the other parts are not counted",
                split.index.saturating_add(1),
                split.count
            ),
        ));
    }
    if !is_known(architecture) {
        notes.push(Diagnostic::new(
            "general.architecture",
            format!("`{architecture}` is not known; its layers are described by their tensors and keys"),
        ));
    }
    let spec = Builder { header, model: &model, notes: &mut notes }.build();
    Ok((spec, notes))
}

/// Files that share the format but hold no model.
fn check_kind(header: &Header, architecture: &str) -> Result<(), SpecError> {
    match header.metadata.text("general.type") {
        Some("adapter") => Err(SpecError::NotAModel("a LoRA adapter")),
        Some("imatrix") => Err(SpecError::NotAModel("an importance matrix")),
        _ if architecture == "controlvector" => Err(SpecError::NotAModel("a control vector")),
        _ => Ok(()),
    }
}

struct Builder<'a> {
    header: &'a Header,
    model: &'a Hyperparameters<'a>,
    notes: &'a mut Vec<Diagnostic>,
}

impl Builder<'_> {
    fn build(self) -> ModelSpec {
        let model = self.model;
        let is_encoder_decoder = model.architecture == "t5";
        let decoder_layers = self.stack_layers(is_encoder_decoder);
        let encoder_layers = if model.architecture.starts_with("t5") { model.layers_all } else { 0 };
        let Sections { embedding, head, mut layers, encoder, vision, audio } =
            Sections::sort(self.header, decoder_layers, encoder_layers, self.notes);
        let windows = window::windows(model, |layer| recurrent::is_recurrent(model, layer), self.notes);
        let draft: Vec<Layer> = layers
            .drain(decoder_layers - model.draft_layers.min(decoder_layers)..)
            .enumerate()
            .map(|(index, weights)| layer(model, &windows, model.layers() + index, weights))
            .collect();
        let mut decoder = stack(model, &windows, layers);
        append_virtual_layers(model, &windows, &mut decoder);
        let mut encoder = Some(encoder_stack(model, encoder)).filter(|stack| !stack.is_empty());
        if model.architecture == "t5encoder" {
            decoder = encoder.take().unwrap_or_default();
        }
        let is_head_tied = !has_no_language_head(model.architecture)
            && !head.iter().any(|weight| weight.role == Role::LanguageHead)
            && embedding.iter().any(|weight| weight.role == Role::TokenEmbedding);
        let causal = model.keys.bool("attention.causal").unwrap_or(true);
        ModelSpec {
            architecture: model.architecture.to_owned(),
            hidden_size: model.hidden_size,
            vocabulary_size: vocabulary_size(self.header, &embedding, &head),
            context_max: model.keys.unsigned("context_length"),
            decoder,
            encoder,
            embedding,
            head,
            is_head_tied,
            is_causal: causal && !keeps_no_cache(model.architecture) && model.architecture != "t5encoder",
            towers: tower::inline_towers(self.header, vision, audio),
            draft_layers: draft,
            file_order: file_order(self.header),
            file_bytes: Some(self.header.tensor_bytes()),
            stored_format: stored_format(self.header),
            certainty: if is_known(model.architecture) { Certainty::Known } else { Certainty::Guessed },
        }
    }

    /// Layers named `blk.N` or `dec.blk.N`; the encoder's of T5 are counted apart.
    fn stack_layers(&self, is_encoder_decoder: bool) -> usize {
        let model = self.model;
        if model.architecture == "t5encoder" {
            return 0;
        }
        let stated = if is_encoder_decoder { model.keys.unsigned("decoder_block_count") } else { None };
        stated.and_then(|count| usize::try_from(count).ok()).map_or(model.layers_all, |count| count.min(LAYERS_MAX))
    }
}

/// The tensors before and after the layers; of a model in several files no order is told.
fn file_order(header: &Header) -> Option<FileOrder> {
    if header.split().is_some_and(|split| split.count > 1) {
        return None;
    }
    let is_layer = |tensor: &TensorInfo| {
        matches!(tensor_role::section(&tensor.name).0, Section::Layer(_) | Section::EncoderLayer(_))
    };
    let tensors = &header.tensors;
    let first = tensors.iter().position(is_layer)?;
    let last = tensors.iter().rposition(is_layer)?;
    let outside = |part: &[TensorInfo]| {
        part.iter().map(|tensor| tensor_role::weight(tensor, tensor_role::outer_role(&tensor.name))).collect()
    };
    Some(FileOrder { before: outside(&tensors[..first]), after: outside(&tensors[last + 1..]) })
}

/// The name of the quantisation mixture, where the file says.
fn stored_format(header: &Header) -> Option<String> {
    file_type::file_type_name(header.metadata.unsigned("general.file_type")?).map(str::to_owned)
}

fn vocabulary_size(header: &Header, embedding: &[Weight], head: &[Weight]) -> u64 {
    let rows = |weights: &[Weight], role| {
        weights.iter().find(|weight| weight.role == role && weight.columns > 1).map(|weight| weight.rows)
    };
    rows(head, Role::LanguageHead)
        .or_else(|| rows(embedding, Role::TokenEmbedding))
        .or_else(|| header.metadata.array_length("tokenizer.ggml.tokens"))
        .unwrap_or(0)
}

fn stack(model: &Hyperparameters<'_>, windows: &Windows, layers: Vec<Vec<Weight>>) -> Stack {
    let mut stack = Stack::default();
    for (index, weights) in layers.into_iter().enumerate() {
        stack.push(layer(model, windows, index, weights));
    }
    stack
}

fn layer(model: &Hyperparameters<'_>, windows: &Windows, index: usize, mut weights: Vec<Weight>) -> Layer {
    let mixer = mixer(model, windows, index, &weights);
    if matches!(mixer, Mixer::Recurrent(_)) {
        name_recurrent(&mut weights);
    }
    Layer { feed_forward: feed_forward::feed_forward(model, index, &weights), mixer, weights }
}

fn mixer(model: &Hyperparameters<'_>, windows: &Windows, index: usize, weights: &[Weight]) -> Mixer {
    if !is_known(model.architecture) {
        return guessed_mixer(model, windows, index, weights);
    }
    let attention = || attention::attention(model, windows, index, weights);
    let recurrence = recurrent::is_recurrent(model, index).then(|| recurrent::recurrent(model, index)).flatten();
    match (recurrent_rule(model.architecture), recurrence) {
        (RecurrentRule::EveryBesideAttention, Some(recurrence)) => match attention() {
            Some(attention) => Mixer::Both(attention, recurrence),
            None => Mixer::Recurrent(recurrence),
        },
        (_, Some(recurrence)) => Mixer::Recurrent(recurrence),
        // Nemotron-H: a layer with a feed-forward has nothing else.
        (RecurrentRule::WithoutKvHeadsAndFeedForward, None) if model.feed_forward.at(index).unwrap_or(0) > 0 => {
            Mixer::None
        }
        (_, None) => attention().map_or(Mixer::None, Mixer::Attention),
    }
}

/// An unknown architecture: the layer's tensors say what it is.
fn guessed_mixer(model: &Hyperparameters<'_>, windows: &Windows, index: usize, weights: &[Weight]) -> Mixer {
    let has = |wanted: fn(Role) -> bool| weights.iter().any(|weight| wanted(weight.role));
    let attention = has(|role| {
        matches!(role, Role::Query | Role::QueryKeyValue | Role::QueryUp | Role::LatentDown | Role::AttentionOutput)
    })
    .then(|| attention::attention(model, windows, index, weights))
    .flatten();
    let recurrence = has(|role| {
        matches!(role, Role::RecurrentIn | Role::RecurrentOut | Role::RecurrentConvolution | Role::RecurrentSmall)
    })
    .then(|| recurrent::recurrent(model, index))
    .flatten();
    match (attention, recurrence) {
        (Some(attention), Some(recurrence)) => Mixer::Both(attention, recurrence),
        (Some(attention), None) => Mixer::Attention(attention),
        (None, Some(recurrence)) => Mixer::Recurrent(recurrence),
        (None, None) => Mixer::None,
    }
}

/// Linear-attention layers reuse the names of attention for their own projections.
fn name_recurrent(weights: &mut [Weight]) {
    for weight in weights {
        weight.role = match weight.role {
            Role::QueryKeyValue | Role::Query | Role::Key | Role::Value | Role::AttentionGate => Role::RecurrentIn,
            Role::AttentionOutput => Role::RecurrentOut,
            other => other,
        };
    }
}

/// T5's encoder: attention over all tokens at once, nothing cached.
fn encoder_stack(model: &Hyperparameters<'_>, layers: Vec<Vec<Weight>>) -> Stack {
    let mut stack = Stack::default();
    for (index, weights) in layers.into_iter().enumerate() {
        let mixer = match (model.heads.at(index), model.kv_heads.at(index)) {
            (Some(heads), Some(kv_heads)) => Mixer::Attention(Attention {
                value_dim: model.value_dim,
                cache: CacheOwner::Nobody,
                ..Attention::full(heads, kv_heads, model.key_dim)
            }),
            _ => Mixer::None,
        };
        stack.push(Layer { feed_forward: feed_forward::feed_forward(model, index, &weights), mixer, weights });
    }
    stack
}

/// Layers that keep a cache but own no weights: repeated passes over the same layers (Nanbeige), and the layer that
/// remembers which adapter was chosen (Granite's switch).
fn append_virtual_layers(model: &Hyperparameters<'_>, windows: &Windows, decoder: &mut Stack) {
    let without_weights = |index| Layer {
        mixer: attention::attention(model, windows, index, &[]).map_or(Mixer::None, Mixer::Attention),
        feed_forward: FeedForward::None,
        weights: Vec::new(),
    };
    match model.architecture {
        "nanbeige" => {
            let passes = model.keys.unsigned("num_loops").unwrap_or(1);
            for index in (1..passes).flat_map(|_| 0..model.layers()).take(LAYERS_MAX) {
                decoder.push(without_weights(index));
            }
        }
        "graniteswitch" => {
            let attention = Attention { value_dim: model.value_dim, ..Attention::full(1, 1, model.key_dim) };
            decoder.push(Layer {
                mixer: Mixer::Attention(attention),
                feed_forward: FeedForward::None,
                weights: Vec::new(),
            });
        }
        _ => {}
    }
}
