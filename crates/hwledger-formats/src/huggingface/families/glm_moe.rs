//! Ordinary attention, dense first layers, routed and shared experts after them (transformers
//! `modeling_glm4_moe.py`, `modeling_dots1.py`, `modeling_solar_open.py`, `modeling_exaone_moe.py`,
//! `modeling_hy_v3.py`, `modeling_mellum.py`, `modeling_laguna.py`, `modeling_afmoe.py`,
//! `modeling_ernie4_5_moe.py`, `modeling_hunyuan_v1_moe.py`, `modeling_qwen2_moe.py`; remote code of Ling).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Role, Span};

use crate::huggingface::blocks::{AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, Projections, spans, uniform_spans};
use crate::huggingface::experts::{Mixture, Names};
use crate::huggingface::schedule;
use crate::huggingface::sparse::{OutputGate, Sparse, deepseek_experts, prediction_layer};

/// Dense first layers, DeepSeek's expert keys.
fn shaped(source: &Source<'_>, config: &Config<'_>, dense_layers: u64) -> Result<Sparse, ConfigError> {
    let hidden = config.required("hidden_size")?;
    // Models with experts everywhere may leave the dense width out.
    let width = config.required_of(&["intermediate_size", "moe_intermediate_size"])?;
    let dense = Dense::with_width(source, config, false, hidden, width)?;
    let is_sparse = schedule::sparse_layers(config, dense.layers, dense_layers)?;
    Ok(Sparse { dense, output_gate: OutputGate::None, mixture: deepseek_experts(config)?, is_sparse })
}

fn per_head_if(is_on: bool) -> QueryKeyNorm {
    if is_on { QueryKeyNorm::PerHead } else { QueryKeyNorm::None }
}

/// GLM-4.5: biases on inputs, norms on queries and keys in the large one.
pub(super) fn read_glm4(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut shape = shaped(source, &config, 1)?;
    shape.dense.attention_bias = AttentionBias::inputs(config.flag("attention_bias", false)?);
    shape.dense.query_key_norm = per_head_if(config.flag("use_qk_norm", false)?);
    let mut model = shape.build(source);
    for index in 0..config.count("num_nextn_predict_layers")?.unwrap_or(0).min(16) {
        // The prediction layer has experts, as the last layer has.
        let mut last = shape.clone();
        last.is_sparse.extend((0..=index).map(|_| true));
        let layer = last.layer(source, shape.dense.layers + index);
        model.draft_layers.push(prediction_layer(source, layer, shape.dense.hidden));
    }
    Ok(model)
}

/// dots.llm1: norms on queries and keys.
pub(super) fn read_dots1(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut shape = shaped(source, &config, 0)?;
    shape.dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    shape.dense.query_key_norm = QueryKeyNorm::PerHead;
    let window = config.positions("sliding_window")?;
    shape.dense.spans = spans(&config, shape.dense.layers, window, |_| false)?;
    Ok(shape.build(source))
}

/// Solar Open: nothing beside the experts.
pub(super) fn read_solar_open(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut shape = shaped(source, &config, 0)?;
    shape.dense.attention_bias = AttentionBias::inputs(config.flag("attention_bias", false)?);
    shape.dense.query_key_norm = per_head_if(config.flag("use_qk_norm", false)?);
    Ok(shape.build(source))
}

/// EXAONE with experts: norms on queries and keys, full attention in every fourth layer.
pub(super) fn read_exaone(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut shape = shaped(source, &config, 1)?;
    shape.dense.query_key_norm = QueryKeyNorm::PerHead;
    let pattern: Vec<char> = match config.get("sliding_window_pattern").and_then(serde_json::Value::as_str) {
        Some(letters) => letters.chars().collect(),
        None => (1..=config.count("sliding_window_pattern")?.unwrap_or(4).min(shape.dense.layers))
            .rev()
            .map(|left| if left == 1 { 'G' } else { 'L' })
            .collect(),
    };
    let is_local = |index: u64| {
        let at = usize::try_from(index).unwrap_or(usize::MAX).checked_rem(pattern.len());
        at.and_then(|at| pattern.get(at)).is_some_and(|&letter| letter == 'L')
    };
    shape.dense.spans = spans(&config, shape.dense.layers, config.positions("sliding_window")?, is_local)?;
    Ok(shape.build(source))
}

/// Hunyuan 3 and Mellum 2: norms on queries and keys.
pub(super) fn read_normed(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut shape = shaped(source, &config, 1)?;
    shape.dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    shape.dense.query_key_norm = QueryKeyNorm::PerHead;
    let window = config.positions("sliding_window")?;
    shape.dense.spans = spans(&config, shape.dense.layers, window, |_| false)?;
    Ok(shape.build(source))
}

/// Mellum 2: experts everywhere unless a list says otherwise.
pub(super) fn read_mellum(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut shape = shaped(source, &config, 0)?;
    shape.dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    shape.dense.query_key_norm = QueryKeyNorm::PerHead;
    let window = config.positions("sliding_window")?;
    shape.dense.spans = spans(&config, shape.dense.layers, window, |_| false)?;
    Ok(shape.build(source))
}

/// Laguna: norms on queries and keys, gated attention, a learned score correction, heads that vary by layer.
pub(super) fn read_laguna(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut shape = shaped(source, &config, 1)?;
    shape.dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    shape.dense.query_key_norm = QueryKeyNorm::PerHead;
    shape.output_gate = match config.get("gating").and_then(serde_json::Value::as_str) {
        Some("per-head") => OutputGate::PerHead,
        None if config.flag("gating", true)? => OutputGate::PerHead,
        _ => OutputGate::PerElement,
    };
    shape.mixture.router_vectors = 1;
    shape.mixture.shared_width = config.count("shared_expert_intermediate_size")?.unwrap_or(0);
    let window = config.positions("sliding_window")?;
    shape.dense.spans = spans(&config, shape.dense.layers, window, |_| false)?;
    let heads = schedule::per_layer(&config, "num_attention_heads_per_layer", shape.dense.layers)?;
    let mut model = shape.dense.frame(source);
    for index in 0..shape.dense.layers {
        let own = heads.as_ref().and_then(|list| list.get(usize::try_from(index).ok()?)).copied();
        if let Some(own) = own.filter(|&own| own > 0) {
            shape.dense.heads.query_heads = own;
        }
        model.decoder.push(shape.layer(source, index));
    }
    Ok(model)
}

/// `AFMoE` (Arcee Trinity): four norms, gated attention, a learned score correction.
pub(super) fn read_afmoe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut shape = shaped(source, &config, config.count("num_dense_layers")?.unwrap_or(1))?;
    shape.dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    shape.dense.query_key_norm = QueryKeyNorm::PerHead;
    shape.dense.norms_per_layer = 4;
    shape.output_gate = OutputGate::PerElement;
    shape.mixture.router_vectors = 1;
    let period = config.count("global_attn_every_n_layers")?.unwrap_or(4).max(1);
    let window = config.positions("sliding_window")?;
    shape.dense.spans = spans(&config, shape.dense.layers, window, |index| (index + 1) % period != 0)?;
    Ok(shape.build(source))
}

/// ERNIE 4.5 with experts.
pub(super) fn read_ernie(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, true)?;
    let has_bias = config.flag("use_bias", false)?;
    dense.attention_bias = AttentionBias::all(has_bias);
    dense.has_feed_forward_bias = has_bias;
    let layers = dense.layers;
    let first = config.count("moe_layer_start_index")?.unwrap_or(1);
    // -1 stands for the last layer.
    let last = match config.get("moe_layer_end_index").and_then(serde_json::Value::as_i64) {
        Some(-1) | None => layers.saturating_sub(1),
        Some(_) => config.count("moe_layer_end_index")?.unwrap_or(layers),
    };
    let step = config.count("moe_layer_interval")?.unwrap_or(1).max(1);
    let is_sparse = (0..layers).map(|index| (index + 1) % step == 0 && (first..=last).contains(&index)).collect();
    let width = config.required("moe_intermediate_size")?;
    let shared = config.count("moe_num_shared_experts")?.unwrap_or(0);
    let experts = config.required("moe_num_experts")?;
    let plain = Mixture::gated(experts, config.required("moe_k")?, width).with_shared(shared * width);
    let mixture = Mixture { router_vectors: 1, has_shared_bias: has_bias, ..plain };
    let vocabulary = dense.vocabulary;
    let mut model = Sparse { dense, output_gate: OutputGate::None, mixture, is_sparse }.build(source);
    if has_bias {
        model.head.push(source.vector(Role::LanguageHead, vocabulary));
    }
    Ok(model)
}

/// Hunyuan with experts: one shared expert of the routed experts' width.
pub(super) fn read_hunyuan(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.query_key_norm = QueryKeyNorm::PerHead;
    let experts = config.counts("num_experts")?.and_then(|list| list.first().copied()).unwrap_or(1);
    let per_token = config.counts("moe_topk")?.and_then(|list| list.first().copied()).unwrap_or(1);
    if experts <= 1 {
        return Ok(dense.build(source));
    }
    let mixture = Mixture::gated(experts, per_token, dense.width).with_shared(dense.width);
    let names = Names { shared: "mlp.shared_mlp", ..Names::USUAL };
    Ok(Sparse::everywhere(dense, mixture.named(names)).build(source))
}

/// Ling and Ring (`bailing_moe`, `bailing_moe_v2`): one fused input projection.
pub(super) fn read_bailing(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut shape = shaped(source, &config, 0)?;
    shape.dense.projections = Projections::Fused;
    shape.dense.attention_bias =
        AttentionBias { query_key_value: config.flag("use_qkv_bias", false)?, output: config.flag("use_bias", false)? };
    shape.dense.query_key_norm = per_head_if(config.flag("use_qk_norm", false)?);
    let width = config.count("moe_shared_expert_intermediate_size")?;
    if let (Some(width), true) = (width, shape.mixture.shared_width > 0) {
        shape.mixture.shared_width = width * config.count("num_shared_experts")?.unwrap_or(1);
    }
    Ok(shape.build(source))
}

/// Qwen 1.5 and 2 with experts: a gated shared expert.
pub(super) fn read_qwen2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::inputs(config.flag("qkv_bias", true)?);
    if config.flag("use_sliding_window", false)? {
        let first = config.count("max_window_layers")?.unwrap_or(0);
        let window = config.positions("sliding_window")?;
        dense.spans = spans(&config, dense.layers, window, |index| index >= first)?;
    }
    let mixture = qwen_experts(&config)?;
    let is_sparse = qwen_sparse_layers(&config, dense.layers)?;
    Ok(Sparse { dense, output_gate: OutputGate::None, mixture, is_sparse }.build(source))
}

/// Qwen's experts with their gated shared expert.
pub(super) fn qwen_experts(config: &Config<'_>) -> Result<Mixture, ConfigError> {
    let experts = config.required_of(&["num_experts", "num_local_experts"])?;
    let per_token = config.required("num_experts_per_tok")?;
    let shared = config.count("shared_expert_intermediate_size")?.unwrap_or(0);
    let plain = Mixture::gated(experts, per_token, config.required("moe_intermediate_size")?).with_shared(shared);
    let names = Names { shared: "mlp.shared_expert", ..Names::USUAL };
    Ok(Mixture { has_shared_gate: true, names, ..plain })
}

/// Every `decoder_sparse_step`-th layer but those of `mlp_only_layers`.
pub(super) fn qwen_sparse_layers(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    let step = config.count("decoder_sparse_step")?.unwrap_or(1).max(1);
    let dense_only = config.counts("mlp_only_layers")?.unwrap_or_default();
    Ok((0..layers).map(|index| (index + 1) % step == 0 && !dense_only.contains(&index)).collect())
}

/// Qwen-like experts under Mixtral's keys (`XVERSE` with experts).
pub(super) fn read_xverse(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let dense = Dense::read(source, &config, false)?;
    let shared = config.count("num_shared_experts")?.unwrap_or(0);
    let mixture = Mixture::gated(config.required("num_experts")?, config.required("moe_top_k")?, dense.width)
        .with_shared(shared * dense.width);
    Ok(Sparse::everywhere(dense, mixture).build(source))
}

/// `MiniCPM` with experts.
pub(super) fn read_minicpm(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let dense = Dense::read(source, &config, true)?;
    let experts = config.count("num_experts")?.unwrap_or(0);
    if experts == 0 {
        return Ok(dense.build(source));
    }
    let mixture = Mixture::gated(experts, config.required("num_experts_per_tok")?, dense.width);
    Ok(Sparse::everywhere(dense, mixture).build(source))
}

/// `SmallThinker`: a window and rotary positions in some layers by list, a router in front of attention.
pub(super) fn read_smallthinker(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let width = config.required_of(&["moe_ffn_hidden_size", "ffn_hidden_size", "intermediate_size"])?;
    let hidden = config.required("hidden_size")?;
    let mut dense = Dense::with_width(source, &config, false, hidden, width)?;
    let window = config.positions("sliding_window_size")?;
    dense.spans = match schedule::per_layer(&config, "sliding_window_layout", dense.layers)? {
        Some(layout) => {
            let span = window.map_or(Span::Full, Span::Sliding);
            layout.into_iter().map(|flag| if flag == 0 { Span::Full } else { span }).collect()
        }
        None => uniform_spans(dense.layers, window),
    };
    let experts = config.required_of(&["moe_num_primary_experts", "num_experts"])?;
    let per_token = config.required_of(&["moe_num_active_primary_experts", "num_experts_per_tok"])?;
    let mixture = Mixture::gated(experts, per_token, width);
    let is_sparse = match schedule::per_layer(&config, "moe_layer_layout", dense.layers)? {
        Some(layout) => layout.into_iter().map(|flag| flag != 0).collect(),
        None => (0..dense.layers).map(|_| true).collect(),
    };
    Ok(Sparse { dense, output_gate: OutputGate::None, mixture, is_sparse }.build(source))
}
