//! Attention layers and what their cache holds.

use hwledger_core::model::{Attention, CacheOwner, Compression, Indexer, Latent, Role, Weight};

use super::architecture::{IndexerRule, indexer_rule, keeps_no_cache};
use super::hyperparameters::Hyperparameters;
use super::window::Windows;

/// From this context on the loader of GLM's sparse-attention models takes the owners of GLM-5.2.
const GLM_5_2_CONTEXT: u64 = 1 << 20;

/// The attention of a layer; none where it has no key-value heads.
pub(super) fn attention(
    model: &Hyperparameters<'_>,
    windows: &Windows,
    layer: usize,
    weights: &[Weight],
) -> Option<Attention> {
    let heads = model.heads.at(layer)?;
    let kv_heads = model.kv_heads.at(layer)?;
    if kv_heads == 0 {
        return None;
    }
    let is_windowed = windows.is_windowed(layer);
    let (key_dim, value_dim) =
        if is_windowed { (model.key_dim_window, model.value_dim_window) } else { (model.key_dim, model.value_dim) };
    // One vector per token serves as key and value.
    let value_dim = if is_shared_key_value(model) { 0 } else { value_dim };
    let plain = Attention {
        key_dim,
        value_dim,
        span: windows.span(layer),
        has_sinks: weights.iter().any(|weight| weight.role == Role::Sinks),
        cache: cache_owner(model, windows, layer),
        indexer: indexer(model, layer, is_windowed),
        compression: compression(model, layer),
        ..Attention::full(heads, kv_heads, key_dim)
    };
    Some(match latent(model, is_windowed, key_dim) {
        Some((latent, key_dim, value_dim)) => {
            Attention { kv_heads: heads, key_dim, value_dim, latent: Some(latent), ..plain }
        }
        None => plain,
    })
}

/// The latent of multi-head latent attention with the decompressed heads' key and value lengths.
///
/// Files without `key_length_mla` were converted before 2025-04; for them llama.cpp caches decompressed keys and
/// values.
fn latent(model: &Hyperparameters<'_>, is_windowed: bool, cached: u64) -> Option<(Latent, u64, u64)> {
    let keys = &model.keys;
    let query_rank = keys.unsigned("attention.q_lora_rank").filter(|&rank| rank > 0);
    let of_window = |suffix: &str| {
        let windowed = if is_windowed { keys.unsigned(&format!("{suffix}_swa")) } else { None };
        windowed.or_else(|| keys.unsigned(suffix)).filter(|&value| value > 0)
    };
    let key_dim = of_window("attention.key_length_mla")?;
    let value_dim = of_window("attention.value_length_mla")?;
    let kv_rank = of_window("attention.kv_lora_rank")?;
    // The cache row is the latent with the rotary key behind it.
    let rope_dim = cached.checked_sub(kv_rank).unwrap_or_else(|| keys.unsigned("rope.dimension_count").unwrap_or(0));
    let latent = Latent { kv_rank, rope_dim, query_rank, nope_dim: key_dim.saturating_sub(rope_dim) };
    Some((latent, key_dim, value_dim))
}

/// DeepSeek-V4 and draft models made for it cache one vector per token, key and value at once.
fn is_shared_key_value(model: &Hyperparameters<'_>) -> bool {
    match model.architecture {
        "deepseek4" => true,
        "dflash" => model.keys.unsigned("hyper_connection.count").is_some_and(|count| count > 0),
        _ => false,
    }
}

/// Whose cache a layer reads. Gemma 3n's last layers and Gemma 4's shared ones read that of the last layer of
/// their kind (windowed or full) that has its own.
fn cache_owner(model: &Hyperparameters<'_>, windows: &Windows, layer: usize) -> CacheOwner {
    if keeps_no_cache(model.architecture) {
        return CacheOwner::Nobody;
    }
    let own = match model.architecture {
        // The loader has this number built in.
        "gemma3n" => 20,
        "gemma4" => {
            let shared = model.keys.unsigned("attention.shared_kv_layers").unwrap_or(0);
            model.layers_all.saturating_sub(usize::try_from(shared).unwrap_or(usize::MAX))
        }
        // This draft model attends to the caches of the model that it drafts for.
        "gemma4-assistant" => return CacheOwner::Nobody,
        _ => return CacheOwner::Own,
    };
    if layer < own {
        CacheOwner::Own
    } else {
        CacheOwner::SharedWith(own.saturating_sub(if windows.is_windowed(layer) { 2 } else { 1 }))
    }
}

fn indexer(model: &Hyperparameters<'_>, layer: usize, is_windowed: bool) -> Option<Indexer> {
    let keys = &model.keys;
    let head_dim = keys.unsigned("attention.indexer.key_length").filter(|&dim| dim > 0)?;
    let top_k = keys.unsigned("attention.indexer.top_k").unwrap_or(0);
    let types = keys.integers("attention.indexer.types");
    let is_owner = match indexer_rule(model.architecture) {
        IndexerRule::Never => return None,
        IndexerRule::ListedOrEvery if top_k == 0 => return None,
        IndexerRule::Every => layer < model.layers(),
        IndexerRule::AfterLeadingDense => {
            let dense = keys.unsigned("leading_dense_block_count").unwrap_or(0);
            if (layer as u64) < dense {
                return None;
            }
            true
        }
        IndexerRule::ListedOrEvery => match types {
            _ if layer >= model.layers() => false,
            Some(types) => types.get(layer).is_some_and(|&flag| flag != 0),
            None if model.architecture == "glm-dsa" && keys.unsigned("context_length") >= Some(GLM_5_2_CONTEXT) => {
                layer < 2 || layer % 4 == 2
            }
            None => !(model.architecture == "dots3note" && is_windowed),
        },
        IndexerRule::CompressedByFour => {
            if compression(model, layer)?.ratio != 4 {
                return None;
            }
            true
        }
    };
    let heads = keys.unsigned("attention.indexer.head_count").unwrap_or(1);
    Some(Indexer { heads, head_dim, top_k, is_owner })
}

fn compression(model: &Hyperparameters<'_>, layer: usize) -> Option<Compression> {
    if model.architecture != "deepseek4" {
        return None;
    }
    let ratio = model.keys.integers("attention.compress_ratios")?.get(layer).copied().unwrap_or(0);
    Some(Compression { ratio: u64::try_from(ratio).unwrap_or(0), entry_elements: model.key_dim })
}
