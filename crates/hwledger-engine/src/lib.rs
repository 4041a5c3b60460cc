//! The native engine: it loads a model, turns text into tokens, runs the decoder
//! over a paged KV cache, samples, and says what it measured and allocated. Encoders
//! turn texts into vectors.

pub mod cache;
mod embedding;
mod engine;
mod error;
pub mod graph;
mod memory;
pub mod model;
pub mod sampling;
pub mod scheduler;
pub mod text;

pub use embedding::{BATCH_TOKENS, Embedder, EmbedderOptions};
pub use engine::{CONTEXT_DEFAULT, Engine, EngineOptions};
pub use error::{LoadError, RunError};
pub use hwledger_kernels::cache::{CacheFormat, PAGE_TOKENS};
pub use hwledger_kernels::limits::{product_rate, read_bandwidth};
pub use hwledger_kernels::{InstructionSet, Pool};
pub use memory::{MemoryReport, resident_bytes};
