//! A model's hyper-parameters, from its metadata.

use crate::diagnostic::Diagnostic;
use crate::gguf::{Header, Metadata};

use super::error::SpecError;

/// Most layers: llama.cpp stops at 512, other programs may not.
pub(super) const LAYERS_MAX: usize = 4096;

/// A value that is the same in every layer, or stated for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PerLayer {
    Absent,
    Same(u64),
    Each(Vec<u64>),
}

impl PerLayer {
    /// The value in this layer; 0 in layers beyond a list.
    pub(super) fn at(&self, layer: usize) -> Option<u64> {
        match self {
            Self::Absent => None,
            Self::Same(value) => Some(*value),
            Self::Each(values) => Some(values.get(layer).copied().unwrap_or(0)),
        }
    }

    /// The largest value.
    pub(super) fn max(&self) -> Option<u64> {
        match self {
            Self::Absent => None,
            Self::Same(value) => Some(*value),
            Self::Each(values) => values.iter().copied().max(),
        }
    }
}

/// Metadata under one architecture's prefix.
pub(super) struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    pub(super) const fn new(header: &'a Header, architecture: &'a str) -> Self {
        Self { metadata: &header.metadata, architecture }
    }

    pub(super) fn name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    pub(super) fn unsigned(&self, suffix: &str) -> Option<u64> {
        self.metadata.unsigned(&self.name(suffix))
    }

    pub(super) fn bool(&self, suffix: &str) -> Option<bool> {
        self.metadata.bool(&self.name(suffix))
    }

    pub(super) fn integers(&self, suffix: &str) -> Option<&'a [i64]> {
        self.metadata.integers(&self.name(suffix))
    }

    pub(super) fn required(&self, suffix: &str) -> Result<u64, SpecError> {
        self.unsigned(suffix).ok_or_else(|| SpecError::MissingKey(self.name(suffix)))
    }

    /// A number or an array with one entry per layer.
    pub(super) fn per_layer(&self, suffix: &str, layers: usize, notes: &mut Vec<Diagnostic>) -> PerLayer {
        if let Some(value) = self.unsigned(suffix) {
            return PerLayer::Same(value);
        }
        let Some(values) = self.integers(suffix) else {
            return PerLayer::Absent;
        };
        if values.len() < layers {
            notes.push(Diagnostic::new(
                self.name(suffix),
                format!("lists {} layers of {layers}; the missing ones are taken as 0", values.len()),
            ));
        }
        PerLayer::Each(values.iter().map(|&value| u64::try_from(value).unwrap_or(0)).collect())
    }
}

/// What every part of the description needs.
pub(super) struct Hyperparameters<'a> {
    pub(super) keys: Keys<'a>,
    pub(super) architecture: &'a str,
    /// All layers, the draft layers included.
    pub(super) layers_all: usize,
    /// Draft layers at the end.
    pub(super) draft_layers: usize,
    pub(super) hidden_size: u64,
    pub(super) heads: PerLayer,
    pub(super) kv_heads: PerLayer,
    pub(super) feed_forward: PerLayer,
    pub(super) experts_used: PerLayer,
    pub(super) experts: u64,
    pub(super) key_dim: u64,
    pub(super) value_dim: u64,
    pub(super) key_dim_window: u64,
    pub(super) value_dim_window: u64,
}

impl<'a> Hyperparameters<'a> {
    pub(super) fn read(
        header: &'a Header,
        architecture: &'a str,
        notes: &mut Vec<Diagnostic>,
    ) -> Result<Self, SpecError> {
        let keys = Keys::new(header, architecture);
        let block_count = keys.required("block_count")?;
        let Some(layers_all) = usize::try_from(block_count).ok().filter(|&layers| layers <= LAYERS_MAX) else {
            return Err(SpecError::Invalid {
                key: keys.name("block_count"),
                found: block_count,
                why: "more layers than any model has",
            });
        };
        let hidden_size = match architecture {
            // The audio decoder calls its input width `features_length`.
            "wavtokenizer-dec" => keys.required("features_length")?,
            _ => keys.required("embedding_length")?,
        };
        let heads = keys.per_layer("attention.head_count", layers_all, notes);
        let kv_heads = match keys.per_layer("attention.head_count_kv", layers_all, notes) {
            PerLayer::Absent => heads.clone(),
            stated => stated,
        };
        let head_dim = match heads.max() {
            Some(heads) if heads > 0 => hidden_size / heads,
            _ => 0,
        };
        let key_dim = keys.unsigned("attention.key_length").unwrap_or(head_dim);
        let value_dim = keys.unsigned("attention.value_length").unwrap_or(head_dim);
        let experts_used = keys.per_layer("expert_used_count", layers_all, notes);
        let feed_forward = keys.per_layer("feed_forward_length", layers_all, notes);
        Ok(Self {
            draft_layers: draft_layers(header, &keys, layers_all),
            key_dim_window: keys.unsigned("attention.key_length_swa").unwrap_or(key_dim),
            value_dim_window: keys.unsigned("attention.value_length_swa").unwrap_or(value_dim),
            experts: keys.unsigned("expert_count").unwrap_or(0),
            keys,
            architecture,
            layers_all,
            hidden_size,
            heads,
            kv_heads,
            feed_forward,
            experts_used,
            key_dim,
            value_dim,
        })
    }

    /// Layers of the model proper.
    pub(super) const fn layers(&self) -> usize {
        self.layers_all - self.draft_layers
    }
}

/// Layers at the end that predict further tokens. A file that is nothing but such layers is a model of its own.
fn draft_layers(header: &Header, keys: &Keys<'_>, layers_all: usize) -> usize {
    let stated = keys.unsigned("nextn_predict_layers").and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    if stated >= layers_all {
        return 0;
    }
    // DeepSeek-V4 files state the count even where the layers were left out, and then count without them.
    let first = layers_all - stated;
    if keys.name("") == "deepseek4." && header.tensor(&format!("blk.{first}.nextn.eh_proj.weight")).is_none() {
        return 0;
    }
    stated
}
