//! Running models by the native engine: replies, embeddings, and what they take.

mod answer;
mod bench;
#[cfg(test)]
mod demo_tests;
mod embed;
mod error;
mod recorded;
mod reply;
mod telemetry;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use hwledger_engine::model::{Directory, ModelFile, Tensors as Weights};
use hwledger_engine::{Engine, EngineOptions, InstructionSet};

use crate::locate::{LocateOptions, Located, Source, Tensors, locate};

pub use answer::{Logprobs, MemoryAnswer, ReplyAnswer, ReplyUsage};
pub use bench::{BenchOptions, BenchReport, BenchRow, BenchStep, bench};
pub use embed::{EmbedOptions, EmbedReport, EmbedRequest, EmbedSession, Embedding, Pooling};
pub use error::NativeError;
pub use hwledger_engine::model::LoadProgress;
pub use hwledger_engine::sampling::{ResponseFormat, SamplingSettings};
pub use hwledger_engine::scheduler::{FinishReason, SchedulerOptions, Usage};
pub use hwledger_engine::{CacheFormat, MemoryReport};
pub use hwledger_formats::measurement::MeasuredRun;
pub use recorded::{bench_runs, reply_run, with_memory, with_reply, with_row};
pub use reply::{Reply, ReplyRequest, ReplyToken, TokenLogprob};

/// The name of the model that is part of the program.
pub const DEMO: &str = "demo";

/// A model of 3.7 million parameters, made by `bench/demo/train.py` (`demo/PROVENANCE.toml`).
static DEMO_FILE: &[u8] = include_bytes!("../../demo/demo.gguf");

/// The file of [`DEMO`].
pub(crate) const fn demo_file() -> &'static [u8] {
    DEMO_FILE
}

/// How a model is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NativeOptions {
    /// The longest sequence in tokens; none for 4096, or what the model knows if that is less.
    pub context: Option<usize>,
    /// Threads; none for one per processor.
    pub threads: Option<usize>,
    /// The instructions that kernels use at most; none for the best.
    pub instructions: Option<InstructionSet>,
    /// Whether the cache holds 8-bit numbers.
    pub has_small_cache: bool,
    /// Sequences at once; none for 16.
    pub sequences: Option<usize>,
    /// Whether repacked weights are made anew rather than kept on disk for the next start.
    pub keeps_nothing: bool,
}

/// The folder for what can be made again: `hwledger` in the system's own.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CACHE_HOME").or_else(|| {
        if cfg!(windows) {
            set("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            set("HOME").map(|home| home.join("Library/Caches"))
        } else {
            set("HOME").map(|home| home.join(".cache"))
        }
    });
    folder.map(|folder| folder.join("hwledger"))
}

/// Where repacked weights are kept.
pub(crate) fn packed_directory() -> Option<PathBuf> {
    Some(cache_folder()?.join("packed"))
}

/// A set of instructions by its name.
pub fn instructions(name: &str) -> Result<InstructionSet, NativeError> {
    InstructionSet::named(name).ok_or_else(|| NativeError::Instructions(name.to_owned()))
}

/// A model that is ready to answer.
#[derive(Debug)]
pub struct Session {
    /// The model's name.
    pub name: String,
    /// Its engine.
    pub(crate) engine: Engine,
    /// What it has answered until now.
    telemetry: telemetry::Telemetry,
}

impl Session {
    /// Finds a model on this machine and loads it; [`DEMO`] is part of the program.
    pub fn open(model: &str, locate_options: &LocateOptions, options: &NativeOptions) -> Result<Self, NativeError> {
        Self::open_with_progress(model, locate_options, options, &|_| ())
    }

    /// Finds a model on this machine and loads it, and tells on the way how far it is.
    pub fn open_with_progress(
        model: &str,
        locate_options: &LocateOptions,
        options: &NativeOptions,
        tell: &dyn Fn(LoadProgress),
    ) -> Result<Self, NativeError> {
        let (name, weights) = find(model, locate_options)?;
        let engine = Engine::load(&weights, &engine_options(options), tell)?;
        Ok(Self { name, engine, telemetry: telemetry::Telemetry::default() })
    }

    /// What is worth knowing about how the weights are held.
    pub fn notes(&self) -> &[String] {
        &self.engine.notes
    }

    /// What the engine has taken from the system.
    pub fn memory(&self) -> MemoryReport {
        self.engine.memory()
    }

    /// The longest sequence in tokens.
    pub const fn context(&self) -> usize {
        self.engine.context
    }
}

/// Finds a model on this machine, with its name and its headers; [`DEMO`] is part of the program.
fn find(model: &str, locate_options: &LocateOptions) -> Result<(String, Weights), NativeError> {
    if model == DEMO {
        return Ok((DEMO.to_owned(), Weights::new(vec![ModelFile::embedded("demo.gguf", DEMO_FILE)])?));
    }
    let Located { name, config, tensors, .. } = locate(model, locate_options)?;
    let weights = match tensors {
        Tensors::Gguf(sources) => Weights::new(open_files(model, &sources)?)?,
        Tensors::Safetensors { is_complete: false, .. } => return Err(NativeError::Incomplete(model.to_owned())),
        Tensors::Safetensors { index, files: sources, .. } => {
            let folder = sources.first().and_then(Source::path).and_then(Path::parent).unwrap_or(Path::new(""));
            Weights::of_directory(Directory {
                folder: folder.to_owned(),
                config: config.ok_or_else(|| NativeError::NoConfiguration(model.to_owned()))?,
                index,
                files: open_files(model, &sources)?,
            })?
        }
        Tensors::None => return Err(NativeError::NoWeights(model.to_owned())),
    };
    Ok((name, weights))
}

/// Opens the files of a model, which must be on this machine.
fn open_files(model: &str, sources: &[Source]) -> Result<Vec<ModelFile>, NativeError> {
    let paths: Option<Vec<&Path>> = sources.iter().map(Source::path).collect();
    let paths = paths.ok_or_else(|| NativeError::Elsewhere(model.to_owned()))?;
    Ok(paths.into_iter().map(ModelFile::open).collect::<Result<_, _>>()?)
}

fn engine_options(options: &NativeOptions) -> EngineOptions {
    let defaults = EngineOptions::default();
    let scheduler = SchedulerOptions {
        sequences_max: options.sequences.unwrap_or(defaults.scheduler.sequences_max).max(1),
        ..defaults.scheduler
    };
    EngineOptions {
        context: options.context,
        threads: options.threads.unwrap_or(defaults.threads),
        instructions: options.instructions,
        cache_format: if options.has_small_cache { CacheFormat::Q8 } else { CacheFormat::F16 },
        packed_directory: if options.keeps_nothing { None } else { packed_directory() },
        scheduler,
        ..defaults
    }
}
