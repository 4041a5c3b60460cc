//! Llama and the many models of the same shape (Touvron et al. 2023; transformers `modeling_llama.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, Role};

use crate::huggingface::blocks::{AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::{Dense, NormShape, spans, uniform_spans};

/// What Llama's own switches say: biases on all projections of attention, on all of the feed-forward.
fn shaped_as_llama(source: &Source<'_>) -> Result<Dense, ConfigError> {
    let config = &source.text;
    let mut dense = Dense::read(source, config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.has_feed_forward_bias = config.flag("mlp_bias", false)?;
    Ok(dense)
}

/// Llama, Yi, Granite, `InternLM` 3: two norms, grouped queries, a gated feed-forward. No window, whatever the file says.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    Ok(shaped_as_llama(source)?.build(source))
}

/// Helium: the output projection never has a bias.
pub(super) fn read_helium(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.attention_bias.output = false;
    Ok(dense.build(source))
}

/// Mistral: every layer looks back over `sliding_window` tokens where that is a number.
pub(super) fn read_mistral(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.spans = uniform_spans(dense.layers, source.text.positions("sliding_window")?);
    Ok(dense.build(source))
}

/// Ministral (2024): windows by `layer_types`, everywhere if that is left out.
pub(super) fn read_ministral(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    let window = source.text.positions("sliding_window")?;
    dense.spans = spans(&source.text, dense.layers, window, |_| true)?;
    Ok(dense.build(source))
}

/// `MiMo` (transformers-remote `modeling_mimo.py`): Qwen 2's biases; the draft layers are not counted.
pub(super) fn read_mimo(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.attention_bias = AttentionBias::inputs(source.text.flag("attention_bias", true)?);
    Ok(dense.build(source))
}

/// Seed-OSS: the output projection has a bias switch of its own.
pub(super) fn read_seed_oss(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.attention_bias = AttentionBias {
        query_key_value: source.text.flag("attention_bias", true)?,
        output: source.text.flag("attention_out_bias", false)?,
    };
    Ok(dense.build(source))
}

/// Arcee: a plain feed-forward with squared rectifiers.
pub(super) fn read_arcee(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.activation = Activation::Plain;
    Ok(dense.build(source))
}

/// Nemotron (dense) and Jais 2: layer norms with bias and a plain feed-forward.
pub(super) fn read_nemotron(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.activation = Activation::Plain;
    dense.norm = NormShape::ScaleAndBias;
    Ok(dense.build(source))
}

/// Apertus: query and key norms, a plain feed-forward, and two learned parameters in its activation.
pub(super) fn read_apertus(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.activation = Activation::Plain;
    dense.query_key_norm = QueryKeyNorm::PerHead;
    dense.has_feed_forward_bias = false;
    // xIELU's alpha for positive and for negative inputs.
    dense.extras = vec![(Role::Other, 1), (Role::Other, 1)];
    Ok(dense.build(source))
}

/// `SmolLM` 3: windows only in layers with rotary positions, and only if switched on.
pub(super) fn read_smollm3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    let config = &source.text;
    let window = if config.flag("use_sliding_window", false)? { config.positions("sliding_window")? } else { None };
    let interval = config.count("no_rope_layer_interval")?.unwrap_or(4).max(1);
    let rotary = config.counts("no_rope_layers")?;
    let has_positions = |index: u64| match &rotary {
        Some(list) => usize::try_from(index).ok().and_then(|index| list.get(index)).is_some_and(|&flag| flag != 0),
        None => !(index + 1).is_multiple_of(interval),
    };
    dense.spans = spans(config, dense.layers, window, |index| !has_positions(index))?;
    Ok(dense.build(source))
}

/// ERNIE 4.5 (dense): one switch for all biases.
pub(super) fn read_ernie(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, true)?;
    let has_bias = source.text.flag("use_bias", false)?;
    dense.attention_bias = AttentionBias::all(has_bias);
    dense.has_feed_forward_bias = has_bias;
    Ok(dense.build(source))
}

/// Hunyuan (dense): norms on queries and keys.
pub(super) fn read_hunyuan(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.query_key_norm = QueryKeyNorm::PerHead;
    dense.has_feed_forward_bias = false;
    Ok(dense.build(source))
}

/// `DiffLlama`: four learned vectors weigh the two attention maps; their difference is normed without a scale.
pub(super) fn read_diffllama(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.has_feed_forward_bias = false;
    dense.extras = vec![(Role::Other, dense.heads.head_dim); 4];
    Ok(dense.build(source))
}

/// `HyperCLOVA` X: with `use_post_norm` a norm after each block as well.
pub(super) fn read_hyperclovax(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.norms_per_layer = if source.text.flag("use_post_norm", true)? { 4 } else { 2 };
    Ok(dense.build(source))
}

/// Granite with windows and learned sinks; every fourth layer is full.
pub(super) fn read_granite_swa(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.has_sinks = true;
    let window = source.text.positions("sliding_window")?;
    dense.spans = spans(&source.text, dense.layers, window, |index| index % 4 != 0)?;
    Ok(dense.build(source))
}

/// CWM: no attention biases; three of four layers have a window.
pub(super) fn read_cwm(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.has_feed_forward_bias = source.text.flag("mlp_bias", false)?;
    let window = source.text.positions("sliding_window")?;
    dense.spans = spans(&source.text, dense.layers, window, |index| index % 4 != 0)?;
    Ok(dense.build(source))
}

/// `BitNet`: a norm before each output projection.
pub(super) fn read_bitnet(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.extras = vec![(Role::Norm, dense.hidden), (Role::Norm, dense.width)];
    Ok(dense.build(source))
}

/// nanochat: no norm has a parameter, and the feed-forward is plain.
pub(super) fn read_nanochat(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.norm = NormShape::None;
    dense.activation = Activation::Plain;
    Ok(dense.build(source))
}

/// `OLMo` 1: norms without parameters.
pub(super) fn read_olmo(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.norm = NormShape::None;
    Ok(dense.build(source))
}

/// `OLMo` 2 and 3: norms over whole queries and keys, and after the blocks instead of before. Version 3 has windows.
pub(super) fn read_olmo2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_llama(source)?;
    dense.query_key_norm = QueryKeyNorm::Full;
    let window = source.text.positions("sliding_window")?;
    if source.text.has("layer_types") || window.is_some() {
        dense.spans = spans(&source.text, dense.layers, window, |index| (index + 1) % 4 != 0)?;
    }
    Ok(dense.build(source))
}

/// EXAONE 4: per-head norms; every `sliding_window_pattern`-th layer is full, and all are without a window.
pub(super) fn read_exaone4(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = Dense::read(source, &source.text, false)?;
    dense.query_key_norm = QueryKeyNorm::PerHead;
    let config = &source.text;
    let window = config.positions("sliding_window")?;
    // The pattern may also be a word of `L` and `G`, as in `LLLG`.
    let word = config.get("sliding_window_pattern").and_then(|value| value.as_str());
    let pattern: Vec<bool> = if let Some(word) = word {
        word.chars().map(|letter| letter == 'L').collect()
    } else {
        let period = config.count("sliding_window_pattern")?.unwrap_or(0).min(dense.layers);
        (1..=period).map(|index| index < period).collect()
    };
    let is_sliding = |index: u64| {
        let at = usize::try_from(index).unwrap_or(0).checked_rem(pattern.len());
        at.is_some_and(|at| pattern[at])
    };
    if window.is_some() {
        dense.spans = spans(config, dense.layers, window, is_sliding)?;
    }
    Ok(dense.build(source))
}

/// EXAONE 3 (transformers-remote `modeling_exaone.py`): Llama under other names.
pub(super) fn read_exaone3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    Ok(Dense::read(source, &source.text, false)?.build(source))
}
