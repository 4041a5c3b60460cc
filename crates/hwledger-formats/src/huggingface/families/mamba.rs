//! Mamba, Falcon Mamba and Mamba-2: recurrence alone (transformers `modeling_mamba.py`,
//! `modeling_falcon_mamba.py`, `modeling_mamba2.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{FeedForward, Mixer};

use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::recurrent::{Mamba1, Mamba2};

/// The rank of the step: `"auto"` is a sixteenth of the hidden size.
pub(super) fn step_rank(config: &Config<'_>, key: &str, hidden: u64) -> Result<u64, ConfigError> {
    match config.get(key) {
        Some(value) if value.is_string() => Ok(hidden.div_ceil(16)),
        _ => Ok(config.count(key)?.unwrap_or(hidden.div_ceil(16))),
    }
}

/// Mamba and Falcon Mamba, whose additional norms have no parameters.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required_of(&["hidden_size", "d_model"])?;
    let inner = match config.count("intermediate_size")?.filter(|&width| width > 0) {
        Some(width) => width,
        None => config.count("expand")?.unwrap_or(2) * hidden,
    };
    let mamba = Mamba1 {
        inner,
        state: config.required("state_size")?,
        step_rank: step_rank(&config, "time_step_rank", hidden)?,
        taps: config.required("conv_kernel")?,
        has_convolution_bias: config.flag("use_conv_bias", true)?,
        has_projection_bias: config.flag("use_bias", false)?,
        has_inner_norms: false,
    };
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(true)?);
    for index in 0..source.layer_count()? {
        let mut layer = source.layer(format!("backbone.layers.{index}"));
        let recurrent = mamba.add(&mut layer, "mixer", hidden);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(Mixer::Recurrent(recurrent), FeedForward::None));
    }
    Ok(model)
}

/// Mamba-2.
pub(super) fn read_mamba2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required_of(&["hidden_size", "d_model"])?;
    let mamba = Mamba2 {
        heads: config.required("num_heads")?,
        head_dim: config.required("head_dim")?,
        state: config.required("state_size")?,
        groups: config.required("n_groups")?,
        taps: config.required("conv_kernel")?,
        has_convolution_bias: config.flag("use_conv_bias", true)?,
        has_projection_bias: config.flag("use_bias", false)?,
        has_output_bias: config.flag("use_bias", false)?,
        has_norm: true,
    };
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    for index in 0..source.layer_count()? {
        let mut layer = source.layer(format!("backbone.layers.{index}"));
        let recurrent = mamba.add(&mut layer, "mixer", hidden);
        layer.norm(hidden, false);
        model.decoder.push(layer.finish(Mixer::Recurrent(recurrent), FeedForward::None));
    }
    Ok(model)
}
