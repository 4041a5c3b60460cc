//! From logits to the next token, and where a reply stops.
//!
//! [`Sampler`] is a pure function of logits, history, settings and its random
//! state: the same seed gives the same tokens on every machine. It applies, in
//! this order: what a [`Constraint`] forbids, logit bias, repetition, presence and frequency penalties, DRY,
//! temperature, top-k, top-p, min-p, typical-p. [`StopMatcher`] finds stop
//! strings across token boundaries.

mod candidates;
mod constraint;
mod dry;
mod error;
mod gbnf;
mod penalty;
mod random;
mod sampler;
#[cfg(test)]
mod sampler_tests;
mod settings;
mod stop;

pub use constraint::{Constraint, ConstraintError, ConstraintFactory, ResponseFormat};
pub use error::SamplingError;
pub use gbnf::GbnfError;
pub use random::Random;
pub use sampler::{Choice, History, Sampler};
pub use settings::{Dry, SamplingSettings};
pub use stop::{StopMatcher, StopStep};
