//! The numeric kernels of the native engine.
//!
//! Every kernel has a scalar twin that it is tested against, and the processor's
//! features are found at run time: one binary runs everywhere. This crate is the
//! only home of SIMD and of the `unsafe` that it needs.
