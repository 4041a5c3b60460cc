//! Models of safetensors and MLX directories compute what the same weights compute from a GGUF file.

#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

mod files;
mod hostile;
mod latent;
mod models;
mod quantised;
mod texts;
