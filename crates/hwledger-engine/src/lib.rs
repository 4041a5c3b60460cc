//! The native engine: it loads a model, turns text into tokens, runs the decoder
//! over a paged KV cache, samples, and says what it measured and allocated.

pub mod sampling;
pub mod text;
