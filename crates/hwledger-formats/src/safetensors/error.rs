//! Why a safetensors header or index cannot be read.

use std::io;

/// A header that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsError {
    /// The source failed.
    #[error("the file cannot be read: {0}")]
    Io(io::Error),
    /// The file ends inside its header.
    #[error("the file ends inside its header; hint: the download may be incomplete")]
    Truncated,
    /// A header longer than the format allows or the file holds.
    #[error("the header is said to have {found} bytes, more than {limit}; this may be no safetensors file")]
    HeaderLength {
        /// The stated length.
        found: u64,
        /// The most that is possible.
        limit: u64,
    },
    /// The header is no JSON of the expected form.
    #[error("the header is not valid: {0}")]
    Json(#[source] serde_json::Error),
    /// Too many tensors.
    #[error("the file lists more than {0} tensors")]
    TooManyTensors(usize),
    /// The same tensor twice.
    #[error("tensor `{0}` occurs twice")]
    DuplicateTensor(String),
    /// An element type that does not exist.
    #[error("tensor `{tensor}` has the element type `{found}`, which is not known")]
    ElementType {
        /// The tensor.
        tensor: String,
        /// The name in the file.
        found: String,
    },
    /// A shape and a place that disagree.
    #[error("tensor `{tensor}` takes {expected} bytes by its shape, but {found} by its place (bytes {start} to {end})")]
    Size {
        /// The tensor.
        tensor: String,
        /// Bytes by shape and type.
        expected: u64,
        /// Bytes by offsets.
        found: u64,
        /// First byte of its data.
        start: u64,
        /// Byte after its data.
        end: u64,
    },
    /// More elements than 64 bits count, or no whole number of bytes.
    #[error("tensor `{0}` has a shape whose size is no whole number of bytes below 2^63")]
    Shape(String),
    /// Offsets that run backwards.
    #[error("the data of tensor `{tensor}` is said to lie from byte {start} to {end}")]
    Backwards {
        /// The tensor.
        tensor: String,
        /// First byte.
        start: u64,
        /// Byte after its data.
        end: u64,
    },
    /// Two tensors that share bytes.
    #[error("the data of tensor `{tensor}` starts at byte {start}, inside that of `{other}`")]
    Overlap {
        /// The tensor.
        tensor: String,
        /// Its first byte.
        start: u64,
        /// The one before it.
        other: String,
    },
    /// Bytes that belong to no tensor.
    #[error("bytes {from} to {to} of the data belong to no tensor")]
    Gap {
        /// First byte.
        from: u64,
        /// Byte after the gap.
        to: u64,
    },
    /// A file shorter than its tensors.
    #[error("the data ends at byte {end}, but the file has {size}; hint: the download may be incomplete")]
    BeyondFile {
        /// Where the data would end.
        end: u64,
        /// The file's size.
        size: u64,
    },
    /// A file longer than its tensors.
    #[error("the file has {size} bytes, but its tensors end at byte {end}")]
    Surplus {
        /// Where the data ends.
        end: u64,
        /// The file's size.
        size: u64,
    },
}

/// An index or its shards that make no model.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Not JSON of the expected form.
    #[error("the index is not valid: {0}")]
    Json(#[source] serde_json::Error),
    /// Too large.
    #[error("the index has {found} bytes, more than {limit}")]
    TooLarge {
        /// Its size.
        found: usize,
        /// The most that is read.
        limit: usize,
    },
    /// Nothing in it.
    #[error("the index lists no tensor")]
    Empty,
    /// The same tensor twice.
    #[error("the index lists tensor `{0}` twice")]
    DuplicateTensor(String),
    /// A file name that leaves the model's directory.
    #[error("the index names the file `{0}`, which is outside the model's directory")]
    FileName(String),
    /// Shards that were not given.
    #[error("the shards {} are missing", .0.join(", "))]
    MissingShards(Vec<String>),
    /// A tensor that its shard does not hold.
    #[error("tensor `{tensor}` is not in its shard `{file}`")]
    MissingTensor {
        /// The tensor.
        tensor: String,
        /// The shard that should hold it.
        file: String,
    },
}
