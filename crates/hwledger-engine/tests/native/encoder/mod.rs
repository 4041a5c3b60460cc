//! Encoders: their states are those of a plain encoder in double precision and those of transformers, whatever is
//! computed beside them; vectors are made of states as asked; what is wrong is an error, never a panic.

mod embeddings;
mod golden;
mod hostile;
mod memory;
mod models;
mod reference;
mod states;
