//! Tokenizer and chat template of a directory.

use std::fs::File;
use std::io::{self, Read};

use serde_json::Value;

use crate::error::LoadError;
use crate::text::{ChatTemplate, TemplateError, Tokenizer};

use super::HuggingFaceTensors;

/// Largest of the small files that are read; the largest vocabularies take some 40 MiB.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// A chat template, or why it cannot be read.
type Template = Result<ChatTemplate, TemplateError>;

impl HuggingFaceTensors {
    /// The tokenizer, with all tokens that end a reply.
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer, LoadError> {
        let bytes = self.small_file("tokenizer.json")?.ok_or_else(|| {
            let path = self.folder.join("tokenizer.json");
            LoadError::Read { path, source: io::ErrorKind::NotFound.into() }
        })?;
        let generation = self.json("generation_config.json")?;
        let ends: Vec<u32> = [generation.get("eos_token_id"), self.config.get("eos_token_id")]
            .into_iter()
            .flatten()
            .flat_map(|value| match value {
                Value::Array(list) => list.iter().collect(),
                one => vec![one],
            })
            .filter_map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect();
        Ok(Tokenizer::from_json(&bytes)?.with_ends(&ends))
    }

    /// The chat template, where there is one: in a file of its own, or in the tokenizer's configuration.
    pub(crate) fn template(&self) -> Result<Option<Template>, LoadError> {
        let config = self.json("tokenizer_config.json")?;
        let own = self.small_file("chat_template.jinja")?;
        let source = match own.map(String::from_utf8) {
            Some(Ok(source)) => Some(source),
            Some(Err(_)) => {
                let path = self.folder.join("chat_template.jinja");
                return Err(LoadError::Read { path, source: io::ErrorKind::InvalidData.into() });
            }
            None => template_in(&config)
                .map(str::to_owned)
                .or(template_in(&self.json("chat_template.json")?).map(str::to_owned)),
        };
        let [bos, eos] = ["bos_token", "eos_token"].map(|key| token_text(&config, key));
        Ok(source.map(|source| ChatTemplate::new(&source, bos, eos)))
    }

    /// A small file of JSON; `null` where there is none.
    pub(super) fn json(&self, name: &str) -> Result<Value, LoadError> {
        let Some(bytes) = self.small_file(name)? else { return Ok(Value::Null) };
        serde_json::from_slice(&bytes)
            .map_err(|error| LoadError::Read { path: self.folder.join(name), source: error.into() })
    }

    fn small_file(&self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        let path = self.folder.join(name);
        let read = || {
            let file = File::open(&path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            let mut bytes = Vec::new();
            file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > TEXT_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "too large"));
            }
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LoadError::Read { path, source }),
        }
    }
}

/// The template of a configuration; of several the one by the name `default`.
fn template_in(config: &Value) -> Option<&str> {
    match config.get("chat_template")? {
        Value::Array(list) => {
            let named = list.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"));
            named.or(list.first())?.get("template")?.as_str()
        }
        one => one.as_str(),
    }
}

/// A token's text: plain, or in an object with its properties.
fn token_text<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    let token = config.get(key)?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}
