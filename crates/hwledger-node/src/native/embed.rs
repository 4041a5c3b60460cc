//! Texts to vectors.

use std::time::{Duration, Instant};

use hwledger_engine::{Embedder, EmbedderOptions, MemoryReport};
use serde::Serialize;

pub use hwledger_engine::model::Pooling;

use super::{LoadProgress, NativeError, NativeOptions, find, packed_directory};
use crate::locate::LocateOptions;

/// How an embedding model is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbedOptions {
    /// The longest text in tokens, threads, instructions, what is kept on disk.
    pub native: NativeOptions,
    /// Which states vectors are made of; none for what the model's files say.
    pub pooling: Option<Pooling>,
    /// Whether vectors are brought to length one; none for what the model's files say.
    pub is_normalised: Option<bool>,
    /// Elements that are kept of each vector, which models trained for it (Matryoshka, Kusupati et al. 2022) allow.
    pub dimensions: Option<usize>,
}

/// Texts whose vectors are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmbedRequest {
    /// The texts.
    pub texts: Vec<String>,
    /// What is put before each, as many models were trained with.
    pub prefix: String,
    /// Whether texts that are too long are cut rather than refused.
    pub may_cut: bool,
    /// Whether texts are compared with each other.
    pub compares: bool,
}

/// Vectors of texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EmbedReport {
    /// What this is.
    pub schema: &'static str,
    /// The model's name.
    pub model: String,
    /// Elements of a vector.
    pub dimensions: usize,
    /// Which states vectors are made of.
    pub pooling: &'static str,
    /// Whether vectors have length one.
    pub normalised: bool,
    /// Tokens of all texts.
    pub tokens: usize,
    /// One for each text, in order.
    pub embeddings: Vec<Embedding>,
    /// Cosines of all pairs, a row for each text; none where they were not asked for. A vector of zeros has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<Vec<Vec<Option<f64>>>>,
    /// How long the vectors took.
    #[serde(skip)]
    pub time: Duration,
}

/// The vector of one text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Embedding {
    /// The text's place among the texts, from 0.
    pub index: usize,
    /// Its tokens, with those that the model wants about a text.
    pub tokens: usize,
    /// Whether its end was cut off.
    pub truncated: bool,
    /// The vector.
    pub embedding: Vec<f32>,
}

/// A model that is ready to embed.
#[derive(Debug)]
pub struct EmbedSession {
    /// The model's name.
    pub name: String,
    embedder: Embedder,
}

impl EmbedSession {
    /// Finds a model on this machine and loads it, and tells on the way how far it is.
    pub fn open(
        model: &str,
        locate_options: &LocateOptions,
        options: &EmbedOptions,
        tell: &dyn Fn(LoadProgress),
    ) -> Result<Self, NativeError> {
        let EmbedOptions { native, pooling, is_normalised, dimensions } = *options;
        let defaults = EmbedderOptions::default();
        let options = EmbedderOptions {
            context: native.context,
            threads: native.threads.unwrap_or(defaults.threads),
            instructions: native.instructions,
            packed_directory: if native.keeps_nothing { None } else { packed_directory() },
            pooling,
            is_normalised,
            dimensions,
        };
        let (name, weights) = find(model, locate_options)?;
        Ok(Self { name, embedder: Embedder::load(&weights, &options, tell)? })
    }

    /// What is worth knowing about how the model was read.
    pub fn notes(&self) -> &[String] {
        &self.embedder.notes
    }

    /// What the engine has taken from the system.
    pub fn memory(&self) -> MemoryReport {
        self.embedder.memory()
    }

    /// The longest text in tokens.
    pub const fn context(&self) -> usize {
        self.embedder.context
    }

    /// The vectors of texts. No text is computed before all are known to fit.
    pub fn embed(&mut self, request: &EmbedRequest) -> Result<EmbedReport, NativeError> {
        if request.texts.is_empty() {
            return Err(NativeError::NoTexts);
        }
        let start = Instant::now();
        let context = self.embedder.context;
        let mut texts = Vec::with_capacity(request.texts.len());
        for (index, text) in request.texts.iter().enumerate() {
            let text = format!("{}{text}", request.prefix);
            let (tokens, is_cut) = self.embedder.tokens(&text, request.may_cut)?;
            if tokens.len() > context {
                return Err(NativeError::LongText { number: index + 1, tokens: tokens.len(), context });
            }
            if tokens.is_empty() {
                return Err(NativeError::EmptyText { number: index + 1 });
            }
            texts.push((tokens, is_cut));
        }
        let tokens: Vec<&[u32]> = texts.iter().map(|(tokens, _)| tokens.as_slice()).collect();
        let vectors = self.embedder.embed(&tokens)?;
        let time = start.elapsed();
        let similarity = request.compares.then(|| similarity(&vectors));
        let embeddings: Vec<Embedding> = vectors
            .into_iter()
            .zip(&texts)
            .enumerate()
            .map(|(index, (embedding, (tokens, truncated)))| Embedding {
                index,
                tokens: tokens.len(),
                truncated: *truncated,
                embedding,
            })
            .collect();
        Ok(EmbedReport {
            schema: "hwledger.embed/1",
            model: self.name.clone(),
            dimensions: self.embedder.dimensions,
            pooling: self.embedder.pooling.name(),
            normalised: self.embedder.is_normalised,
            tokens: embeddings.iter().map(|embedding| embedding.tokens).sum(),
            embeddings,
            similarity,
            time,
        })
    }
}

/// Cosines of all pairs.
fn similarity(vectors: &[Vec<f32>]) -> Vec<Vec<Option<f64>>> {
    let product = |one: &[f32], other: &[f32]| -> f64 {
        one.iter().zip(other).map(|(&one, &other)| f64::from(one) * f64::from(other)).sum()
    };
    let lengths: Vec<f64> = vectors.iter().map(|vector| product(vector, vector).sqrt()).collect();
    let cosine = |one: usize, other: usize| {
        let lengths = lengths[one] * lengths[other];
        (lengths > 0.0).then(|| product(&vectors[one], &vectors[other]) / lengths)
    };
    (0..vectors.len()).map(|one| (0..vectors.len()).map(|other| cosine(one, other)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_those_of_the_angles() {
        let found = similarity(&[vec![3.0, 4.0], vec![-4.0, 3.0], vec![6.0, 8.0], vec![0.0, 0.0]]);
        let near = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-12;
        assert!(near(found[0][0], 1.0) && near(found[0][1], 0.0) && near(found[0][2], 1.0));
        assert!(found[3].iter().all(Option::is_none) && found[0][3].is_none());
    }
}
