//! The tokenizer that a GGUF file carries: tokens, scores, merges, special
//! tokens and chat templates, which the header's reader only counts.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;

use super::error::{GgufError, GgufErrorKind, Place};
use super::header::{check_count, read_preamble};
use super::metadata::{Kind, Value, read_float, read_integer, read_key};
use super::source::Source;

/// Most tokens; the largest known vocabularies hold some 300,000.
const TOKENS_MAX: u64 = 1 << 20;
/// Most merges; byte-pair vocabularies have at most a few per token.
const MERGES_MAX: u64 = 4 << 20;
/// Longest token or merge.
const TOKEN_BYTES_MAX: u64 = 64 << 10;
/// Longest chat template or other text.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// Longest table of character replacements.
const CHARSMAP_BYTES_MAX: u64 = 16 << 20;
/// Bytes kept in all.
const KEPT_BYTES_MAX: u64 = 256 << 20;

const PREFIX: &str = "tokenizer.ggml.";
const TEMPLATE: &str = "tokenizer.chat_template";

/// What a token stands for (`enum llama_token_type` of llama.cpp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Text.
    Normal,
    /// What cannot be written otherwise.
    Unknown,
    /// A mark for the model, never text.
    Control,
    /// A text that is always one token.
    UserDefined,
    /// A place that nothing uses.
    Unused,
    /// One byte, spelled `<0x..>`.
    Byte,
}

impl TokenKind {
    const fn from_id(id: i64) -> Self {
        match id {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// The tokens with a role of their own, as far as the file names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begin of sequence.
    pub bos: Option<u32>,
    /// End of sequence.
    pub eos: Option<u32>,
    /// End of turn.
    pub eot: Option<u32>,
    /// End of message.
    pub eom: Option<u32>,
    /// Unknown.
    pub unk: Option<u32>,
    /// Separator.
    pub sep: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Classification, the start of BERT's sequences.
    pub cls: Option<u32>,
    /// Mask.
    pub mask: Option<u32>,
}

impl SpecialTokens {
    fn slot(&mut self, name: &str) -> Option<&mut Option<u32>> {
        Some(match name {
            "bos_token_id" => &mut self.bos,
            "eos_token_id" => &mut self.eos,
            "eot_token_id" => &mut self.eot,
            "eom_token_id" => &mut self.eom,
            "unknown_token_id" => &mut self.unk,
            // The misspelling is the format's own.
            "seperator_token_id" | "separator_token_id" => &mut self.sep,
            "padding_token_id" => &mut self.pad,
            "cls_token_id" => &mut self.cls,
            "mask_token_id" => &mut self.mask,
            _ => return None,
        })
    }
}

/// The tokenizer of one file. Lists that the file lacks are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: `llama`, `gpt2`, `bert`, `t5` and others.
    pub model: String,
    /// `tokenizer.ggml.pre`: the name of the rule that splits text before merging.
    pub pre: Option<String>,
    /// The tokens' texts, by id.
    pub tokens: Vec<String>,
    /// The tokens' scores; empty, or as many as tokens.
    pub scores: Vec<f32>,
    /// The tokens' kinds; empty, or as many as tokens.
    pub token_kinds: Vec<TokenKind>,
    /// Merges, the first to apply first: two tokens with a space between.
    pub merges: Vec<String>,
    /// Tokens with a role.
    pub special: SpecialTokens,
    /// Whether a sequence starts with the begin token.
    pub add_bos: Option<bool>,
    /// Whether a sequence ends with the end token.
    pub add_eos: Option<bool>,
    /// Whether text gets a space in front.
    pub add_space_prefix: Option<bool>,
    /// Whether runs of spaces become one.
    pub remove_extra_whitespaces: Option<bool>,
    /// Character replacements of `SentencePiece`, in its own binary form.
    pub precompiled_charsmap: Vec<u8>,
    /// The default chat template.
    pub chat_template: Option<String>,
    /// Further chat templates by name, such as `tool_use`.
    pub named_templates: BTreeMap<String, String>,
}

/// Reads the tokenizer from the start of a GGUF file.
///
/// The source is read in order and no further than the metadata. `file_size`,
/// where known, bounds every count and length. Memory stays below some 300 MiB
/// whatever the bytes say.
pub fn read_vocabulary(mut source: impl Read, file_size: Option<u64>) -> Result<Vocabulary, GgufError> {
    let mut parser = Parser {
        source: Source::new(&mut source, file_size),
        place: Place::Preamble,
        kept: 0,
        found: Vocabulary::default(),
    };
    match parser.run() {
        Ok(()) => Ok(parser.found),
        Err(kind) => Err(GgufError { offset: parser.source.offset(), place: parser.place, kind }),
    }
}

struct Parser<'a> {
    source: Source<'a>,
    place: Place,
    kept: u64,
    found: Vocabulary,
}

impl Parser<'_> {
    fn run(&mut self) -> Result<(), GgufErrorKind> {
        let entries = read_preamble(&mut self.source)?.entry_count;
        let mut seen = HashSet::new();
        for index in 0..entries {
            self.place = Place::Entry(index);
            let key = read_key(&mut self.source)?;
            self.place = Place::Key(key.clone());
            self.keep(key.len() as u64)?;
            let kind = Kind::from_id(self.source.u32()?)?;
            self.entry(&key, kind)?;
            if !seen.insert(key) {
                return Err(GgufErrorKind::DuplicateKey);
            }
        }
        self.check()
    }

    /// Counts bytes that stay in memory.
    fn keep(&mut self, bytes: u64) -> Result<(), GgufErrorKind> {
        self.kept = self.kept.saturating_add(bytes);
        if self.kept > KEPT_BYTES_MAX {
            let (found, limit) = (self.kept, KEPT_BYTES_MAX);
            return Err(GgufErrorKind::TooMany { what: "the size of the tokenizer", found, limit });
        }
        Ok(())
    }

    fn entry(&mut self, key: &str, kind: Kind) -> Result<(), GgufErrorKind> {
        if let Some(rest) = key.strip_prefix(TEMPLATE) {
            return match rest.strip_prefix('.') {
                None if rest.is_empty() => self.text(kind).map(|text| self.found.chat_template = Some(text)),
                Some(name) => {
                    let text = self.text(kind)?;
                    self.keep(name.len() as u64)?;
                    self.found.named_templates.insert(name.to_owned(), text);
                    Ok(())
                }
                // `tokenizer.chat_templates`, the list of names.
                None => self.skip(kind),
            };
        }
        let Some(name) = key.strip_prefix(PREFIX) else { return self.skip(kind) };
        match name {
            "model" => self.found.model = self.text(kind)?,
            "pre" => self.found.pre = Some(self.text(kind)?),
            "tokens" => self.found.tokens = self.texts(kind, "the number of tokens", TOKENS_MAX)?,
            "merges" => self.found.merges = self.texts(kind, "the number of merges", MERGES_MAX)?,
            "scores" => self.found.scores = self.scores(kind)?,
            "token_type" => self.found.token_kinds = self.kinds(kind)?,
            "precompiled_charsmap" => self.found.precompiled_charsmap = self.charsmap(kind)?,
            "add_bos_token" => self.found.add_bos = Some(self.truth(kind)?),
            "add_eos_token" => self.found.add_eos = Some(self.truth(kind)?),
            "add_space_prefix" => self.found.add_space_prefix = Some(self.truth(kind)?),
            "remove_extra_whitespaces" => self.found.remove_extra_whitespaces = Some(self.truth(kind)?),
            _ if self.found.special.slot(name).is_some() => {
                let id = self.id(kind)?;
                if let Some(slot) = self.found.special.slot(name) {
                    *slot = id;
                }
            }
            _ => self.skip(kind)?,
        }
        Ok(())
    }

    fn text(&mut self, kind: Kind) -> Result<String, GgufErrorKind> {
        if kind != Kind::Text {
            return Err(GgufErrorKind::WrongType("text"));
        }
        let length = self.source.u64()?;
        let text = self.source.text("a text", length, TEXT_BYTES_MAX)?;
        self.keep(length)?;
        Ok(text)
    }

    fn truth(&mut self, kind: Kind) -> Result<bool, GgufErrorKind> {
        if kind == Kind::Bool {
            Ok(self.source.array::<1>()?[0] != 0)
        } else {
            Err(GgufErrorKind::WrongType("truth value"))
        }
    }

    /// A token's number; -1 in any width means that there is none.
    fn id(&mut self, kind: Kind) -> Result<Option<u32>, GgufErrorKind> {
        let Kind::Integer { bytes, is_signed } = kind else { return Err(GgufErrorKind::WrongType("token number")) };
        match read_integer(&mut self.source, bytes, is_signed)? {
            Value::Unsigned(id) if id < u64::from(u32::MAX) => Ok(u32::try_from(id).ok()),
            Value::Unsigned(id) if id > u64::from(u32::MAX) && id != u64::MAX => {
                Err(GgufErrorKind::NoToken { id, tokens: self.found.tokens.len() })
            }
            _ => Ok(None),
        }
    }

    /// The element type and length of an array that can be there.
    fn array(&mut self, kind: Kind, what: &'static str, most: u64) -> Result<(Kind, u64), GgufErrorKind> {
        if kind != Kind::Array {
            return Err(GgufErrorKind::WrongType("array"));
        }
        let element = Kind::from_id(self.source.u32()?)?;
        let length = self.source.u64()?;
        check_count(&self.source, what, length, most, element.bytes())?;
        Ok((element, length))
    }

    fn texts(&mut self, kind: Kind, what: &'static str, most: u64) -> Result<Vec<String>, GgufErrorKind> {
        let (Kind::Text, count) = self.array(kind, what, most)? else {
            return Err(GgufErrorKind::WrongType("array of texts"));
        };
        // Grows as texts arrive: a count alone makes nothing big.
        let mut texts = Vec::new();
        for _ in 0..count {
            let length = self.source.u64()?;
            self.keep(length.saturating_add(size_of::<String>() as u64))?;
            texts.push(self.source.text("the length of a token", length, TOKEN_BYTES_MAX)?);
        }
        Ok(texts)
    }

    #[expect(clippy::cast_possible_truncation, reason = "scores are F32 in every file; wider ones lose only digits")]
    fn scores(&mut self, kind: Kind) -> Result<Vec<f32>, GgufErrorKind> {
        let (Kind::Float { bytes }, count) = self.array(kind, "the number of scores", TOKENS_MAX)? else {
            return Err(GgufErrorKind::WrongType("array of numbers"));
        };
        self.keep(count.saturating_mul(4))?;
        (0..count).map(|_| read_float(&mut self.source, bytes).map(|score| score as f32)).collect()
    }

    fn kinds(&mut self, kind: Kind) -> Result<Vec<TokenKind>, GgufErrorKind> {
        let (Kind::Integer { bytes, is_signed }, count) = self.array(kind, "the number of token types", TOKENS_MAX)?
        else {
            return Err(GgufErrorKind::WrongType("array of integers"));
        };
        self.keep(count)?;
        let mut kinds = Vec::new();
        for _ in 0..count {
            kinds.push(match read_integer(&mut self.source, bytes, is_signed)? {
                Value::Unsigned(id) => TokenKind::from_id(i64::try_from(id).unwrap_or(0)),
                _ => TokenKind::Normal,
            });
        }
        Ok(kinds)
    }

    fn charsmap(&mut self, kind: Kind) -> Result<Vec<u8>, GgufErrorKind> {
        let (Kind::Integer { bytes: 1, .. }, count) =
            self.array(kind, "the size of the character table", CHARSMAP_BYTES_MAX)?
        else {
            return Err(GgufErrorKind::WrongType("array of bytes"));
        };
        self.keep(count)?;
        (0..count).map(|_| self.source.array::<1>().map(|byte| byte[0])).collect()
    }

    fn skip(&mut self, kind: Kind) -> Result<(), GgufErrorKind> {
        match kind {
            Kind::Text => {
                let length = self.source.u64()?;
                self.source.skip(length)
            }
            Kind::Array => {
                let (element, count) = self.array(kind, "the length of an array", u64::MAX)?;
                match element {
                    Kind::Array => Err(GgufErrorKind::NestedArray),
                    Kind::Text => (0..count).try_for_each(|_| {
                        let length = self.source.u64()?;
                        self.source.skip(length)
                    }),
                    other => self.source.skip(count.saturating_mul(other.bytes())),
                }
            }
            other => self.source.skip(other.bytes()),
        }
    }

    /// Lists go together and special tokens exist.
    fn check(&mut self) -> Result<(), GgufErrorKind> {
        if self.found.model.is_empty() {
            return Err(GgufErrorKind::NoTokenizer);
        }
        let tokens = self.found.tokens.len();
        for (name, found) in [("scores", self.found.scores.len()), ("token_type", self.found.token_kinds.len())] {
            if found != 0 && found != tokens {
                self.place = Place::Key(format!("{PREFIX}{name}"));
                return Err(GgufErrorKind::UnequalLists { found, tokens });
            }
        }
        let special = self.found.special;
        let named = [
            ("bos_token_id", special.bos),
            ("eos_token_id", special.eos),
            ("eot_token_id", special.eot),
            ("eom_token_id", special.eom),
            ("unknown_token_id", special.unk),
            ("seperator_token_id", special.sep),
            ("padding_token_id", special.pad),
            ("cls_token_id", special.cls),
            ("mask_token_id", special.mask),
        ];
        for (name, id) in named {
            if let Some(id) = id
                && id as usize >= tokens
                && tokens > 0
            {
                self.place = Place::Key(format!("{PREFIX}{name}"));
                return Err(GgufErrorKind::NoToken { id: id.into(), tokens });
            }
        }
        Ok(())
    }
}
