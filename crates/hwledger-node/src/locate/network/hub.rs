//! Repositories of a Hugging Face hub.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Deserialize;

use super::address::{Address, encode_path};
use super::fetcher::Fetcher;
use super::remote_file::RemoteFile;
use crate::locate::bounded::{CONFIG_BYTES_MAX, INDEX_BYTES_MAX};
use crate::locate::reference::HubReference;
use crate::locate::selection::{self, Listed, Selection, Unselected};
use crate::locate::split::PartName;
use crate::locate::{LocateError, LocateOptions, Located, Origin, Source, Tensors, directory, index};
use crate::names::has_ending;

/// A listing of twenty thousand files takes some 5 MB.
const LISTING_BYTES_MAX: u64 = 32 << 20;
/// Headers fetched at the same time: enough to hide the way there and back, too few to be a burden.
const FETCHES_MAX: usize = 8;

#[derive(Deserialize)]
struct Repository {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

/// A repository at one commit.
struct Snapshot {
    fetcher: Arc<Fetcher>,
    /// Where its files are.
    root: Address,
    files: Vec<Listed>,
}

/// The model in a repository, its headers only.
pub(crate) fn fetch_repository(reference: &HubReference, options: &LocateOptions) -> Result<Located, LocateError> {
    let fetcher = super::fetcher(options)?;
    let revision = reference.revision.as_deref().or(options.revision.as_deref()).unwrap_or("main");
    let endpoint = options.hub_endpoint.trim_end_matches('/');
    // The revision is one part of the path, slashes included.
    let revision_part = encode_path(revision).replace('/', "%2F");
    let listing =
        Address::parse(&format!("{endpoint}/api/models/{}/revision/{revision_part}?blobs=true", reference.id))?;
    let content = fetcher.fetch_whole(&listing, LISTING_BYTES_MAX).map_err(|error| at_hub(error, reference))?;
    let repository: Repository = serde_json::from_slice(&content)
        .map_err(|source| LocateError::Listing { address: listing.to_string(), source })?;
    let commit = repository.sha.filter(|sha| !sha.is_empty() && sha.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let at = commit.as_deref().unwrap_or(&revision_part);
    let root = Address::parse(&format!("{endpoint}/{}/resolve/{at}/", reference.id))?;
    let files = repository.siblings.into_iter().filter(|file| stays_inside(&file.rfilename));
    let files = files.map(|file| Listed { name: file.rfilename, bytes: file.size.unwrap_or(0) }).collect();
    let snapshot = Snapshot { fetcher: Arc::clone(&fetcher), root, files };
    let mut located =
        Located::new(&reference.id, Origin::Hub { id: reference.id.clone(), host: listing.host().to_owned() });
    located.revision = commit;
    let selection = snapshot.select(reference)?;
    let mut located = snapshot.load(selection, located).map_err(|error| at_hub(error, reference))?;
    located.notes.extend(fetcher.note());
    Ok(located)
}

/// A file that is not there or may not be read means the repository, when asked of a hub.
fn at_hub(error: LocateError, reference: &HubReference) -> LocateError {
    match error {
        // A hub answers so to strangers, whether the repository is private or does not exist.
        LocateError::Unauthorized { has_token: false, is_gated: false, .. } | LocateError::NotFound { .. } => {
            let (id, revision) = (reference.id.clone(), reference.revision.clone());
            LocateError::NoRepository { id, revision, suggestions: Vec::new() }
        }
        LocateError::Offline { suggestions, .. } => LocateError::Offline { what: reference.id.clone(), suggestions },
        LocateError::Unauthorized { has_token, is_gated: true, .. } => {
            LocateError::Gated { id: reference.id.clone(), has_token }
        }
        other => other,
    }
}

/// Whether a listed path is one below the repository.
fn stays_inside(name: &str) -> bool {
    name.len() <= 1024 && !name.contains(['\\', '\0']) && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl Snapshot {
    fn has(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }

    fn select(&self, reference: &HubReference) -> Result<Selection, LocateError> {
        let config = || self.has("config.json").then(|| "config.json".to_owned());
        match reference.wanted.as_deref() {
            Some(name) if has_ending(name, ".safetensors.index.json") && self.has(name) => {
                Ok(Selection { config: config(), index: Some(name.to_owned()), ..Selection::default() })
            }
            Some(name) if has_ending(name, ".safetensors") && self.has(name) => {
                Ok(Selection { config: config(), safetensors: vec![name.to_owned()], ..Selection::default() })
            }
            Some(name) if has_ending(name, ".json") && self.has(name) => {
                Ok(Selection { config: Some(name.to_owned()), ..Selection::default() })
            }
            wanted => selection::select(&self.files, wanted).map_err(|unselected| match unselected {
                Unselected::Nothing => LocateError::NoModelInRepository {
                    id: reference.id.clone(),
                    looked_for: wanted.map_or_else(|| directory::LOOKED_FOR.to_owned(), |wanted| format!("`{wanted}`")),
                },
                Unselected::Ambiguous(choices) => LocateError::Ambiguous { place: reference.id.clone(), choices },
            }),
        }
    }

    fn load(&self, selection: Selection, mut located: Located) -> Result<Located, LocateError> {
        if let Some(config) = &selection.config {
            located.config = Some(self.fetcher.fetch_whole(&self.address(config)?, CONFIG_BYTES_MAX)?);
        }
        if selection.index.is_some() || !selection.safetensors.is_empty() {
            located.tensors = self.safetensors(&selection, &mut located.notes)?;
        } else if !selection.gguf.is_empty() {
            let files = self.complete(&selection.gguf)?;
            located.tensors = Tensors::Gguf(self.sources(&files, RemoteFile::probe)?);
        }
        located.projectors = self.unread(&selection.projectors)?;
        located.adapters = self.unread(&selection.adapters)?;
        located.notes.extend(selection.notes);
        Ok(located)
    }

    fn address(&self, name: &str) -> Result<Address, LocateError> {
        self.root.join(&encode_path(name))
    }

    fn safetensors(&self, selection: &Selection, notes: &mut Vec<String>) -> Result<Tensors, LocateError> {
        let Some(name) = &selection.index else {
            let files = self.sources(&self.complete(&selection.safetensors)?, RemoteFile::fetch_safetensors_header)?;
            return Ok(Tensors::Safetensors { index: None, files, is_complete: true });
        };
        // The headers say all that the index says. Of a large mixture it is as long as they are, so
        // it is fetched only where the names of the files do not tell which belong together.
        if let Some(files) = self.shards_by_name(name) {
            let files = self.sources(&files, RemoteFile::fetch_safetensors_header)?;
            return Ok(Tensors::Safetensors { index: None, files, is_complete: true });
        }
        let address = self.address(name)?;
        let content = self.fetcher.fetch_whole(&address, INDEX_BYTES_MAX)?;
        let shards: BTreeSet<String> =
            index::shards(&content).map_err(|source| LocateError::Index { place: address.to_string(), source })?;
        let directory = name.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("{directory}/"));
        let names = shards.iter().map(|shard| format!("{directory}{shard}"));
        let present: Vec<String> = names.filter(|shard| self.has(shard)).collect();
        let is_complete = present.len() == shards.len();
        if !is_complete {
            let absent = shards.len() - present.len();
            notes.push(format!("{absent} of the {} shards that `{name}` names are absent", shards.len()));
        }
        let files = self.sources(&present, RemoteFile::fetch_safetensors_header)?;
        Ok(Tensors::Safetensors { index: Some(content), files, is_complete })
    }

    /// The complete set of numbered shards that bears the index's name.
    fn shards_by_name(&self, index: &str) -> Option<Vec<String>> {
        let stem = index.strip_suffix(".safetensors.index.json")?;
        let first = self.files.iter().find_map(|file| {
            let part = PartName::parse(&file.name)?;
            (part.stem == stem && part.ending == ".safetensors").then_some(part)
        })?;
        let all: Vec<String> = first.all().collect();
        all.iter().all(|name| self.has(name)).then_some(all)
    }

    /// The files `names`, completed to all parts where the first is one part of several.
    fn complete(&self, names: &[String]) -> Result<Vec<String>, LocateError> {
        let Some(part) = names.first().and_then(|first| PartName::parse(first)) else { return Ok(names.to_vec()) };
        let all: Vec<String> = part.all().collect();
        match all.iter().find(|name| !self.has(name)) {
            Some(missing) => Err(LocateError::MissingPart { present: names[0].clone(), missing: missing.clone() }),
            None => Ok(all),
        }
    }

    /// Files that are named but not asked for yet.
    fn unread(&self, names: &[String]) -> Result<Vec<Source>, LocateError> {
        let source = |name: &String| {
            let file = RemoteFile::new(Arc::clone(&self.fetcher), self.address(name)?);
            let bytes = self.files.iter().find(|listed| listed.name == *name).map_or(0, |listed| listed.bytes);
            Ok(Source::from_remote(name.clone(), bytes, Arc::new(file)))
        };
        names.iter().map(source).collect()
    }

    fn sources(
        &self,
        names: &[String],
        fetch: impl Fn(&RemoteFile) -> Result<u64, LocateError> + Sync,
    ) -> Result<Vec<Source>, LocateError> {
        let addresses: Vec<(String, Address)> =
            names.iter().map(|name| Ok((name.clone(), self.address(name)?))).collect::<Result<_, LocateError>>()?;
        fetch_all(&self.fetcher, &addresses, fetch)
    }
}

/// Fetches the headers of several files, some at a time; the first failure is the answer.
pub(super) fn fetch_all(
    fetcher: &Arc<Fetcher>,
    addresses: &[(String, Address)],
    fetch: impl Fn(&RemoteFile) -> Result<u64, LocateError> + Sync,
) -> Result<Vec<Source>, LocateError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some((name, address)) = addresses.get(position) else { return done };
            let file = RemoteFile::new(Arc::clone(fetcher), address.clone());
            let fetched = fetch(&file).map(|bytes| Source::from_remote(name.clone(), bytes, Arc::new(file)));
            if fetched.is_err() {
                // No other file needs to be asked for any more.
                next.store(addresses.len(), Ordering::Relaxed);
            }
            done.push((position, fetched));
        }
    };
    let mut done = thread::scope(|scope| {
        let workers: Vec<_> = (1..FETCHES_MAX.min(addresses.len())).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for worker in workers {
            match worker.join() {
                Ok(others) => done.extend(others),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(position, _)| *position);
    done.into_iter().map(|(_, source)| source).collect()
}
