//! Why text cannot become tokens.

/// A failure inside the tokenizer library.
pub(super) type LibraryError = Box<dyn std::error::Error + Send + Sync>;

/// A tokenizer that cannot be built or used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The bytes are no `tokenizer.json`.
    #[error("this is no `tokenizer.json` that can be used")]
    Json(#[source] LibraryError),
    /// A kind of vocabulary that is not known.
    #[error("the tokenizer model `{0}` is not supported; hint: `llama`, `gpt2`, `gemma4`, `t5` and `bert` are")]
    UnknownModel(String),
    /// A rule for splitting text that is not known.
    #[error("the pre-tokenizer `{0}` is not known; hint: the file may be of a newer converter")]
    UnknownPreTokenizer(String),
    /// A vocabulary without tokens.
    #[error("the vocabulary has no tokens")]
    NoTokens,
    /// A list that the tokenizer needs.
    #[error("the vocabulary has no {0}")]
    Missing(&'static str),
    /// A merge that is not two tokens with a space between, which together are a token.
    #[error("merge {position} (`{merge}`) is not two tokens with a space between that make a third")]
    Merge {
        /// Its position in the list.
        position: usize,
        /// Its text.
        merge: String,
    },
    /// Parts of the vocabulary that contradict each other.
    #[error("the vocabulary contradicts itself")]
    Vocabulary(#[source] LibraryError),
    /// A text that the tokenizer cannot take.
    #[error("the text cannot be turned into tokens")]
    Encode(#[source] LibraryError),
}
