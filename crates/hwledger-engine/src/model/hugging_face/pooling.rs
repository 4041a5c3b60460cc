//! How a directory says that states become one vector: the `modules.json` of sentence-transformers and what it names.
//!
//! Source: sentence-transformers 5 (`SentenceTransformer.py`, `models/Pooling.py`).

use std::path::{Component, Path};

use serde_json::Value;

use crate::error::LoadError;
use crate::model::{Pooling, PoolingSettings};

use super::HuggingFaceTensors;

/// Names of the modes in the file, and what they are here.
const MODES: [(&str, &str, Option<Pooling>); 6] = [
    ("pooling_mode_mean_tokens", "mean", Some(Pooling::Mean)),
    ("pooling_mode_cls_token", "cls", Some(Pooling::Cls)),
    ("pooling_mode_lasttoken", "lasttoken", Some(Pooling::Last)),
    ("pooling_mode_max_tokens", "max", None),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", None),
    ("pooling_mode_weightedmean_tokens", "weightedmean", None),
];

impl HuggingFaceTensors {
    /// What `modules.json` and the pooling's own configuration say; nothing where there are none.
    pub(in crate::model) fn pooling(&self) -> Result<PoolingSettings, LoadError> {
        let modules = self.json("modules.json")?;
        let Some(modules) = modules.as_array() else {
            let pooling = self.pooling_of("1_Pooling")?;
            return Ok(PoolingSettings { pooling, is_normalised: None });
        };
        let mut found = PoolingSettings { pooling: None, is_normalised: Some(false) };
        for module in modules {
            let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
            let kind = text("type").rsplit('.').next().unwrap_or_default();
            match kind {
                "Transformer" => {}
                "Pooling" => found.pooling = self.pooling_of(text("path"))?,
                "Normalize" => found.is_normalised = Some(true),
                other => return Err(LoadError::Unsupported(format!("embeddings with a module `{other}`"))),
            }
        }
        Ok(found)
    }

    fn pooling_of(&self, folder: &str) -> Result<Option<Pooling>, LoadError> {
        // A folder within the model's, or a file would be read that is none of its.
        let is_inside = Path::new(folder).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_inside || folder.contains(['\\', ':']) {
            return Err(LoadError::Setting {
                key: "path".to_owned(),
                found: format!("{folder:?}"),
                hint: "modules of `modules.json` are folders beside it",
            });
        }
        let config = self.json(&format!("{folder}/config.json"))?;
        let unsupported = |name: &str| LoadError::Unsupported(format!("embeddings pooled by `{name}`"));
        let named = match config.get("pooling_mode") {
            Some(Value::String(name)) => vec![name.as_str()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => MODES
                .iter()
                .filter(|(key, ..)| config.get(*key).and_then(Value::as_bool) == Some(true))
                .map(|&(_, name, _)| name)
                .collect(),
        };
        match named.as_slice() {
            [] => Ok(None),
            [one] => {
                let mode = MODES.iter().find(|(_, name, _)| name == one).and_then(|&(.., pooling)| pooling);
                mode.map(Some).ok_or_else(|| unsupported(one))
            }
            several => Err(unsupported(&several.join("` and `"))),
        }
    }
}
