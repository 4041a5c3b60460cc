//! GPT-2 and what came of it: GPT-J, GPT-Neo, GPT-NeoX, `CodeGen`, `SantaCoder`, `StarCoder`
//! (transformers `modeling_gpt2.py`, `modeling_gptj.py`, `modeling_gpt_neox.py`, `modeling_gpt_bigcode.py`, `modeling_starcoder2.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, Role};

use crate::huggingface::blocks::{AttentionBias, Heads};
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::{Dense, NormShape, Projections, uniform_spans};

/// Layer norms, a plain feed-forward four times as wide unless told otherwise, biases everywhere.
fn shaped_as_gpt2(source: &Source<'_>, is_tied: bool) -> Result<Dense, ConfigError> {
    let config = &source.text;
    let hidden = config.required_of(&["n_embd", "hidden_size"])?;
    // Only files without a key for it at all (`n_inner: null` is one) leave the width to the module.
    let width = match config.count_of(&["n_inner"])? {
        Some(width) => width,
        None if config.names("n_inner") => 4 * hidden,
        None => config.count("intermediate_size")?.unwrap_or(4 * hidden),
    };
    let mut dense = Dense::with_width(source, config, is_tied, hidden, width)?;
    dense.projections = Projections::Fused;
    dense.attention_bias = AttentionBias::all(true);
    // These modules have no grouped queries, whatever the file carries along.
    dense.heads.kv_heads = dense.heads.query_heads;
    dense.activation = Activation::Plain;
    dense.has_feed_forward_bias = true;
    dense.norm = NormShape::ScaleAndBias;
    Ok(dense)
}

/// GPT-2: learned positions.
pub(super) fn read_gpt2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let dense = shaped_as_gpt2(source, true)?;
    with_positions(source, &dense)
}

fn with_positions(source: &Source<'_>, dense: &Dense) -> Result<ModelSpec, ConfigError> {
    let positions = source.text.required_of(&["n_positions", "max_position_embeddings", "n_ctx"])?;
    let mut model = dense.build(source);
    model.embedding.push(source.matrix(Role::PositionEmbedding, positions, dense.hidden));
    Ok(model)
}

/// The first GPT: as GPT-2, without a final norm.
pub(super) fn read_openai_gpt(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_gpt2(source)?;
    model.head.retain(|weight| weight.role != Role::Norm);
    Ok(model)
}

/// `StarCoder` 1: one key and value head for all queries.
pub(super) fn read_bigcode(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_gpt2(source, true)?;
    dense.heads.kv_heads = if source.text.flag("multi_query", true)? { 1 } else { dense.heads.query_heads };
    with_positions(source, &dense)
}

/// GPT-J and `CodeGen`: parallel blocks behind one norm, no biases in attention, one on the head.
pub(super) fn read_gptj(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_gpt2(source, false)?;
    if source.text.text("model_type")? != Some("codegen") {
        dense.projections = Projections::Separate;
    }
    dense.attention_bias = AttentionBias::all(false);
    dense.norms_per_layer = 1;
    let mut model = dense.build(source);
    model.head.push(source.vector(Role::LanguageHead, dense.vocabulary));
    Ok(model)
}

/// GPT-Neo: the reference caches all tokens, also in layers that look back over `window_size` only.
pub(super) fn read_gpt_neo(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_gpt2(source, true)?;
    dense.projections = Projections::Separate;
    dense.attention_bias = AttentionBias { query_key_value: false, output: true };
    with_positions(source, &dense)
}

/// GPT-NeoX, Pythia: rotary positions.
pub(super) fn read_neox(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_gpt2(source, false)?;
    dense.attention_bias = AttentionBias::all(source.text.flag("attention_bias", true)?);
    Ok(dense.build(source))
}

/// `StarCoder` 2: separate projections, one switch for all biases, a window where the file has one.
pub(super) fn read_starcoder2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_gpt2(source, true)?;
    dense.heads = Heads::read(&source.text, dense.hidden)?;
    let has_bias = source.text.flag("use_bias", true)?;
    dense.projections = Projections::Separate;
    dense.attention_bias = AttentionBias::all(has_bias);
    dense.has_feed_forward_bias = has_bias;
    dense.spans = uniform_spans(dense.layers, source.text.positions("sliding_window")?);
    Ok(dense.build(source))
}

/// XGLM and `BioGPT`: the decoder of BART alone. `BioGPT` learns its positions, two rows before the first.
pub(super) fn read_xglm(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required_of(&["d_model", "hidden_size"])?;
    let width = config.required_of(&["ffn_dim", "intermediate_size"])?;
    let mut dense = Dense::with_width(source, &config, true, hidden, width)?;
    dense.attention_bias = AttentionBias::all(true);
    dense.activation = Activation::Plain;
    dense.has_feed_forward_bias = true;
    dense.norm = NormShape::ScaleAndBias;
    let mut model = dense.build(source);
    if config.text("model_type")? == Some("biogpt") {
        let positions = config.required("max_position_embeddings")? + 2;
        model.embedding.push(source.matrix(Role::PositionEmbedding, positions, hidden));
    }
    Ok(model)
}
