//! From the string that a person writes to the bytes that describe a model.
//!
//! [`locate`] knows paths and the built-in catalogue. It reads configurations and
//! names weight files; parsing them is the work of `hwledger-formats`.

mod bounded;
mod directory;
mod error;
mod file;
mod index;
mod located;
mod options;
mod selection;
mod split;
mod suggest;

pub use error::LocateError;
pub use located::{Located, Origin, Source, Tensors};
pub use options::LocateOptions;

use crate::catalogue;
use crate::names::has_ending;

/// Finds the model that `reference` means.
///
/// A path that exists comes first, then a name of the built-in catalogue.
pub fn locate(reference: &str, options: &LocateOptions) -> Result<Located, LocateError> {
    let path = options.expand(reference.trim());
    if path.is_dir() {
        return directory::locate(&path, None);
    }
    if path.exists() {
        return file::locate(&path);
    }
    if is_spelled_as_path(reference) {
        return Err(LocateError::NoSuchPath { path });
    }
    if let Some(entry) = catalogue::find(reference.trim()) {
        return Ok(from_catalogue(entry));
    }
    let names = catalogue::entries().map(|entry| entry.id.to_owned());
    Err(LocateError::Unknown { name: reference.to_owned(), suggestions: suggest::nearest(reference, names) })
}

fn from_catalogue(entry: catalogue::Entry) -> Located {
    let mut located = Located::new(entry.id, Origin::Catalogue { id: entry.id });
    located.config = Some(entry.config().to_vec());
    located.notes.push(format!("built-in catalogue, from {}", entry.provenance.describe()));
    located
}

/// Whether a reference can only have been meant as a path.
fn is_spelled_as_path(reference: &str) -> bool {
    let starts = ["/", "./", "../", "~", ".\\", "..\\", "\\\\"].iter().any(|start| reference.starts_with(start));
    let ends = [".json", ".gguf", ".safetensors"].iter().any(|end| has_ending(reference, end));
    let has_drive = matches!(reference.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    starts || ends || has_drive || matches!(reference, "." | "..")
}

#[cfg(test)]
mod tests;
