//! A directory that holds a model.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::bounded::{self, CONFIG_BYTES_MAX, INDEX_BYTES_MAX};
use super::located::file_name;
use super::selection::{self, Listed, Selection, Unselected};
use super::split::PartName;
use super::{LocateError, Located, Origin, Source, Tensors, index};

pub(crate) const LOOKED_FOR: &str = "`config.json`, `*.safetensors`, `*.safetensors.index.json`, `*.gguf`";
/// Directories with more files than this are no model directories; the rest is not listed.
const FILES_MAX: usize = 20_000;

/// The model in a directory; `wanted` names a GGUF file or quantisation where there are several.
pub(crate) fn locate(path: &Path, wanted: Option<&str>) -> Result<Located, LocateError> {
    let selection = selection::select(&list(path)?, wanted).map_err(|unselected| match unselected {
        Unselected::Nothing => LocateError::EmptyDirectory { path: path.to_path_buf(), looked_for: LOOKED_FOR },
        Unselected::Ambiguous(choices) => LocateError::Ambiguous { place: path.display().to_string(), choices },
    })?;
    let name = path.canonicalize().map_or_else(|_| file_name(path), |full| file_name(&full));
    load(path, &selection, Located::new(name, Origin::Path(path.to_path_buf())))
}

/// Reads the small files of `selection` below `root` and names the large ones.
pub(crate) fn load(root: &Path, selection: &Selection, mut located: Located) -> Result<Located, LocateError> {
    if let Some(config) = &selection.config {
        located.config = Some(bounded::read(&root.join(config), CONFIG_BYTES_MAX)?);
    }
    if let Some(name) = &selection.index {
        located.tensors = indexed(root, name, &mut located.notes)?;
    } else if !selection.safetensors.is_empty() {
        let files = all_parts(root, &selection.safetensors)?;
        located.tensors = Tensors::Safetensors { index: None, files, is_complete: true };
    } else if !selection.gguf.is_empty() {
        located.tensors = Tensors::Gguf(all_parts(root, &selection.gguf)?);
    }
    located.projectors = sources(root, &selection.projectors)?;
    located.adapters = sources(root, &selection.adapters)?;
    located.notes.extend(selection.notes.iter().cloned());
    Ok(located)
}

fn sources(root: &Path, names: &[String]) -> Result<Vec<Source>, LocateError> {
    names.iter().map(|name| Source::from_file(&root.join(name))).collect()
}

/// The shards that an index names, as far as they are there.
fn indexed(root: &Path, name: &str, notes: &mut Vec<String>) -> Result<Tensors, LocateError> {
    let path = root.join(name);
    let content = bounded::read(&path, INDEX_BYTES_MAX)?;
    let shards: BTreeSet<String> =
        index::shards(&content).map_err(|source| LocateError::Index { place: path.display().to_string(), source })?;
    let present: Vec<String> = shards.iter().filter(|shard| root.join(shard).is_file()).cloned().collect();
    let is_complete = present.len() == shards.len();
    if !is_complete {
        notes.push(format!(
            "{} of the {} shards that `{name}` names are absent",
            shards.len() - present.len(),
            shards.len()
        ));
    }
    Ok(Tensors::Safetensors { index: Some(content), files: sources(root, &present)?, is_complete })
}

/// The files `names`, completed to all parts where the first is one part of several.
pub(crate) fn all_parts(root: &Path, names: &[String]) -> Result<Vec<Source>, LocateError> {
    let Some(part) = names.first().and_then(|first| PartName::parse(first)) else {
        return sources(root, names);
    };
    part.all()
        .map(|name| {
            let path = root.join(&name);
            if path.exists() {
                return Source::from_file(&path);
            }
            Err(LocateError::MissingPart { present: root.join(&names[0]).display().to_string(), missing: name })
        })
        .collect()
}

/// The files of a directory and of the directories in it.
pub(crate) fn list(root: &Path) -> Result<Vec<Listed>, LocateError> {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> = Vec::new();
    list_one(root, "", &mut files, Some(&mut directories))?;
    for directory in directories {
        let prefix = format!("{}/", file_name(&directory));
        // A subdirectory that may not be read does not hide the model beside it.
        let _ = list_one(&directory, &prefix, &mut files, None);
    }
    Ok(files)
}

fn list_one(
    directory: &Path,
    prefix: &str,
    files: &mut Vec<Listed>,
    mut directories: Option<&mut Vec<PathBuf>>,
) -> Result<(), LocateError> {
    for entry in fs::read_dir(directory).map_err(LocateError::io(directory))? {
        let path = entry.map_err(LocateError::io(directory))?.path();
        // Through links, since caches keep links; a link to nowhere is as good as absent.
        let Ok(metadata) = path.metadata() else { continue };
        let name = file_name(&path);
        if name.starts_with('.') || files.len() >= FILES_MAX {
            continue;
        }
        if metadata.is_file() {
            files.push(Listed { name: format!("{prefix}{name}"), bytes: metadata.len() });
        } else if let Some(directories) = directories.as_deref_mut()
            && metadata.is_dir()
        {
            directories.push(path);
        }
    }
    Ok(())
}
