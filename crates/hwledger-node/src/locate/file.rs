//! A file that holds or describes a model.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::bounded::{self, CONFIG_BYTES_MAX};
use super::located::file_name;
use super::selection::Selection;
use super::split::PartName;
use super::{LocateError, Located, Origin, Tensors};
use super::{directory, ollama};
use crate::names::has_ending;

const EXPECTED: &str = "a configuration, a safetensors file or index, a GGUF file, or an Ollama manifest";

/// The model that a file holds or belongs to.
pub(crate) fn locate(path: &Path) -> Result<Located, LocateError> {
    let name = file_name(path);
    let root = path.parent().unwrap_or(Path::new(""));
    let located = Located::new(name.clone(), Origin::Path(path.to_path_buf()));
    if has_ending(&name, ".safetensors.index.json") {
        let selection = Selection { config: sibling_config(root), index: Some(name), ..Selection::default() };
        return directory::load(root, &selection, located);
    }
    if has_ending(&name, ".safetensors") {
        let selection = Selection { config: sibling_config(root), safetensors: vec![name], ..Selection::default() };
        return directory::load(root, &selection, located);
    }
    if has_ending(&name, ".json") {
        return configuration(path, located);
    }
    if has_ending(&name, ".gguf") || starts_with(path, b"GGUF")? {
        return gguf(root, name, located);
    }
    if starts_with(path, b"{")? {
        return ollama::locate_manifest(path);
    }
    Err(LocateError::NotAModel { path: path.to_path_buf(), expected: EXPECTED })
}

/// Weights alone rarely say what they mean: the configuration beside them does.
fn sibling_config(root: &Path) -> Option<String> {
    root.join("config.json").is_file().then(|| "config.json".to_owned())
}

fn configuration(path: &Path, mut located: Located) -> Result<Located, LocateError> {
    located.config = Some(bounded::read(path, CONFIG_BYTES_MAX)?);
    if located.name == "config.json"
        && let Some(directory) = path.canonicalize().ok().as_deref().and_then(Path::parent)
    {
        located.name = file_name(directory);
    }
    Ok(located)
}

fn gguf(root: &Path, name: String, mut located: Located) -> Result<Located, LocateError> {
    if let Some(part) = PartName::parse(&name) {
        located.name = format!("{}{}", part.stem, part.ending);
    }
    located.tensors = Tensors::Gguf(directory::all_parts(root, &[name])?);
    Ok(located)
}

/// Whether the first bytes of a regular file are `magic`.
fn starts_with(path: &Path, magic: &[u8]) -> Result<bool, LocateError> {
    if !path.metadata().map_err(LocateError::io(path))?.is_file() {
        return Ok(false);
    }
    let mut head = Vec::with_capacity(magic.len());
    let file = File::open(path).map_err(LocateError::io(path))?;
    file.take(magic.len() as u64).read_to_end(&mut head).map_err(LocateError::io(path))?;
    Ok(head == magic)
}
