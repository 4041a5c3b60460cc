//! Model files to facts.
