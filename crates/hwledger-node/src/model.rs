//! A model as plans use it: read once, described once.

use std::path::Path;

use hwledger_core::ModelSpec;
use hwledger_formats::{Diagnostic, huggingface};
use serde_json::value::RawValue;

use crate::answer::ModelAnswer;
use crate::planner::PlanFailure;

/// A model that has been read.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub(crate) spec: ModelSpec,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) is_gguf: bool,
    /// Its part of an answer, the same for every request.
    pub(crate) description: Box<RawValue>,
}

impl LoadedModel {
    fn new(spec: ModelSpec, diagnostics: Vec<Diagnostic>, is_gguf: bool) -> Self {
        let description = serde_json::value::to_raw_value(&ModelAnswer::describe(&spec))
            .expect("a description holds only strings and integers");
        Self { spec, diagnostics, is_gguf, description }
    }

    /// Reads the model behind `reference`.
    pub(crate) fn load(reference: &str) -> Result<Self, PlanFailure> {
        let unreadable = |message: String| PlanFailure::ModelUnreadable { model: reference.to_owned(), message };
        let mut path = Path::new(reference).to_path_buf();
        if path.is_dir() {
            path.push("config.json");
        }
        if !path.exists() {
            return Err(PlanFailure::ModelNotFound { model: reference.to_owned() });
        }
        let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
        let (spec, diagnostics) = huggingface::read_config(&bytes).map_err(|error| unreadable(error.to_string()))?;
        Ok(Self::new(spec, diagnostics, false))
    }
}
