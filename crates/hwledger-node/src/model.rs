//! A model as plans use it: read once, described once.

use hwledger_core::ModelSpec;
use hwledger_formats::{Diagnostic, gguf, huggingface};
use serde_json::value::RawValue;

use crate::answer::ModelAnswer;
use crate::locate::{LocateOptions, Located, Source, Tensors, locate};
use crate::planner::{PlanFailure, with_causes};

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

type Described = (ModelSpec, Vec<Diagnostic>);

fn read(reference: &str, located: &Located) -> Result<Described, PlanFailure> {
    match (&located.tensors, &located.config) {
        (Tensors::Gguf(parts), _) => {
            let (mut model, mut diagnostics) = read_gguf(reference, parts)?;
            for projector in &located.projectors {
                let (projector, remarks) = read_gguf(reference, std::slice::from_ref(projector))?;
                gguf::spec::add_projector(&mut model, projector);
                diagnostics.extend(remarks);
            }
            Ok((model, diagnostics))
        }
        (_, Some(config)) => huggingface::read_config(config).map_err(|error| unreadable(reference, &error)),
        (_, None) => Err(PlanFailure::ModelUnreadable {
            model: reference.to_owned(),
            message: "there is no config.json, and tensors alone do not say how they are used".to_owned(),
        }),
    }
}

fn unreadable(place: &str, error: &dyn std::error::Error) -> PlanFailure {
    PlanFailure::ModelUnreadable { model: place.to_owned(), message: with_causes(error) }
}

/// Reads the header of every part; tensor data stays where it is.
fn read_gguf(reference: &str, parts: &[Source]) -> Result<Described, PlanFailure> {
    let mut headers = Vec::with_capacity(parts.len());
    for part in parts {
        let header =
            gguf::read_header(part.open()?, Some(part.bytes)).map_err(|error| unreadable(&part.name, &error))?;
        headers.push(header);
    }
    let header = match <[gguf::Header; 1]>::try_from(headers) {
        Ok([header]) => header,
        Err(headers) => gguf::merge_parts(headers).map_err(|error| unreadable(reference, &error))?,
    };
    gguf::model_spec(&header).map_err(|error| unreadable(reference, &error))
}
