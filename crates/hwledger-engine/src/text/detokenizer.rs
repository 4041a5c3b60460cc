//! Tokens to text, one at a time.

use super::tokenizer::Tokenizer;

/// Turns a stream of tokens into text that is whole UTF-8 at every step.
///
/// A token may hold a part of a character: its bytes wait for the rest. What
/// no further byte can make a character of is U+FFFD, just as
/// [`Tokenizer::decode`] has it.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    /// The start of a character.
    held: Vec<u8>,
    /// Whether a space that comes now was put there by the tokenizer.
    is_at_start: bool,
}

impl Detokenizer {
    /// For tokens that begin a text.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self { tokenizer: tokenizer.clone(), held: Vec::new(), is_at_start: tokenizer.has_space_prefix() }
    }

    /// For tokens that go on from a text: a space in front is theirs and stays.
    pub fn continuing(tokenizer: &Tokenizer) -> Self {
        Self { is_at_start: false, ..Self::new(tokenizer) }
    }

    /// The text that this token completes; empty for control tokens and within a character.
    pub fn push(&mut self, id: u32) -> String {
        let mut bytes = self.tokenizer.text_bytes(id);
        if self.is_at_start && !bytes.is_empty() {
            self.is_at_start = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.held.extend(bytes);
        let mut text = String::new();
        let mut taken = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            taken += chunk.valid().len();
            let broken = chunk.invalid();
            let is_last = taken + broken.len() == self.held.len();
            if broken.is_empty() || (is_last && is_start_of_character(broken)) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            taken += broken.len();
        }
        self.held.drain(..taken);
        text
    }

    /// What is left at the end: U+FFFD for a character that never became whole.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }
}

/// Whether more bytes could make this a character.
fn is_start_of_character(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
