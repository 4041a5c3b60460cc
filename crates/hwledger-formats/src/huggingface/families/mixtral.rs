//! Mixtral and decoders of its kind: ordinary attention, experts in every layer
//! (transformers `modeling_mixtral.py`, `modeling_phimoe.py`, `modeling_olmoe.py`, `modeling_flex_olmo.py`,
//! `modeling_granitemoe.py`, `modeling_granitemoeshared.py`, `modeling_minimax_m2.py`, `modeling_gpt_oss.py`,
//! `modeling_dbrx.py`, `modeling_jetmoe.py`; remote code of Arctic and Grok).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, FeedForward, Mixer, MixtureOfExperts, Role, Span};

use crate::huggingface::blocks::{self, AttentionBias, Heads, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, NormShape, Projections, spans, uniform_spans};
use crate::huggingface::experts::{Mixture, Names};
use crate::huggingface::sparse::Sparse;

/// Experts of the feed-forward's width.
fn experts(config: &Config<'_>, dense: &Dense) -> Result<Mixture, ConfigError> {
    let experts = config.required_of(&["num_local_experts", "num_experts"])?;
    Ok(Mixture::gated(experts, config.required("num_experts_per_tok")?, dense.width).named(Names::MIXTRAL))
}

/// Mixtral.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.spans = uniform_spans(dense.layers, config.positions("sliding_window")?);
    let mixture = experts(&config, &dense)?;
    Ok(Sparse::everywhere(dense, mixture).build(source))
}

/// Phi-3.5-MoE: layer norms and biases.
pub(super) fn read_phimoe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.norm = NormShape::ScaleAndBias;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.spans = uniform_spans(dense.layers, config.positions("sliding_window")?);
    let mixture = experts(&config, &dense)?;
    let vocabulary = dense.vocabulary;
    let mut model = Sparse::everywhere(dense, mixture).build(source);
    if config.flag("lm_head_bias", false)? {
        model.head.push(source.vector(Role::LanguageHead, vocabulary));
    }
    Ok(model)
}

/// `OLMoE` and `FlexOLMo`: norms over whole queries and keys.
pub(super) fn read_olmoe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.query_key_norm = QueryKeyNorm::Full;
    let mixture = experts(&config, &dense)?.named(Names::USUAL);
    Ok(Sparse::everywhere(dense, mixture).build(source))
}

/// Granite 3 with experts, and with a shared expert.
pub(super) fn read_granite(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let shared = config.count("shared_intermediate_size")?.unwrap_or(0);
    let mixture = experts(&config, &dense)?.with_shared(shared);
    Ok(Sparse::everywhere(dense, mixture).build(source))
}

/// The same with windows and learned sinks; every fourth layer is full.
pub(super) fn read_granite_swa(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.has_sinks = true;
    dense.spans = spans(&config, dense.layers, config.positions("sliding_window")?, |index| index % 4 != 0)?;
    let shared = config.count("shared_intermediate_size")?.unwrap_or(0);
    let mixture = experts(&config, &dense)?.with_shared(shared);
    Ok(Sparse::everywhere(dense, mixture).build(source))
}

/// MiniMax-M2: norms over whole queries and keys.
pub(super) fn read_minimax_m2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    if config.flag("use_qk_norm", true)? {
        dense.query_key_norm = QueryKeyNorm::Full;
    }
    dense.spans = uniform_spans(dense.layers, config.positions("sliding_window")?);
    let mixture = experts(&config, &dense)?;
    Ok(Sparse::everywhere(dense, mixture).build(source))
}

/// gpt-oss: sinks, biases everywhere, a window in every other layer.
pub(super) fn read_gpt_oss(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", true)?);
    dense.has_sinks = true;
    dense.spans = spans(&config, dense.layers, config.positions("sliding_window")?, |index| index % 2 == 0)?;
    let names = Names { expert: "mlp.experts", ..Names::USUAL };
    let plain = experts(&config, &dense)?.named(names);
    let mixture = Mixture { router_vectors: 1, has_expert_bias: true, ..plain };
    Ok(Sparse::everywhere(dense, mixture).build(source))
}

/// DBRX: its own names, nested by part.
pub(super) fn read_dbrx(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let attention = config.nested_or_empty("attn_config");
    let feed_forward = config.nested_or_empty("ffn_config");
    let hidden = config.required_of(&["d_model", "hidden_size"])?;
    let query_heads = config.required_of(&["n_heads", "num_attention_heads"])?;
    let dense = Dense {
        hidden,
        vocabulary: config.required("vocab_size")?,
        layers: source.layers_under(&["n_layers", "num_hidden_layers"])?,
        heads: Heads {
            query_heads,
            kv_heads: attention.count("kv_n_heads")?.unwrap_or(1).max(1),
            head_dim: (hidden / query_heads).max(1),
        },
        projections: Projections::Fused,
        attention_bias: AttentionBias::default(),
        query_key_norm: QueryKeyNorm::None,
        width: feed_forward.required("ffn_hidden_size")?,
        activation: Activation::Gated,
        has_feed_forward_bias: false,
        norm: NormShape::Scale,
        norms_per_layer: 2,
        extras: Vec::new(),
        has_sinks: false,
        is_head_tied: source.is_head_tied(false)?,
        spans: Vec::new(),
    };
    let experts = feed_forward.required("moe_num_experts")?;
    let mixture = Mixture::gated(experts, feed_forward.required("moe_top_k")?, dense.width);
    Ok(Sparse::everywhere(dense, mixture).build(source))
}

/// Grok: four norms per layer; Grok 2 has a dense feed-forward beside the experts.
pub(super) fn read_grok(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.norms_per_layer = 4;
    let width = config.count("moe_intermediate_size")?.unwrap_or(dense.width);
    let experts = config.required_of(&["num_local_experts", "num_experts"])?;
    let per_token = config.required_of(&["num_experts_per_tok", "num_selected_experts"])?;
    let mixture = Mixture::gated(experts, per_token, width).named(Names::MIXTRAL);
    let has_dense = config.flag("residual_moe", false)?;
    Ok(beside_dense(source, &dense, mixture, |_| (true, has_dense.then_some(dense.width))))
}

/// Arctic: experts in every `moe_layer_frequency`-th layer beside a dense feed-forward of the hidden size.
pub(super) fn read_arctic(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    let step = config.count("moe_layer_frequency")?.unwrap_or(2).max(1);
    let is_beside = config.flag("parallel_attn_mlp_res", false)?;
    dense.spans = uniform_spans(dense.layers, config.positions("sliding_window")?);
    let mixture = experts(&config, &dense)?;
    let hidden = dense.hidden;
    Ok(beside_dense(source, &dense, mixture, |index| {
        let is_sparse = (index + 1) % step == 0;
        (is_sparse, (is_sparse && is_beside).then_some(hidden))
    }))
}

/// Layers for which `kind` says whether they have experts and how wide a dense feed-forward is beside those;
/// that one brings a norm of its own where the family has two norms per layer.
fn beside_dense(
    source: &Source<'_>,
    dense: &Dense,
    mixture: Mixture,
    kind: impl Fn(u64) -> (bool, Option<u64>),
) -> ModelSpec {
    let mut model = dense.frame(source);
    for index in 0..dense.layers {
        let mut layer = source.layer(format!("model.layers.{index}"));
        dense.attention_weights(&mut layer);
        let (is_sparse, beside) = kind(index);
        let mut feed_forward =
            if is_sparse { mixture.add(&mut layer, dense.hidden) } else { dense.feed_forward(&mut layer) };
        if let (FeedForward::Experts(moe), Some(width)) = (&mut feed_forward, beside) {
            blocks::gated_feed_forward(&mut layer, dense.hidden, width, false);
            moe.dense_width = width;
            if dense.norms_per_layer == 2 {
                dense.norms(&mut layer, 1);
            }
        }
        dense.norms(&mut layer, dense.norms_per_layer);
        model.decoder.push(layer.finish(Mixer::Attention(dense.attention(index)), feed_forward));
    }
    model
}

/// `JetMoE`: query and output projections are experts as well, chosen by a router of their own.
pub(super) fn read_jetmoe(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let experts = config.required("num_local_experts")?;
    let per_token = config.required("num_experts_per_tok")?;
    let head_dim = config.required("kv_channels")?;
    let kv_heads = config.required("num_key_value_heads")?;
    let heads = Heads { query_heads: kv_heads * per_token, kv_heads, head_dim };
    let inner = kv_heads * head_dim;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(true)?);
    for index in 0..source.layer_count()? {
        let mut layer = source.layer(format!("model.layers.{index}"));
        layer.linear(Role::QueryKeyValue, "self_attention.kv_proj", 2 * inner, hidden);
        layer.plain_matrix(Role::Router, experts, hidden);
        layer.experts(Role::ExpertUp, "self_attention.experts.input_linear", experts, inner, hidden);
        layer.experts(Role::ExpertDown, "self_attention.experts.output_linear", experts, hidden, inner);
        layer.vector(Role::AttentionOutput, hidden);
        layer.plain_matrix(Role::Router, experts, hidden);
        layer.experts(Role::ExpertGateUp, "mlp.input_linear", experts, 2 * width, hidden);
        layer.experts(Role::ExpertDown, "mlp.output_linear", experts, hidden, width);
        layer.vector(Role::Down, hidden);
        layer.norm(hidden, false);
        layer.norm(hidden, false);
        let feed_forward = FeedForward::Experts(MixtureOfExperts {
            experts,
            experts_per_token: per_token,
            expert_width: width,
            shared_width: 0,
            dense_width: 0,
            activation: Activation::Gated,
        });
        model.decoder.push(layer.finish(Mixer::Attention(heads.attention(Span::Full)), feed_forward));
    }
    Ok(model)
}
