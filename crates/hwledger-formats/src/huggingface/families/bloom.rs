//! BLOOM, MPT, Falcon and OPT (transformers `modeling_bloom.py`, `modeling_mpt.py`, `modeling_falcon.py`, `modeling_opt.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, Role};

use crate::huggingface::blocks::{AttentionBias, Heads};
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, NormShape, Projections};

/// Layer norms, a plain feed-forward, a fused projection, a tied head; biases as told.
fn plain(source: &Source<'_>, hidden: u64, width: u64, has_bias: bool) -> Result<Dense, ConfigError> {
    let mut dense = Dense::with_width(source, &source.text, true, hidden, width)?;
    dense.projections = Projections::Fused;
    dense.attention_bias = AttentionBias::all(has_bias);
    dense.has_feed_forward_bias = has_bias;
    // These modules have no grouped queries, whatever the file carries along.
    dense.heads.kv_heads = dense.heads.query_heads;
    dense.activation = Activation::Plain;
    dense.norm = NormShape::ScaleAndBias;
    Ok(dense)
}

/// BLOOM: a norm follows the embedding.
pub(super) fn read_bloom(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let hidden = source.text.required_of(&["hidden_size", "n_embed"])?;
    let dense = plain(source, hidden, 4 * hidden, true)?;
    let mut model = dense.build(source);
    for _ in ["scale", "bias"] {
        model.embedding.push(source.vector(Role::Norm, hidden));
    }
    Ok(model)
}

/// MPT: no biases, not even in norms; positions by slopes.
pub(super) fn read_mpt(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let hidden = source.text.required_of(&["d_model", "hidden_size"])?;
    // MptMLP is four times as wide, whatever `expansion_ratio` says.
    let mut dense = plain(source, hidden, 4 * hidden, false)?;
    dense.norm = NormShape::Scale;
    Ok(dense.build(source))
}

/// Key and value heads of Falcon's three variants: grouped, one, or as many as queries.
fn falcon_kv_heads(config: &Config<'_>, heads: u64) -> Result<u64, ConfigError> {
    if config.flag("new_decoder_architecture", false)? {
        return Ok(config.count_of(&["num_kv_heads", "n_head_kv"])?.filter(|&count| count > 0).unwrap_or(heads));
    }
    Ok(if config.flag("multi_query", true)? { 1 } else { heads })
}

/// Falcon 7B (one key head, parallel blocks), 40B and later (grouped, two norms in parallel), RW (plain).
pub(super) fn read_falcon(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required_of(&["hidden_size", "n_embed"])?;
    let width = config.count("ffn_hidden_size")?.unwrap_or(4 * hidden);
    let mut dense = plain(source, hidden, width, config.flag("bias", false)?)?;
    let heads = Heads::read(&config, hidden)?;
    dense.heads = Heads { kv_heads: falcon_kv_heads(&config, heads.query_heads)?, ..heads };
    let norms_in_parallel = config.count("num_ln_in_parallel_attn")?;
    dense.norms_per_layer = if config.flag("new_decoder_architecture", false)? {
        if norms_in_parallel == Some(1) { 1 } else { 2 }
    } else if config.flag("parallel_attn", true)? {
        1
    } else {
        2
    };
    Ok(dense.build(source))
}

/// OPT: learned positions with an offset of two, and projections around embeddings of another width.
pub(super) fn read_opt(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let mut dense = plain(source, hidden, config.required("ffn_dim")?, config.flag("enable_bias", true)?)?;
    dense.projections = Projections::Separate;
    if !config.flag("layer_norm_elementwise_affine", true)? {
        dense.norm = NormShape::None;
    }
    let mut model = dense.build(source);
    let has_final_norm =
        config.flag("do_layer_norm_before", true)? && !config.flag("_remove_final_layer_norm", false)?;
    if !has_final_norm {
        model.head.retain(|weight| weight.role != Role::Norm);
    }
    // OPTLearnedPositionalEmbedding keeps two rows before the first position.
    let positions = config.required("max_position_embeddings")? + 2;
    let width = config.count("word_embed_proj_dim")?.unwrap_or(hidden);
    if width != hidden {
        for table in model.embedding.iter_mut().chain(&mut model.head) {
            if matches!(table.role, Role::TokenEmbedding | Role::LanguageHead) {
                table.columns = width;
            }
        }
        model.embedding.push(source.matrix(Role::Other, hidden, width));
        model.head.insert(0, source.matrix(Role::Other, width, hidden));
    }
    model.embedding.push(source.matrix(Role::PositionEmbedding, positions, hidden));
    Ok(model)
}
