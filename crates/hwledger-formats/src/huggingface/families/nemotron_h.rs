//! Nemotron-H and Nemotron 3: each layer is one of Mamba-2, attention, feed-forward or experts (transformers
//! `modeling_nemotron_h.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, FeedForward, Layer, Mixer, Role, Span};

use crate::huggingface::LAYERS_MAX;
use crate::huggingface::blocks::Heads;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::experts::{Mixture, Names};
use crate::huggingface::recurrent::Mamba2;
use crate::huggingface::schedule;

/// What a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mamba,
    Attention,
    FeedForward,
    Experts,
}

/// The layers of a pattern such as `MEM*-`.
fn from_pattern(config: &Config<'_>, key: &str, pattern: &str) -> Result<Vec<Kind>, ConfigError> {
    pattern
        .chars()
        .map(|letter| match letter {
            'M' => Ok(Kind::Mamba),
            '*' => Ok(Kind::Attention),
            '-' => Ok(Kind::FeedForward),
            'E' => Ok(Kind::Experts),
            other => Err(config.contradiction(key, format!("has a layer of unknown kind `{other}`"))),
        })
        .collect()
}

/// The layers under a list or a pattern; nothing where neither is there.
fn kinds(config: &Config<'_>, list: &str, pattern: &str) -> Result<Option<Vec<Kind>>, ConfigError> {
    let kinds = if let Some(words) = config.texts(list)? {
        let known = words.into_iter().map(|word| match word {
            "mamba" | "linear_attention" => Ok(Kind::Mamba),
            "attention" | "full_attention" => Ok(Kind::Attention),
            "mlp" => Ok(Kind::FeedForward),
            "moe" => Ok(Kind::Experts),
            other => Err(schedule::unknown(config, list, other)),
        });
        known.collect::<Result<Vec<_>, _>>()?
    } else if config.get(pattern).is_some_and(serde_json::Value::is_array) {
        from_pattern(config, pattern, &config.texts(pattern)?.unwrap_or_default().concat())?
    } else if let Some(letters) = config.text(pattern)? {
        from_pattern(config, pattern, letters)?
    } else {
        return Ok(None);
    };
    if kinds.len() as u64 > LAYERS_MAX {
        return Err(config.contradiction(list, format!("names {} layers", kinds.len())));
    }
    Ok(Some(kinds))
}

/// What the layers share.
struct Shape {
    hidden: u64,
    heads: Heads,
    has_attention_bias: bool,
    span: Span,
    mamba: Mamba2,
    width: u64,
    has_feed_forward_bias: bool,
    mixture: Option<Mixture>,
}

impl Shape {
    fn read(config: &Config<'_>, has_experts: bool) -> Result<Self, ConfigError> {
        let hidden = config.required("hidden_size")?;
        let mut heads = Heads::read(config, hidden)?;
        if let Some(dim) = config.count("attention_head_dim")?.filter(|&dim| dim > 0 && !config.has("head_dim")) {
            heads.head_dim = dim;
        }
        let has_bias = config.flag("use_bias", false)?;
        Ok(Self {
            hidden,
            heads,
            has_attention_bias: config.flag("attention_bias", false)?,
            span: config.positions("sliding_window")?.map_or(Span::Full, Span::Sliding),
            mamba: Mamba2 {
                heads: config.required("mamba_num_heads")?,
                head_dim: config.required("mamba_head_dim")?,
                state: config.required("ssm_state_size")?,
                groups: config.required_of(&["mamba_n_groups", "n_groups"])?,
                taps: config.required_of(&["mamba_d_conv", "conv_kernel"])?,
                has_convolution_bias: config.flag("mamba_conv_bias", config.flag("use_conv_bias", true)?)?,
                has_projection_bias: has_bias,
                has_output_bias: has_bias,
                has_norm: true,
            },
            width: config.count("intermediate_size")?.unwrap_or(0),
            has_feed_forward_bias: config.flag("mlp_bias", false)?,
            mixture: has_experts.then(|| experts(config)).transpose()?,
        })
    }

    fn layer(&self, source: &Source<'_>, index: u64, kind: Kind) -> Layer {
        let hidden = self.hidden;
        let mut layer = source.layer(format!("backbone.layers.{index}"));
        layer.norm(hidden, false);
        match (kind, self.mixture) {
            (Kind::Mamba, _) => {
                let recurrent = self.mamba.add(&mut layer, "mixer", hidden);
                layer.finish(Mixer::Recurrent(recurrent), FeedForward::None)
            }
            (Kind::Attention, _) => {
                let query = self.heads.query_heads * self.heads.head_dim;
                let key = self.heads.kv_heads * self.heads.head_dim;
                let has_bias = self.has_attention_bias;
                layer.linear_with_bias(Role::Query, "mixer.q_proj", query, hidden, has_bias);
                layer.linear_with_bias(Role::Key, "mixer.k_proj", key, hidden, has_bias);
                layer.linear_with_bias(Role::Value, "mixer.v_proj", key, hidden, has_bias);
                layer.linear_with_bias(Role::AttentionOutput, "mixer.o_proj", hidden, query, has_bias);
                layer.finish(Mixer::Attention(self.heads.attention(self.span)), FeedForward::None)
            }
            (Kind::Experts, Some(mixture)) => {
                let feed_forward = mixture.add(&mut layer, hidden);
                layer.finish(Mixer::None, feed_forward)
            }
            (Kind::FeedForward | Kind::Experts, _) => {
                let (width, has_bias) = (self.width, self.has_feed_forward_bias);
                layer.linear_with_bias(Role::Up, "mixer.up_proj", width, hidden, has_bias);
                layer.linear_with_bias(Role::Down, "mixer.down_proj", hidden, width, has_bias);
                layer.finish(Mixer::None, FeedForward::Dense { width, activation: Activation::Plain })
            }
        }
    }
}

fn experts(config: &Config<'_>) -> Result<Mixture, ConfigError> {
    let experts = config.required("n_routed_experts")?;
    let per_token = config.required("num_experts_per_tok")?;
    let shared = config.count("moe_shared_expert_intermediate_size")?.unwrap_or(0);
    let plain = Mixture::gated(experts, per_token, config.required("moe_intermediate_size")?);
    let latent = config.count("moe_latent_size")?.filter(|&width| width > 0);
    let has_shared_bias = config.flag("mlp_bias", false)?;
    let plain = plain.with_shared(shared).named(Names::MIXER);
    Ok(Mixture { activation: Activation::Plain, latent, has_shared_bias, ..plain })
}

/// Nemotron-H.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let listed = if config.has("layers_block_type") { "layers_block_type" } else { "layer_types" };
    // The reference's own order where neither list nor pattern is there.
    let default = || vec![Kind::Mamba, Kind::Experts, Kind::Attention, Kind::FeedForward];
    let kinds_main = kinds(&config, listed, "hybrid_override_pattern")?.unwrap_or_else(default);
    let drafts = match config.count("num_nextn_predict_layers")?.unwrap_or(0) {
        0 => Vec::new(),
        _ => kinds(&config, "mtp_layers_block_type", "mtp_hybrid_override_pattern")?
            .unwrap_or_else(|| vec![Kind::Attention, Kind::Experts]),
    };
    let has_experts = kinds_main.iter().chain(&drafts).any(|&kind| kind == Kind::Experts);
    let shape = Shape::read(&config, has_experts)?;
    let hidden = shape.hidden;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for (index, &kind) in (0..).zip(&kinds_main) {
        model.decoder.push(shape.layer(source, index, kind));
    }
    for (index, &kind) in (0..).zip(&drafts) {
        let layer = shape.layer(source, index, kind);
        let layer =
            if index == 0 { crate::huggingface::sparse::prediction_layer(source, layer, hidden) } else { layer };
        model.draft_layers.push(layer);
    }
    Ok(model)
}
