//! From the string that a person writes to the bytes that describe a model.
//!
//! [`locate`] knows paths, the stores of Ollama, Hugging Face's libraries, LM Studio and llama.cpp,
//! the built-in catalogue, and, unless told otherwise, the servers behind them. It reads configurations
//! and names weight files, of which it fetches only the headers; parsing them is the work of
//! `hwledger-formats`.

pub(crate) mod bounded;
mod directory;
mod download_folders;
mod error;
mod file;
mod hub_cache;
mod index;
mod located;
pub(crate) mod network;
mod ollama;
mod options;
mod reference;
mod search;
mod selection;
mod split;
mod suggest;

pub use error::LocateError;
pub use located::{Located, Origin, Source, Tensors};
pub use network::Token;
pub use options::LocateOptions;
pub use search::{Match, MatchPlace, search_local};

use crate::catalogue;
use crate::names::{has_ending, loose_key};
use network::Meaning;
use reference::{HubReference, OllamaName};

/// Finds the model that `reference` means.
///
/// A URL is asked for at its server, unless it names a repository that is on this machine. A path
/// that exists comes next. `ollama:name` asks Ollama's store, then its registry; `hf:org/name` the
/// caches of Hugging Face repositories, then the hub. Without a prefix, all of these are asked for a
/// name that fits, and the built-in catalogue before any server.
pub fn locate(reference: &str, options: &LocateOptions) -> Result<Located, LocateError> {
    let reference = reference.trim();
    if let Some(meaning) = network::meaning(reference, options) {
        return match meaning? {
            Meaning::Repository(repository) => find_or_fetch_repository(&repository, options),
            Meaning::Ollama(name) => find_or_fetch_ollama(&name, options),
            Meaning::File(address) => network::fetch_address(&address, options),
        };
    }
    if let Some(name) = strip_scheme(reference, "ollama:") {
        let name = OllamaName::parse(name).ok_or_else(|| unknown(reference, options))?;
        return find_or_fetch_ollama(&name, options).map_err(|error| or_unknown(error, reference, options));
    }
    if let Some(id) = strip_scheme(reference, "hf:") {
        let repository = HubReference::parse(id).or_else(|| HubReference::parse_bare(id));
        return find_or_fetch_repository(&repository.ok_or_else(|| unknown(reference, options))?, options);
    }
    if let Some(found) = find_path(reference, options)? {
        return Ok(found);
    }
    // Ollama's way to name a repository of the hub; it keeps such a model under that host.
    if network::HUB_HOSTS.iter().any(|host| reference.strip_prefix(host).is_some_and(|rest| rest.starts_with('/'))) {
        let stored = OllamaName::parse(reference).map_or(Ok(None), |name| ollama::find(&name, options))?;
        return stored.map_or_else(|| locate(&format!("https://{reference}"), options), Ok);
    }
    locate_name(reference, options)
}

/// A name without a prefix.
fn locate_name(reference: &str, options: &LocateOptions) -> Result<Located, LocateError> {
    let ollama_name = OllamaName::parse(reference);
    if let Some(name) = &ollama_name
        && let Some(found) = ollama::find(name, options)?
    {
        return Ok(found);
    }
    let repository = HubReference::parse(reference);
    if let Some(repository) = &repository
        && let Some(found) = find_repository(repository, options)?
    {
        return Ok(found);
    }
    // A revision is asked for at the hub: the catalogue knows none.
    if options.revision.is_none()
        && let Some(entry) = catalogue::find(reference)
    {
        return Ok(from_catalogue(entry));
    }
    if let Some(found) = find_by_short_name(reference, options)? {
        return Ok(found);
    }
    if let Some(repository) = &repository {
        return network::fetch_repository(repository, options)
            .map_err(|error| with_suggestions(error, reference, options));
    }
    match ollama_name {
        // A bare word is more likely a slip than a model that nobody here has: it is not sent out.
        Some(name) if name.has_tag => {
            network::fetch_ollama(&name, options).map_err(|error| or_unknown(error, reference, options))
        }
        _ => Err(unknown(reference, options)),
    }
}

fn find_or_fetch_repository(repository: &HubReference, options: &LocateOptions) -> Result<Located, LocateError> {
    let is_model_file = |name: &str| has_ending(name, ".json") || has_ending(name, ".safetensors");
    let local = match repository.wanted.as_deref() {
        // In the caches, the whole model is found by its repository.
        Some(file) if is_model_file(file) => HubReference { wanted: None, ..repository.clone() },
        _ => repository.clone(),
    };
    match find_repository(&local, options)? {
        Some(found) => Ok(found),
        None => network::fetch_repository(repository, options),
    }
}

fn find_or_fetch_ollama(name: &OllamaName, options: &LocateOptions) -> Result<Located, LocateError> {
    match ollama::find(name, options)? {
        Some(found) => Ok(found),
        None => network::fetch_ollama(name, options),
    }
}

/// A name that the registry does not know either is answered with the names that are known.
fn or_unknown(error: LocateError, reference: &str, options: &LocateOptions) -> LocateError {
    match error {
        LocateError::NotFound { .. } | LocateError::Offline { .. } => unknown(reference, options),
        other => other,
    }
}

/// A repository that the hub does not know may be a slip, too.
fn with_suggestions(mut error: LocateError, reference: &str, options: &LocateOptions) -> LocateError {
    if let LocateError::NoRepository { suggestions, .. } | LocateError::Offline { suggestions, .. } = &mut error {
        *suggestions = nearest(reference, options);
    }
    error
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
    // `directory:Q8_0` picks one of the models in a directory.
    if let Some((directory, wanted)) = reference.rsplit_once(':')
        && let directory = options.expand(directory)
        && directory.is_dir()
        && reference::is_file_name(wanted)
    {
        return directory::locate(&directory, Some(wanted)).map(Some);
    }
    if is_spelled_as_path(reference) { Err(LocateError::NoSuchPath { path }) } else { Ok(None) }
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
    LocateError::Unknown { name: reference.to_owned(), suggestions: nearest(reference, options) }
}

fn nearest(reference: &str, options: &LocateOptions) -> Vec<String> {
    let aliases = catalogue::entries().flat_map(|entry| entry.aliases().map(str::to_owned).collect::<Vec<_>>());
    suggest::nearest(reference, search::known(options).into_iter().map(|found| found.reference).chain(aliases))
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
pub(crate) mod tests;
