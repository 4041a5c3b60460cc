//! The cache that Hugging Face's libraries keep: `models--org--name/{refs,snapshots,blobs}`.

use std::fs;
use std::path::{Path, PathBuf};

use super::reference::{HubReference, is_file_name, is_revision};
use super::selection::{self, Unselected};
use super::{LocateError, LocateOptions, Located, Origin, bounded, directory};

const REFERENCE_BYTES_MAX: u64 = 1024;
const ENTRIES_MAX: usize = 10_000;

/// The repository's snapshot in the first cache that holds one with a model in it.
pub(crate) fn find(reference: &HubReference, options: &LocateOptions) -> Result<Option<Located>, LocateError> {
    for cache in &options.hub_caches {
        let repository = cache.join(format!("models--{}", reference.id.replace('/', "--")));
        let revision = reference.revision.as_deref().or(options.revision.as_deref());
        let Some(commit) = commit(&repository, revision) else { continue };
        let origin = Origin::HubCache { id: reference.id.clone() };
        let located = Located::new(&reference.id, origin);
        if let Some(located) = load(&repository, &commit, reference.wanted.as_deref(), located)? {
            return Ok(Some(located));
        }
    }
    Ok(None)
}

/// The model in a directory that looks like a repository of the cache.
pub(crate) fn locate_repository(
    repository: &Path,
    wanted: Option<&str>,
    options: &LocateOptions,
) -> Result<Option<Located>, LocateError> {
    let Some(commit) = commit(repository, options.revision.as_deref()) else { return Ok(None) };
    let directory_name = super::located::file_name(repository);
    let name = directory_name.strip_prefix("models--").unwrap_or(&directory_name).replace("--", "/");
    load(repository, &commit, wanted, Located::new(name, Origin::Path(repository.to_path_buf())))
}

/// The snapshot that a branch, tag or commit names; without one, that of `main` or the only one.
fn commit(repository: &Path, revision: Option<&str>) -> Option<String> {
    let snapshots = repository.join("snapshots");
    let has_snapshot = |commit: &String| is_file_name(commit) && snapshots.join(commit).is_dir();
    let revision = revision.unwrap_or("main");
    if !is_revision(revision) {
        return None;
    }
    let referred = bounded::read(&repository.join("refs").join(revision), REFERENCE_BYTES_MAX).ok();
    let referred = referred.and_then(|content| String::from_utf8(content).ok()).map(|text| text.trim().to_owned());
    if let Some(commit) = referred.filter(has_snapshot) {
        return Some(commit);
    }
    if revision != "main" {
        return Some(revision.to_owned()).filter(has_snapshot);
    }
    let mut entries = fs::read_dir(&snapshots).ok()?.take(ENTRIES_MAX).flatten();
    let only = entries.next()?.file_name().into_string().ok()?;
    (entries.next().is_none() && has_snapshot(&only)).then_some(only)
}

fn load(
    repository: &Path,
    commit: &str,
    wanted: Option<&str>,
    mut located: Located,
) -> Result<Option<Located>, LocateError> {
    let snapshot = repository.join("snapshots").join(commit);
    let mut files = directory::list(&snapshot)?;
    let root = repository.canonicalize().map_err(LocateError::io(repository))?;
    let listed = files.len();
    // A snapshot is made of links into the repository's own `blobs`; one that leads elsewhere was
    // not made by the cache.
    files.retain(|file| snapshot.join(&file.name).canonicalize().is_ok_and(|target| target.starts_with(&root)));
    if files.len() < listed {
        located.notes.push(format!("{} links that leave the cache were not followed", listed - files.len()));
    }
    let selection = match selection::select(&files, wanted) {
        Ok(selection) => selection,
        Err(Unselected::Nothing) => return Ok(None),
        Err(Unselected::Ambiguous(choices)) => {
            // Another quantisation may be there for the fetching, so this is only the end if none was asked for.
            if wanted.is_some() {
                return Ok(None);
            }
            return Err(LocateError::Ambiguous { place: located.name, choices });
        }
    };
    located.revision = Some(commit.to_owned());
    directory::load(&snapshot, &selection, located).map(Some)
}

/// The repositories in all caches, as `org/name`.
pub(crate) fn ids(options: &LocateOptions) -> Vec<String> {
    let entries = |cache: &PathBuf| fs::read_dir(cache).into_iter().flatten().flatten().take(ENTRIES_MAX);
    let names = options.hub_caches.iter().flat_map(entries).filter_map(|entry| entry.file_name().into_string().ok());
    let mut ids: Vec<String> =
        names.filter_map(|name| name.strip_prefix("models--").map(|id| id.replacen("--", "/", 1))).collect();
    ids.sort();
    ids.dedup();
    ids
}
