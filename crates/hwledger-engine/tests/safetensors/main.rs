//! Models of safetensors and MLX directories compute what the same weights compute from a GGUF file.

mod files;
mod hostile;
mod models;
mod quantised;
mod texts;
