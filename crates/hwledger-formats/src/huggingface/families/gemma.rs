//! Gemma 1 to 3 (transformers `modeling_gemma.py`, `modeling_gemma2.py`, `modeling_gemma3.py`).

use hwledger_core::ModelSpec;

use crate::huggingface::blocks::{AttentionBias, QueryKeyNorm};
use crate::huggingface::builder::Source;
use crate::huggingface::config::ConfigError;
use crate::huggingface::dense::{Dense, spans};
use crate::huggingface::tower::TowerShape;
use crate::huggingface::towers::siglip;

fn shaped_as_gemma(source: &Source<'_>) -> Result<Dense, ConfigError> {
    let mut dense = Dense::read(source, &source.text, true)?;
    dense.attention_bias = AttentionBias::all(source.text.flag("attention_bias", false)?);
    Ok(dense)
}

/// Gemma 1.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    Ok(shaped_as_gemma(source)?.build(source))
}

/// Gemma 2: norms before and after each block, a window in every other layer.
pub(super) fn read_gemma2(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_gemma(source)?;
    dense.norms_per_layer = 4;
    let window = source.text.positions("sliding_window")?;
    dense.spans = spans(&source.text, dense.layers, window, |index| index % 2 == 0)?;
    Ok(dense.build(source))
}

/// `VaultGemma`: Gemma 2 without the norms after the blocks.
pub(super) fn read_vaultgemma(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_gemma(source)?;
    let window = source.text.positions("sliding_window")?;
    dense.spans = spans(&source.text, dense.layers, window, |index| index % 2 == 0)?;
    Ok(dense.build(source))
}

/// Gemma 3: norms on queries and keys, one layer in six without a window.
pub(super) fn read_gemma3_text(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut dense = shaped_as_gemma(source)?;
    dense.norms_per_layer = 4;
    dense.query_key_norm = QueryKeyNorm::PerHead;
    let config = &source.text;
    let period = config.count_of(&["sliding_window_pattern", "_sliding_window_pattern"])?.unwrap_or(6).max(1);
    let mut window = config.positions("sliding_window")?;
    if config.flag("use_bidirectional_attention", false)? {
        // The window then reaches both ways (embedding models).
        window = window.map(|tokens| tokens / 2 + 1);
    }
    dense.spans = spans(config, dense.layers, window, |index| (index + 1) % period != 0)?;
    Ok(dense.build(source))
}

/// Gemma 3 with its vision tower: pooled patches, a norm and one matrix.
pub(super) fn read_gemma3(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_gemma3_text(source)?;
    let (mut tower, shape) = siglip::siglip(source, &source.root.nested_or_empty("vision_config"))?;
    tower.start_projector();
    tower.matrix(model.hidden_size, shape.hidden);
    tower.norm(shape.hidden, false);
    let positions = source.root.count("mm_tokens_per_image")?.or(shape.positions);
    model.towers.push(tower.finish(TowerShape { positions, ..shape }));
    Ok(model)
}

/// `PaliGemma`: Gemma 1 or 2 with a vision tower and one linear layer between.
pub(super) fn read_paligemma(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let inner = source.text.text("model_type")?.unwrap_or("gemma");
    let mut model = if inner == "gemma2" { read_gemma2(source)? } else { read(source)? };
    let config = source.root.nested_or_empty("vision_config");
    let (mut tower, shape) = siglip::siglip(source, &config)?;
    let projection = source.root.count("projection_dim")?.or(config.count("projection_dim")?);
    let projection = projection.unwrap_or(model.hidden_size);
    tower.start_projector();
    tower.linear(projection, shape.hidden, true);
    model.towers.push(tower.finish(shape));
    Ok(model)
}
