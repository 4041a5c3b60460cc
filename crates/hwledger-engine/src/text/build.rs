//! What both sources of a tokenizer need.

use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, AddedVocabulary, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::error::{LibraryError, TextError};
use super::tokenizer::{Role, Tokens};

/// Names of control tokens that end a reply in the models that have them.
const ENDS: &[&str] = &[
    "</s>",
    "<eos>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<turn|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|endoftext|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|eot|>",
    "<｜end▁of▁sentence｜>",
    "[EOS]",
    "<EOT>",
    "_<EOT>",
];

/// `named` and the usual ones, if they are control tokens, in ascending order.
pub(super) fn ends(tokens: &Tokens, named: &[Option<u32>]) -> Vec<u32> {
    let usual = ENDS.iter().filter_map(|name| tokens.id(name)).filter(|&id| tokens.role(id) == Role::Control);
    let mut ends: Vec<u32> = named.iter().flatten().copied().chain(usual).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// Finders of added tokens: those that are always found, and all.
pub(super) fn added(
    tokens: &[(u32, AddedToken)],
    normalizer: Option<&NormalizerWrapper>,
) -> Result<(AddedVocabulary, AddedVocabulary), LibraryError> {
    // The library asks a model for the tokens' numbers; this one knows just them.
    let numbers: Vocab = tokens.iter().map(|(id, token)| (token.content.clone(), *id)).collect();
    let model = WordLevel::builder().vocab(numbers).unk_token(String::new()).build()?;
    let mut special = AddedVocabulary::new();
    special.add_tokens(tokens.iter().map(|(_, token)| token.clone()), &model, normalizer)?;
    let mut plain = AddedVocabulary::new();
    let always = tokens.iter().filter(|(_, token)| !token.special).map(|(_, token)| token.clone());
    plain.add_tokens(always, &model, normalizer)?;
    Ok((plain, special))
}

/// Splits by each pattern in turn; what matches and what lies between are pieces.
pub(super) fn splitter(patterns: &[&str], is_byte_level: bool) -> Result<PreTokenizerWrapper, TextError> {
    let mut steps = Vec::new();
    for &pattern in patterns {
        let pattern = SplitPattern::Regex(pattern.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(TextError::Vocabulary)?;
        steps.push(PreTokenizerWrapper::Split(split));
    }
    if is_byte_level {
        steps.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)));
    }
    Ok(PreTokenizerWrapper::Sequence(Sequence::new(steps)))
}
