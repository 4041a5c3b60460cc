//! From texts to vectors: tokens, states, pooling, length one.

mod pool;

use std::path::PathBuf;
use std::sync::Arc;

use hwledger_kernels::cache::CacheFormat;
use hwledger_kernels::{InstructionSet, Pool};

use crate::error::{LoadError, RunError};
use crate::graph::{Decoder, Encoder, Machine, Outputs, Slice};
use crate::memory::MemoryReport;
use crate::model::{
    Directory, LoadOptions, LoadProgress, ModelFile, Pooling, PoolingSettings, Tensors, load_encoder_with_progress,
    load_with_progress,
};
use crate::text::{TextError, Tokenizer};
use crate::{CONTEXT_DEFAULT, PAGE_TOKENS};

/// Tokens of texts that are computed together; a longer text is computed alone.
pub const BATCH_TOKENS: usize = 512;

/// How an embedder is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedderOptions {
    /// The longest text in tokens; none for what the model knows.
    pub context: Option<usize>,
    /// Threads that compute.
    pub threads: usize,
    /// Instructions that kernels use at most; none for the best that there are.
    pub instructions: Option<InstructionSet>,
    /// Where repacked weights are kept for the next start; none to make them anew each time.
    pub packed_directory: Option<PathBuf>,
    /// Which states vectors are made of; none for what the model's files say.
    pub pooling: Option<Pooling>,
    /// Whether vectors are brought to length one; none for what the model's files say.
    pub is_normalised: Option<bool>,
    /// Elements that are kept of each vector; none for all.
    pub dimensions: Option<usize>,
}

impl Default for EmbedderOptions {
    fn default() -> Self {
        Self {
            context: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            instructions: None,
            packed_directory: None,
            pooling: None,
            is_normalised: None,
            dimensions: None,
        }
    }
}

/// A model that turns texts into vectors.
#[derive(Debug)]
pub struct Embedder {
    graph: Graph,
    tokenizer: Tokenizer,
    /// Which states vectors are made of.
    pub pooling: Pooling,
    /// Whether vectors are brought to length one.
    pub is_normalised: bool,
    /// Elements of a vector.
    pub dimensions: usize,
    /// The longest text in tokens.
    pub context: usize,
    /// What is worth knowing about how the model was read.
    pub notes: Vec<String>,
    /// Instructions that kernels use.
    pub instructions: InstructionSet,
    /// Threads that compute.
    pub threads: usize,
}

#[derive(Debug)]
enum Graph {
    Encoder(Box<Encoder>),
    Decoder(Box<Decoder>),
}

impl Embedder {
    /// Loads a GGUF model.
    pub fn open(files: Vec<ModelFile>, options: &EmbedderOptions) -> Result<Self, LoadError> {
        Self::load(&Tensors::new(files)?, options, &|_| ())
    }

    /// Loads a model of safetensors files.
    pub fn open_directory(directory: Directory, options: &EmbedderOptions) -> Result<Self, LoadError> {
        Self::load(&Tensors::of_directory(directory)?, options, &|_| ())
    }

    /// Loads a model whose headers were read, and tells on the way how far it is.
    pub fn load(tensors: &Tensors, options: &EmbedderOptions, tell: &dyn Fn(LoadProgress)) -> Result<Self, LoadError> {
        let mut notes = tensors.notes();
        let spec = tensors.spec()?;
        let (pooling, is_normalised) = pooling(tensors, spec.is_causal, options, &mut notes)?;
        // Before the weights, which take long to read.
        let tokenizer = match tensors {
            Tensors::Gguf(tensors) => Tokenizer::from_gguf(&tensors.vocabulary()?)?,
            Tensors::HuggingFace(tensors) => tensors.tokenizer()?,
        };
        let width = usize::try_from(spec.hidden_size).unwrap_or(usize::MAX);
        let dimensions = options.dimensions.unwrap_or(width);
        if dimensions == 0 || dimensions > width {
            return Err(LoadError::Dimensions { asked: dimensions, width });
        }
        let known = tensors.context();
        let asked = match (options.context, known) {
            (Some(asked), Some(known)) if asked > known => return Err(LoadError::Context { asked, known }),
            (asked, known) => asked.or(known).unwrap_or(CONTEXT_DEFAULT),
        };
        let set = options.instructions.map_or_else(InstructionSet::detect, InstructionSet::or_less);
        let pool = Pool::new(options.threads.max(1)).map_err(|source| LoadError::Memory { what: "threads", source })?;
        let threads = pool.threads();
        let load_options = LoadOptions { context: asked, packed_directory: options.packed_directory.clone() };
        let machine = |pool| Machine { pool, set };
        let failed = |error: RunError| LoadError::Unsupported(error.to_string());
        let (graph, rows, context) = if spec.is_causal {
            let model = load_with_progress(tensors, &load_options, &pool, tell)?;
            let rows = model.embedding.shape.rows;
            let pages = asked.div_ceil(PAGE_TOKENS);
            let decoder = Decoder::new(Arc::new(model), CacheFormat::F16, pages, machine(pool)).map_err(failed)?;
            (Graph::Decoder(Box::new(decoder)), rows, asked)
        } else {
            let model = load_encoder_with_progress(tensors, &load_options, &pool, tell)?;
            let context = match model.positions_max() {
                Some(max) if options.context.is_some_and(|asked| asked > max) => {
                    return Err(LoadError::Context { asked, known: max });
                }
                Some(max) => asked.min(max),
                None => asked,
            };
            let rows = model.embedding.shape.rows;
            let encoder = Encoder::new(Arc::new(model), machine(pool)).map_err(failed)?;
            (Graph::Encoder(Box::new(encoder)), rows, context)
        };
        let tokens = tokenizer.vocabulary_size();
        if tokens > rows {
            return Err(LoadError::Vocabulary { tokens, rows });
        }
        Ok(Self { graph, tokenizer, pooling, is_normalised, dimensions, context, notes, instructions: set, threads })
    }

    /// The tokens of a text, with those that the model wants about it, and whether the text was cut to fit. A text that
    /// does not fit is cut only where `may_cut` says so, else it keeps all its tokens, which [`Self::embed`] refuses.
    pub fn tokens(&self, text: &str, may_cut: bool) -> Result<(Vec<u32>, bool), TextError> {
        let max = if may_cut { self.context } else { usize::MAX };
        self.tokenizer.encode_prompt_up_to(text, max)
    }

    /// A vector for each text.
    pub fn embed(&mut self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, RunError> {
        for text in texts {
            if text.is_empty() {
                return Err(RunError::NoTokens);
            }
            if text.len() > self.context {
                return Err(RunError::Context { tokens: text.len(), context: self.context });
            }
        }
        let mut vectors = Vec::with_capacity(texts.len());
        let mut rest = texts;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |text: &&&[u32]| {
                tokens += text.len();
                tokens <= BATCH_TOKENS
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (batch, after) = rest.split_at(count);
            rest = after;
            match &mut self.graph {
                Graph::Encoder(encoder) => {
                    let width = encoder.model().embedding.shape.columns;
                    let mut states = encoder.states(batch)?;
                    for text in batch {
                        let (own, after) = states.split_at(text.len() * width);
                        states = after;
                        vectors.push(pool::pooled(self.pooling, own, width));
                    }
                }
                Graph::Decoder(decoder) => {
                    for text in batch {
                        vectors.push(decoded(decoder, text, self.pooling)?);
                    }
                }
            }
        }
        for vector in &mut vectors {
            vector.truncate(self.dimensions);
            if self.is_normalised {
                pool::normalise(vector);
            }
        }
        Ok(vectors)
    }

    /// What it has taken from the system.
    pub fn memory(&self) -> MemoryReport {
        match &self.graph {
            Graph::Encoder(encoder) => MemoryReport::of_encoder(encoder),
            Graph::Decoder(decoder) => MemoryReport::of(decoder),
        }
    }
}

/// The pooling that was asked for, or the files', or what is usual; and whether vectors are brought to length one.
fn pooling(
    tensors: &Tensors,
    is_causal: bool,
    options: &EmbedderOptions,
    notes: &mut Vec<String>,
) -> Result<(Pooling, bool), LoadError> {
    let PoolingSettings { pooling: stated, is_normalised } = tensors.pooling()?;
    let pooling = match options.pooling.or(stated) {
        Some(pooling) => pooling,
        // Such a model was made to write: whoever wants its states must say which.
        None if is_causal => return Err(LoadError::NoPooling),
        None => {
            notes.push("the model's files name no pooling: the mean of all tokens is taken".to_owned());
            Pooling::Mean
        }
    };
    if options.is_normalised.is_none() && is_normalised == Some(false) {
        notes.push("the model's `modules.json` leaves vectors at the length that they have".to_owned());
    }
    Ok((pooling, options.is_normalised.or(is_normalised).unwrap_or(true)))
}

/// The vector of one text by a decoder.
fn decoded(decoder: &mut Decoder, text: &[u32], pooling: Pooling) -> Result<Vec<f32>, RunError> {
    let width = decoder.model().embedding.shape.columns;
    let sequence = decoder.cache_mut().create();
    let mut states = Vec::new();
    let mut result = Ok(());
    for tokens in text.chunks(BATCH_TOKENS) {
        match decoder.states(&[Slice { sequence, tokens, outputs: Outputs::None }]) {
            Ok(part) => states.extend_from_slice(part),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    decoder.cache_mut().remove(sequence);
    result.map(|()| pool::pooled(pooling, &states, width))
}
