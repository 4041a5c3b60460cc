//! MiniMax-M3: experts everywhere or by list, norms per head, and in some layers an index that picks blocks of keys
//! (transformers `modeling_minimax_m3_vl.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{FeedForward, Indexer, Layer, Mixer, Modality, Role, Tower};

use crate::huggingface::blocks::QueryKeyNorm;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::Dense;
use crate::huggingface::experts::Mixture;
use crate::huggingface::schedule;
use crate::huggingface::sparse::{OutputGate, Sparse};
use crate::huggingface::tower::{TowerBuilder, TowerLayer, TowerShape, layer_count, square};

/// A count under its own key, or under the older one of `sparse_attention_config`.
fn index_count(config: &Config<'_>, key: &str, older: &str) -> Result<u64, ConfigError> {
    match config.nested("sparse_attention_config").map(|nested| nested.count(older)).transpose()?.flatten() {
        Some(value) => Ok(value),
        None => config.required(key),
    }
}

/// Which layers have an index: `layer_types`, else the older list; none without either.
fn indexed_layers(config: &Config<'_>, layers: u64) -> Result<Vec<bool>, ConfigError> {
    if let Some(kinds) = schedule::kinds(config, "layer_types", layers)? {
        return Ok(kinds.into_iter().map(|kind| kind == "minimax_m3_sparse").collect());
    }
    let older = config.nested("sparse_attention_config");
    let flags =
        older.map(|nested| schedule::per_layer(&nested, "sparse_attention_freq", layers)).transpose()?.flatten();
    Ok(match flags {
        Some(flags) => flags.into_iter().map(|flag| flag != 0).collect(),
        None => (0..layers).map(|_| false).collect(),
    })
}

/// Adds the index to a layer; it caches one key per token, which all its heads share.
fn add_index(source: &Source<'_>, layer: &mut Layer, hidden: u64, index: Indexer) {
    let mut extra = source.layer("model.layers.index");
    extra.linear(Role::Indexer, "self_attn.indexer.q_proj", index.heads * index.head_dim, hidden);
    extra.linear(Role::Indexer, "self_attn.indexer.k_proj", index.head_dim, hidden);
    extra.vector(Role::Indexer, index.head_dim);
    extra.vector(Role::Indexer, index.head_dim);
    layer.weights.extend(extra.finish(Mixer::None, FeedForward::None).weights);
    if let Mixer::Attention(attention) = &mut layer.mixer {
        attention.indexer = Some(index);
    }
}

/// The language model.
pub(super) fn read_text(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let mut dense = Dense::with_width(source, &config, false, hidden, config.required("dense_intermediate_size")?)?;
    dense.query_key_norm = QueryKeyNorm::PerHead;
    let index = Indexer {
        heads: index_count(&config, "index_n_heads", "sparse_num_index_heads")?,
        head_dim: index_count(&config, "index_head_dim", "sparse_index_dim")?,
        top_k: index_count(&config, "index_topk_blocks", "sparse_topk_blocks")?.saturating_mul(index_count(
            &config,
            "index_block_size",
            "sparse_block_size",
        )?),
        is_owner: true,
    };
    let is_indexed = indexed_layers(&config, dense.layers)?;
    let is_sparse = schedule::sparse_layers(&config, dense.layers, 0)?;
    let experts = config.required_of(&["num_local_experts", "num_experts"])?;
    let mixture =
        Mixture::gated(experts, config.required("num_experts_per_tok")?, config.required("intermediate_size")?)
            .with_shared(config.count("shared_intermediate_size")?.unwrap_or(0));
    let shape = Sparse { dense, output_gate: OutputGate::None, mixture, is_sparse };
    let mut model = shape.dense.frame(source);
    for (number, &is_indexed) in (0..shape.dense.layers).zip(&is_indexed) {
        let mut layer = shape.layer(source, number);
        if is_indexed {
            add_index(source, &mut layer, hidden, index);
        }
        model.decoder.push(layer);
    }
    Ok(model)
}

/// The tower: rotary positions, no norm behind the layers; patches are projected first and merged then.
fn tower(source: &Source<'_>, text_hidden: u64) -> Result<Tower, ConfigError> {
    let config = source.root.nested_or_empty("vision_config");
    let hidden = config.required("hidden_size")?;
    let width = config.required("intermediate_size")?;
    let heads = config.required("num_attention_heads")?;
    let layers = layer_count(&config, "num_hidden_layers")?;
    let projected = source.root.required("projector_hidden_size")?;
    let patch = square(config.required("patch_size")?)
        .saturating_mul(config.required("num_channels")?)
        .saturating_mul(config.required("temporal_patch_size")?);
    let mut tower = TowerBuilder::new(source);
    tower.matrix(hidden, patch);
    tower.norm(hidden, true);
    tower.repeat(layers, |tower| tower.transformer_layer(TowerLayer::vit(hidden, width)));
    tower.start_projector();
    tower.linear(projected, hidden, true);
    tower.linear(text_hidden, projected, true);
    let merged = square(config.required("spatial_merge_size")?).saturating_mul(text_hidden);
    tower.linear(projected, merged, true);
    tower.linear(text_hidden, projected, true);
    Ok(tower.finish(TowerShape { modality: Modality::Vision, hidden, heads, width, layers, positions: None }))
}

/// The language model behind its tower.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read_text(source)?;
    model.towers.push(tower(source, model.hidden_size)?);
    Ok(model)
}
