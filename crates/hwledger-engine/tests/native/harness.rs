//! From a file to logits.

use std::sync::Arc;

use hwledger_engine::cache::SequenceId;
use hwledger_engine::graph::{Decoder, Machine, Outputs, Slice};
use hwledger_engine::model::{LoadOptions, Model, ModelFile, Tensors, load};
use hwledger_engine::{CacheFormat, InstructionSet, LoadError, Pool};

/// The file of a model in memory for as long as the tests run.
pub(crate) fn file(bytes: Vec<u8>) -> ModelFile {
    ModelFile::embedded("test.gguf", Box::leak(bytes.into_boxed_slice()))
}

pub(crate) fn try_load(bytes: Vec<u8>, context: usize) -> Result<Arc<Model>, LoadError> {
    let tensors = Tensors::new(vec![file(bytes)])?;
    load(&tensors, &LoadOptions { context, packed_directory: None }, &Pool::new(1).unwrap()).map(Arc::new)
}

pub(crate) fn loaded(bytes: Vec<u8>, context: usize) -> Arc<Model> {
    try_load(bytes, context).unwrap()
}

/// The best set without tiles of bfloat16, whose rounding has a tolerance of its own.
pub(crate) fn best_without_tiles() -> InstructionSet {
    InstructionSet::detect().min(InstructionSet::Avx512)
}

pub(crate) fn decoder(model: &Arc<Model>, set: InstructionSet, threads: usize) -> Decoder {
    decoder_with(model, CacheFormat::F16, set, threads)
}

pub(crate) fn decoder_with(model: &Arc<Model>, format: CacheFormat, set: InstructionSet, threads: usize) -> Decoder {
    let machine = Machine { pool: Pool::new(threads).unwrap(), set };
    Decoder::new(Arc::clone(model), format, 64, machine).unwrap()
}

/// Logits after every token, `chunk` tokens a step.
pub(crate) fn logits(decoder: &mut Decoder, sequence: SequenceId, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
    let vocabulary = decoder.vocabulary();
    let mut rows = Vec::new();
    for tokens in tokens.chunks(chunk) {
        let logits = decoder.step(&[Slice { sequence, tokens, outputs: Outputs::All }]).unwrap();
        rows.extend(logits.chunks_exact(vocabulary).map(<[f32]>::to_vec));
    }
    rows
}

/// The bits of logits, to be compared exactly.
pub(crate) fn bits(rows: &[Vec<f32>]) -> Vec<u32> {
    rows.iter().flatten().map(|logit| logit.to_bits()).collect()
}
