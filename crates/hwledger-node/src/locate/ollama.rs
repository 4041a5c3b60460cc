//! Ollama's local store: manifests that name blobs.

use std::fs;
use std::path::{Path, PathBuf};

use hwledger_formats::ollama::{Layer, LayerKind, Manifest, read_manifest};

use super::bounded::{self, MANIFEST_BYTES_MAX, PARAMETERS_BYTES_MAX};
use super::reference::OllamaName;
use super::{LocateError, LocateOptions, Located, Origin, Source, Tensors};

/// Directory entries looked through at each level of the store.
const ENTRIES_MAX: usize = 10_000;

/// The model called `name` in the first store that has it.
pub(crate) fn find(name: &OllamaName, options: &LocateOptions) -> Result<Option<Located>, LocateError> {
    for store in &options.ollama_stores {
        let mut path = store.join("manifests");
        let parts = [&name.host, &name.namespace, &name.model, &name.tag];
        if !parts.into_iter().all(|part| descend(&mut path, part)) || !path.is_file() {
            continue;
        }
        let located = Located::new(name.short(), Origin::Ollama { name: name.short() });
        return load(&path, &store.join("blobs"), located).map(Some);
    }
    Ok(None)
}

/// Goes into the child called `name`, whatever the case, as Ollama compares names.
fn descend(path: &mut PathBuf, name: &str) -> bool {
    let exact = path.join(name);
    if exact.exists() {
        *path = exact;
        return true;
    }
    let Ok(entries) = fs::read_dir(&*path) else { return false };
    let is_called = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(|n| n.eq_ignore_ascii_case(name));
    match entries.take(ENTRIES_MAX).flatten().find(is_called) {
        Some(entry) => {
            *path = entry.path();
            true
        }
        None => false,
    }
}

/// The model that a manifest file below a store's `manifests` describes.
pub(crate) fn locate_manifest(path: &Path) -> Result<Located, LocateError> {
    let full = path.canonicalize().map_err(LocateError::io(path))?;
    let manifests = full.ancestors().find(|directory| directory.file_name().is_some_and(|name| name == "manifests"));
    let blobs = manifests.and_then(Path::parent).map(|store| store.join("blobs"));
    let Some(blobs) = blobs.filter(|blobs| blobs.is_dir()) else {
        let expected = "an Ollama manifest inside its store, whose `blobs` lie beside `manifests`";
        return Err(LocateError::NotAModel { path: path.to_path_buf(), expected });
    };
    let below = manifests.and_then(|manifests| full.strip_prefix(manifests).ok());
    let name = below.and_then(name_of).map_or_else(|| super::located::file_name(path), |name| name.short());
    load(path, &blobs, Located::new(name, Origin::Path(path.to_path_buf())))
}

/// The name that a manifest's path below `manifests` spells.
fn name_of(below: &Path) -> Option<OllamaName> {
    let text = below.to_str()?.replace('\\', "/");
    let (path, tag) = text.rsplit_once('/')?;
    OllamaName::parse(&format!("{path}:{tag}"))
}

fn load(path: &Path, blobs: &Path, mut located: Located) -> Result<Located, LocateError> {
    let content = bounded::read(path, MANIFEST_BYTES_MAX)?;
    let manifest = read_manifest(&content)
        .map_err(|source| LocateError::Manifest { place: path.display().to_string(), source })?;
    let weights = sources(&manifest, &LayerKind::Model, blobs, &mut located.notes)?;
    if weights.is_empty() {
        let expected = "an Ollama manifest with a GGUF layer (a cloud model has none)";
        return Err(LocateError::NotAModel { path: path.to_path_buf(), expected });
    }
    located.tensors = Tensors::Gguf(weights);
    located.projectors = sources(&manifest, &LayerKind::Projector, blobs, &mut located.notes)?;
    located.adapters = sources(&manifest, &LayerKind::Adapter, blobs, &mut located.notes)?;
    if let Some(layer) = manifest.of_kind(&LayerKind::Parameters).next() {
        located.parameters = Some(bounded::read(&blobs.join(layer.digest.file_name()), PARAMETERS_BYTES_MAX)?);
    }
    Ok(located)
}

fn sources(
    manifest: &Manifest,
    kind: &LayerKind,
    blobs: &Path,
    notes: &mut Vec<String>,
) -> Result<Vec<Source>, LocateError> {
    manifest.of_kind(kind).map(|layer| source(layer, blobs, notes)).collect()
}

fn source(layer: &Layer, blobs: &Path, notes: &mut Vec<String>) -> Result<Source, LocateError> {
    let name = layer.digest.file_name();
    let path = blobs.join(&name);
    if !path.exists() {
        return Err(LocateError::MissingPart { present: blobs.display().to_string(), missing: name });
    }
    let source = Source::from_file(&path)?;
    if source.bytes != layer.bytes {
        notes.push(format!("blob `{name}` is {} bytes long, the manifest says {}", source.bytes, layer.bytes));
    }
    Ok(source)
}

/// The names in all stores.
pub(crate) fn names(options: &LocateOptions) -> Vec<OllamaName> {
    let mut names = Vec::new();
    for store in &options.ollama_stores {
        let root = store.join("manifests");
        let mut level = vec![root.clone()];
        // Host, namespace, model; what lies below are the tags.
        for _ in 0..3 {
            level = level.iter().flat_map(|directory| children(directory)).take(ENTRIES_MAX).collect();
        }
        let manifests = level.iter().flat_map(|directory| children(directory)).take(ENTRIES_MAX);
        names.extend(manifests.filter_map(|path| name_of(path.strip_prefix(&root).ok()?)));
    }
    names
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.take(ENTRIES_MAX).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
