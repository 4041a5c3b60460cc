//! The numeric kernels of the native engine.
//!
//! Every kernel has a scalar twin that it is tested against, and the processor's
//! features are found at run time: one binary runs everywhere. This crate is the
//! only home of SIMD and of the `unsafe` that it needs.
//!
//! A weight matrix is repacked once ([`PackedWeight`]) so that sixteen output
//! rows lie interleaved; activations are quantised in tiles of a few tokens
//! ([`Activations`]); [`product`] multiplies the two.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the native engine needs a machine of 64 bits: models are larger than the rest can address");

mod activation;
pub mod attention;
pub mod bidirectional;
pub mod cache;
pub mod elementwise;
mod half;
mod instruction_set;
pub mod limits;
mod memory;
mod pool;
pub mod product;
mod quantise;
mod weight;

pub use activation::{Activations, Arithmetic, TILE_TOKENS_MAX, uniform_tokens};
pub use half::{bf16_from_f32, f16_from_f32, f32_from_bf16, f32_from_f16};
pub use instruction_set::InstructionSet;
pub use memory::{Buffer, Memory, Plain, Region};
pub use pool::Pool;
pub use weight::{
    Affine, AffineTensor, LAYOUT_VERSION, PackError, PackedFormat, PackedWeight, ROWS_INTERLEAVED, Shape, dequantise,
};
