//! Learning from measurements: how far a formula is off, and how well that is known.
//!
//! A [`Sample`] pairs what a formula said with what a run gave. A [`Calibration`] holds samples and
//! corrects later predictions of the same kind. What "the same kind" means is a chain of [`Key`]s:
//! the most specific one that has samples speaks first, its ancestors fill in where it has few.
//!
//! **Formula.** With `r = ln(measured / predicted)`, the correction of a key is a robust location
//! of its own `r` drawn towards what the rest of the chain says,
//!
//! ```text
//! b(key) = (n · location(own r) + PSEUDO_COUNT · b(parent without the key's samples))
//!          / (n + PSEUDO_COUNT),          b(beyond the root) = 0
//! ```
//!
//! where `n` is the number of samples, by their weight. Every sample is used once: an ancestor is asked
//! only about samples that its descendants in the chain do not hold, and hears each full key with
//! one voice, worth three samples at most, so that a device measured a thousand times does not
//! speak for all devices.
//! The interval is `b ± q`: `q` is the conformal quantile of the absolute errors that the same
//! rule makes on each of the key's samples when that sample is left out. Nine samples make "nine
//! in ten" a finite statement. With fewer, each side is the formula's own or the quantile of the
//! nearest ancestor that has nine voices, whichever is narrower, and never less than the largest
//! error on the key's own samples.
//!
//! **Others on the machine.** A run to which others left the share `s` of the processors' time measures a slower
//! machine. What is learnt is the machine by itself: the measured rate divided by `s`, the measured time times `s`, and
//! such a run counts `s` as much as one that had the machine alone, for how it was slowed is not quite known. A
//! prediction for a machine that others use is brought back the same way, and its interval reaches from no effect to
//! twice that effect ([`under_load`]).
//!
//! **Source.** Hodges and Lehmann, "Estimates of location based on rank tests", Annals of
//! Mathematical Statistics 34 (1963); Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random
//! World" (2005), chapter 2; Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-free
//! predictive inference for regression", JASA 113 (2018), section 2 (the `n + 1` rule) and section
//! 2.4 (leave-one-out residuals).
//!
//! **Assumptions.** Runs of one key are exchangeable; that is why lengths and requests in flight are
//! a part of it, for formulas err differently on short prompts and on long ones. Nothing is assumed
//! about their distribution.

mod apply;
mod drift;
mod key;
mod robust;
mod sample;
#[cfg(test)]
mod tests;

pub use apply::{Calibrated, Calibration, Correction, Residual, under_load};
pub use drift::{Drift, drifts};
pub use key::{Figure, Key, Part};
pub use robust::{conformal_quantile, hodges_lehmann};
pub use sample::{Sample, Subject};
