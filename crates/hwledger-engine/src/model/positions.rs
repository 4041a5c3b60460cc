//! How a file says that heads turn.
//!
//! Source: `llama-context.cpp`, `llama-model.cpp` and the graphs of llama.cpp, autumn 2026.

use crate::error::LoadError;

use hwledger_kernels::elementwise::RotaryPairs;

use super::conventions::{Conventions, WindowRotary};
use super::rotary::{Rotary, Yarn};
use super::settings::{Keys, narrow};

/// What `YaRN` takes where a file does not say (llama.cpp's defaults, those of the paper).
const YARN_BETA_FAST: f64 = 32.0;
const YARN_BETA_SLOW: f64 = 1.0;

/// The values of a small tensor, if it is there.
pub(super) type SmallTensor = Result<Option<Vec<f32>>, LoadError>;

/// The conventions as this file has them.
pub(super) fn positions(keys: &Keys<'_>, conventions: Conventions) -> Result<Conventions, LoadError> {
    let metadata = &keys.header.metadata;
    let sections = metadata.integers(&keys.name("rope.dimension_sections")).unwrap_or_default();
    if keys.architecture == "glm4" && sections.iter().any(|&section| section > 0) {
        if sections.get(3).is_some_and(|&section| section > 0) {
            return Err(LoadError::Unsupported("positions of four dimensions".to_owned()));
        }
        // A language model of pictures: in text, positions are the same in all dimensions; pairs are others.
        return Ok(Conventions { pairs: RotaryPairs::Halves, ..conventions });
    }
    if keys.architecture == "granite" && metadata.bool(&keys.name("rope.scaling.finetuned")) == Some(false) {
        return Ok(Conventions { no_rope_period: Some(1), ..conventions });
    }
    Ok(conventions)
}

/// How heads turn: in layers that see everything, and in those with a window.
pub(super) fn rotaries(
    keys: &Keys<'_>,
    window: WindowRotary,
    dimensions: usize,
    context: usize,
    factors: &dyn Fn(&str) -> SmallTensor,
) -> Result<[Rotary; 2], LoadError> {
    let base = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let window_base = keys.number("rope.freq_base_swa")?;
    let full = rotary(keys, dimensions, base, context, factors)?;
    let windowed = match window {
        WindowRotary::Scaled => match window_base {
            Some(base) => rotary(keys, dimensions, base, context, factors)?,
            None => full.clone(),
        },
        WindowRotary::Unscaled => Rotary::plain(dimensions, base),
        WindowRotary::UnscaledAt(base) => {
            let plain = Rotary::plain(dimensions, window_base.unwrap_or_else(|| f64::from(base)));
            Rotary { magnitude: keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0), ..plain }
        }
    };
    Ok([full, windowed])
}

/// What DeepSeek's files state of their attention temperature: the published `mscale_all_dim`, times 0.1 as in its
/// formula. Published files have the same `mscale`, which the cosines' factor would be made of.
fn log_multiplier(keys: &Keys<'_>) -> Result<Option<f64>, LoadError> {
    if keys.architecture == "deepseek2" { keys.factor("rope.scaling.yarn_log_multiplier") } else { Ok(None) }
}

/// The scale of latent attention's scores: one over the root of a key's length, times the squared temperature of
/// positions scaled by `YaRN`.
pub(super) fn latent_score_scale(keys: &Keys<'_>, key_dim: u64) -> Result<f32, LoadError> {
    let plain = 1.0 / (key_dim as f64).sqrt();
    let is_yarn = keys.header.metadata.text(&keys.name("rope.scaling.type")) == Some("yarn");
    let factor = keys.factor("rope.scaling.factor")?.or(keys.factor("rope.scale_linear")?).unwrap_or(1.0);
    let temperature = match log_multiplier(keys)? {
        Some(multiplier) if is_yarn => {
            let attention_factor = keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0);
            attention_factor * (1.0 + multiplier * factor.max(1.0).ln())
        }
        _ => 1.0,
    };
    Ok(narrow(plain * temperature * temperature))
}

fn rotary(
    keys: &Keys<'_>,
    dimensions: usize,
    base: f64,
    context: usize,
    factors: &dyn Fn(&str) -> SmallTensor,
) -> Result<Rotary, LoadError> {
    let mut rotary = Rotary::plain(dimensions, base);
    let original = match keys.number("rope.scaling.original_context_length")? {
        Some(tokens) => Some(tokens),
        None => keys.number("context_length")?,
    };
    let factor = keys.factor("rope.scaling.factor")?.or(keys.factor("rope.scale_linear")?).unwrap_or(1.0);
    rotary.magnitude = keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0);
    // Without a word on its kind a factor is that of linear scaling.
    match keys.header.metadata.text(&keys.name("rope.scaling.type")) {
        Some("none") => {}
        None | Some("linear" | "longrope") => rotary = rotary.linear(factor),
        Some("yarn") => {
            let original_context = original.ok_or_else(|| LoadError::Setting {
                key: keys.name("rope.scaling.original_context_length"),
                found: "missing".to_owned(),
                hint: "positions scaled by `yarn` need it",
            })?;
            let yarn = Yarn {
                factor,
                original_context,
                beta_fast: keys.number("rope.scaling.yarn_beta_fast")?.unwrap_or(YARN_BETA_FAST),
                beta_slow: keys.number("rope.scaling.yarn_beta_slow")?.unwrap_or(YARN_BETA_SLOW),
                attention_factor: rotary.magnitude,
                rounds_bounds: true,
            };
            rotary = rotary.yarn(dimensions, base, &yarn);
            if log_multiplier(keys)?.is_some() {
                // The temperature is in the scores' scale: what cosines would have is divided off again.
                rotary.magnitude = yarn.attention_factor;
            }
        }
        Some(other) => return Err(LoadError::Unsupported(format!("positions scaled by `{other}`"))),
    }
    if let Some(values) = factors("rope_freqs.weight")? {
        return Ok(rotary.slowed(&values));
    }
    let is_long = original.is_some_and(|original| context as f64 > original);
    let name = if is_long { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
    match factors(name)? {
        Some(values) => Ok(rotary.slowed(&values)),
        None => Ok(rotary),
    }
}
