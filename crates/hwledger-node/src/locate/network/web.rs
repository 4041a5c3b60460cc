//! Any URL: of a repository, of a file in one, or of a file on any server.

use std::io::Read;
use std::sync::Arc;

use super::address::{Address, decode_path};
use super::fetcher::Fetcher;
use super::hub::fetch_all;
use super::remote_file::{RemoteFile, RemoteReader};
use crate::locate::bounded::{CONFIG_BYTES_MAX, INDEX_BYTES_MAX};
use crate::locate::reference::{HubReference, OllamaName, is_revision};
use crate::locate::split::PartName;
use crate::locate::{LocateError, LocateOptions, Located, Origin, Source, Tensors, index};
use crate::names::has_ending;

/// Where the public hub is reached.
pub(crate) const HUB_HOSTS: [&str; 3] = ["huggingface.co", "www.huggingface.co", "hf.co"];
const OLLAMA_SITES: [&str; 2] = ["ollama.com", "www.ollama.com"];

/// What a URL means.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// A repository of the hub, or a file in one.
    Repository(HubReference),
    /// A model of Ollama's library.
    Ollama(OllamaName),
    /// A file on a server.
    File(Address),
}

/// What the URL `text` means; none if it is no URL.
pub(crate) fn meaning(text: &str, options: &LocateOptions) -> Option<Result<Meaning, LocateError>> {
    let (scheme, _) = text.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    Some(Address::parse(text).map(|address| {
        let is_hub = HUB_HOSTS.iter().any(|host| address.host().eq_ignore_ascii_case(host))
            || Address::parse(&options.hub_endpoint).is_ok_and(|hub| hub.origin() == address.origin());
        let path = decode_path(address.path());
        if is_hub && let Some(reference) = path.as_deref().and_then(repository) {
            return Meaning::Repository(reference);
        }
        let is_ollama = OLLAMA_SITES.iter().any(|host| address.host().eq_ignore_ascii_case(host));
        if is_ollama && let Some(name) = path.as_deref().and_then(|path| OllamaName::parse(path.trim_matches('/'))) {
            return Meaning::Ollama(name);
        }
        Meaning::File(address)
    }))
}

/// The repository, revision and file in a path of the hub's site.
fn repository(path: &str) -> Option<HubReference> {
    let path = path.trim_matches('/');
    let mut parts = path.splitn(5, '/');
    let (organisation, name) = (parts.next()?, parts.next()?);
    let id = format!("{organisation}/{name}");
    let Some(kind) = parts.next() else { return HubReference::parse(&id) };
    let mut reference = HubReference::parse(&id).filter(|reference| reference.wanted.is_none())?;
    let (revision, file) = (parts.next()?, parts.next());
    reference.revision = Some(revision.to_owned()).filter(|revision| is_revision(revision));
    reference.revision.as_ref()?;
    match kind {
        "blob" | "resolve" | "raw" => reference.wanted = Some(file?.to_owned()),
        "tree" => {}
        _ => return None,
    }
    Some(reference)
}

/// The model that a file on a server holds or belongs to.
pub(crate) fn fetch_address(address: &Address, options: &LocateOptions) -> Result<Located, LocateError> {
    let fetcher = super::fetcher(options)?;
    let name = decode_path(address.file_name()).unwrap_or_else(|| address.file_name().to_owned());
    let origin = Origin::Url { address: address.to_string() };
    let mut located = Located::new(name.clone(), origin);
    if has_ending(&name, ".safetensors.index.json") {
        let content = fetcher.fetch_whole(address, INDEX_BYTES_MAX)?;
        let place = address.to_string();
        let shards = index::shards(&content).map_err(|source| LocateError::Index { place, source })?;
        let files = siblings(&fetcher, address, shards, RemoteFile::fetch_safetensors_header)?;
        located.tensors = Tensors::Safetensors { index: Some(content), files, is_complete: true };
        located.config = config_beside(&fetcher, address)?;
    } else if has_ending(&name, ".safetensors") {
        let files = siblings(&fetcher, address, parts(&name), RemoteFile::fetch_safetensors_header)?;
        located.tensors = Tensors::Safetensors { index: None, files, is_complete: true };
        located.config = config_beside(&fetcher, address)?;
    } else if has_ending(&name, ".gguf") {
        located.tensors = Tensors::Gguf(siblings(&fetcher, address, parts(&name), RemoteFile::probe)?);
    } else if has_ending(&name, ".json") {
        located.config = Some(fetcher.fetch_whole(address, CONFIG_BYTES_MAX)?);
    } else {
        by_content(&fetcher, address, &mut located)?;
    }
    located.notes.extend(fetcher.note());
    Ok(located)
}

/// `name`, or all parts of the model that it is a part of.
fn parts(name: &str) -> Vec<String> {
    PartName::parse(name).map_or_else(|| vec![name.to_owned()], |part| part.all().collect())
}

fn siblings(
    fetcher: &Arc<Fetcher>,
    address: &Address,
    names: impl IntoIterator<Item = String>,
    fetch: impl Fn(&RemoteFile) -> Result<u64, LocateError> + Sync,
) -> Result<Vec<Source>, LocateError> {
    let own = decode_path(address.file_name());
    let addresses = names.into_iter().map(|name| {
        let is_own = own.as_ref() == Some(&name);
        let beside = if is_own { address.clone() } else { address.sibling(&name)? };
        Ok((name, beside))
    });
    fetch_all(fetcher, &addresses.collect::<Result<Vec<_>, LocateError>>()?, fetch)
}

/// The `config.json` beside a file, where the server has one for us.
fn config_beside(fetcher: &Fetcher, address: &Address) -> Result<Option<Vec<u8>>, LocateError> {
    match fetcher.fetch_whole(&address.sibling("config.json")?, CONFIG_BYTES_MAX) {
        Ok(content) => Ok(Some(content)),
        Err(LocateError::NotFound { .. } | LocateError::Unauthorized { .. } | LocateError::Offline { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file whose name says nothing is known by its first bytes.
fn by_content(fetcher: &Arc<Fetcher>, address: &Address, located: &mut Located) -> Result<(), LocateError> {
    let file = Arc::new(RemoteFile::new(Arc::clone(fetcher), address.clone()));
    let bytes = file.probe()?;
    let mut head = Vec::with_capacity(4);
    let read = RemoteReader::new(Arc::clone(&file)).take(4).read_to_end(&mut head);
    read.map_err(|source| LocateError::BrokenAnswer { address: address.to_string(), source: Box::new(source) })?;
    match head.as_slice() {
        b"GGUF" => located.tensors = Tensors::Gguf(vec![Source::from_remote(located.name.clone(), bytes, file)]),
        [b'{', ..] => located.config = Some(fetcher.fetch_whole(address, CONFIG_BYTES_MAX)?),
        _ => {
            let what = "the file is neither GGUF, safetensors nor a configuration".to_owned();
            return Err(LocateError::BadAnswer { address: address.to_string(), what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<(&str, Option<&str>, Option<&str>)>) {
        let meaning = meaning(url, &LocateOptions::default()).unwrap().unwrap();
        let found = match &meaning {
            Meaning::Repository(found) => Some((found.id.as_str(), found.revision.as_deref(), found.wanted.as_deref())),
            _ => None,
        };
        assert_eq!(found, expected, "{url}");
    }

    #[test]
    fn urls_of_the_hub_name_repositories_and_files() {
        check("https://huggingface.co/a/b", Some(("a/b", None, None)));
        check("https://hf.co/a/b/", Some(("a/b", None, None)));
        check("https://hf.co/a/b:Q4_K_M", Some(("a/b", None, Some("Q4_K_M"))));
        check("https://huggingface.co/a/b/tree/main", Some(("a/b", Some("main"), None)));
        check("https://huggingface.co/a/b/tree/main/sub", Some(("a/b", Some("main"), None)));
        let file = Some(("a/b", Some("v1"), Some("q/x-Q8_0.gguf")));
        check("https://huggingface.co/a/b/blob/v1/q/x-Q8_0.gguf", file);
        check("https://huggingface.co/a/b/resolve/v1/q/x-Q8_0.gguf?download=true", file);
        check("https://huggingface.co/docs", None);
        check("https://huggingface.co/a/b/discussions/1", None);
        check("https://example.org/a/b", None);
    }

    #[test]
    fn other_schemes_are_no_urls_of_ours() {
        for text in ["a/b", "ftp://a/b", "file:///a", "ollama://m"] {
            assert!(meaning(text, &LocateOptions::default()).is_none(), "{text}");
        }
        assert!(matches!(meaning("https://u:p@h/x", &LocateOptions::default()), Some(Err(_))));
    }
}
