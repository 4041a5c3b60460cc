//! From a file to an encoder.

use std::cell::RefCell;

use hwledger_core::ModelSpec;
use hwledger_core::model::{FeedForward, Layer, Mixer, Span};
use hwledger_kernels::{Pool, Shape};

use crate::error::LoadError;
use crate::model::LoadOptions;
use crate::model::load::{Loader, size};
use crate::model::packed::PackedStore;
use crate::model::tensors::{LoadProgress, Tensors};

use super::{EncoderLayer, EncoderModel, LayerNorm};

/// Loads an encoder.
///
/// What the engine does not run is refused by name before any weight is read.
pub fn load_encoder(tensors: &Tensors, options: &LoadOptions, pool: &Pool) -> Result<EncoderModel, LoadError> {
    load_encoder_with_progress(tensors, options, pool, &|_| ())
}

/// Loads an encoder, and tells after each matrix how far it is.
pub fn load_encoder_with_progress(
    tensors: &Tensors,
    options: &LoadOptions,
    pool: &Pool,
    tell: &dyn Fn(LoadProgress),
) -> Result<EncoderModel, LoadError> {
    let spec = tensors.spec()?;
    let settings = tensors.encoder_settings(&spec, options.context)?;
    check(&spec)?;
    tensors.check_scales()?;
    let store = PackedStore::open(options.packed_directory.as_deref(), tensors);
    let loader = Loader { tensors, spec: &spec, store: RefCell::new(store), pool, tell };
    let hidden = size(spec.hidden_size);
    let rows = |name: &str, default: u64| size(tensors.rows(name).unwrap_or(default));
    let table = |name: &str, default: u64| loader.matrix(name, Shape::matrix(rows(name, default), hidden));
    let positions = if settings.rotary.is_none() { Some(table("position_embd.weight", 0)?) } else { None };
    let layers = spec.decoder.layers().enumerate();
    let model = EncoderModel {
        embedding: table("token_embd.weight", spec.vocabulary_size)?,
        positions,
        segment: segment(tensors, hidden)?,
        embedding_norm: norm(&loader, "token_embd_norm")?,
        layers: layers.map(|(index, found)| layer(&loader, index, found)).collect::<Result<_, _>>()?,
        settings,
        spec: spec.clone(),
    };
    loader.store.into_inner().finish();
    Ok(model)
}

/// Refuses by name what is not computed.
fn check(spec: &ModelSpec) -> Result<(), LoadError> {
    let refuse = |what: &str| Err(LoadError::Unsupported(what.to_owned()));
    if spec.is_causal {
        return refuse("decoders as encoders");
    }
    if spec.encoder.is_some() || !spec.towers.is_empty() {
        return refuse("encoders with a second stack or a tower");
    }
    if spec.hidden_size == 0 || spec.vocabulary_size == 0 {
        return refuse("models without width");
    }
    for layer in spec.decoder.layers() {
        let Mixer::Attention(attention) = &layer.mixer else { return refuse("encoders with layers without attention") };
        let is_plain = attention.latent.is_none() && attention.indexer.is_none() && attention.compression.is_none();
        if !is_plain || attention.has_sinks || attention.span != Span::Full {
            return refuse("encoders whose tokens do not see all others");
        }
        if attention.kv_heads == 0 || !attention.heads.is_multiple_of(attention.kv_heads) {
            return refuse("query heads that do not share key heads evenly");
        }
        if attention.heads * attention.key_dim * attention.value_dim == 0 {
            return refuse("attention without heads");
        }
        match &layer.feed_forward {
            FeedForward::Dense { width, .. } if *width > 0 => {}
            FeedForward::Experts(_) => return refuse("encoders with experts"),
            _ => return refuse("a feed-forward without width"),
        }
    }
    Ok(())
}

fn norm(loader: &Loader<'_>, name: &str) -> Result<LayerNorm, LoadError> {
    let hidden = size(loader.spec.hidden_size);
    Ok(LayerNorm {
        weight: loader.required_vector(&format!("{name}.weight"), hidden)?,
        bias: loader.required_vector(&format!("{name}.bias"), hidden)?,
    })
}

/// The first row of the table of segments, where there is one.
fn segment(tensors: &Tensors, hidden: usize) -> Result<Option<Vec<f32>>, LoadError> {
    const NAME: &str = "token_types.weight";
    let Some(mut table) = tensors.vector(NAME, None)? else { return Ok(None) };
    if table.is_empty() || !table.len().is_multiple_of(hidden) {
        let (found, expected) = (vec![table.len() as u64], vec![hidden as u64]);
        return Err(LoadError::Shape { name: NAME.to_owned(), found, expected });
    }
    table.truncate(hidden);
    table.shrink_to_fit();
    Ok(Some(table))
}

fn layer(loader: &Loader<'_>, index: usize, layer: &Layer) -> Result<EncoderLayer, LoadError> {
    let (Mixer::Attention(attention), FeedForward::Dense { width, activation }) = (&layer.mixer, &layer.feed_forward)
    else {
        return Err(LoadError::Unsupported("encoders with such layers".to_owned()));
    };
    let name = |part: &str| format!("blk.{index}.{part}");
    // Norms of queries and keys, and norms before their part, are of relatives that are computed otherwise.
    for part in ["attn_q_norm", "attn_k_norm", "attn_norm", "attn_norm_2", "ffn_norm"].map(name) {
        if loader.tensors.has(&format!("{part}.weight")) {
            return Err(LoadError::Unsupported(format!("encoders with the norm `{part}`")));
        }
    }
    let names = ["ffn_gate", "ffn_up", "ffn_down"];
    Ok(EncoderLayer {
        attention: loader.attention(index, attention)?,
        attention_norm: norm(loader, &name("attn_output_norm"))?,
        feed_forward: loader.dense(index, names, size(*width), *activation)?,
        feed_forward_norm: norm(loader, &name("layer_output_norm"))?,
    })
}
