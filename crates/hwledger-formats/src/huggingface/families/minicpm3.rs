//! Dense models with multi-head latent attention: `MiniCPM` 3 and Youtu
//! (transformers `modeling_minicpm3.py`, `modeling_youtu.py`; DeepSeek-V2 paper, section 2.1).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Attention, Latent, Mixer, Role};

use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::Dense;

/// Two norms, latent attention, a gated feed-forward.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, true)?;
    let (hidden, heads) = (dense.hidden, dense.heads.query_heads);
    let kv_rank = config.required("kv_lora_rank")?;
    let query_rank = config.count("q_lora_rank")?.filter(|&rank| rank > 0);
    // MiniCPM 3 calls the rotary part of a key `head_dim` in newer files.
    let rope_dim = match config.count("qk_rope_head_dim")? {
        Some(dim) => dim,
        None => config.required("head_dim")?,
    };
    let nope_dim = config.required("qk_nope_head_dim")?;
    let value_dim = config.count("v_head_dim")?.filter(|&dim| dim > 0).unwrap_or(hidden / heads);
    let key_dim = nope_dim + rope_dim;
    let has_bias = config.flag("attention_bias", false)?;
    dense.has_feed_forward_bias = config.flag("mlp_bias", false)?;
    let latent = Latent { kv_rank, rope_dim, query_rank, nope_dim };
    let attention = Attention { key_dim, value_dim, latent: Some(latent), ..Attention::full(heads, heads, key_dim) };
    let mut model = dense.frame(source);
    for index in 0..dense.layers {
        let mut layer = source.layer(format!("model.layers.{index}"));
        let query = heads * key_dim;
        if let Some(rank) = query_rank {
            layer.linear_with_bias(Role::QueryDown, "self_attn.q_a_proj", rank, hidden, has_bias);
            layer.norm(rank, false);
            layer.linear(Role::QueryUp, "self_attn.q_b_proj", query, rank);
        } else {
            layer.linear(Role::Query, "self_attn.q_proj", query, hidden);
        }
        layer.linear_with_bias(Role::LatentDown, "self_attn.kv_a_proj_with_mqa", kv_rank + rope_dim, hidden, has_bias);
        layer.norm(kv_rank, false);
        layer.linear(Role::LatentUp, "self_attn.kv_b_proj", heads * (nope_dim + value_dim), kv_rank);
        layer.linear_with_bias(Role::AttentionOutput, "self_attn.o_proj", hidden, heads * value_dim, has_bias);
        let feed_forward = dense.feed_forward(&mut layer);
        dense.norms(&mut layer, 2);
        model.decoder.push(layer.finish(Mixer::Attention(attention.clone()), feed_forward));
    }
    Ok(model)
}
