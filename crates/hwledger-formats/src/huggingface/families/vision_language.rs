//! Language models behind towers of other makers: Aria, PaddleOCR-VL, `VideoLLaMA` 3, BLIP-2, Granite Speech, Audio
//! Flamingo, GLM-ASR, Qwen3-ASR (transformers `modeling_aria.py`, `modeling_paddleocr_vl.py`,
//! `modeling_video_llama_3.py` and those that the towers name).

use hwledger_core::ModelSpec;
use hwledger_core::model::Modality;

use super::language_model;
use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{ConfigError, Defaults};
use crate::huggingface::dense::Dense;
use crate::huggingface::experts::Mixture;
use crate::huggingface::sparse::Sparse;
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, square};
use crate::huggingface::towers::{audio, qformer, siglip};

/// The language model of Aria: experts as wide as the feed-forward would be, shared ones beside them.
pub(super) fn read_aria_text(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let shared = config.required("moe_num_shared_experts")?.saturating_mul(dense.width);
    let plain = Mixture::gated(config.required("moe_num_experts")?, config.required("moe_topk")?, dense.width);
    let mixture = Mixture { has_shared_bias: config.flag("mlp_bias", false)?, ..plain.with_shared(shared) };
    Ok(Sparse::everywhere(dense, mixture).build(source))
}

/// Aria: learned queries attend to the patches.
pub(super) fn read_aria(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_aria_text(source)?;
    let (mut tower, shape) = siglip::without_head(source, &source.root.nested_or_empty("vision_config"))?;
    let sizes = source.root.nested("projector_patch_to_query_dict");
    let largest = sizes.and_then(|sizes| sizes.keys().filter_map(|key| sizes.count(key).ok().flatten()).max());
    // AriaConfig maps its largest images to 256 queries.
    let queries = largest.unwrap_or(256);
    let hidden = shape.hidden;
    tower.start_projector();
    tower.matrix(queries, hidden);
    for _ in ["query", "key", "value"] {
        tower.matrix(hidden, hidden);
    }
    tower.attention(hidden, hidden, AttentionBias::all(true));
    tower.linear(hidden, hidden, true);
    for _ in ["queries", "patches", "output"] {
        tower.norm(hidden, true);
    }
    tower.matrix(model.hidden_size, hidden);
    tower.matrix(model.hidden_size, model.hidden_size);
    model.towers.push(tower.finish(TowerShape { positions: Some(queries), ..shape }));
    Ok(model)
}

/// PaddleOCR-VL: ERNIE 4.5; squares of patches are normed and merged.
pub(super) fn read_paddle(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = super::llama::read_ernie(source)?;
    let config = source.root.nested_or_empty("vision_config");
    let (mut tower, shape) = siglip::without_head(source, &config)?;
    let merged = square(config.required("spatial_merge_size")?).saturating_mul(shape.hidden);
    tower.start_projector();
    tower.norm(shape.hidden, true);
    tower.linear(merged, merged, true);
    tower.linear(model.hidden_size, merged, true);
    model.towers.push(tower.finish(shape));
    Ok(model)
}

/// `VideoLLaMA` 3: positions are rotary, two linear layers follow.
pub(super) fn read_video_llama(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let heads = config.required("num_attention_heads")?;
    let layers = layer_count(&config, "num_hidden_layers")?;
    let mut tower = TowerBuilder::new(source);
    tower.linear(hidden, square(config.required("patch_size")?).saturating_mul(config.required("num_channels")?), true);
    tower.repeat(layers, |tower| tower.transformer_layer(TowerLayer::vit(hidden, width)));
    tower.norm(hidden, true);
    tower.start_projector();
    tower.linear(model.hidden_size, hidden, true);
    tower.linear(model.hidden_size, model.hidden_size, true);
    model.towers.push(tower.finish(TowerShape {
        modality: Modality::Vision,
        hidden,
        heads,
        width,
        layers,
        positions: None,
    }));
    Ok(model)
}

/// BLIP-2: OPT or T5 behind a Q-Former.
pub(super) fn read_blip2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    model.towers.push(qformer::blip2(source, model.hidden_size, false)?);
    Ok(model)
}

/// `InstructBLIP`: the Q-Former reads the instruction as well.
pub(super) fn read_instructblip(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    model.towers.push(qformer::blip2(source, model.hidden_size, true)?);
    Ok(model)
}

/// Granite Speech.
pub(super) fn read_granite_speech(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    model.towers.push(qformer::granite_speech(source, model.hidden_size)?);
    Ok(model)
}

/// Audio Flamingo 3 and Music Flamingo.
pub(super) fn read_flamingo(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    model.towers.push(audio::flamingo(source, model.hidden_size)?);
    Ok(model)
}

/// What `GlmAsrConfig` takes for keys that its Llama leaves out.
const GLM_ASR: Defaults = &[
    ("vocab_size", 59_264),
    ("hidden_size", 2048),
    ("intermediate_size", 6144),
    ("num_hidden_layers", 28),
    ("num_attention_heads", 16),
    ("num_key_value_heads", 4),
    ("max_position_embeddings", 8192),
];

/// GLM-ASR.
pub(super) fn read_glm_asr(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    source.text = source.text.with_defaults(GLM_ASR);
    let mut model = language_model(source)?;
    model.towers.push(audio::glm_asr(source, model.hidden_size)?);
    Ok(model)
}

/// Qwen3-ASR: the audio tower of Qwen3-Omni.
pub(super) fn read_qwen3_asr(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = language_model(source)?;
    model.towers.push(audio::qwen3_omni(source)?);
    Ok(model)
}
