//! Step 3.5 and 3.7: gated attention with more heads in layers with a window, experts after the first three layers
//! (transformers `modeling_step3p7.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Modality, Span, Tower};

use crate::huggingface::blocks::{AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, spans};
use crate::huggingface::experts::Mixture;
use crate::huggingface::schedule;
use crate::huggingface::sparse::{OutputGate, Sparse};
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, patches, square};

/// Which layers have experts: `mlp_layer_types`, else the older `moe_layers_enum`, else all from the fourth on.
fn sparse_layers(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    const OLDER: &str = "moe_layers_enum";
    if config.has("mlp_layer_types") || !config.has(OLDER) {
        return schedule::sparse_layers(config, layers, 3);
    }
    let listed: Vec<u64> = match config.get(OLDER).and_then(serde_json::Value::as_str) {
        Some(text) => text.split(',').filter_map(|word| word.trim().parse().ok()).collect(),
        None => config.counts(OLDER)?.unwrap_or_default(),
    };
    Ok((0..layers).map(|index| listed.contains(&index)).collect())
}

/// Query heads of layers with a window.
fn sliding_heads(config: &Config<'_>, heads: u64) -> Result<u64, ConfigError> {
    if let Some(own) = config.count("num_sliding_attention_heads")? {
        return Ok(own);
    }
    let older = config.nested("attention_other_setting");
    Ok(older.map(|other| other.count("num_attention_heads")).transpose()?.flatten().unwrap_or(heads))
}

/// Step 3.5.
pub(super) fn read_text(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.has_feed_forward_bias = config.flag("mlp_bias", false)?;
    dense.query_key_norm = QueryKeyNorm::PerHead;
    dense.heads.kv_heads = config.required_of(&["num_key_value_heads", "num_attention_groups"])?;
    dense.spans = spans(&config, dense.layers, config.positions("sliding_window")?, |_| false)?;
    let heads = dense.heads.query_heads;
    let sliding_heads = sliding_heads(&config, heads)?;
    let experts = config.required_of(&["n_routed_experts", "moe_num_experts"])?;
    let per_token = config.required_of(&["num_experts_per_tok", "moe_top_k"])?;
    let plain = Mixture::gated(experts, per_token, config.required("moe_intermediate_size")?)
        .with_shared(config.count_of(&["share_expert_dim", "share_expert_dims"])?.unwrap_or(0));
    let mixture = Mixture { has_shared_bias: dense.has_feed_forward_bias, ..plain };
    let is_sparse = sparse_layers(&config, dense.layers)?;
    let mut shape = Sparse { dense, output_gate: OutputGate::PerHead, mixture, is_sparse };
    let mut model = shape.dense.frame(source);
    for index in 0..shape.dense.layers {
        let is_sliding = matches!(shape.dense.attention(index).span, Span::Sliding(_));
        shape.dense.heads.query_heads = if is_sliding { sliding_heads } else { heads };
        model.decoder.push(shape.layer(source, index));
    }
    Ok(model)
}

/// The tower: scaled blocks, then two strided convolutions, each doubling the channels.
fn tower(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    // Step3p5VisionConfig takes 8960 to 1536.
    let ratio = config.number("mlp_ratio")?.unwrap_or(8960.0 / 1536.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a width, clamped")]
    let width = (hidden as f64 * ratio).clamp(1.0, 1e7).round() as u64;
    let heads = config.required("num_attention_heads")?;
    let layers = layer_count(&config, "num_hidden_layers")?;
    let mut tower = TowerBuilder::new(source);
    tower.matrix(hidden, square(config.required("patch_size")?).saturating_mul(config.required("num_channels")?));
    tower.matrix(patches(&config)?, hidden);
    tower.norm(hidden, true);
    tower.repeat(layers, |tower| {
        tower.transformer_layer(TowerLayer::vit(hidden, width));
        tower.vector(hidden);
        tower.vector(hidden);
    });
    tower.linear(2 * hidden, 9 * hidden, true);
    tower.linear(4 * hidden, 18 * hidden, true);
    tower.start_projector();
    tower.linear(text_hidden, 4 * hidden, source.root.flag("projector_bias", false)?);
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions: None }))
}

/// Step 3.7: Step 3.5 behind its tower.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_text(source)?;
    model.towers.push(tower(source, model.hidden_size)?);
    Ok(model)
}
