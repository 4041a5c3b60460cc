//! The tokenizer that the engine uses, whatever file it came from.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hwledger_formats::gguf::Vocabulary;

use super::error::TextError;
use super::pipeline::Pipeline;
use super::{from_gguf, from_json};

/// What a token is to its readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Text.
    Text,
    /// A mark that is no text.
    Control,
    /// A number that no token has.
    Absent,
}

/// Turns text into tokens and tokens into bytes. Clones share everything.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    /// Tokens that end a reply, in ascending order.
    ends: Arc<[u32]>,
}

/// The parts of a tokenizer.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) pipeline: Pipeline,
    pub(super) tokens: Tokens,
    /// What a prompt starts and ends with.
    pub(super) prefix: Vec<u32>,
    pub(super) suffix: Vec<u32>,
    pub(super) bos: Option<u32>,
    /// Tokens that end a reply by what the file says, in ascending order.
    pub(super) ends: Vec<u32>,
    /// Whether text starts with a space that nobody wrote.
    pub(super) has_space_prefix: bool,
}

/// The bytes, roles and texts of all tokens.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    bytes: Vec<u8>,
    /// Where each token's bytes end; they start where those of the one before end.
    ends: Vec<usize>,
    roles: Vec<Role>,
    ids: HashMap<Box<str>, u32>,
}

impl Tokens {
    /// Adds the next token: its text in the vocabulary, and a function that appends its bytes.
    pub(super) fn push(&mut self, text: &str, role: Role, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        if role != Role::Absent {
            let id = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
            self.ids.insert(text.into(), id);
        }
        self.ends.push(self.bytes.len());
        self.roles.push(role);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    pub(super) fn role(&self, id: u32) -> Role {
        self.roles.get(id as usize).copied().unwrap_or(Role::Absent)
    }

    fn bytes(&self, id: u32) -> &[u8] {
        let place = id as usize;
        let Some(&end) = self.ends.get(place) else { return &[] };
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }
}

impl Tokenizer {
    pub(super) fn new(inner: Inner) -> Self {
        let ends = inner.ends.as_slice().into();
        Self { inner: Arc::new(inner), ends }
    }

    /// Reads a Hugging Face `tokenizer.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TextError> {
        from_json::read(bytes).map(Self::new)
    }

    /// Takes the vocabulary of a GGUF file.
    pub fn from_gguf(vocabulary: &Vocabulary) -> Result<Self, TextError> {
        from_gguf::read(vocabulary).map(Self::new)
    }

    /// The same with further tokens that end a reply, such as the `eos_token_id` list of a
    /// `generation_config.json`, which `tokenizer.json` does not know.
    pub fn with_ends(mut self, ends: &[u32]) -> Self {
        let mut all: Vec<u32> = self.ends.iter().chain(ends).copied().collect();
        all.sort_unstable();
        all.dedup();
        self.ends = all.into();
        self
    }

    /// The tokens of `text`, without begin and end.
    ///
    /// Texts of special tokens become these tokens if `parse_special` is set;
    /// else they are text like any other, as what a user writes must be.
    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, TextError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        // The library indexes by what the file says: a wrong file may make it panic on some text.
        let encoded = catch_unwind(AssertUnwindSafe(|| self.inner.pipeline.encode(text, parse_special)));
        encoded.unwrap_or_else(|_| Err(TextError::Encode("the tokenizer contradicts itself".into())))
    }

    /// The tokens of `text` with begin and end as the file asks for them.
    pub fn encode_prompt(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, TextError> {
        let mut tokens = self.inner.prefix.clone();
        tokens.extend(self.encode(text, parse_special)?);
        tokens.extend(&self.inner.suffix);
        Ok(tokens)
    }

    /// The same, cut to at most `max` tokens: what is lost is the end of the text. Whether anything was.
    pub fn encode_prompt_up_to(&self, text: &str, max: usize) -> Result<(Vec<u32>, bool), TextError> {
        let Inner { prefix, suffix, .. } = &*self.inner;
        let mut own = self.encode(text, false)?;
        let room = max.saturating_sub(prefix.len() + suffix.len());
        let is_cut = own.len() > room;
        own.truncate(room);
        Ok(([prefix, own.as_slice(), suffix].concat(), is_cut))
    }

    /// The text of `tokens`: control tokens are left out, broken UTF-8 is U+FFFD,
    /// and the space that [`encode`](Self::encode) puts in front is taken off.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &token in tokens {
            bytes.extend(self.text_bytes(token));
        }
        let skip = usize::from(self.inner.has_space_prefix && bytes.first() == Some(&b' '));
        String::from_utf8_lossy(&bytes[skip..]).into_owned()
    }

    /// The bytes that a token stands for; of a control token, its name. Empty for a number without a token.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.inner.tokens.bytes(id).to_vec()
    }

    /// The bytes that a token adds to text.
    pub(super) fn text_bytes(&self, id: u32) -> &[u8] {
        if self.is_control(id) { &[] } else { self.inner.tokens.bytes(id) }
    }

    /// The token that the vocabulary spells so.
    pub fn id(&self, text: &str) -> Option<u32> {
        self.inner.tokens.id(text)
    }

    /// One more than the largest token number.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.tokens.ends.len()
    }

    /// The token that begins a sequence.
    pub fn bos(&self) -> Option<u32> {
        self.inner.bos
    }

    /// The tokens that end a reply, in ascending order.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Whether a token ends a reply.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Whether a token is a mark for the model and no text.
    pub fn is_control(&self, id: u32) -> bool {
        self.inner.tokens.role(id) == Role::Control
    }

    /// Whether text starts with a space that [`encode`](Self::encode) put there.
    pub(super) fn has_space_prefix(&self) -> bool {
        self.inner.has_space_prefix
    }
}
