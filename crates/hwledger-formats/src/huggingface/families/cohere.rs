//! Command R and Command A (transformers `modeling_cohere.py`, `modeling_cohere2.py`).

use hwledger_core::ModelSpec;

use crate::huggingface::blocks::{AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::{Dense, spans};

/// One norm before attention and feed-forward, which run side by side.
fn parallel_blocks(source: &Source<'_>) -> Result<Dense, ConfigError> {
    let mut dense = Dense::read(source, &source.text, true)?;
    dense.attention_bias = AttentionBias::all(source.text.flag("attention_bias", false)?);
    dense.norms_per_layer = 1;
    Ok(dense)
}

/// Command R, Aya 23: with `use_qk_norm` a scale for every element of queries and keys.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = parallel_blocks(source)?;
    if source.text.flag("use_qk_norm", false)? {
        dense.query_key_norm = QueryKeyNorm::Full;
    }
    Ok(dense.build(source))
}

/// Command R7B, Command A, Aya Vision: every fourth layer without a window.
pub(super) fn read_cohere2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = parallel_blocks(source)?;
    let config = &source.text;
    let period = config.count_of(&["sliding_window_pattern", "_sliding_window_pattern"])?.unwrap_or(4).max(1);
    let window = config.positions("sliding_window")?;
    dense.spans = spans(config, dense.layers, window, |index| (index + 1) % period != 0)?;
    Ok(dense.build(source))
}
