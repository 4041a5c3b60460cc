//! Why a GGUF header cannot be read.

use std::fmt;
use std::io;

use super::tensor_type::TypeError;

/// What the reader was reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The fixed fields at the start.
    Preamble,
    /// A metadata entry, by its position, before its key is known.
    Entry(u64),
    /// The value of a metadata key.
    Key(String),
    /// A tensor description, by its position, before its name is known.
    TensorIndex(u64),
    /// The description of a named tensor.
    Tensor(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preamble => formatter.write_str("the preamble"),
            Self::Entry(index) => write!(formatter, "metadata entry {index}"),
            Self::Key(key) => write!(formatter, "key `{key}`"),
            Self::TensorIndex(index) => write!(formatter, "tensor {index}"),
            Self::Tensor(name) => write!(formatter, "tensor `{name}`"),
        }
    }
}

/// A header that cannot be read, and where.
#[derive(Debug, thiserror::Error)]
#[error("{kind} (in {place}, at byte {offset})")]
pub struct GgufError {
    /// Offset into the file at which reading stopped.
    pub offset: u64,
    /// What was being read.
    pub place: Place,
    /// What is wrong.
    pub kind: GgufErrorKind,
}

/// What is wrong with a header.
#[derive(Debug, thiserror::Error)]
pub enum GgufErrorKind {
    /// The source failed.
    #[error("the file cannot be read: {0}")]
    Io(io::Error),
    /// The file ends inside the header.
    #[error("the file ends inside its header")]
    Truncated,
    /// The magic number is not GGUF's.
    #[error("this is no GGUF file: it starts with the bytes {0:02x?}")]
    Magic([u8; 4]),
    /// One of the formats that came before GGUF.
    #[error("this is a `{0}` file, which llama.cpp stopped reading in 2023; hint: convert the original model to GGUF")]
    Ancestor(&'static str),
    /// The byte order is not little endian.
    #[error("this GGUF file is big endian, which is not supported; hint: convert it with `gguf-convert-endian`")]
    BigEndian,
    /// A version other than 2 or 3.
    #[error("GGUF version {0} is not supported, only 2 and 3 are")]
    Version(u32),
    /// A count or length beyond what the file can hold or the format allows.
    #[error("{what} is {found}, more than {limit}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The declared count.
        found: u64,
        /// The most that is possible.
        limit: u64,
    },
    /// A text that is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    NotText(&'static str),
    /// A value type that does not exist.
    #[error("there is no value type {0}")]
    ValueType(u32),
    /// An array of arrays.
    #[error("arrays of arrays are not supported")]
    NestedArray,
    /// The same key twice.
    #[error("the key occurs twice")]
    DuplicateKey,
    /// The same tensor twice.
    #[error("the tensor occurs twice")]
    DuplicateTensor,
    /// An alignment that is no power of two.
    #[error("the alignment {0} is no power of two")]
    Alignment(u64),
    /// A value of another type than the key has.
    #[error("the value is no {0}")]
    WrongType(&'static str),
    /// A list that does not go with the list of tokens.
    #[error("the list has {found} elements for {tokens} tokens")]
    UnequalLists {
        /// Elements of the list.
        found: usize,
        /// Number of tokens.
        tokens: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("there is no token {id} among {tokens}")]
    NoToken {
        /// The stated token.
        id: u64,
        /// Number of tokens.
        tokens: usize,
    },
    /// A key that a tokenizer cannot do without.
    #[error("the file describes no tokenizer; hint: of a split model only the first part does")]
    NoTokenizer,
    /// A tensor type that cannot be planned.
    #[error(transparent)]
    TensorType(#[from] TypeError),
    /// A dimension of zero.
    #[error("dimension {0} is zero")]
    ZeroDimension(usize),
    /// Rows that are no whole number of blocks.
    #[error("rows of {columns} elements are no whole number of `{element_type}` blocks")]
    PartialBlock {
        /// Elements of a row.
        columns: u64,
        /// The type.
        element_type: hwledger_core::ElementType,
    },
    /// More elements or bytes than 63 bits count.
    #[error("the size of the tensor overflows")]
    Overflow,
    /// An offset off the alignment grid.
    #[error("the data offset {found} is no multiple of the alignment {alignment}")]
    Misaligned {
        /// The declared offset.
        found: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// Data that another tensor occupies.
    #[error("the data overlaps that of tensor `{0}`")]
    Overlap(String),
    /// Data beyond the end of the file.
    #[error("the data ends at byte {end}, but the file has {size}; hint: the download may be incomplete")]
    BeyondFile {
        /// Where the data would end.
        end: u64,
        /// The file's size.
        size: u64,
    },
}
