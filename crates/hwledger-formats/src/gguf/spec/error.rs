//! Why a header describes no model that can be planned.

/// A header that was read, but whose model cannot be described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A key that every model must have.
    #[error("key `{0}` is missing")]
    MissingKey(String),
    /// A value that cannot be.
    #[error("key `{key}` is {found}, {why}")]
    Invalid {
        /// The key.
        key: String,
        /// Its value.
        found: u64,
        /// Why it cannot be.
        why: &'static str,
    },
    /// A file of another kind.
    #[error("this GGUF file holds {0}, not a model")]
    NotAModel(&'static str),
}
