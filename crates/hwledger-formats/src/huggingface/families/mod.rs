//! One file per family of architectures; this table says which reads what.

mod llama;
mod qwen;

use hwledger_core::ModelSpec;

use super::builder::Source;
use super::config::ConfigError;

/// Reads the model that a source describes.
pub(crate) type Reader = fn(&mut Source<'_>) -> Result<ModelSpec, ConfigError>;

/// The reader of `model_type`.
pub(crate) fn reader(model_type: &str) -> Option<Reader> {
    Some(match model_type {
        "llama" | "mistral" | "granite" | "mimo" | "yi" | "aquila" | "internlm3" => llama::read,
        "qwen2" => qwen::read_qwen2,
        "qwen3" => qwen::read_qwen3,
        "qwen3_moe" => qwen::read_qwen3_moe,
        _ => return None,
    })
}

/// Reads an unknown model as a plain decoder.
pub(crate) fn unknown(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    llama::read(source)
}
