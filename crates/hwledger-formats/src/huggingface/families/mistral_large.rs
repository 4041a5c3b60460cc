//! Mistral Large 4: latent attention whose every fourth layer has no positions, an index that reads the hidden state,
//! learned scales on queries by position (transformers `modeling_mistral_large4.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::Role;

use crate::Diagnostic;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::latent::{IndexerShape, LatentShape};
use crate::huggingface::schedule;
use crate::huggingface::sparse::{LatentSparse, deepseek_experts};

/// Which layers rotate their keys: `no_rope_layers` (1 where they do), else all but every `no_rope_layer_interval`-th.
fn rotary_layers(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    if let Some(flags) = schedule::per_layer(config, "no_rope_layers", layers)? {
        return Ok(flags.into_iter().map(|flag| flag != 0).collect());
    }
    let interval = config.count("no_rope_layer_interval")?.unwrap_or(4).max(1);
    Ok((0..layers).map(|index| (index + 1) % interval != 0).collect())
}

/// The language model.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let layers = config.layers(&["num_hidden_layers"])?;
    let hidden = config.required("hidden_size")?;
    let rotary = LatentShape { query_rank: None, ..LatentShape::read(&config)? };
    let still = LatentShape { rope: 0, nope: rotary.nope + rotary.rope, ..rotary };
    let indexer = IndexerShape::read(&config, rotary, hidden)?;
    let mut shape = LatentSparse {
        hidden,
        vocabulary: config.required("vocab_size")?,
        layers,
        is_head_tied: source.is_head_tied(false)?,
        latent: rotary,
        indexer: Some(indexer),
        owns_index: super::deepseek::owners(&config, layers)?,
        mixture: deepseek_experts(&config)?,
        is_sparse: schedule::sparse_layers(&config, layers, 1)?,
        width: config.required("intermediate_size")?,
        norms_per_layer: 2,
    };
    let sources = config.counts("kv_source_layers")?.unwrap_or_default();
    if (0..).zip(&sources).any(|(index, &source)| index != source) {
        let text = "lets layers read another layer's cache; each is planned with a cache of its own, an upper bound";
        source.diagnostics.push(Diagnostic::new("kv_source_layers", text));
    }
    let is_rotary = rotary_layers(&config, layers)?;
    let mut model = source.decoder(hidden, shape.vocabulary, shape.is_head_tied);
    for ((index, &is_rotary), &owns_index) in (0..layers).zip(&is_rotary).zip(&shape.owns_index.clone()) {
        shape.latent = if is_rotary { rotary } else { still };
        let mut layer = shape.layer(source, index);
        // A scale and a bias per head.
        let mut extra = vec![(Role::Other, rotary.heads); 2];
        if owns_index {
            extra.extend([(Role::Indexer, hidden); 2]);
            extra.extend([(Role::Indexer, indexer.heads); 2]);
        }
        layer.weights.extend(extra.into_iter().map(|(role, length)| source.vector(role, length)));
        model.decoder.push(layer);
    }
    Ok(model)
}
