//! The native engine on tiny models with random weights: its logits are those of a plain decoder in double precision,
//! whatever is run beside them, and so are the states of its encoders; its scheduler ends every request once; what is wrong is an error, never a panic.
#![expect(clippy::unwrap_used, reason = "a test stops at what it does not expect")]
#![expect(clippy::print_stdout, reason = "measured differences are shown where a test fails, or with --nocapture")]

mod blocks;
mod constraints;
mod decoder;
mod encoder;
mod faults;
mod gguf;
mod harness;
mod invariance;
mod latent;
mod logits;
mod memory;
mod models;
mod noise;
mod scheduling;
