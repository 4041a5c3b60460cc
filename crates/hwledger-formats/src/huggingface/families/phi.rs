//! Phi 1 to 4 (transformers `modeling_phi.py`, `modeling_phi3.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, Role};

use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::{Dense, NormShape, Projections, uniform_spans};
use crate::huggingface::towers::phi4;

/// Phi 1, 1.5 and 2: parallel blocks behind one norm, biases everywhere, on the head too.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.attention_bias = AttentionBias::all(true);
    dense.activation = Activation::Plain;
    dense.has_feed_forward_bias = true;
    dense.norm = NormShape::ScaleAndBias;
    dense.norms_per_layer = 1;
    if source.text.flag("qk_layernorm", false)? {
        // Scale and bias for queries and for keys.
        dense.extras = vec![(Role::Norm, dense.heads.head_dim); 4];
    }
    let mut model = dense.build(source);
    model.head.push(source.vector(Role::LanguageHead, dense.vocabulary));
    Ok(model)
}

/// Phi 3 and 4: Llama with fused projections; a window where the file has one.
pub(super) fn read_phi3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.projections = Projections::Fused;
    dense.spans = uniform_spans(dense.layers, source.text.positions("sliding_window")?);
    Ok(dense.build(source))
}

/// Phi-4-multimodal: Phi 3 with towers for images and sound.
pub(super) fn read_phi4_multimodal(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_phi3(source)?;
    model.towers.push(phi4::vision(source, model.hidden_size)?);
    model.towers.push(phi4::audio(source, model.hidden_size)?);
    Ok(model)
}

/// Persimmon: fused projections with biases, layer norms, norms with bias on queries and keys.
pub(super) fn read_persimmon(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    // The module has no grouped queries, whatever the file carries along.
    dense.heads.kv_heads = dense.heads.query_heads;
    dense.projections = Projections::Fused;
    dense.attention_bias = AttentionBias::all(true);
    dense.activation = Activation::Plain;
    dense.has_feed_forward_bias = true;
    dense.norm = NormShape::ScaleAndBias;
    if source.text.flag("qk_layernorm", true)? {
        dense.extras = vec![(Role::Norm, dense.heads.head_dim); 4];
    }
    Ok(dense.build(source))
}

/// `StableLM`: layer norms, optionally parallel blocks, optionally a norm per head.
pub(super) fn read_stablelm(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = &source.text;
    let mut dense = Dense::read(source, config, false)?;
    dense.attention_bias = AttentionBias::inputs(config.flag("use_qkv_bias", false)?);
    dense.norm = NormShape::ScaleAndBias;
    dense.norms_per_layer = if config.flag("use_parallel_residual", false)? { 1 } else { 2 };
    if config.flag("qk_layernorm", false)? {
        // Each head has a norm of its own, without bias.
        let heads = dense.heads;
        dense.extras =
            vec![(Role::Norm, heads.query_heads * heads.head_dim), (Role::Norm, heads.kv_heads * heads.head_dim)];
    }
    Ok(dense.build(source))
}
