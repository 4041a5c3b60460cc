//! Models of safetensors and MLX directories compute what the same weights compute from a GGUF file.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]
#![expect(clippy::print_stdout, reason = "measured differences are shown where a test fails, or with --nocapture")]

mod files;
mod golden;
mod hostile;
mod latent;
mod models;
mod quantised;
mod texts;
