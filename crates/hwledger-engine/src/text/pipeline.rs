//! The way of a text: special tokens out, normalise, split, encode each piece.

use tokenizers::{
    AddedVocabulary, Model as _, ModelWrapper, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizer as _,
    PreTokenizerWrapper, Token,
};

use super::error::TextError;
use super::sentencepiece::SentencePiece;

/// What turns a piece into tokens.
#[derive(Debug)]
pub(super) enum Encoder {
    /// A model of the tokenizer library.
    Library(Box<ModelWrapper>),
    /// Merging by scores, which the library cannot do exactly.
    SentencePiece(SentencePiece),
}

/// All steps from text to tokens.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// Finds tokens that are always taken out of text.
    pub(super) plain: AddedVocabulary,
    /// Finds these and the special ones.
    pub(super) special: AddedVocabulary,
    pub(super) normalizer: Option<NormalizerWrapper>,
    pub(super) splitter: Option<PreTokenizerWrapper>,
    pub(super) encoder: Encoder,
}

impl Pipeline {
    pub(super) fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, TextError> {
        let added = if parse_special { &self.special } else { &self.plain };
        let mut pieces = added.extract_and_normalize(self.normalizer.as_ref(), text);
        if let Some(splitter) = &self.splitter {
            splitter.pre_tokenize(&mut pieces).map_err(TextError::Encode)?;
        }
        let encoded = match &self.encoder {
            Encoder::Library(model) => pieces.tokenize(|piece| model.tokenize(piece.get())),
            Encoder::SentencePiece(model) => pieces.tokenize(|piece| {
                let ids = model.encode(piece.get());
                Ok(ids.into_iter().map(|id| Token::new(id, String::new(), (0, 0))).collect())
            }),
        };
        encoded.map_err(TextError::Encode)?;
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
        Ok(splits.iter().flat_map(|(_, _, tokens)| tokens.iter().flatten()).map(|token| token.id).collect())
    }
}
