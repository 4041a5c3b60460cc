//! Language models behind towers of other makers: Aria, PaddleOCR-VL, `VideoLLaMA` 3, BLIP-2, Granite Speech, Audio
//! Flamingo, GLM-ASR, Qwen3-ASR (transformers `modeling_aria.py`, `modeling_paddleocr_vl.py`,
//! `modeling_video_llama_3.py` and those that the towers name).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, Modality, Role};

use super::language_model;
use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{ConfigError, Defaults};
use crate::huggingface::dense::{Dense, uniform_spans};
use crate::huggingface::experts::Mixture;
use crate::huggingface::schedule;
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

/// Rank of the map from delay to scale in each layer of Voxtral Realtime; the reference has it in its code.
const DELAY_RANK: u64 = 32;

/// What `VoxtralRealtimeConfig` takes for keys that its language model leaves out.
const VOXTRAL_REALTIME: Defaults = &[
    ("vocab_size", 131_072),
    ("hidden_size", 3072),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 32),
    ("num_key_value_heads", 8),
    ("head_dim", 128),
    ("max_position_embeddings", 131_072),
    ("sliding_window", 8192),
];

/// Voxtral Realtime: a window in every layer, whose feed-forward is scaled by how far the text lags behind the sound.
pub(super) fn read_voxtral_realtime(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    source.text = source.text.with_defaults(VOXTRAL_REALTIME);
    let mut dense = Dense::read(source, &source.text, true)?;
    dense.spans = uniform_spans(dense.layers, source.text.positions("sliding_window")?);
    let mut model = dense.frame(source);
    for index in 0..dense.layers {
        let mut layer = dense.layer(source, index, dense.attention(index));
        layer.weights.push(source.matrix(Role::Other, DELAY_RANK, dense.hidden));
        layer.weights.push(source.matrix(Role::Other, dense.hidden, DELAY_RANK));
        model.decoder.push(layer);
    }
    model.towers.push(audio::voxtral_realtime(source, model.hidden_size)?);
    Ok(model)
}

/// LFM 3 behind a tower of the same blocks, whose convolutions are over squares of patches.
pub(super) fn read_lfm3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    const KEY: &str = "layer_types";
    let mut model = super::lfm2::read_lfm3(source)?;
    let root = source.root.clone();
    let config = root.nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let heads = config.required("num_attention_heads")?;
    let layers = layer_count(&config, "num_hidden_layers")?;
    let key_value = config.required("num_key_value_heads")?.saturating_mul(hidden / heads);
    let taps = square(config.required("conv_kernel_size")?);
    let attending = match schedule::kinds(&config, KEY, layers)? {
        Some(kinds) => kinds.into_iter().filter(|&kind| kind == "full_attention").count() as u64,
        // Lfm3VlVisionConfig puts attention into every other layer from the third on.
        None => layers.saturating_sub(1) / 2,
    };
    let patch = square(config.required("patch_size")?)
        .saturating_mul(config.required("in_channels")?)
        .saturating_mul(config.required("temporal_patch_size")?);
    let mut tower = TowerBuilder::new(source);
    tower.matrix(hidden, patch);
    tower.norm(hidden, false);
    tower.repeat(layers, |tower| {
        tower.feed_forward(hidden, width, Activation::Gated, false);
        tower.norm(hidden, false);
        tower.norm(hidden, false);
    });
    tower.repeat(layers - attending, |tower| {
        tower.matrix(3 * hidden, hidden);
        tower.matrix(hidden, taps);
        tower.matrix(hidden, hidden);
    });
    tower.repeat(attending, |tower| {
        for rows in [hidden, key_value, key_value, hidden] {
            tower.matrix(rows, hidden);
        }
        tower.norm(hidden / heads, false);
        tower.norm(hidden / heads, false);
    });
    let merged = square(config.required("spatial_merge_size")?).saturating_mul(hidden);
    let projected = root.required("projector_hidden_size")?;
    let has_bias = root.flag("projector_bias", true)?;
    tower.start_projector();
    tower.norm(hidden, true);
    tower.linear(projected, merged, has_bias);
    tower.linear(model.hidden_size, projected, has_bias);
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
