//! Hugging Face `config.json`: hyper-parameters to layers.
//!
//! [`read_config`] finds the text model (`text_config` and its like), the
//! quantisation and the family by `model_type`; each file under `families`
//! lists the layers of one family, tensor by tensor, from the shapes that the
//! reference modules of transformers create.

mod blocks;
mod builder;
mod config;
mod dense;
mod families;
mod quantization;
mod reference;
mod reference_defaults;
mod tower;
mod towers;

pub use config::ConfigError;

use hwledger_core::ModelSpec;
use hwledger_core::model::Certainty;

use crate::Diagnostic;
use builder::Source;
use config::Config;

/// Largest configuration that is read; real ones stay below one mebibyte.
pub const CONFIG_BYTES_MAX: usize = 16 << 20;

/// Most layers that are believed.
pub(crate) const LAYERS_MAX: u64 = 4096;

/// Reads a `config.json`.
///
/// **Errors**: not JSON, no object, a needed key missing, of the wrong type or absurd.
/// An unknown `model_type` is no error: it is read as the nearest known shape, marked
/// [`Certainty::Guessed`], and a diagnostic says so.
pub fn read_config(bytes: &[u8]) -> Result<(ModelSpec, Vec<Diagnostic>), ConfigError> {
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge { bytes: bytes.len(), most: CONFIG_BYTES_MAX });
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(ConfigError::NotJson)?;
    let object = value.as_object().ok_or(ConfigError::NotAnObject)?;
    let root = Config::root(object);
    let mut source = Source::new(root)?;
    let model_type = source.model_type()?;
    let mut model = if let Some(read) = families::reader(&model_type) {
        read(&mut source)?
    } else {
        source.diagnostics.push(Diagnostic::new(
            "model_type",
            format!(
                "`{model_type}` is not known; its layers are read as a plain decoder's, so every figure is a guess"
            ),
        ));
        let mut model = families::unknown(&mut source)?;
        model.certainty = Certainty::Guessed;
        model
    };
    model.architecture = model_type;
    if model.stored_format.is_none() {
        model.stored_format = source.quantization.name();
    }
    let mut diagnostics = source.diagnostics;
    diagnostics.extend(source.root.take_remarks());
    Ok((model, diagnostics))
}
