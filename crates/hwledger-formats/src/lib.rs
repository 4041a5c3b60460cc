//! Model files to facts: bytes in, a [`hwledger_core::ModelSpec`] and diagnostics out.
//!
//! Every reader here faces bytes that anybody may have written: sizes are
//! bounded before they are believed, and a wrong file gives one error that
//! names the place. Nothing here opens a file or a connection.

pub mod anchors;
pub mod device_file;
mod diagnostic;
pub mod gguf;
pub mod huggingface;
pub mod measurement;
pub mod ollama;
pub mod safetensors;

pub use diagnostic::Diagnostic;
