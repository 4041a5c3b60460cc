//! A model as plans use it: read once, described once.

use hwledger_core::ModelSpec;
use hwledger_formats::{Diagnostic, huggingface};
use serde_json::value::RawValue;

use crate::answer::ModelAnswer;
use crate::locate::{LocateOptions, Located, Tensors, locate};
use crate::planner::PlanFailure;

/// A model that has been read.
#[derive(Debug)]
pub struct LoadedModel {
    /// What it is.
    pub spec: ModelSpec,
    /// What its readers noticed.
    pub diagnostics: Vec<Diagnostic>,
    /// How it was found.
    pub notes: Vec<String>,
    /// Whether its weights are GGUF.
    pub is_gguf: bool,
    /// A short name for people.
    pub name: String,
    /// Its part of an answer, the same for every request.
    pub(crate) description: Box<RawValue>,
}

impl LoadedModel {
    /// Reads the model behind `reference`.
    pub fn load(reference: &str, options: &LocateOptions) -> Result<Self, PlanFailure> {
        let located = locate(reference, options)?;
        let (mut spec, diagnostics) = read(reference, &located)?;
        if spec.file_bytes.is_none() {
            spec.file_bytes = located.weight_file_bytes();
        }
        let description = serde_json::value::to_raw_value(&ModelAnswer::describe(&spec)).map_err(|error| {
            PlanFailure::ModelUnreadable { model: reference.to_owned(), message: error.to_string() }
        })?;
        let is_gguf = matches!(located.tensors, Tensors::Gguf(_));
        Ok(Self { spec, diagnostics, notes: located.notes, is_gguf, name: located.name, description })
    }
}

fn read(reference: &str, located: &Located) -> Result<(ModelSpec, Vec<Diagnostic>), PlanFailure> {
    let unreadable = |error: &dyn std::error::Error| PlanFailure::ModelUnreadable {
        model: reference.to_owned(),
        message: crate::planner::with_causes(error),
    };
    if let Some(config) = &located.config {
        return huggingface::read_config(config).map_err(|error| unreadable(&error));
    }
    Err(PlanFailure::ModelUnreadable {
        model: reference.to_owned(),
        message: "only models with a configuration can be read".to_owned(),
    })
}
