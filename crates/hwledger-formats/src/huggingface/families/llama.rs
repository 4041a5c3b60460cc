//! Llama and the many models of the same shape (Touvron et al. 2023; transformers `modeling_llama.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Mixer, Span};

use crate::huggingface::blocks::{self, AttentionBias, Heads, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;

/// Llama, Mistral, Granite, Yi: two norms, grouped queries, a gated feed-forward.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let heads = Heads::read(&config, hidden)?;
    let has_bias = config.flag("attention_bias", false)?;
    let bias = AttentionBias { query_key_value: has_bias, output: has_bias };
    let has_feed_forward_bias = config.flag("mlp_bias", false)?;
    let span = config.positions("sliding_window")?.map_or(Span::Full, Span::Sliding);
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for index in 0..source.layer_count()? {
        let mut layer = source.layer(format!("model.layers.{index}"));
        blocks::attention(&mut layer, hidden, heads, bias, QueryKeyNorm::None);
        let feed_forward = blocks::gated_feed_forward(&mut layer, hidden, width, has_feed_forward_bias);
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(Mixer::Attention(heads.attention(span)), feed_forward));
    }
    Ok(model)
}
