//! Towers that several families share.

pub(crate) mod audio;
pub(crate) mod clip;
pub(crate) mod conformer;
pub(crate) mod glm4v;
pub(crate) mod internvit;
pub(crate) mod llama4;
pub(crate) mod moonvit;
pub(crate) mod phi4;
pub(crate) mod pixtral;
pub(crate) mod qformer;
pub(crate) mod qwen_vision;
pub(crate) mod siglip;

use super::builder::Source;
use super::config::{Config, ConfigError};
use super::tower::{TowerBuilder, TowerShape};

/// The tower that a configuration names by its model type, without a projector.
pub(crate) fn vision(source: &Source<'_>, config: &Config<'_>) -> Result<(TowerBuilder, TowerShape), ConfigError> {
    match config.model_type()? {
        Some("clip_vision_model") => clip::clip(source, config),
        Some("siglip_vision_model") => siglip::siglip(source, config),
        Some("siglip2_vision_model") => siglip::siglip2(source, config),
        Some("pixtral") => pixtral::pixtral(source, config),
        other => Err(config.contradiction("model_type", format!("`{}` is no known tower", other.unwrap_or_default()))),
    }
}
