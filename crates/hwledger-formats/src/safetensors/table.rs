//! All tensors of a model, whatever files they lie in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::Diagnostic;

use super::error::IndexError;
use super::header::{Header, TensorInfo};

/// Largest index that is read; that of the largest known model has some 20 MiB.
const INDEX_BYTES_MAX: usize = 128 << 20;

/// All tensors of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorTable {
    /// The tensors.
    pub tensors: Vec<TensorInfo>,
    /// Who wrote the files (`pt`, `mlx`), where they say.
    pub format: Option<String>,
}

impl TensorTable {
    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.bytes))
    }
}

impl From<Header> for TensorTable {
    fn from(header: Header) -> Self {
        Self { tensors: header.tensors, format: header.format }
    }
}

/// A `model.safetensors.index.json`: which shard holds which tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIndex {
    /// Bytes of all tensors, where it says.
    pub total_bytes: Option<u64>,
    /// Parameters of all tensors, where it says.
    pub total_parameters: Option<u64>,
    /// For each shard, the tensors that it holds.
    pub shards: BTreeMap<String, Vec<String>>,
}

/// Reads an index.
pub fn read_index(bytes: &[u8]) -> Result<ShardIndex, IndexError> {
    if bytes.len() > INDEX_BYTES_MAX {
        return Err(IndexError::TooLarge { found: bytes.len(), limit: INDEX_BYTES_MAX });
    }
    let document: Document = serde_json::from_slice(bytes).map_err(IndexError::Json)?;
    if let Some(name) = document.weight_map.duplicate {
        return Err(IndexError::DuplicateTensor(name));
    }
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, file) in document.weight_map.entries {
        if let Some(tensors) = shards.get_mut(&file) {
            tensors.push(tensor);
            continue;
        }
        let leaves = file.is_empty() || file.starts_with('/') || file.contains(['\\', ':', '\0']);
        if leaves || file.split('/').any(|part| part == ".." || part == ".") {
            return Err(IndexError::FileName(file));
        }
        shards.insert(file, vec![tensor]);
    }
    if shards.is_empty() {
        return Err(IndexError::Empty);
    }
    let total = |value: Option<serde_json::Number>| value.as_ref().and_then(whole);
    Ok(ShardIndex {
        total_bytes: total(document.metadata.total_size),
        total_parameters: total(document.metadata.total_parameters),
        shards,
    })
}

/// Some writers state sizes as floating-point numbers.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates, and the figure is only compared"
)]
fn whole(number: &serde_json::Number) -> Option<u64> {
    number.as_u64().or_else(|| number.as_f64().filter(|value| *value >= 0.0).map(|value| value as u64))
}

/// Puts the shards' headers together, by the index.
///
/// Tensors that the index does not list are not loaded by any engine; they are left out and reported.
pub fn merge_shards(
    index: &ShardIndex,
    shards: Vec<(String, Header)>,
) -> Result<(TensorTable, Vec<Diagnostic>), IndexError> {
    let mut given: HashMap<String, Header> = shards.into_iter().collect();
    let missing: Vec<String> = index.shards.keys().filter(|file| !given.contains_key(*file)).cloned().collect();
    if !missing.is_empty() {
        return Err(IndexError::MissingShards(missing));
    }
    let mut table = TensorTable::default();
    let mut notes = Vec::new();
    for (file, listed) in &index.shards {
        let Some(header) = given.remove(file) else { continue };
        let wanted: HashSet<&str> = listed.iter().map(String::as_str).collect();
        let (kept, surplus): (Vec<_>, Vec<_>) =
            header.tensors.into_iter().partition(|tensor| wanted.contains(&*tensor.name));
        if kept.len() < wanted.len() {
            let held: HashSet<&str> = kept.iter().map(|tensor| &*tensor.name).collect();
            let lost = listed.iter().find(|name| !held.contains(name.as_str()));
            let tensor = lost.cloned().unwrap_or_default();
            return Err(IndexError::MissingTensor { tensor, file: file.clone() });
        }
        if let Some(first) = surplus.first() {
            notes.push(Diagnostic::new(
                file.clone(),
                format!("{} tensors are not in the index and are left out, `{}` first", surplus.len(), first.name),
            ));
        }
        table.format = table.format.or(header.format);
        table.tensors.extend(kept);
    }
    if let Some(total) = index.total_bytes.filter(|&total| total != table.bytes()) {
        notes.push(Diagnostic::new(
            "metadata.total_size",
            format!("the index says {total} bytes, but the shards hold {}", table.bytes()),
        ));
    }
    Ok((table, notes))
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    metadata: IndexMetadata,
    weight_map: WeightMap,
}

#[derive(Default, Deserialize)]
struct IndexMetadata {
    #[serde(default)]
    total_size: Option<serde_json::Number>,
    #[serde(default)]
    total_parameters: Option<serde_json::Number>,
}

/// Tensor names and files, duplicates noticed.
#[derive(Default)]
struct WeightMap {
    entries: Vec<(String, String)>,
    duplicate: Option<String>,
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WeightMapVisitor)
    }
}

struct WeightMapVisitor;

impl<'de> Visitor<'de> for WeightMapVisitor {
    type Value = WeightMap;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensor names and files")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
        let mut entries = WeightMap::default();
        let mut names = HashSet::new();
        while let Some((name, file)) = map.next_entry::<String, String>()? {
            if entries.duplicate.is_none() && !names.insert(name.clone()) {
                entries.duplicate = Some(name.clone());
            }
            entries.entries.push((name, file));
        }
        Ok(entries)
    }
}
