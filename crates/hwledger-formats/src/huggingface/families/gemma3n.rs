//! Gemma 3n (transformers `modeling_gemma3n.py`): alternating updates, low-rank residuals, per-layer embeddings,
//! shared caches.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Attention, CacheOwner, Mixer, Modality, Role, Tower};

use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, spans};
use crate::huggingface::tower::{TowerBuilder, TowerShape};
use crate::huggingface::towers::conformer;

/// Parameters of `mobilenetv5_300m_enc` as timm 1.0.31 builds it; the network has no switches in the configuration.
const MOBILENET_V5_300M: u64 = 294_126_912;

/// Widths of the feed-forwards: one for all layers, or one each.
fn widths(config: &Config<'_>, layers: u64) -> Result<Vec<u64>, ConfigError> {
    let listed = config.counts("intermediate_size")?.unwrap_or_else(|| vec![16_384]);
    match listed.as_slice() {
        &[width] => Ok((0..layers).map(|_| width).collect()),
        all if all.len() as u64 == layers => Ok(listed),
        all => Err(config.contradiction("intermediate_size", format!("has {} entries for {layers} layers", all.len()))),
    }
}

/// The language model alone.
pub(super) fn read_text(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let mut dense = Dense::with_width(source, &config, true, hidden, 0)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let layers = dense.layers;
    let widths = widths(&config, layers)?;
    dense.spans = spans(&config, layers, config.positions("sliding_window")?, |index| (index + 1) % 5 != 0)?;
    let shared = config.count("num_kv_shared_layers")?.unwrap_or(0);
    let first_shared = layers.checked_sub(shared).ok_or_else(|| {
        config.contradiction("num_kv_shared_layers", format!("is {shared}, more than there are layers"))
    })?;
    let own = usize::try_from(first_shared).unwrap_or(0);
    let per_layer = config.required("hidden_size_per_layer_input")?;
    let inputs = config.required("altup_num_inputs")?;
    let rank = config.required("laurel_rank")?;

    let mut model = dense.frame(source);
    let rows = config.required("vocab_size_per_layer_input")?;
    model.embedding.push(source.matrix(Role::PerLayerEmbedding, rows, layers * per_layer));
    model.embedding.push(source.matrix(Role::Other, layers * per_layer, hidden));
    model.embedding.push(source.vector(Role::Norm, per_layer));
    // Into and out of the further streams of the alternating updates.
    let streams = source.matrix(Role::Other, hidden, hidden).stacked(inputs - 1);
    model.embedding.push(streams);
    model.head.push(streams);
    for (index, width) in (0_u64..).zip(widths) {
        let span = dense.attention(index).span;
        let cache = if index < first_shared {
            CacheOwner::Own
        } else {
            let owner = dense.spans[..own].iter().rposition(|earlier| *earlier == span);
            CacheOwner::SharedWith(owner.ok_or_else(|| {
                config.contradiction("num_kv_shared_layers", "leaves no earlier layer of the same kind to share with")
            })?)
        };
        dense.width = width;
        let mut layer = source.layer(format!("model.language_model.layers.{index}"));
        attention(&mut layer, &dense, cache);
        let feed_forward = dense.feed_forward(&mut layer);
        dense.norms(&mut layer, 4);
        alternating_updates(&mut layer, hidden, inputs, rank);
        layer.linear(Role::Other, "per_layer_input_gate", per_layer, hidden);
        layer.linear(Role::Other, "per_layer_projection", hidden, per_layer);
        dense.norms(&mut layer, 1);
        let attention = Attention { cache, ..dense.heads.attention(span) };
        model.decoder.push(layer.finish(Mixer::Attention(attention), feed_forward));
    }
    Ok(model)
}

/// Queries always; keys and values where the layer has a cache of its own.
fn attention(layer: &mut LayerBuilder<'_>, dense: &Dense, cache: CacheOwner) {
    let heads = dense.heads;
    let (query, key) = (heads.query_heads * heads.head_dim, heads.kv_heads * heads.head_dim);
    let (hidden, has_bias) = (dense.hidden, dense.attention_bias.query_key_value);
    layer.linear_with_bias(Role::Query, "self_attn.q_proj", query, hidden, has_bias);
    layer.norm(heads.head_dim, false);
    if cache == CacheOwner::Own {
        layer.linear_with_bias(Role::Key, "self_attn.k_proj", key, hidden, has_bias);
        layer.linear_with_bias(Role::Value, "self_attn.v_proj", key, hidden, has_bias);
        layer.norm(heads.head_dim, false);
    }
    layer.linear_with_bias(Role::AttentionOutput, "self_attn.o_proj", hidden, query, has_bias);
}

/// `AltUp` (predict, correct, route) and the low-rank residual beside attention.
fn alternating_updates(layer: &mut LayerBuilder<'_>, hidden: u64, inputs: u64, rank: u64) {
    layer.vector(Role::Other, hidden);
    layer.plain_matrix(Role::Other, inputs, inputs);
    layer.plain_matrix(Role::Other, inputs * inputs, inputs);
    layer.plain_matrix(Role::Other, inputs, hidden);
    layer.norm(hidden, false);
    layer.linear(Role::Other, "laurel.linear_left", rank, hidden);
    layer.linear(Role::Other, "laurel.linear_right", hidden, rank);
    layer.norm(hidden, false);
}

/// With its vision and audio towers.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_text(source)?;
    let vision_config = source.root.nested_or_empty("vision_config");
    model.towers.push(vision(source, &vision_config, model.hidden_size)?);
    let audio_config = source.root.nested_or_empty("audio_config");
    model.towers.push(conformer::gemma3n(source, &audio_config, model.hidden_size)?);
    Ok(model)
}

fn vision(source: &Source<'_>, config: &Config<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let hidden = config.required("hidden_size")?;
    let mut tower = TowerBuilder::new(source);
    tower.vector(MOBILENET_V5_300M);
    conformer::gemma3n_embedder(&mut tower, config.required("vocab_size")?, hidden, text_hidden);
    Ok(tower.finish(TowerShape {
        modality: Modality::Vision,
        hidden,
        heads: 0,
        width: 0,
        layers: 0,
        positions: source.root.count("vision_soft_tokens_per_image")?,
    }))
}
