//! GGUF: the model files of llama.cpp and its relatives.
//!
//! [`read_header`] walks over a header of version 2 or 3 and keeps what
//! planning needs; [`read_vocabulary`] keeps what turns text into tokens.

mod error;
mod header;
#[cfg(test)]
mod header_tests;
mod metadata;
mod source;
pub mod spec;
mod split;
mod tensor_type;
#[cfg(test)]
pub(crate) mod test_writer;
mod vocabulary;
#[cfg(test)]
mod vocabulary_tests;

pub use error::{GgufError, GgufErrorKind, Place};
pub use header::{Header, TensorInfo, read_header};
pub use metadata::{Metadata, Value};
pub use source::HEADER_BYTES_MAX;
pub use spec::{SpecError, model_spec};
pub use split::{PartName, Split, SplitError, merge_parts};
pub use tensor_type::{TypeError, element_type};
pub use vocabulary::{SpecialTokens, TokenKind, Vocabulary, read_vocabulary};
