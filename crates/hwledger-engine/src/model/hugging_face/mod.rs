//! Models as their publishers keep them: a `config.json` and safetensors files, of Hugging Face or MLX.

mod encoder;
mod experts;
mod families;
mod fp8;
mod interleaved;
mod latent;
mod matrix;
mod names;
mod pooling;
mod settings;
mod text;

use std::collections::{HashMap, HashSet};
use std::io::BufReader;
use std::path::PathBuf;

use hwledger_core::ModelSpec;
use hwledger_formats::huggingface;
use hwledger_formats::safetensors::{IndexError, TensorInfo, read_header, read_index};
use serde_json::{Map, Value};

use crate::error::LoadError;

use super::tensors::{ModelFile, plain_numbers};
use families::Family;
use names::OurName;

/// What a directory with a model holds.
#[derive(Debug)]
pub struct Directory {
    /// Where `tokenizer.json` and the other small files are.
    pub folder: PathBuf,
    /// The content of `config.json`.
    pub config: Vec<u8>,
    /// The content of `model.safetensors.index.json`, where there is one.
    pub index: Option<Vec<u8>>,
    /// The safetensors files.
    pub files: Vec<ModelFile>,
}

/// The tensors of such a model, read from its files as they are asked for by the names that GGUF gives them.
#[derive(Debug)]
pub struct HuggingFaceTensors {
    /// The shapes of the model.
    pub spec: ModelSpec,
    /// Where the small files are.
    pub folder: PathBuf,
    config: Map<String, Value>,
    family: Family,
    files: Vec<ModelFile>,
    tensors: HashMap<String, Stored>,
    is_head_tied: bool,
}

/// A tensor and its place.
#[derive(Debug)]
struct Stored {
    info: TensorInfo,
    file: usize,
    offset: u64,
}

/// The module that holds a tensor.
enum Module {
    /// One, perhaps with all experts stacked.
    One(String),
    /// One per expert, whose number stands for `*`.
    PerExpert(String),
}

impl HuggingFaceTensors {
    /// The files with weights.
    pub(in crate::model) fn files(&self) -> impl Iterator<Item = &ModelFile> {
        self.files.iter()
    }

    /// Reads the configuration and the headers. What the engine does not run is refused here, by name.
    pub fn new(directory: Directory) -> Result<Self, LoadError> {
        let Directory { folder, config, index, files } = directory;
        let (spec, _) = huggingface::read_config(&config)?;
        let family = families::family(&spec.architecture)
            .ok_or_else(|| LoadError::Unsupported(format!("models of the type `{}`", spec.architecture)))?;
        let Value::Object(config) = huggingface::parse(&config)? else {
            return Err(huggingface::ConfigError::NotAnObject.into());
        };
        let tensors = read_headers(&files, index.as_deref())?;
        let has_head = tensors.contains_key("lm_head.weight");
        let is_head_tied = match config.get("tie_word_embeddings").and_then(Value::as_bool) {
            Some(false) if !has_head && family.encoder.is_none() => {
                return Err(LoadError::MissingTensor("lm_head.weight".to_owned()));
            }
            Some(is_tied) => is_tied,
            None => !has_head,
        };
        let found = Self { spec, folder, config, family, files, tensors, is_head_tied };
        found.refuse_types()?;
        Ok(found)
    }

    /// Refuses tensors of a type that is not read, the first by its place first.
    fn refuse_types(&self) -> Result<(), LoadError> {
        let refused = self.tensors.iter().filter(|(name, stored)| !self.is_read(name, &stored.info.dtype));
        let Some((name, stored)) = refused.min_by_key(|(name, _)| name.as_str()) else { return Ok(()) };
        let dtype = &stored.info.dtype;
        let method = ["quantization_config", "quantization"]
            .iter()
            .find_map(|key| self.config.get(*key)?.as_object())
            .and_then(|object| object.get("quant_method").or_else(|| object.get("mode"))?.as_str());
        Err(LoadError::Unsupported(match method {
            Some(method) => format!("weights quantised by `{method}` (the tensor `{name}` of the type {dtype})"),
            None => format!("tensors of the type {dtype} (`{name}`)"),
        }))
    }

    fn is_read(&self, name: &str, dtype: &str) -> bool {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        match dtype {
            // Masks and counters, which hold no weights.
            "F32" | "F16" | "BF16" | "BOOL" | "I64" => true,
            "F8_E4M3" => self.fp8_scale(module).is_some(),
            "U32" => ["scales", "biases"].iter().all(|part| self.tensors.contains_key(&format!("{module}.{part}"))),
            "U8" => self.family.interleaves_experts && (name.ends_with("_blocks") || name.ends_with("_scales")),
            _ => false,
        }
    }

    /// What is worth knowing about how the weights are held.
    pub(super) fn notes(&self) -> Vec<String> {
        let count = self.tensors.values().filter(|stored| &*stored.info.dtype == "F8_E4M3").count();
        if count == 0 {
            return Vec::new();
        }
        vec![format!("{count} matrices of 8-bit floats (FP8) are held as bfloat16, which takes twice their bytes")]
    }

    fn stored(&self, name: &str) -> Result<&Stored, LoadError> {
        self.tensors.get(name).ok_or_else(|| LoadError::MissingTensor(name.to_owned()))
    }

    fn read(&self, stored: &Stored) -> Result<Vec<u8>, LoadError> {
        self.files[stored.file].read(stored.offset, stored.info.bytes)
    }

    /// The name of a module's weight or bias, if it has it: `MODULE.weight`, or, of stacked experts, `MODULE` and
    /// `MODULE_bias`.
    fn part(&self, module: &str, kind: &str) -> Option<String> {
        let usual = format!("{module}.{kind}");
        let bare = if kind == "weight" { module.to_owned() } else { format!("{module}_{kind}") };
        [usual, bare].into_iter().find(|name| self.tensors.contains_key(name))
    }

    /// The modules that may hold a tensor of a decoder.
    fn decoder_modules(&self, name: OurName<'_>) -> Vec<String> {
        let mut modules = name.modules(self.family.norms);
        // Models saved without their head, as those that embed are.
        let bare: Vec<String> =
            modules.iter().filter_map(|module| module.strip_prefix("model.")).map(str::to_owned).collect();
        modules.extend(bare);
        modules
    }

    fn module(&self, name: OurName<'_>) -> Option<Module> {
        if name.stem == "output" && self.is_head_tied {
            return None;
        }
        let modules = self.family.encoder.map_or_else(|| self.decoder_modules(name), |names| names.modules(name));
        modules.into_iter().find_map(|module| {
            if module.contains('*') {
                self.part(&module.replace('*', "0"), name.kind).map(|_| Module::PerExpert(module))
            } else {
                self.part(&module, name.kind).map(|_| Module::One(module))
            }
        })
    }

    /// Whether there is such a tensor.
    pub(super) fn has(&self, name: &str) -> bool {
        OurName::parse(name).is_some_and(|name| self.interleaved(name).is_some() || self.module(name).is_some())
    }

    /// A tensor as plain numbers, if it is there.
    pub(super) fn vector(&self, name: &str, expected: Option<u64>) -> Result<Option<Vec<f32>>, LoadError> {
        let Some(ours) = OurName::parse(name) else { return Ok(None) };
        if let Some(values) = self.interleaved_bias(ours, expected)? {
            return Ok(Some(values));
        }
        let Some(Module::One(module)) = self.module(ours) else { return Ok(None) };
        let Some(theirs) = self.part(&module, ours.kind) else { return Ok(None) };
        let mut values = self.numbers(&theirs, expected)?;
        if self.family.adds_one_to_norms && ours.stem.ends_with("_norm") {
            for value in &mut values {
                *value += 1.0;
            }
        }
        Ok(Some(values))
    }

    /// A tensor by its own name, as plain numbers.
    fn numbers(&self, name: &str, expected: Option<u64>) -> Result<Vec<f32>, LoadError> {
        let stored = self.stored(name)?;
        plain_numbers(name, stored.info.element_type, &reversed(&stored.info.shape), expected, || self.read(stored))
    }

    /// Rows of a matrix, if it is there.
    pub(super) fn rows(&self, name: &str) -> Option<u64> {
        let name = OurName::parse(name)?;
        let Module::One(module) = self.module(name)? else { return None };
        let stored = self.tensors.get(&self.part(&module, name.kind)?)?;
        stored.info.shape.first().copied()
    }
}

/// Extents with the contiguous one first, as errors name them.
fn reversed(shape: &[u64]) -> Vec<u64> {
    shape.iter().rev().copied().collect()
}

/// Reads the headers of all files; with an index, each tensor counts where that says.
fn read_headers(files: &[ModelFile], index: Option<&[u8]>) -> Result<HashMap<String, Stored>, LoadError> {
    let index = index.map(read_index).transpose()?;
    let mut tensors = HashMap::new();
    for (place, file) in files.iter().enumerate() {
        let failed = |source| LoadError::Read { path: file.path.clone(), source };
        let size = file.size().map_err(failed)?;
        let reader = BufReader::new(file.reader(0).map_err(failed)?);
        let header = read_header(reader, Some(size))
            .map_err(|source| LoadError::Safetensors { path: file.path.clone(), source })?;
        let own = file.path.file_name().unwrap_or_default().to_string_lossy();
        let listed: Option<HashSet<&str>> = index.as_ref().map(|index| {
            index.shards.get(&*own).map(|names| names.iter().map(String::as_str).collect()).unwrap_or_default()
        });
        // Tensors follow each other in the order of their data, without gaps.
        let mut offset = header.data_offset;
        for info in header.tensors {
            let start = offset;
            offset += info.bytes;
            if listed.as_ref().is_some_and(|listed| !listed.contains(info.name.as_str())) {
                continue;
            }
            let name = info.name.clone();
            if tensors.insert(name.clone(), Stored { info, file: place, offset: start }).is_some() {
                return Err(LoadError::TwoFiles { name });
            }
        }
    }
    let lists = index.iter().flat_map(|index| &index.shards);
    for (file, names) in lists {
        if let Some(tensor) = names.iter().find(|name| !tensors.contains_key(name.as_str())) {
            return Err(IndexError::MissingTensor { tensor: tensor.clone(), file: file.clone() }.into());
        }
    }
    Ok(tensors)
}
