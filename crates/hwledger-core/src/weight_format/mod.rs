//! Weight formats: which element type each tensor of a model gets.

pub mod gguf;
