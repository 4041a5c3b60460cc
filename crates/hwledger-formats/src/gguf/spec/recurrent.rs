//! Recurrent layers and the state that they keep.

use hwledger_core::model::{Recurrent, RecurrentKind};

use super::architecture::{RecurrentRule, is_known, recurrent_kind, recurrent_rule};
use super::hyperparameters::Hyperparameters;

/// Whether this layer is recurrent (Falcon-H1's layers are, beside their attention).
pub(super) fn is_recurrent(model: &Hyperparameters<'_>, layer: usize) -> bool {
    let has_no_kv_heads = || model.kv_heads.at(layer).unwrap_or(0) == 0;
    let rule = recurrent_rule(model.architecture);
    match rule {
        RecurrentRule::Never => false,
        RecurrentRule::Every | RecurrentRule::EveryBesideAttention => true,
        RecurrentRule::WithoutKvHeads => layer < model.layers() && has_no_kv_heads(),
        RecurrentRule::WithoutKvHeadsAndFeedForward => {
            layer < model.layers() && has_no_kv_heads() && model.feed_forward.at(layer).unwrap_or(0) == 0
        }
        RecurrentRule::Interval(default) => {
            if let Some(list) = model.keys.integers("attention.recurrent_layers") {
                return list.get(layer).is_some_and(|&flag| flag != 0);
            }
            let interval = model.keys.unsigned("full_attention_interval").unwrap_or(default);
            layer < model.layers() && (layer as u64 + 1).checked_rem(interval).is_some_and(|rest| rest != 0)
        }
    }
}

/// The state of a recurrent layer.
///
/// **Shapes** (llama.cpp, `llama-hparams.cpp`): Mamba and delta nets keep `state_size x inner_size` and convolve
/// `inner_size + 2 x groups x state_size` channels; Kimi's delta attention keeps a square per head and convolves
/// queries, keys and values; RWKV keeps `hidden_size x head_size` and shifts whole hidden vectors.
pub(super) fn recurrent(model: &Hyperparameters<'_>, layer: usize) -> Option<Recurrent> {
    let keys = &model.keys;
    let kind = match recurrent_kind(model.architecture) {
        Some(kind) => kind,
        None if is_known(model.architecture) => return None,
        None => guessed_kind(model)?,
    };
    let state_size = keys.unsigned("ssm.state_size").unwrap_or(0);
    let inner_size = keys.unsigned("ssm.inner_size").unwrap_or(0);
    let groups = keys.unsigned("ssm.group_count").unwrap_or(0);
    let taps = keys.unsigned("ssm.conv_kernel").unwrap_or(0);
    let heads = model.heads.at(0).unwrap_or(0);
    let empty = Recurrent {
        kind,
        heads: 1,
        inner_size,
        state_size,
        groups,
        convolution_channels: 0,
        convolution_taps: 0,
        state_elements: 0,
        shift_elements: 0,
    };
    Some(match kind {
        RecurrentKind::Mamba1 | RecurrentKind::Mamba2 | RecurrentKind::GatedDelta => Recurrent {
            heads: if kind == RecurrentKind::Mamba1 { 1 } else { keys.unsigned("ssm.time_step_rank").unwrap_or(1) },
            convolution_channels: inner_size.saturating_add(groups.saturating_mul(state_size).saturating_mul(2)),
            convolution_taps: taps,
            state_elements: state_size.saturating_mul(inner_size),
            shift_elements: ngram_history(model, layer),
            ..empty
        },
        RecurrentKind::KimiDelta => {
            let head_dim = keys.unsigned("kda.head_dim").unwrap_or(0);
            let inner_size = heads.saturating_mul(head_dim);
            Recurrent {
                heads,
                inner_size,
                state_size: head_dim,
                groups: heads,
                convolution_channels: inner_size.saturating_mul(3),
                // The loader falls back to four taps.
                convolution_taps: if taps > 0 { taps } else { 4 },
                state_elements: inner_size.saturating_mul(head_dim),
                ..empty
            }
        }
        RecurrentKind::Lightning => {
            let inner_size = heads.saturating_mul(model.key_dim);
            Recurrent {
                heads,
                inner_size,
                state_size: model.key_dim,
                groups: heads,
                state_elements: inner_size.saturating_mul(model.key_dim),
                ..empty
            }
        }
        RecurrentKind::Rwkv4 | RecurrentKind::Rwkv6 | RecurrentKind::Rwkv7 => {
            let head_size = keys.unsigned("wkv.head_size").unwrap_or(0);
            Recurrent {
                heads: model.hidden_size.checked_div(head_size).unwrap_or(1),
                inner_size: model.hidden_size,
                state_size: head_size,
                groups: 0,
                state_elements: model.hidden_size.saturating_mul(head_size),
                shift_elements: keys.unsigned("token_shift_count").unwrap_or(2).saturating_mul(model.hidden_size),
                ..empty
            }
        }
        // llama.cpp knows no architecture of this kind.
        RecurrentKind::GatedLinear => return None,
        RecurrentKind::ShortConvolution => Recurrent {
            inner_size: model.hidden_size,
            state_size: 0,
            groups: 0,
            convolution_channels: model.hidden_size,
            convolution_taps: keys.unsigned("shortconv.l_cache").unwrap_or(0),
            ..empty
        },
    })
}

/// History of the n-gram convolution that Qwen4's experimental models keep in one layer.
fn ngram_history(model: &Hyperparameters<'_>, layer: usize) -> u64 {
    let keys = &model.keys;
    let here = keys.integers("ple.layers").is_some_and(|list| list.iter().any(|&at| usize::try_from(at) == Ok(layer)));
    if !here {
        return 0;
    }
    let get = |suffix| keys.unsigned(suffix).unwrap_or(0);
    get("ple.conv_kernel")
        .saturating_sub(1)
        .saturating_mul(get("ple.ngram_size"))
        .saturating_mul(get("hyper_connection.count"))
        .saturating_mul(model.hidden_size)
}

/// The recurrence of an unknown architecture, by the keys that it states.
fn guessed_kind(model: &Hyperparameters<'_>) -> Option<RecurrentKind> {
    let keys = &model.keys;
    if keys.unsigned("wkv.head_size").is_some() {
        Some(RecurrentKind::Rwkv7)
    } else if keys.unsigned("kda.head_dim").is_some() {
        Some(RecurrentKind::KimiDelta)
    } else if keys.unsigned("shortconv.l_cache").is_some() {
        Some(RecurrentKind::ShortConvolution)
    } else if keys.unsigned("ssm.inner_size").is_some() {
        Some(if keys.unsigned("ssm.group_count").is_some() { RecurrentKind::Mamba2 } else { RecurrentKind::Mamba1 })
    } else {
        None
    }
}
