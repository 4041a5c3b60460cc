//! Why an engine would refuse a plan.

use crate::weight_format::UnknownWeightFormat;

/// A combination that the engine itself refuses, or that is not modelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No memory model for this engine.
    #[error("the memory of `{0}` is not modelled")]
    NotModelled(&'static str),
    /// The engine refuses this setting.
    #[error("{engine} refuses `{setting}`: {why}")]
    Refused {
        /// The engine.
        engine: &'static str,
        /// The setting, by its name in the request.
        setting: &'static str,
        /// Its reason.
        why: String,
    },
    /// The weight format is not known.
    #[error(transparent)]
    WeightFormat(#[from] UnknownWeightFormat),
}
