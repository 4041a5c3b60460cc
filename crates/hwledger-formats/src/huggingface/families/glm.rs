//! GLM 4 and `ChatGLM` (transformers `modeling_glm.py`, `modeling_glm4.py`; remote code `modeling_chatglm.py`).

use hwledger_core::ModelSpec;

use crate::huggingface::blocks::{AttentionBias, Heads};
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::{Dense, NormShape, Projections};
use crate::huggingface::towers::glm4v;

/// GLM-4 (9B) and GLM-Edge: gate and up in one tensor, which changes no count.
pub(super) fn read_glm(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.attention_bias = AttentionBias::inputs(source.text.flag("attention_bias", true)?);
    Ok(dense.build(source))
}

/// GLM-4-0414: norms after the blocks as well.
pub(super) fn read_glm4(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.attention_bias = AttentionBias::inputs(source.text.flag("attention_bias", true)?);
    dense.norms_per_layer = 4;
    Ok(dense.build(source))
}

/// `ChatGLM` 2 and 3, and GLM-4's first files.
pub(super) fn read_chatglm(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let heads = config.required("num_attention_heads")?;
    let has_bias = config.flag("add_bias_linear", false)?;
    let grouped = config.flag("multi_query_attention", false)?;
    let kv_heads = if grouped { config.required("multi_query_group_num")? } else { heads };
    let head_dim = config.count("kv_channels")?.filter(|&dim| dim > 0).unwrap_or(hidden / heads);
    let dense = Dense {
        hidden,
        vocabulary: config.required_of(&["padded_vocab_size", "vocab_size"])?,
        layers: config.layers(&["num_layers", "num_hidden_layers"])?,
        heads: Heads { query_heads: heads, kv_heads, head_dim },
        projections: Projections::Fused,
        attention_bias: AttentionBias {
            query_key_value: has_bias || config.flag("add_qkv_bias", false)?,
            output: has_bias,
        },
        query_key_norm: crate::huggingface::blocks::QueryKeyNorm::None,
        width: config.required("ffn_hidden_size")?,
        activation: hwledger_core::model::Activation::Gated,
        has_feed_forward_bias: has_bias,
        norm: if config.flag("rmsnorm", true)? { NormShape::Scale } else { NormShape::ScaleAndBias },
        norms_per_layer: 2,
        extras: Vec::new(),
        has_sinks: false,
        is_head_tied: source.is_head_tied(false)?,
        spans: Vec::new(),
    };
    Ok(dense.build(source))
}

/// GLM-4.1V: GLM-4-0414 with a vision tower.
pub(super) fn read_glm4v(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_glm4(source)?;
    model.towers.push(glm4v::glm4v(source)?);
    Ok(model)
}

/// GLM-4.5V: GLM-4.5 with the same tower.
pub(super) fn read_glm4v_moe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = super::language_model(source)?;
    model.towers.push(glm4v::glm4v(source)?);
    Ok(model)
}

/// GLM-OCR: GLM-4-0414 without biases, behind a tower with biases and norms on queries and keys.
pub(super) fn read_glm_ocr(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.norms_per_layer = 4;
    let mut model = dense.build(source);
    model.towers.push(glm4v::glm_ocr(source)?);
    Ok(model)
}
