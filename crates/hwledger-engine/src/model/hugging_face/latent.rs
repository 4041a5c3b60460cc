//! How DeepSeek's configurations say that latent attention turns and scales.
//!
//! Source: transformers 5 (`modeling_deepseek_v2.py`, `modeling_deepseek_v3.py`).

use hwledger_kernels::elementwise::RotaryPairs;
use serde_json::Value;

use crate::error::LoadError;
use crate::model::conventions::Conventions;
use crate::model::settings::narrow;

use super::settings::Keys;

/// The pairs that turn, which go to the conventions; refuses a temperature that depends on the position.
pub(super) fn positions(keys: Keys<'_>, conventions: &mut Conventions) -> Result<(), LoadError> {
    if keys.get("rope_interleave").and_then(Value::as_bool) == Some(false) {
        conventions.pairs = RotaryPairs::Halves;
    }
    let scaling = keys.object("rope_parameters").or(keys.object("rope_scaling"));
    if scaling.is_some_and(|scaling| scaling.get("llama_4_scaling_beta").is_some()) {
        return Err(LoadError::Unsupported("attention whose temperature depends on the position".to_owned()));
    }
    Ok(())
}

/// The scale of scores: one over the root of a key's length, times the squared temperature of scaled positions.
pub(super) fn score_scale(keys: Keys<'_>, key_dim: u64) -> Result<f32, LoadError> {
    let plain = 1.0 / (key_dim as f64).sqrt();
    let Some(scaling) = keys.object("rope_parameters").or(keys.object("rope_scaling")) else {
        return Ok(narrow(plain));
    };
    let is_scaled = !matches!(scaling.text("rope_type").or(scaling.text("type")), None | Some("default"));
    let mscale = scaling.number("mscale_all_dim")?.filter(|&mscale| is_scaled && mscale != 0.0);
    let temperature = match (mscale, scaling.positive("factor")?) {
        (Some(mscale), Some(factor)) => 1.0 + 0.1 * mscale * factor.max(1.0).ln(),
        _ => 1.0,
    };
    Ok(narrow(plain * temperature * temperature))
}
