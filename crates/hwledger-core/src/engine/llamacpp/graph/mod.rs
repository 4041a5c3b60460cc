//! llama.cpp's compute buffers: the peak of its graph allocator, from the
//! operations that each layer runs, in order.
//!
//! A context reserves the graph of its largest micro-batch and prints how much
//! memory the graph needed. Nothing in that figure is a constant: tensors come
//! and go in the order of the operations, so the same order, sizes and
//! allocation rules give the same figure. The parts:
//!
//! * `tape`: operations with their sizes and sources;
//! * `allocator`: best-fit placement of a tape, and its peak;
//! * `schedule`: which backend runs what, and the copies between them;
//! * `builder` and beside it one file per kind of layer: a model as a tape.

mod allocator;
mod alternating;
mod attention;
mod bound;
mod builder;
mod feed_forward;
mod gemma;
mod inputs;
mod latent;
mod receptance;
mod recipe;
mod recurrent;
mod repetition;
mod schedule;
mod shape;
mod tape;
#[cfg(test)]
mod tests;
mod transformer;

pub use shape::{BuildRules, ComputeBuffers, GraphPlacement, GraphShape};

use crate::ModelSpec;
use builder::Builder;

/// Alignment of tensors in host memory (`TENSOR_ALIGNMENT` of ggml-impl.h).
const HOST_ALIGNMENT: u64 = 32;
/// Alignment of tensors in a card's memory (`ggml_backend_cuda_buffer_type_get_alignment`).
const DEVICE_ALIGNMENT: u64 = 128;

/// Compute buffers of a context: what its graphs need at their fullest, per backend.
///
/// **Units**: bytes. **Source**: `llama_context::sched_reserve`, `ggml_gallocr` (llama.cpp of
/// llama-cpp-python 0.3.36, ggml 0.25).
/// A graph whose sizes exceed 64 bits is reported as the largest size there is.
pub fn compute_buffers(model: &ModelSpec, shape: &GraphShape, placement: &GraphPlacement) -> ComputeBuffers {
    if !bound::is_countable(model, shape) {
        return ComputeBuffers { devices: vec![u64::MAX; placement.devices], host: u64::MAX };
    }
    let tape = Builder::new(model, shape, placement).build();
    let mut alignments = vec![DEVICE_ALIGNMENT; placement.devices];
    alignments.push(HOST_ALIGNMENT);
    let mut devices = allocator::peaks(&tape, &alignments);
    let host = devices.pop().unwrap_or(0);
    ComputeBuffers { devices, host }
}
