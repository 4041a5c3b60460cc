//! `T5Gemma`: Gemma 2 as encoder and as decoder; `T5Gemma` 2: Gemma 3, whose decoder attends to its own tokens and the
//! encoder's output with the same projections (transformers `modeling_t5gemma.py`, `modeling_t5gemma2.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Attention, CacheOwner, Mixer, Role, Stack};

use crate::huggingface::blocks::{self, AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, spans};
use crate::huggingface::towers::siglip;

/// One side.
fn side(source: &Source<'_>, config: &Config<'_>, period: u64) -> Result<Dense, ConfigError> {
    let mut dense = Dense::read(source, config, true)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.norms_per_layer = 4;
    dense.spans = spans(config, dense.layers, config.positions("sliding_window")?, |index| (index + 1) % period != 0)?;
    Ok(dense)
}

/// The layers of an encoder, which sees all tokens at once.
fn encoder(source: &Source<'_>, dense: &Dense) -> Stack {
    let mut stack = Stack::default();
    for index in 0..dense.layers {
        let attention = Attention { cache: CacheOwner::Nobody, ..dense.attention(index) };
        stack.push(dense.layer(source, index, attention));
    }
    stack
}

/// `T5Gemma`: the decoder has attention to the encoder's output of its own, and each side its table.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let root = source.root.clone();
    source.text = root.nested_or_empty("decoder");
    let outer = side(source, &root.nested_or_empty("encoder"), 2)?;
    let inner = side(source, &source.text.clone(), 2)?;
    let mut model = inner.frame(source);
    model.encoder = Some(encoder(source, &outer));
    model.embedding.push(source.matrix(Role::TokenEmbedding, outer.vocabulary, outer.hidden));
    model.embedding.push(source.vector(Role::Norm, outer.hidden));
    let heads = inner.heads;
    let (query, key) = (heads.query_heads * heads.head_dim, heads.kv_heads * heads.head_dim);
    let bias = inner.attention_bias;
    for index in 0..inner.layers {
        let mut layer = source.layer(format!("model.decoder.layers.{index}"));
        inner.attention_weights(&mut layer);
        layer.linear_with_bias(Role::Query, "cross_attn.q_proj", query, inner.hidden, bias.query_key_value);
        layer.linear_with_bias(Role::Key, "cross_attn.k_proj", key, outer.hidden, bias.query_key_value);
        layer.linear_with_bias(Role::Value, "cross_attn.v_proj", key, outer.hidden, bias.query_key_value);
        layer.linear_with_bias(Role::AttentionOutput, "cross_attn.o_proj", inner.hidden, query, bias.output);
        let feed_forward = blocks::gated_feed_forward(&mut layer, inner.hidden, inner.width, false);
        inner.norms(&mut layer, 6);
        model.decoder.push(layer.finish(Mixer::Attention(inner.attention(index)), feed_forward));
    }
    super::remark_on_cross_attention(source, heads);
    Ok(model)
}

/// `T5Gemma` 2: one table for both sides, and a vision tower in front of the encoder.
pub(super) fn read_second(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let root = source.root.clone();
    source.text = root.nested_or_empty("decoder");
    let nest = root.nested_or_empty("encoder");
    let mut outer = side(source, &nest.nested_or_empty("text_config"), 6)?;
    let mut inner = side(source, &source.text.clone(), 6)?;
    outer.query_key_norm = QueryKeyNorm::PerHead;
    inner.query_key_norm = QueryKeyNorm::PerHead;
    let mut model = inner.build(source);
    model.encoder = Some(encoder(source, &outer));
    if !inner.is_head_tied {
        model.embedding.push(source.matrix(Role::TokenEmbedding, outer.vocabulary, outer.hidden));
        model.embedding.push(source.vector(Role::TokenEmbedding, outer.hidden));
    }
    // What ends an image has a vector of its own; the encoder has a final norm.
    model.embedding.push(source.vector(Role::TokenEmbedding, outer.hidden));
    model.embedding.push(source.vector(Role::Norm, outer.hidden));
    let (mut tower, shape) = siglip::siglip(source, &nest.nested_or_empty("vision_config"))?;
    tower.start_projector();
    tower.matrix(outer.hidden, shape.hidden);
    tower.norm(shape.hidden, false);
    model.towers.push(tower.finish(shape));
    super::remark_on_cross_attention(source, inner.heads);
    Ok(model)
}
