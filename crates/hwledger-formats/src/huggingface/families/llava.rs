//! Language models behind a vision or audio tower and a projector: `LLaVA` and its relatives, Pixtral, Mistral 3,
//! `InternVL`, Idefics, Aya Vision, Voxtral, Qwen2-Audio
//! (transformers `modeling_llava.py`, `modeling_mistral3.py`, `modeling_internvl.py`, `modeling_idefics3.py`, ...).

use hwledger_core::ModelSpec;
use hwledger_core::model::Activation;

use super::language_model;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{ConfigError, Defaults};
use crate::huggingface::tower::{TowerBuilder, TowerShape, square};
use crate::huggingface::towers::{self, audio, internvit, qwen_vision, siglip};

/// Layers whose outputs are concatenated for the projector: `vision_feature_layer` is one or several.
fn feature_layers(source: &Source<'_>, default: u64) -> u64 {
    source
        .root
        .get("vision_feature_layer")
        .or(source.root.get("vision_feature_layers"))
        .map_or(default, |value| value.as_array().map_or(1, |layers| layers.len() as u64))
}

/// The tower that `vision_config` names.
fn vision(source: &Source<'_>) -> Result<(TowerBuilder, TowerShape), ConfigError> {
    towers::vision(source, &source.root.nested_or_empty("vision_config"))
}

/// Two linear layers into the model.
fn two_layers(tower: &mut TowerBuilder, text_hidden: u64, inputs: u64, has_bias: bool) {
    tower.start_projector();
    tower.linear(text_hidden, inputs, has_bias);
    tower.linear(text_hidden, text_hidden, has_bias);
}

/// `LLaVA` 1.5, Pixtral.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    with_newline(source, false)
}

/// `LLaVA` 1.6, `OneVision`: a learned vector ends each row of tiles.
pub(super) fn read_next(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    with_newline(source, true)
}

fn with_newline(source: &mut Source<'_>, has_newline: bool) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    let (mut tower, shape) = vision(source)?;
    let inputs = shape.hidden.saturating_mul(feature_layers(source, 1));
    two_layers(&mut tower, model.hidden_size, inputs, source.root.flag("multimodal_projector_bias", true)?);
    if has_newline {
        tower.vector(model.hidden_size);
    }
    model.towers.push(tower.finish(shape));
    Ok(model)
}

/// Video-LLaVA: a tower for images and one for video, one projector.
pub(super) fn read_video(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read(source)?;
    let (tower, shape) = vision(source)?;
    model.towers.push(tower.finish(shape));
    Ok(model)
}

/// `ViP-LLaVA`: several layers' outputs, normed together.
pub(super) fn read_vip(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    let (mut tower, shape) = vision(source)?;
    // VipLlavaConfig takes five layers.
    let inputs = shape.hidden.saturating_mul(feature_layers(source, 5));
    tower.start_projector();
    tower.norm(inputs, true);
    two_layers(&mut tower, model.hidden_size, inputs, true);
    model.towers.push(tower.finish(shape));
    Ok(model)
}

/// Mistral Small 3.1, `LightOnOCR`: squares of patches are merged first.
pub(super) fn read_mistral3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    let (mut tower, shape) = vision(source)?;
    let merged = square(source.root.required("spatial_merge_size")?).saturating_mul(shape.hidden);
    tower.start_projector();
    tower.norm(shape.hidden, false);
    tower.matrix(shape.hidden, merged);
    let inputs = shape.hidden.saturating_mul(feature_layers(source, 1));
    two_layers(&mut tower, model.hidden_size, inputs, source.root.flag("multimodal_projector_bias", false)?);
    model.towers.push(tower.finish(shape));
    Ok(model)
}

/// `InternVL`.
pub(super) fn read_internvl(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    model.towers.push(internvit::internvit(source, model.hidden_size)?);
    Ok(model)
}

/// EXAONE 4.5: EXAONE 4 behind the tower of Qwen2.5-VL.
pub(super) fn read_exaone(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    model.towers.push(qwen_vision::qwen2_5(source)?);
    Ok(model)
}

/// Idefics 3, `SmolVLM`: pixels are shuffled into channels, one matrix follows.
pub(super) fn read_idefics3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    let (mut tower, shape) = siglip::without_head(source, &source.root.nested_or_empty("vision_config"))?;
    // Idefics3Config takes a factor of two.
    let factor = source.root.count("scale_factor")?.unwrap_or(2);
    tower.start_projector();
    tower.matrix(model.hidden_size, square(factor).saturating_mul(shape.hidden));
    model.towers.push(tower.finish(shape));
    Ok(model)
}

/// Idefics 2: a perceiver resamples the patches.
pub(super) fn read_idefics2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    let (mut tower, shape) = siglip::without_head(source, &source.root.nested_or_empty("vision_config"))?;
    let config = source.root.nested_or_empty("perceiver_config");
    let text_hidden = model.hidden_size;
    let width = source.text.required("intermediate_size")?;
    let head_dim = config.required("resampler_head_dim")?;
    let query = head_dim.saturating_mul(config.required("resampler_n_heads")?);
    let key = head_dim.saturating_mul(config.required("num_key_value_heads")?);
    tower.start_projector();
    tower.matrix(width, shape.hidden);
    tower.matrix(width, shape.hidden);
    tower.matrix(text_hidden, width);
    tower.matrix(config.required("resampler_n_latents")?, text_hidden);
    tower.repeat(config.required("resampler_depth")?, |tower| {
        for _ in ["latents", "context", "feed-forward"] {
            tower.norm(text_hidden, false);
        }
        for rows in [query, key, key] {
            tower.matrix(rows, text_hidden);
        }
        tower.matrix(text_hidden, query);
        tower.feed_forward(text_hidden, 4 * text_hidden, Activation::Gated, false);
    });
    tower.norm(text_hidden, false);
    model.towers.push(tower.finish(shape));
    Ok(model)
}

/// Aya Vision and Command A Vision: merged patches through a gated pair; Aya norms them first.
pub(super) fn read_cohere(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    let (mut tower, shape) = vision(source)?;
    let merged = square(source.root.required("downsample_factor")?).saturating_mul(shape.hidden);
    let width = source.root.count("alignment_intermediate_size")?.unwrap_or(model.hidden_size);
    tower.start_projector();
    if source.root.model_type()? == Some("aya_vision") {
        tower.norm(merged, true);
    }
    tower.linear(width, merged, true);
    tower.linear(model.hidden_size, width / 2, true);
    model.towers.push(tower.finish(shape));
    Ok(model)
}

/// What `VoxtralConfig` takes for keys that its Llama leaves out.
const VOXTRAL: Defaults = &[
    ("vocab_size", 131_072),
    ("hidden_size", 3072),
    ("intermediate_size", 8192),
    ("num_hidden_layers", 30),
    ("num_key_value_heads", 8),
    ("max_position_embeddings", 131_072),
    ("head_dim", 128),
];

/// Voxtral.
pub(super) fn read_voxtral(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    source.text = source.text.with_defaults(VOXTRAL);
    let mut model = language_model(source)?;
    model.towers.push(audio::voxtral(source, model.hidden_size)?);
    Ok(model)
}

/// Qwen2-Audio.
pub(super) fn read_qwen2_audio(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    model.towers.push(audio::qwen2_audio(source, model.hidden_size)?);
    Ok(model)
}

/// Fuyu: image patches go straight into the model through one linear layer.
pub(super) fn read_fuyu(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    let root = source.root.clone();
    let patch = square(root.required("patch_size")?).saturating_mul(root.required("num_channels")?);
    let mut tower = TowerBuilder::new(source);
    tower.start_projector();
    tower.linear(model.hidden_size, patch, true);
    model.towers.push(tower.finish(TowerShape {
        modality: hwledger_core::model::Modality::Vision,
        hidden: model.hidden_size,
        heads: 0,
        width: 0,
        layers: 0,
        positions: None,
    }));
    Ok(model)
}
