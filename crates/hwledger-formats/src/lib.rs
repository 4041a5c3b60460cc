//! Model files to facts.
//!
//! Every reader takes bytes and returns a description with [`Diagnostic`]s, or
//! one error that names the place. Nothing here opens files or sockets.

pub mod diagnostic;

pub use diagnostic::{Diagnostic, Severity};
