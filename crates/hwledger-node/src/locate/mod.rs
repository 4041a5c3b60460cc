//! From the string that a person writes to the bytes that describe a model.
//!
//! [`locate`] knows paths, the stores of Ollama, Hugging Face's libraries, LM Studio and llama.cpp,
//! and the built-in catalogue. It reads configurations and names weight files; parsing them is the
//! work of `hwledger-formats`.

mod bounded;
mod directory;
mod download_folders;
mod error;
mod file;
mod hub_cache;
mod index;
mod located;
mod ollama;
mod options;
mod reference;
mod search;
mod selection;
mod split;
mod suggest;

pub use error::LocateError;
pub use located::{Located, Origin, Source, Tensors};
pub use options::LocateOptions;
pub use search::{Match, MatchPlace, search_local};

use crate::catalogue;
use crate::names::{has_ending, loose_key};
use reference::{HubReference, OllamaName};

/// Finds the model that `reference` means.
///
/// A path that exists comes first. `ollama:name` asks Ollama's store and `hf:org/name` the caches
/// of Hugging Face repositories; without a prefix, both are asked for a name that fits, and then
/// the built-in catalogue.
pub fn locate(reference: &str, options: &LocateOptions) -> Result<Located, LocateError> {
    let reference = reference.trim();
    if let Some(name) = strip_scheme(reference, "ollama:") {
        return find_in_ollama(name, options)?.ok_or_else(|| unknown(reference, options));
    }
    if let Some(id) = strip_scheme(reference, "hf:") {
        let repository = HubReference::parse(id).or_else(|| HubReference::parse_bare(id));
        let found = repository.map(|repository| find_repository(&repository, options)).transpose()?.flatten();
        return found.ok_or_else(|| unknown(reference, options));
    }
    if let Some(found) = find_path(reference, options)? {
        return Ok(found);
    }
    if let Some(found) = find_in_ollama(reference, options)? {
        return Ok(found);
    }
    if let Some(repository) = HubReference::parse(reference)
        && let Some(found) = find_repository(&repository, options)?
    {
        return Ok(found);
    }
    if let Some(entry) = catalogue::find(reference) {
        return Ok(from_catalogue(entry));
    }
    if let Some(found) = find_by_short_name(reference, options)? {
        return Ok(found);
    }
    Err(unknown(reference, options))
}

fn strip_scheme<'a>(reference: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = reference.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then(|| rest.trim_start_matches("//"))
}

fn find_path(reference: &str, options: &LocateOptions) -> Result<Option<Located>, LocateError> {
    let path = options.expand(reference);
    if path.is_dir() {
        if path.join("snapshots").is_dir()
            && let Some(found) = hub_cache::locate_repository(&path, None, options)?
        {
            return Ok(Some(found));
        }
        return directory::locate(&path, None).map(Some);
    }
    if path.exists() {
        return file::locate(&path).map(Some);
    }
    if is_spelled_as_path(reference) { Err(LocateError::NoSuchPath { path }) } else { Ok(None) }
}

fn find_in_ollama(name: &str, options: &LocateOptions) -> Result<Option<Located>, LocateError> {
    OllamaName::parse(name).map_or(Ok(None), |name| ollama::find(&name, options))
}

/// A repository in the local caches.
fn find_repository(repository: &HubReference, options: &LocateOptions) -> Result<Option<Located>, LocateError> {
    if let Some(found) = hub_cache::find(repository, options)? {
        return Ok(Some(found));
    }
    // The other tools keep one revision, and do not say which.
    if repository.revision.is_some() || options.revision.is_some() {
        return Ok(None);
    }
    if let Some(found) = download_folders::find_in_lm_studio(repository, options)? {
        return Ok(Some(found));
    }
    download_folders::find_in_llama_cache(repository, options)
}

/// The only cached repository that is called `name`, whoever published it.
fn find_by_short_name(name: &str, options: &LocateOptions) -> Result<Option<Located>, LocateError> {
    let asked = loose_key(name);
    if asked.is_empty() || asked.contains('/') {
        return Ok(None);
    }
    let mut ids = hub_cache::ids(options);
    ids.extend(download_folders::lm_studio(options).into_iter().map(|(_, id)| id));
    ids.retain(|id| id.rsplit_once('/').is_some_and(|(_, short)| loose_key(short) == asked));
    ids.sort();
    ids.dedup();
    match ids.as_slice() {
        [id] => HubReference::parse(id).map_or(Ok(None), |repository| find_repository(&repository, options)),
        [] => Ok(None),
        _ => Err(LocateError::Ambiguous { place: "the local caches".to_owned(), choices: ids }),
    }
}

fn from_catalogue(entry: catalogue::Entry) -> Located {
    let mut located = Located::new(entry.id, Origin::Catalogue { id: entry.id });
    located.config = Some(entry.config().to_vec());
    located.notes.push(format!("built-in catalogue, from {}", entry.provenance.describe()));
    located
}

fn unknown(reference: &str, options: &LocateOptions) -> LocateError {
    let names = search::known(options).into_iter().map(|found| found.reference);
    LocateError::Unknown { name: reference.to_owned(), suggestions: suggest::nearest(reference, names) }
}

/// Whether a reference can only have been meant as a path.
fn is_spelled_as_path(reference: &str) -> bool {
    let starts = ["/", "./", "../", "~", ".\\", "..\\", "\\\\"].iter().any(|start| reference.starts_with(start));
    let ends = [".json", ".gguf", ".safetensors"].iter().any(|end| has_ending(reference, end));
    // `org/name:file.gguf` names a file of a repository.
    let ends = ends && !reference.contains(':');
    let has_drive = matches!(reference.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    starts || ends || has_drive || matches!(reference, "." | "..")
}

#[cfg(test)]
mod tests;
