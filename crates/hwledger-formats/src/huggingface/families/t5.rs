//! T5, mT5 and UMT5 (Raffel et al. 2019; transformers `modeling_t5.py`, `modeling_umt5.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, Attention, CacheOwner, Layer, Mixer, Role, Stack};

use crate::huggingface::blocks::Heads;
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::Dense;

/// An encoder, and a decoder that also attends to the encoder's output. Scales only; relative positions by bucket.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("d_model")?;
    let mut dense = Dense::with_width(source, &config, true, hidden, config.required("d_ff")?)?;
    let heads = dense.heads.query_heads;
    dense.heads = Heads { query_heads: heads, kv_heads: heads, head_dim: config.required("d_kv")? };
    let is_gated = config.text("feed_forward_proj")?.map_or(
        // mT5 and UMT5 are gated by default, T5 is not.
        config.text("model_type")? != Some("t5"),
        |word| word.starts_with("gated"),
    );
    dense.activation = if is_gated { Activation::Gated } else { Activation::Plain };
    let buckets = config.required("relative_attention_num_buckets")?;
    let is_everywhere = config.text("model_type")? == Some("umt5");
    let layer = |index: u64, attention: Attention, is_decoder: bool| -> Layer {
        let mut layer = source.layer(format!("{}.block.{index}", if is_decoder { "decoder" } else { "encoder" }));
        dense.attention_weights(&mut layer);
        if is_everywhere || index == 0 {
            layer.plain_matrix(Role::PositionEmbedding, buckets, heads);
        }
        if is_decoder {
            dense.attention_weights(&mut layer);
        }
        let feed_forward = dense.feed_forward(&mut layer);
        dense.norms(&mut layer, if is_decoder { 3 } else { 2 });
        layer.finish(Mixer::Attention(attention), feed_forward)
    };
    let mut model = dense.frame(source);
    let mut encoder = Stack::default();
    for index in 0..dense.layers {
        encoder.push(layer(index, Attention { cache: CacheOwner::Nobody, ..dense.attention(index) }, false));
    }
    let decoder_layers =
        if config.has("num_decoder_layers") { config.layers(&["num_decoder_layers"])? } else { dense.layers };
    for index in 0..decoder_layers {
        model.decoder.push(layer(index, dense.attention(index), true));
    }
    model.encoder = Some(encoder);
    // The encoder's final norm.
    model.embedding.push(source.vector(Role::Norm, hidden));
    super::remark_on_cross_attention(source, dense.heads);
    Ok(model)
}
