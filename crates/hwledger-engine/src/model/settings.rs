//! The numbers of a model beside its shapes: epsilons, scales, caps, positions.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Attention, FeedForward};
use hwledger_formats::gguf::{Header, Value};

use crate::error::LoadError;

use super::conventions::{Conventions, ExpertGroups, Routing, conventions};
use super::positions::{SmallTensor, latent_score_scale, positions, rotaries};
use super::rotary::Rotary;

/// The numbers of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What the architecture's name decides.
    pub conventions: Conventions,
    /// Added to the mean square before its root.
    pub epsilon: f32,
    /// Factor of token embeddings.
    pub embedding_scale: f32,
    /// Factor of what a layer adds to the residual stream.
    pub residual_scale: f32,
    /// Factor of logits.
    pub logit_scale: f32,
    /// Logits become `cap x tanh(logit / cap)`.
    pub logit_cap: Option<f32>,
    /// Attention scores become `cap x tanh(score / cap)`.
    pub score_cap: Option<f32>,
    /// Factor of attention scores, where it is not one over the root of the key's length.
    pub score_scale: Option<f32>,
    /// Factor of the weights of experts.
    pub expert_scale: f32,
    /// Whether the weights of the chosen experts are made to sum to one.
    pub normalises_experts: bool,
    /// The groups that experts are chosen from; none where all compete.
    pub expert_groups: Option<ExpertGroups>,
    /// Elements of a head that turn.
    pub rotary_dimensions: usize,
    /// How heads turn: in layers that see everything, and in those with a window.
    pub rotary: [Rotary; 2],
}

impl Settings {
    /// Which of [`Self::rotary`] a layer uses; none where it has no positions.
    pub fn rotary_of(&self, layer: usize, has_window: bool) -> Option<usize> {
        if self.conventions.no_rope_period.is_some_and(|period| (layer + 1).is_multiple_of(period)) {
            return None;
        }
        Some(usize::from(has_window && self.windows_turn_apart()))
    }

    /// Whether layers with a window turn in another way than the others.
    pub fn windows_turn_apart(&self) -> bool {
        self.rotary[0] != self.rotary[1]
    }

    /// The settings in a header. `context` is the longest sequence that will be run; `factors` gives the values
    /// of a small tensor by its name.
    pub fn read(
        header: &Header,
        spec: &ModelSpec,
        context: usize,
        factors: &dyn Fn(&str) -> SmallTensor,
    ) -> Result<Self, LoadError> {
        let architecture = header.architecture().unwrap_or_default();
        let conventions = conventions(architecture)
            .ok_or_else(|| LoadError::Unsupported(format!("models of the architecture `{architecture}`")))?;
        let keys = Keys { header, architecture };
        let conventions = routing(&keys, positions(&keys, conventions)?)?;
        let attention = spec.decoder.layers().find_map(|layer| layer.mixer.attention());
        let attention = attention.ok_or_else(|| LoadError::Unsupported("models without attention".to_owned()))?;
        let epsilon = keys.number("attention.layer_norm_rms_epsilon")?.ok_or_else(|| LoadError::Setting {
            key: keys.name("attention.layer_norm_rms_epsilon"),
            found: "missing".to_owned(),
            hint: "every model with RMS norms states it",
        })?;
        let hidden = spec.hidden_size as f32;
        let dimensions = header
            .metadata
            .unsigned(&keys.name("rope.dimension_count"))
            .unwrap_or(attention.key_dim)
            .min(attention.key_dim);
        let dimensions = usize::try_from(dimensions).unwrap_or(0);
        let rotary = rotaries(&keys, conventions.window_rotary, dimensions, context, factors)?;
        let embedding_scale = keys.factor("embedding_scale")?.unwrap_or(1.0);
        let cap = |key: &str, default: Option<f32>| -> Result<Option<f32>, LoadError> {
            Ok(keys.number(key)?.map(narrow).or(default).filter(|&cap| cap > 0.0))
        };
        Ok(Self {
            conventions,
            epsilon: narrow(epsilon),
            embedding_scale: if conventions.scales_embedding { hidden.sqrt() } else { narrow(embedding_scale) },
            residual_scale: narrow(keys.factor("residual_scale")?.unwrap_or(1.0)),
            // Granite's files hold the divisor under this name.
            logit_scale: narrow(1.0 / keys.factor("logit_scale")?.unwrap_or(1.0)),
            logit_cap: cap("final_logit_softcapping", conventions.logit_cap)?,
            score_cap: cap("attn_logit_softcapping", conventions.score_cap)?,
            score_scale: score_scale(architecture, spec, attention, &keys)?,
            expert_scale: narrow(keys.number("expert_weights_scale")?.filter(|&scale| scale > 0.0).unwrap_or(1.0)),
            normalises_experts: header
                .metadata
                .bool(&keys.name("expert_weights_norm"))
                .unwrap_or(conventions.normalises_experts),
            expert_groups: expert_groups(&keys, spec)?,
            rotary_dimensions: dimensions,
            rotary,
        })
    }
}

/// Gemma's largest models scale scores by the width per head, not by the head's length; files do not say so,
/// and llama.cpp knows them by their layers.
fn score_scale(
    architecture: &str,
    spec: &ModelSpec,
    attention: &Attention,
    keys: &Keys<'_>,
) -> Result<Option<f32>, LoadError> {
    let by_width = matches!((architecture, spec.decoder.len()), ("gemma2", 46) | ("gemma3", 62));
    if by_width {
        return Ok(Some(1.0 / (spec.hidden_size as f32 / attention.heads as f32).sqrt()));
    }
    if architecture == "deepseek2" {
        return latent_score_scale(keys, attention.key_dim).map(Some);
    }
    Ok(keys.number("attention.scale")?.filter(|&scale| scale > 0.0).map(narrow))
}

/// The conventions with the routing that a file states. Files of DeepSeek's architecture say how their router weighs;
/// those from before they did are of DeepSeek-V2, but for GLM-4.7-Flash, which llama.cpp knows by its vocabulary.
fn routing(keys: &Keys<'_>, conventions: Conventions) -> Result<Conventions, LoadError> {
    /// Tokens of GLM-4.7-Flash.
    const GLM_VOCABULARY: u64 = 154_880;
    if keys.architecture != "deepseek2" {
        return Ok(conventions);
    }
    if keys.number("attention.temperature_scale")?.is_some_and(|scale| scale != 0.0) {
        return Err(LoadError::Unsupported("attention whose temperature depends on the position".to_owned()));
    }
    let metadata = &keys.header.metadata;
    let is_glm = metadata.array_length("tokenizer.ggml.tokens") == Some(GLM_VOCABULARY)
        && matches!(metadata.unsigned(&keys.name("block_count")), Some(47 | 48));
    // The numbers of llama.cpp's `llama_expert_gating_func_type`.
    let routing = match metadata.unsigned(&keys.name("expert_gating_func")).unwrap_or(0) {
        0 if is_glm => Routing::SigmoidThenChoose,
        0 | 1 => Routing::SoftmaxThenChoose,
        2 => Routing::SigmoidThenChoose,
        other => return Err(LoadError::Unsupported(format!("experts behind a router of the kind {other}"))),
    };
    Ok(Conventions { routing, ..conventions })
}

/// The groups that experts are chosen from.
fn expert_groups(keys: &Keys<'_>, spec: &ModelSpec) -> Result<Option<ExpertGroups>, LoadError> {
    let count = |suffix: &str| keys.header.metadata.unsigned(&keys.name(suffix));
    match count("expert_group_count") {
        Some(groups) if groups > 1 => checked_groups(spec, groups, count("expert_group_used_count").unwrap_or(0)),
        _ => Ok(None),
    }
}

/// Groups that hold as many experts each, and together as many as a token takes.
pub(super) fn checked_groups(spec: &ModelSpec, groups: u64, used: u64) -> Result<Option<ExpertGroups>, LoadError> {
    for layer in spec.decoder.layers() {
        let FeedForward::Experts(experts) = &layer.feed_forward else { continue };
        let per_group = experts.experts / groups.max(1);
        let has_enough = per_group.checked_mul(used).is_some_and(|chosen| chosen >= experts.experts_per_token);
        if !experts.experts.is_multiple_of(groups) || !(1..=groups).contains(&used) || !has_enough {
            let what = format!("{} experts of which {used} of {groups} groups are chosen", experts.experts);
            return Err(LoadError::Unsupported(what));
        }
    }
    let size = |count| usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Some(ExpertGroups { count: size(groups), used: size(used) }))
}

#[expect(clippy::cast_possible_truncation, reason = "files hold these numbers in single precision")]
pub(super) const fn narrow(value: f64) -> f32 {
    value as f32
}

/// The keys of an architecture.
pub(super) struct Keys<'a> {
    pub(super) header: &'a Header,
    pub(super) architecture: &'a str,
}

impl Keys<'_> {
    pub(super) fn name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    /// A number, which must be finite.
    pub(super) fn number(&self, suffix: &str) -> Result<Option<f64>, LoadError> {
        let key = self.name(suffix);
        let value = match self.header.metadata.get(&key) {
            Some(Value::Float(value)) => *value,
            Some(Value::Unsigned(value)) => *value as f64,
            Some(Value::Negative(value)) => *value as f64,
            _ => return Ok(None),
        };
        if value.is_finite() {
            return Ok(Some(value));
        }
        Err(LoadError::Setting { key, found: value.to_string(), hint: "it must be a finite number" })
    }

    /// A factor; zero stands for none.
    pub(super) fn factor(&self, suffix: &str) -> Result<Option<f64>, LoadError> {
        self.number(suffix).map(|number| number.filter(|&number| number != 0.0))
    }
}
