//! safetensors: the model files of Hugging Face, and those of MLX.
//!
//! [`read_header`] reads one file's header, [`read_index`] and
//! [`merge_shards`] a sharded model's. [`reconcile`] holds a configuration's
//! description against the real tensors; [`infer`] does without one.

mod dtype;
mod error;
mod header;
#[cfg(test)]
mod header_tests;
mod infer;
mod name;
mod reconcile;
#[cfg(test)]
mod reconcile_tests;
mod stored;
mod table;

pub use error::{IndexError, SafetensorsError};
pub use header::{HEADER_BYTES_MAX, Header, TENSORS_MAX, TensorInfo, read_header};
pub use infer::infer;
pub use reconcile::reconcile;
pub use table::{ShardIndex, TensorTable, merge_shards, read_index};
