//! Why no token can be chosen.

use super::constraint::ConstraintError;

/// Settings or logits that give no token.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// A setting outside its range.
    #[error("`{name}` is {found}, but must be {range}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: f32,
        /// What is allowed.
        range: &'static str,
    },
    /// A stop string without characters.
    #[error("a stop string is empty")]
    EmptyStop,
    /// A logit that is no number or infinite upwards: the computation before went wrong.
    #[error("the logit of token {token} is {found}")]
    Logit {
        /// The token.
        token: usize,
        /// The logit.
        found: f32,
    },
    /// No token has a finite logit.
    #[error("no token is allowed")]
    NoToken,
    /// The schema or grammar of the reply.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// A biased token beyond the vocabulary.
    #[error("`logit_bias` names token {token}, but there are {tokens}")]
    Bias {
        /// The token.
        token: u32,
        /// Number of logits.
        tokens: usize,
    },
}
