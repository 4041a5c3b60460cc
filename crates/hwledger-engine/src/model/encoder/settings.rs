//! The numbers of an encoder beside its shapes, and what a GGUF header says of them.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, FeedForward};
use hwledger_formats::gguf::Header;
use hwledger_kernels::elementwise::Gate;

use crate::error::LoadError;
use crate::model::Rotary;
use crate::model::conventions::WindowRotary;
use crate::model::positions::{SmallTensor, rotaries};
use crate::model::settings::{Keys, narrow};

/// The numbers of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderSettings {
    /// Added to variances before their root.
    pub epsilon: f32,
    /// The activation of the feed-forward.
    pub gate: Gate,
    /// How heads turn, where positions are not learned.
    pub rotary: Option<Rotary>,
    /// The row of the first token in the table of positions.
    pub first_position: usize,
}

/// Encoders in GGUF that the engine runs; others by name.
///
/// `bert` is XLM-RoBERTa too: its files leave out the rows of positions that no token has.
fn refuse_architecture(architecture: &str) -> Result<(), LoadError> {
    match architecture {
        "bert" | "nomic-bert" => Ok(()),
        other => Err(LoadError::Unsupported(format!("encoders of the architecture `{other}`"))),
    }
}

/// Whether the first layer's feed-forward has a gate.
fn is_gated(spec: &ModelSpec) -> bool {
    let first = spec.decoder.layers().next();
    first.is_some_and(|layer| matches!(layer.feed_forward, FeedForward::Dense { activation: Activation::Gated, .. }))
}

impl EncoderSettings {
    /// The settings in a header. `context` is the longest text; `factors` gives the values of a small tensor.
    pub(in crate::model) fn read(
        header: &Header,
        spec: &ModelSpec,
        context: usize,
        factors: &dyn Fn(&str) -> SmallTensor,
    ) -> Result<Self, LoadError> {
        let architecture = header.architecture().unwrap_or_default();
        refuse_architecture(architecture)?;
        let keys = Keys { header, architecture };
        if header.metadata.bool(&keys.name("attention.causal")) == Some(true) {
            return Err(LoadError::Unsupported("encoders whose tokens see only those before them".to_owned()));
        }
        let epsilon = keys.number("attention.layer_norm_epsilon")?.ok_or_else(|| LoadError::Setting {
            key: keys.name("attention.layer_norm_epsilon"),
            found: "missing".to_owned(),
            hint: "every model with layer norms states it",
        })?;
        let rotary = if architecture == "nomic-bert" {
            let attention = spec.decoder.layers().find_map(|layer| layer.mixer.attention());
            let key = attention.map_or(0, |attention| attention.key_dim);
            let dimensions = header.metadata.unsigned(&keys.name("rope.dimension_count")).unwrap_or(key).min(key);
            let dimensions = usize::try_from(dimensions).unwrap_or(0);
            let [rotary, _] = rotaries(&keys, WindowRotary::Scaled, dimensions, context, factors)?;
            Some(rotary)
        } else {
            None
        };
        // Files do not name the activation: Nomic's gate is that of SwiGLU, all others have GELU.
        let gate = if rotary.is_some() && is_gated(spec) { Gate::Silu } else { Gate::Gelu };
        Ok(Self { epsilon: narrow(epsilon), gate, rotary, first_position: 0 })
    }
}
