//! DeepSeek and those who took over its latent attention and experts (transformers `modeling_deepseek_v2.py`,
//! `modeling_deepseek_v3.py`, `modeling_deepseek_v32.py`, `modeling_glm4_moe_lite.py`, `modeling_glm_moe_dsa.py`,
//! `modeling_mistral4.py`, `modeling_longcat_flash.py`, `modeling_youtu.py`, `modeling_axk1.py`; remote code of
//! DeepSeek-V1 and Kimi).

use hwledger_core::ModelSpec;
use hwledger_core::model::{FeedForward, Mixer};

use crate::huggingface::blocks::{self, AttentionBias};
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::Dense;
use crate::huggingface::experts::Mixture;
use crate::huggingface::latent::{IndexerShape, LatentShape};
use crate::huggingface::schedule;
use crate::huggingface::sparse::{LatentSparse, OutputGate, Sparse, deepseek_experts, prediction_layer};
use crate::huggingface::towers::moonvit;

/// DeepSeek-V1 (`DeepSeekMoE`): ordinary attention.
pub(super) fn read_v1(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    if !config.has("n_routed_experts") {
        return Ok(dense.build(source));
    }
    let is_sparse = schedule::sparse_layers(&config, dense.layers, 0)?;
    let mixture = deepseek_experts(&config)?;
    Ok(Sparse { dense, output_gate: OutputGate::None, mixture, is_sparse }.build(source))
}

/// Latent attention and experts by DeepSeek's keys.
fn shaped(source: &Source<'_>, config: &Config<'_>, dense_layers: u64) -> Result<LatentSparse, ConfigError> {
    let layers = config.layers(&["num_hidden_layers"])?;
    Ok(LatentSparse {
        hidden: config.required("hidden_size")?,
        vocabulary: config.required("vocab_size")?,
        layers,
        is_head_tied: source.is_head_tied(false)?,
        latent: LatentShape::read(config)?,
        indexer: None,
        owns_index: Vec::new(),
        mixture: deepseek_experts(config)?,
        is_sparse: schedule::sparse_layers(config, layers, dense_layers)?,
        width: config.required("intermediate_size")?,
        norms_per_layer: 2,
    })
}

/// The model with its multi-token-prediction layers.
fn with_predictions(source: &Source<'_>, shape: &LatentSparse) -> Result<ModelSpec, ConfigError> {
    let mut model = shape.build(source);
    let count = source.text.count("num_nextn_predict_layers")?.unwrap_or(0);
    // Published models have one; a few are plausible.
    for index in 0..count.min(16) {
        let layer = shape.layer(source, shape.layers + index);
        model.draft_layers.push(prediction_layer(source, layer, shape.hidden));
    }
    Ok(model)
}

/// DeepSeek-V2, and Mistral 4 after it.
pub(super) fn read_v2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    Ok(shaped(source, &config, 0)?.build(source))
}

/// DeepSeek-V3 and Kimi K2; GLM-4.7-Flash.
pub(super) fn read_v3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let shape = shaped(source, &config, 0)?;
    with_predictions(source, &shape)
}

/// GLM-4.7-Flash: one dense layer unless a list says otherwise.
pub(super) fn read_glm_lite(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let shape = shaped(source, &config, 1)?;
    with_predictions(source, &shape)
}

/// Kimi K2.5: Kimi K2 behind `MoonViT`.
pub(super) fn read_kimi_k25(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    // The text part calls itself `kimi_k2` or `deepseek_v3`; both are read alike.
    let mut model = read_v3(source)?;
    model.towers.push(moonvit::kimi_k25(source, model.hidden_size)?);
    Ok(model)
}

/// DeepSeek-V3.2 and GLM-5: an index picks the tokens that are attended to.
pub(super) fn read_sparse_attention(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut shape = shaped(source, &config, 3)?;
    shape.indexer = Some(IndexerShape::read(&config, shape.latent, shape.hidden)?);
    shape.owns_index = owners(&config, shape.layers)?;
    with_predictions(source, &shape)
}

/// Which layers compute an index: `indexer_types` by name, else every `index_topk_freq`-th after an offset.
pub(super) fn owners(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    const KEY: &str = "indexer_types";
    if let Some(kinds) = schedule::kinds(config, KEY, layers)? {
        return kinds
            .into_iter()
            .map(|kind| match kind {
                "full" => Ok(true),
                "shared" => Ok(false),
                other => Err(schedule::unknown(config, KEY, other)),
            })
            .collect();
    }
    if let Some(pattern) = config.get("index_topk_pattern").and_then(serde_json::Value::as_str) {
        return Ok(pattern.chars().map(|letter| letter == 'F').collect());
    }
    let step = config.count("index_topk_freq")?.unwrap_or(1).max(1);
    let offset = config.count("index_skip_topk_offset")?.unwrap_or(2);
    Ok((0..layers).map(|index| (index + 1).saturating_sub(offset) % step == 0).collect())
}

/// A.X K1: DeepSeek-V3 with a norm behind the experts.
pub(super) fn read_axk1(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let shape = shaped(source, &config, 1)?;
    let mut model = source.decoder(shape.hidden, shape.vocabulary, shape.is_head_tied);
    for index in 0..shape.layers {
        let mut layer = shape.layer(source, index);
        if matches!(layer.feed_forward, FeedForward::Experts(_)) {
            layer.weights.push(source.vector(hwledger_core::model::Role::Norm, shape.hidden));
        }
        model.decoder.push(layer);
    }
    Ok(model)
}

/// LongCat-Flash: each of its layers holds two of latent attention and a dense feed-forward, with experts beside
/// the first; here they are two layers, as engines cache them.
pub(super) fn read_longcat(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let width = config.required("ffn_hidden_size")?;
    let expert_width = config.required("expert_ffn_hidden_size")?;
    let experts = config.required("n_routed_experts")?;
    let idle = config.count("zero_expert_num")?.unwrap_or(0);
    let latent = LatentShape::read(&config)?;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for index in 0..source.layers_under(&["num_layers"])? {
        for half in 0..2 {
            let mut layer = source.layer(format!("model.layers.{index}"));
            let attention = latent.add(&mut layer, hidden);
            let mut feed_forward = blocks::gated_feed_forward(&mut layer, hidden, width, false);
            layer.norm(hidden, false);
            layer.norm(hidden, false);
            if half == 0 {
                // Idle experts have a row in the router and no weights of their own.
                layer.plain_matrix(hwledger_core::model::Role::Router, idle, hidden);
                feed_forward =
                    Mixture::gated(experts, config.required("moe_topk")?, expert_width).add(&mut layer, hidden);
                if let FeedForward::Experts(moe) = &mut feed_forward {
                    moe.dense_width = width;
                }
            }
            model.decoder.push(layer.finish(Mixer::Attention(attention), feed_forward));
        }
    }
    Ok(model)
}
