//! The folders that LM Studio and llama.cpp download models into.

use std::fs;
use std::path::{Path, PathBuf};

use super::located::file_name;
use super::reference::HubReference;
use super::selection::{self, Listed, Unselected};
use super::{LocateError, LocateOptions, Located, Origin, directory};
use crate::names::has_ending;

const ENTRIES_MAX: usize = 10_000;

/// The repository in one of LM Studio's folders, which hold `org/name/file`.
pub(crate) fn find_in_lm_studio(
    reference: &HubReference,
    options: &LocateOptions,
) -> Result<Option<Located>, LocateError> {
    let wanted = reference.wanted.as_deref();
    for (path, id) in lm_studio(options) {
        if !id.eq_ignore_ascii_case(&reference.id) {
            continue;
        }
        let selection = match selection::select(&directory::list(&path)?, wanted) {
            Ok(selection) => selection,
            Err(Unselected::Ambiguous(choices)) if wanted.is_none() => {
                return Err(LocateError::Ambiguous { place: path.display().to_string(), choices });
            }
            Err(_) => continue,
        };
        let located = Located::new(&id, Origin::LmStudio { id: id.clone() });
        return directory::load(&path, &selection, located).map(Some);
    }
    Ok(None)
}

/// The repositories in LM Studio's folders.
pub(crate) fn lm_studio(options: &LocateOptions) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for organisation in options.lm_studio_folders.iter().flat_map(|root| subdirectories(root)) {
        for path in subdirectories(&organisation) {
            let id = format!("{}/{}", file_name(&organisation), file_name(&path));
            found.push((path, id));
        }
    }
    found
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(ENTRIES_MAX);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    paths.sort();
    paths
}

/// The repository in llama.cpp's cache, where `org/name/file.gguf` is kept as `org_name_file.gguf`.
pub(crate) fn find_in_llama_cache(
    reference: &HubReference,
    options: &LocateOptions,
) -> Result<Option<Located>, LocateError> {
    let prefix = format!("{}_", reference.id.replace('/', "_"));
    let wanted = reference.wanted.as_ref().map(|file| file.replace('/', "_"));
    for cache in &options.llama_caches {
        let files = llama_files(cache)
            .into_iter()
            .filter_map(|file| Some(Listed { name: file.name.strip_prefix(&prefix)?.to_owned(), bytes: file.bytes }));
        let mut selection = match selection::select(&files.collect::<Vec<_>>(), wanted.as_deref()) {
            Ok(selection) => selection,
            Err(Unselected::Ambiguous(choices)) if wanted.is_none() => {
                return Err(LocateError::Ambiguous { place: cache.display().to_string(), choices });
            }
            Err(_) => continue,
        };
        for name in selection.gguf.iter_mut().chain(&mut selection.projectors).chain(&mut selection.adapters) {
            name.insert_str(0, &prefix);
        }
        let located = Located::new(&reference.id, Origin::LlamaCache { id: reference.id.clone() });
        return directory::load(cache, &selection, located).map(Some);
    }
    Ok(None)
}

/// The GGUF files in one of llama.cpp's caches.
pub(crate) fn llama_files(cache: &Path) -> Vec<Listed> {
    let mut files = directory::list(cache).unwrap_or_default();
    files.retain(|file| has_ending(&file.name, ".gguf") && !file.name.contains('/'));
    files
}
