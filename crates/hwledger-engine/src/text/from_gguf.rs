//! A tokenizer from the vocabulary of a GGUF file.

use hwledger_formats::gguf::{TokenKind, Vocabulary};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{BertNormalizer, NFC, Precompiled, Prepend, Replace, Sequence};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as Steps;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper};

use super::build;
use super::error::TextError;
use super::pipeline::{Encoder, Pipeline};
use super::sentencepiece::SentencePiece;
use super::spelling::{Spelling, byte_token};
use super::split_rule::SplitRule;
use super::tokenizer::{Inner, Role, Tokens};

/// Splits at line ends and nowhere else (Gemma 4).
const LINES: &str = r"[^\n]+|[\n]+";

/// The parts in which kinds of vocabularies differ.
struct Plan {
    spelling: Spelling,
    normalizer: Option<NormalizerWrapper>,
    splitter: Option<PreTokenizerWrapper>,
    encoder: Encoder,
    adds_bos: bool,
    adds_eos: bool,
    has_space_prefix: bool,
}

pub(super) fn read(vocabulary: &Vocabulary) -> Result<Inner, TextError> {
    if vocabulary.tokens.is_empty() {
        return Err(TextError::NoTokens);
    }
    let plan = match (vocabulary.model.as_str(), vocabulary.pre.as_deref()) {
        ("llama", _) => sentencepiece(vocabulary)?,
        ("gemma4", _) | ("gpt2", Some("gemma4")) => raw_byte_pairs(vocabulary)?,
        ("gpt2", name) => byte_pairs(vocabulary, name.unwrap_or("default"))?,
        ("t5", _) => unigram(vocabulary)?,
        ("bert", _) => wordpiece(vocabulary)?,
        (other, _) => return Err(TextError::UnknownModel(other.to_owned())),
    };
    let tokens = tokens(vocabulary, plan.spelling);
    let special = vocabulary.special;
    let bos = special.bos.or(special.cls);
    let eos = if vocabulary.model == "bert" { special.sep.or(special.eos) } else { special.eos };
    let ends = build::ends(&tokens, &[special.eos, special.eot, special.eom]);
    let added: Vec<(u32, AddedToken)> = (0..)
        .zip(&vocabulary.tokens)
        .filter_map(|(id, text)| {
            let kind = kind(vocabulary, id as usize);
            let is_special = matches!(kind, TokenKind::Control | TokenKind::Unknown);
            let is_added = is_special || kind == TokenKind::UserDefined;
            is_added.then(|| (id, AddedToken::from(text.clone(), is_special).normalized(false)))
        })
        .collect();
    let (plain, special) = build::added(&added, plan.normalizer.as_ref()).map_err(TextError::Vocabulary)?;
    let once = |is_added: Option<bool>, default: bool, id: Option<u32>| {
        id.filter(|_| is_added.unwrap_or(default)).into_iter().collect()
    };
    Ok(Inner {
        prefix: once(vocabulary.add_bos, plan.adds_bos, bos),
        suffix: once(vocabulary.add_eos, plan.adds_eos, eos),
        pipeline: Pipeline {
            plain,
            special,
            normalizer: plan.normalizer,
            splitter: plan.splitter,
            encoder: plan.encoder,
        },
        tokens,
        bos,
        ends,
        has_space_prefix: plan.has_space_prefix,
    })
}

fn kind(vocabulary: &Vocabulary, place: usize) -> TokenKind {
    vocabulary.token_kinds.get(place).copied().unwrap_or(TokenKind::Normal)
}

fn tokens(vocabulary: &Vocabulary, spelling: Spelling) -> Tokens {
    let mut tokens = Tokens::default();
    for (place, text) in vocabulary.tokens.iter().enumerate() {
        let (spelling, role) = match kind(vocabulary, place) {
            TokenKind::Control | TokenKind::Unknown => (Spelling::Plain, Role::Control),
            TokenKind::UserDefined if spelling == Spelling::ByteLevel => (Spelling::Plain, Role::Text),
            _ => (spelling, Role::Text),
        };
        let text = if spelling == Spelling::WordPiece { hugging_face_spelling(text) } else { text.clone() };
        tokens.push(&text, role, |target| spelling.write(&text, target));
    }
    tokens
}

/// Llama 1 and 2, Mistral, Gemma 1 to 3: merges by score.
fn sentencepiece(vocabulary: &Vocabulary) -> Result<Plan, TextError> {
    if vocabulary.scores.is_empty() {
        return Err(TextError::Missing("scores"));
    }
    let tokens: Vec<(&str, f32, Option<u8>)> = vocabulary
        .tokens
        .iter()
        .zip(&vocabulary.scores)
        .enumerate()
        .map(|(place, (text, &score))| match kind(vocabulary, place) {
            TokenKind::Byte => (text.as_str(), score, byte_token(text)),
            // Marks and unused places are never made of text.
            TokenKind::Control | TokenKind::Unknown => ("", score, None),
            _ => (text.as_str(), score, None),
        })
        .collect();
    let prefixes = vocabulary.add_space_prefix.unwrap_or(true);
    let mut steps = Vec::new();
    if prefixes {
        steps.push(NormalizerWrapper::Prepend(Prepend::new("▁".to_owned())));
    }
    steps.push(escaped_spaces()?);
    Ok(Plan {
        spelling: Spelling::Metaspace,
        normalizer: Some(NormalizerWrapper::Sequence(Sequence::new(steps))),
        splitter: None,
        encoder: Encoder::SentencePiece(SentencePiece::new(&tokens, vocabulary.special.unk)),
        adds_bos: true,
        adds_eos: false,
        has_space_prefix: prefixes,
    })
}

fn escaped_spaces() -> Result<NormalizerWrapper, TextError> {
    Replace::new(" ", "▁").map(NormalizerWrapper::Replace).map_err(TextError::Vocabulary)
}

/// The merges as pairs of tokens that together are a token.
fn merges(vocabulary: &Vocabulary, numbers: &Vocab) -> Result<Merges, TextError> {
    if vocabulary.merges.is_empty() {
        return Err(TextError::Missing("merges"));
    }
    let mut whole = String::new();
    let split = |(position, merge): (usize, &String)| {
        // The first character belongs to the left token even if it is a space.
        let first = merge.chars().next().map_or(0, char::len_utf8);
        let wrong = || TextError::Merge { position, merge: merge.clone() };
        let (left, right) = merge[first..].split_once(' ').ok_or_else(wrong)?;
        let left = &merge[..first + left.len()];
        whole.clear();
        whole.extend([left, right]);
        // The library takes these for granted.
        if [left, right, &whole].into_iter().all(|token| numbers.contains_key(token)) {
            Ok((left.to_owned(), right.to_owned()))
        } else {
            Err(wrong())
        }
    };
    vocabulary.merges.iter().enumerate().map(split).collect()
}

fn numbers(vocabulary: &Vocabulary) -> Vocab {
    (0..).zip(&vocabulary.tokens).map(|(id, text)| (text.clone(), id)).collect()
}

/// GPT-2 and its many descendants: merges over bytes.
fn byte_pairs(vocabulary: &Vocabulary, name: &str) -> Result<Plan, TextError> {
    let rule = SplitRule::named(name).ok_or_else(|| TextError::UnknownPreTokenizer(name.to_owned()))?;
    let numbers = numbers(vocabulary);
    let merges = merges(vocabulary, &numbers)?;
    let model = BPE::builder()
        .vocab_and_merges(numbers, merges)
        .ignore_merges(rule.ignores_merges)
        .build()
        .map_err(TextError::Vocabulary)?;
    Ok(Plan {
        spelling: Spelling::ByteLevel,
        normalizer: rule.composes.then_some(NormalizerWrapper::NFC(NFC)),
        splitter: Some(build::splitter(rule.patterns, true)?),
        encoder: Encoder::Library(Box::new(model.into())),
        adds_bos: rule.adds_bos,
        adds_eos: false,
        has_space_prefix: false,
    })
}

/// Gemma 4: merges over characters, whole lines at once, bytes where no token fits.
fn raw_byte_pairs(vocabulary: &Vocabulary) -> Result<Plan, TextError> {
    let numbers = numbers(vocabulary);
    let merges = merges(vocabulary, &numbers)?;
    let model =
        BPE::builder().vocab_and_merges(numbers, merges).byte_fallback(true).build().map_err(TextError::Vocabulary)?;
    Ok(Plan {
        spelling: Spelling::Metaspace,
        normalizer: Some(escaped_spaces()?),
        splitter: Some(build::splitter(&[LINES], false)?),
        encoder: Encoder::Library(Box::new(model.into())),
        adds_bos: true,
        adds_eos: false,
        has_space_prefix: false,
    })
}

/// T5 and its relatives: the likeliest way to spell a text.
fn unigram(vocabulary: &Vocabulary) -> Result<Plan, TextError> {
    if vocabulary.scores.is_empty() {
        return Err(TextError::Missing("scores"));
    }
    let scored = vocabulary.tokens.iter().zip(&vocabulary.scores).enumerate().map(|(place, (text, &score))| {
        let score = if kind(vocabulary, place) == TokenKind::UserDefined { 0.0 } else { f64::from(score) };
        (text.clone(), score)
    });
    let unknown = vocabulary.special.unk.map(|id| id as usize);
    let model = Unigram::from(scored.collect(), unknown, false).map_err(TextError::Vocabulary)?;
    let normalizer = replacements(&vocabulary.precompiled_charsmap)?;
    let prefixes = vocabulary.add_space_prefix.unwrap_or(true);
    let scheme = if prefixes { PrependScheme::Always } else { PrependScheme::Never };
    let mut steps = Vec::new();
    if vocabulary.remove_extra_whitespaces.unwrap_or(false) {
        steps.push(PreTokenizerWrapper::WhitespaceSplit(WhitespaceSplit));
    }
    steps.push(PreTokenizerWrapper::Metaspace(Metaspace::new('▁', scheme, true)));
    Ok(Plan {
        spelling: Spelling::Metaspace,
        normalizer,
        splitter: Some(PreTokenizerWrapper::Sequence(Steps::new(steps))),
        encoder: Encoder::Library(Box::new(model.into())),
        adds_bos: false,
        adds_eos: true,
        has_space_prefix: prefixes,
    })
}

/// `SentencePiece`'s table of character replacements: the size of a trie, the trie, texts.
fn replacements(table: &[u8]) -> Result<Option<NormalizerWrapper>, TextError> {
    let Some((size, rest)) = table.split_first_chunk::<4>() else { return Ok(None) };
    let wrong = |reason: &str| TextError::Vocabulary(reason.into());
    // The library reserves what the size says before it looks.
    if u32::from_le_bytes(*size) as usize > rest.len() {
        return Err(wrong("the table of character replacements is cut off"));
    }
    let table = Precompiled::from(table).map_err(|error| wrong(&error.to_string()))?;
    Ok(Some(NormalizerWrapper::Precompiled(table)))
}

/// GGUF writes BERT's words with `▁` in front and parts of words bare; BERT
/// itself writes words bare and parts with `##`.
fn hugging_face_spelling(text: &str) -> String {
    match text.strip_prefix('▁') {
        Some(word) => word.to_owned(),
        None => format!("##{text}"),
    }
}

/// BERT: the longest parts of each word.
fn wordpiece(vocabulary: &Vocabulary) -> Result<Plan, TextError> {
    let unknown = vocabulary.special.unk.and_then(|id| vocabulary.tokens.get(id as usize));
    let unknown = unknown.ok_or(TextError::Missing("unknown token"))?;
    let numbers: Vocab = (0..)
        .zip(vocabulary.tokens.iter().enumerate())
        .map(|(id, (place, text))| match kind(vocabulary, place) {
            TokenKind::Control | TokenKind::Unknown => (text.clone(), id),
            _ => (hugging_face_spelling(text), id),
        })
        .collect();
    let model =
        WordPiece::builder().vocab(numbers).unk_token(unknown.clone()).build().map_err(TextError::Vocabulary)?;
    Ok(Plan {
        spelling: Spelling::WordPiece,
        normalizer: Some(NormalizerWrapper::BertNormalizer(BertNormalizer::default())),
        splitter: Some(PreTokenizerWrapper::BertPreTokenizer(BertPreTokenizer)),
        encoder: Encoder::Library(Box::new(model.into())),
        adds_bos: true,
        adds_eos: true,
        has_space_prefix: true,
    })
}
