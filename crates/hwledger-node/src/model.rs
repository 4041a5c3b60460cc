//! A model as plans use it: read once, described once.

use std::io::Cursor;

use hwledger_core::cache::layer_memory;
use hwledger_core::{ElementType, ModelSpec};
use hwledger_formats::{Diagnostic, gguf, huggingface, safetensors};
use serde_json::value::RawValue;

use crate::answer::ModelAnswer;
use crate::locate::{LocateOptions, Located, Source, Tensors, locate};
use crate::native;
use crate::planner::{PlanFailure, with_causes};
use crate::request::CONTEXT_MAX;

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
    /// Context that the model's own settings ask for (an Ollama `num_ctx`).
    pub own_context: Option<u64>,
    /// A short name for people.
    pub name: String,
    /// Its part of an answer, the same for every request.
    pub(crate) description: Box<RawValue>,
}

impl LoadedModel {
    /// Reads the model behind `reference`.
    pub fn load(reference: &str, options: &LocateOptions) -> Result<Self, PlanFailure> {
        if reference == native::DEMO {
            return Self::demo();
        }
        let located = locate(reference, options)?;
        let (mut spec, diagnostics) = read(reference, &located)?;
        check_size(reference, &spec)?;
        if spec.file_bytes.is_none() {
            spec.file_bytes = located.weight_file_bytes();
        }
        let description = describe(reference, &spec)?;
        let is_gguf = matches!(located.tensors, Tensors::Gguf(_));
        let own_context = located.parameters.as_deref().and_then(own_context);
        Ok(Self { spec, diagnostics, notes: located.notes, is_gguf, own_context, name: located.name, description })
    }

    /// The model that is part of the program.
    fn demo() -> Result<Self, PlanFailure> {
        let file = native::demo_file();
        let header = gguf::read_header(Cursor::new(file), Some(file.len() as u64));
        let header = header.map_err(|error| unreadable(native::DEMO, &error))?;
        let (mut spec, diagnostics) = gguf::model_spec(&header).map_err(|error| unreadable(native::DEMO, &error))?;
        spec.file_bytes.get_or_insert(file.len() as u64);
        let description = describe(native::DEMO, &spec)?;
        let (name, notes) = (native::DEMO.to_owned(), Vec::new());
        Ok(Self { spec, diagnostics, notes, is_gguf: true, own_context: None, name, description })
    }
}

/// A model's part of an answer.
fn describe(reference: &str, spec: &ModelSpec) -> Result<Box<RawValue>, PlanFailure> {
    serde_json::value::to_raw_value(&ModelAnswer::describe(spec))
        .map_err(|error| PlanFailure::ModelUnreadable { model: reference.to_owned(), message: error.to_string() })
}

/// The context in an Ollama parameters layer.
fn own_context(parameters: &[u8]) -> Option<u64> {
    let parameters: serde_json::Value = serde_json::from_slice(parameters).ok()?;
    parameters.get("num_ctx")?.as_u64().filter(|tokens| (1..=CONTEXT_MAX).contains(tokens))
}

/// Most parameters that are believed: some thousand times the largest model published so far.
const PARAMETERS_MAX: u64 = 1 << 50;
/// Most bytes of cache per token that are believed.
const CACHE_PER_TOKEN_MAX: u64 = 1 << 28;

/// Refuses models whose products of shapes no memory could hold: each shape may be believable alone.
fn check_size(reference: &str, spec: &ModelSpec) -> Result<(), PlanFailure> {
    let refuse = |message: String| Err(PlanFailure::ModelUnreadable { model: reference.to_owned(), message });
    let parameters = spec.parameters().total;
    if parameters > PARAMETERS_MAX {
        return refuse(format!("its shapes make {parameters} parameters, more than any model has"));
    }
    let wide = ElementType::F32;
    let per_token: u64 = spec
        .decoder
        .layers()
        .map(|layer| layer_memory(layer, 1, wide, wide).bytes_per_sequence_at_context)
        .fold(0, u64::saturating_add);
    if per_token > CACHE_PER_TOKEN_MAX {
        return refuse(format!("its shapes make {per_token} bytes of cache per token, more than any model has"));
    }
    Ok(())
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
        (Tensors::Safetensors { index, files, is_complete }, config) => {
            read_safetensors(reference, config.as_deref(), index.as_deref(), files, *is_complete)
        }
        (Tensors::None, Some(config)) => read_config(reference, config),
        (Tensors::None, None) => Err(PlanFailure::ModelUnreadable {
            model: reference.to_owned(),
            message: "there is neither a config.json nor a weight file".to_owned(),
        }),
    }
}

fn read_config(reference: &str, config: &[u8]) -> Result<Described, PlanFailure> {
    huggingface::read_config(config).map_err(|error| unreadable(reference, &error))
}

/// Reads a configuration and the header of every shard; where the two disagree, the shards win.
fn read_safetensors(
    reference: &str,
    config: Option<&[u8]>,
    index: Option<&[u8]>,
    files: &[Source],
    is_complete: bool,
) -> Result<Described, PlanFailure> {
    if let (false, Some(config)) = (is_complete, config) {
        let (model, mut diagnostics) = read_config(reference, config)?;
        let remark = "some shards are missing, so only the configuration is used";
        diagnostics.push(Diagnostic::new("model.safetensors.index.json", remark));
        return Ok((model, diagnostics));
    }
    let mut headers = Vec::with_capacity(files.len());
    for file in files {
        let header = safetensors::read_header(file.open()?, Some(file.bytes));
        headers.push((file.name.clone(), header.map_err(|error| unreadable(&file.name, &error))?));
    }
    let (table, mut diagnostics) = match index {
        Some(index) => {
            let index = safetensors::read_index(index).map_err(|error| unreadable(reference, &error))?;
            safetensors::merge_shards(&index, headers).map_err(|error| unreadable(reference, &error))?
        }
        None => (without_index(headers), Vec::new()),
    };
    let (model, remarks) = match config {
        Some(config) => {
            let (mut model, mut remarks) = read_config(reference, config)?;
            remarks.extend(safetensors::reconcile(&mut model, &table));
            (model, remarks)
        }
        None => safetensors::infer(&table).ok_or_else(|| PlanFailure::ModelUnreadable {
            model: reference.to_owned(),
            message: "the files hold no tensors".to_owned(),
        })?,
    };
    diagnostics.extend(remarks);
    Ok((model, diagnostics))
}

fn without_index(headers: Vec<(String, safetensors::Header)>) -> safetensors::TensorTable {
    let format = headers.iter().find_map(|(_, header)| header.format.clone());
    let tensors = headers.into_iter().flat_map(|(_, header)| header.tensors).collect();
    safetensors::TensorTable { tensors, format }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_of_ones_own_is_read_and_bounded() {
        assert_eq!(own_context(br#"{"num_ctx": 8192, "stop": ["x"]}"#), Some(8192));
        assert_eq!(own_context(br#"{"num_ctx": 0}"#), None);
        assert_eq!(own_context(br#"{"num_ctx": 18446744073709551615}"#), None);
        assert_eq!(own_context(br#"{"num_ctx": "much"}"#), None);
        assert_eq!(own_context(b"not json"), None);
    }

    #[test]
    fn models_beyond_belief_are_refused() {
        let text = br#"{"model_type": "llama", "hidden_size": 2000000, "intermediate_size": 2000000,
            "num_attention_heads": 1000, "num_hidden_layers": 4000, "vocab_size": 2000000}"#;
        let (spec, _) = huggingface::read_config(text).unwrap();
        assert!(check_size("it", &spec).unwrap_err().to_string().contains("more than any model has"));
    }
}
