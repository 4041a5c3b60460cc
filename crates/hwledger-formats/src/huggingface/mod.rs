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
mod experts;
mod families;
#[cfg(test)]
mod hostile;
mod latent;
mod quantization;
mod recurrent;
mod reference;
mod reference_defaults;
mod schedule;
mod sparse;
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

/// JSON as Python writes it: numbers that JSON cannot hold stand as `Infinity`, `-Infinity` and `NaN`.
///
/// Such numbers come back as `null`.
pub fn parse(bytes: &[u8]) -> Result<serde_json::Value, ConfigError> {
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge { bytes: bytes.len(), most: CONFIG_BYTES_MAX });
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) => match without_non_finite(bytes) {
            Some(plain) => serde_json::from_slice(&plain).map_err(ConfigError::NotJson),
            None => Err(ConfigError::NotJson(error)),
        },
    }
}

/// The text with `null` for numbers that are not finite; nothing where there are none.
fn without_non_finite(bytes: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut plain = Vec::with_capacity(bytes.len());
    let mut found = false;
    let mut in_string = false;
    let mut rest = bytes;
    while let Some(&byte) = rest.first() {
        let word = if in_string { None } else { WORDS.into_iter().find(|word| rest.starts_with(word)) };
        let taken = match (word, byte) {
            (Some(word), _) => {
                found = true;
                plain.extend_from_slice(b"null");
                rest = &rest[word.len()..];
                continue;
            }
            (None, b'\\') if in_string => rest.len().min(2),
            (None, b'"') => {
                in_string = !in_string;
                1
            }
            (None, _) => 1,
        };
        plain.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
    }
    found.then_some(plain)
}

/// Reads a `config.json`.
///
/// **Errors**: not JSON, no object, a needed key missing, of the wrong type or absurd.
/// An unknown `model_type` is no error: it is read as the nearest known shape, marked
/// [`Certainty::Guessed`], and a diagnostic says so.
pub fn read_config(bytes: &[u8]) -> Result<(ModelSpec, Vec<Diagnostic>), ConfigError> {
    let value = parse(bytes)?;
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
                "`{model_type}` is not known; its layers are read as the nearest shape that its keys describe, so every figure is a guess"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_models_are_read_by_their_keys_and_marked() {
        let config = br#"{"model_type": "brand_new", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 100,
            "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "num_experts": 8,
            "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1, "first_k_dense_replace": 1,
            "layer_types": ["full_attention", "mystery", "full_attention"]}"#;
        let (model, diagnostics) = read_config(config).unwrap();
        assert_eq!(model.certainty, Certainty::Guessed);
        let parameters: Vec<u64> = model.decoder.layers().map(hwledger_core::model::Layer::parameters).collect();
        let attention = 64 * 64 * 2 + 64 * 32 * 2 + 2 * 64;
        let experts = attention + 8 * 64 + 9 * 3 * 64 * 32;
        assert_eq!(parameters, [attention + 3 * 64 * 128, experts, experts]);
        let places: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.place.as_str()).collect();
        assert_eq!(places, ["model_type", "layer_types"]);
    }

    #[test]
    fn numbers_that_json_cannot_hold_are_read_as_absent() {
        let value = parse(br#"{"limit": [0.0, Infinity, -Infinity], "name": "NaN \" Infinity", "x": NaN}"#).unwrap();
        assert_eq!(value["limit"], serde_json::json!([0.0, null, null]));
        assert_eq!(value["name"], "NaN \" Infinity");
        assert!(value["x"].is_null());
        assert!(parse(b"{\"open\": \"Infinity").is_err());
    }
}
