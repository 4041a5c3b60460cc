//! From a model's files to an engine that answers.

use std::path::PathBuf;
use std::sync::Arc;

use hwledger_kernels::cache::CacheFormat;
use hwledger_kernels::{InstructionSet, Pool};

use crate::PAGE_TOKENS;
use crate::error::LoadError;
use crate::graph::{Decoder, Machine};
use crate::memory::MemoryReport;
use crate::model::{Directory, LoadOptions, LoadProgress, ModelFile, Tensors, load_with_progress};
use crate::scheduler::{Scheduler, SchedulerOptions};
use crate::text::{ChatTemplate, TemplateError, Tokenizer};

/// The context that is taken where nobody asks for one; a model that knows less has its own.
pub const CONTEXT_DEFAULT: usize = 4096;

/// How an engine is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// The longest sequence; none for [`CONTEXT_DEFAULT`] or what the model knows.
    pub context: Option<usize>,
    /// Threads that compute.
    pub threads: usize,
    /// Instructions that kernels use at most; none for the best that there are.
    pub instructions: Option<InstructionSet>,
    /// How the cache holds its numbers.
    pub cache_format: CacheFormat,
    /// The most tokens of all sequences together in the cache; none for as many as may run at once.
    pub cache_tokens: Option<usize>,
    /// Where repacked weights are kept for the next start; none to make them anew each time.
    pub packed_directory: Option<PathBuf>,
    /// Bounds of the scheduler; its context is that above.
    pub scheduler: SchedulerOptions,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            context: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            instructions: None,
            cache_format: CacheFormat::F16,
            cache_tokens: None,
            packed_directory: None,
            scheduler: SchedulerOptions::default(),
        }
    }
}

/// A model that is ready to answer.
#[derive(Debug)]
pub struct Engine {
    /// Requests and the decoder that answers them.
    pub scheduler: Scheduler,
    /// Text to tokens.
    pub tokenizer: Arc<Tokenizer>,
    /// Conversations to text, where the model has a template; or why it cannot be read.
    pub template: Option<Result<ChatTemplate, TemplateError>>,
    /// What is worth knowing about how the weights are held.
    pub notes: Vec<String>,
    /// The longest sequence.
    pub context: usize,
    /// Instructions that kernels use.
    pub instructions: InstructionSet,
    /// Threads that compute.
    pub threads: usize,
}

impl Engine {
    /// Loads a GGUF model.
    pub fn open(files: Vec<ModelFile>, options: &EngineOptions) -> Result<Self, LoadError> {
        Self::load(&Tensors::new(files)?, options, &|_| ())
    }

    /// Loads a model of safetensors files, of Hugging Face or MLX.
    pub fn open_directory(directory: Directory, options: &EngineOptions) -> Result<Self, LoadError> {
        Self::load(&Tensors::of_directory(directory)?, options, &|_| ())
    }

    /// Loads a model whose headers were read, and tells on the way how far it is.
    pub fn load(tensors: &Tensors, options: &EngineOptions, tell: &dyn Fn(LoadProgress)) -> Result<Self, LoadError> {
        let (tokenizer, template) = texts(tensors)?;
        let tokenizer = Arc::new(tokenizer);
        let context = match (options.context, tensors.context()) {
            (Some(asked), Some(known)) if asked > known => return Err(LoadError::Context { asked, known }),
            (Some(asked), _) => asked,
            (None, known) => known.unwrap_or(CONTEXT_DEFAULT).min(CONTEXT_DEFAULT),
        };
        let set = options.instructions.map_or_else(InstructionSet::detect, InstructionSet::or_less);
        let pool = Pool::new(options.threads.max(1)).map_err(|source| LoadError::Memory { what: "threads", source })?;
        let load_options = LoadOptions { context, packed_directory: options.packed_directory.clone() };
        let model = load_with_progress(tensors, &load_options, &pool, tell)?;
        let (tokens, rows) = (tokenizer.vocabulary_size(), model.embedding.shape.rows);
        if tokens > rows {
            return Err(LoadError::Vocabulary { tokens, rows });
        }
        let cache_tokens = options.cache_tokens.unwrap_or(context * options.scheduler.sequences_max);
        let threads = pool.threads();
        let decoder = Decoder::new(
            Arc::new(model),
            options.cache_format,
            cache_tokens.div_ceil(PAGE_TOKENS),
            Machine { pool, set },
        )
        .map_err(|error| LoadError::Unsupported(error.to_string()))?;
        let scheduler_options = SchedulerOptions { context, ..options.scheduler };
        let scheduler = Scheduler::new(decoder, Some(Arc::clone(&tokenizer)), scheduler_options);
        Ok(Self { scheduler, tokenizer, template, notes: tensors.notes(), context, instructions: set, threads })
    }

    /// What it has taken from the system.
    pub fn memory(&self) -> MemoryReport {
        MemoryReport::of(self.scheduler.decoder())
    }
}

/// A chat template, or why it cannot be read.
type Template = Result<ChatTemplate, TemplateError>;

/// The tokenizer and the chat template of a model.
fn texts(tensors: &Tensors) -> Result<(Tokenizer, Option<Template>), LoadError> {
    let tensors = match tensors {
        Tensors::Gguf(tensors) => tensors,
        Tensors::HuggingFace(tensors) => return Ok((tensors.tokenizer()?, tensors.template()?)),
    };
    let vocabulary = tensors.vocabulary()?;
    let text = |id: Option<u32>| {
        id.and_then(|id| vocabulary.tokens.get(usize::try_from(id).unwrap_or(usize::MAX))).map(String::as_str)
    };
    let (bos, eos) = (text(vocabulary.special.bos), text(vocabulary.special.eos));
    let template = vocabulary.chat_template.as_deref().map(|source| ChatTemplate::new(source, bos, eos));
    Ok((Tokenizer::from_gguf(&vocabulary)?, template))
}
