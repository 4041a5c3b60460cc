//! One file's header: a length, then JSON. Tensor data is never read.

use std::collections::HashSet;
use std::fmt;
use std::io::{ErrorKind, Read};

use hwledger_core::ElementType;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::dtype::element_type;
use super::error::SafetensorsError;

/// Longest header (the format's own limit).
pub const HEADER_BYTES_MAX: u64 = 100_000_000;
/// Most tensors of one file; the largest known model has some 200,000 in all its files.
pub const TENSORS_MAX: usize = 1 << 18;

/// One tensor's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its element type as the file spells it: `BF16`, `F8_E4M3`, `U32`.
    pub dtype: Box<str>,
    /// The same as one of ours.
    pub element_type: ElementType,
    /// Its extents, the contiguous one last.
    pub shape: Box<[u64]>,
    /// Bytes of its data.
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of stored elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |product, &extent| product.saturating_mul(extent))
    }
}

/// The header of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Tensors in the order of their data.
    pub tensors: Vec<TensorInfo>,
    /// Who wrote the file (`pt`, `mlx`), where it says.
    pub format: Option<String>,
    /// Where tensor data starts.
    pub data_offset: u64,
}

impl Header {
    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.bytes))
    }
}

/// Reads a header from the start of a file.
///
/// The source is read in order and no further than the header. `file_size`, where known, proves that the data is
/// all there and nothing else is.
pub fn read_header(mut source: impl Read, file_size: Option<u64>) -> Result<Header, SafetensorsError> {
    let mut length = [0; 8];
    read_exactly(&mut source, &mut length)?;
    let length = u64::from_le_bytes(length);
    let limit = HEADER_BYTES_MAX.min(file_size.map_or(u64::MAX, |size| size.saturating_sub(8)));
    if length > limit {
        return Err(SafetensorsError::HeaderLength { found: length, limit });
    }
    // Grows as bytes arrive, so a false length allocates nothing.
    let mut json = Vec::new();
    source.take(length).read_to_end(&mut json).map_err(SafetensorsError::Io)?;
    if (json.len() as u64) < length {
        return Err(SafetensorsError::Truncated);
    }
    let listed: Listed = serde_json::from_slice(&json).map_err(SafetensorsError::Json)?;
    drop(json);
    if listed.is_too_long {
        return Err(SafetensorsError::TooManyTensors(TENSORS_MAX));
    }
    if let Some(name) = listed.duplicate {
        return Err(SafetensorsError::DuplicateTensor(name));
    }
    let data_offset = length + 8;
    let tensors = place(listed.tensors, data_offset, file_size)?;
    Ok(Header { tensors, format: listed.format, data_offset })
}

fn read_exactly(source: &mut impl Read, target: &mut [u8]) -> Result<(), SafetensorsError> {
    source.read_exact(target).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => SafetensorsError::Truncated,
        _ => SafetensorsError::Io(error),
    })
}

/// Checks sizes and places and puts the tensors in the order of their data.
fn place(
    entries: Vec<(String, Entry)>,
    data_offset: u64,
    file_size: Option<u64>,
) -> Result<Vec<TensorInfo>, SafetensorsError> {
    let mut placed = Vec::with_capacity(entries.len());
    for (name, Entry { dtype, shape, data_offsets: [start, end] }) in entries {
        let Some((element_type, bits)) = element_type(&dtype) else {
            return Err(SafetensorsError::ElementType { tensor: name, found: dtype });
        };
        let total = shape.iter().try_fold(bits, |product, &extent| product.checked_mul(extent));
        let Some(expected) = total.filter(|bits| bits % 8 == 0 && bits >> 63 == 0).map(|bits| bits / 8) else {
            return Err(SafetensorsError::Shape(name));
        };
        let Some(found) = end.checked_sub(start) else {
            return Err(SafetensorsError::Backwards { tensor: name, start, end });
        };
        if found != expected {
            return Err(SafetensorsError::Size { tensor: name, expected, found, start, end });
        }
        let tensor = TensorInfo {
            name,
            dtype: dtype.into_boxed_str(),
            element_type,
            shape: shape.into_boxed_slice(),
            bytes: found,
        };
        placed.push((start, end, tensor));
    }
    // Empty tensors share their place with the next one.
    placed.sort_by_key(|(start, end, _)| (*start, *end));
    let mut reached = 0;
    for (index, (start, end, tensor)) in placed.iter().enumerate() {
        if *start < reached {
            let other = placed[index - 1].2.name.clone();
            return Err(SafetensorsError::Overlap { tensor: tensor.name.clone(), start: *start, other });
        }
        if *start > reached {
            return Err(SafetensorsError::Gap { from: reached, to: *start });
        }
        reached = *end;
    }
    let end = data_offset.saturating_add(reached);
    match file_size {
        Some(size) if end > size => Err(SafetensorsError::BeyondFile { end, size }),
        Some(size) if end < size => Err(SafetensorsError::Surplus { end, size }),
        _ => Ok(placed.into_iter().map(|(_, _, tensor)| tensor).collect()),
    }
}

/// A tensor as the JSON states it.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The part of `__metadata__` that is kept.
#[derive(Deserialize)]
struct FileMetadata {
    #[serde(default)]
    format: Option<String>,
}

/// The whole header as the JSON states it, duplicates noticed.
#[derive(Default)]
struct Listed {
    tensors: Vec<(String, Entry)>,
    format: Option<String>,
    duplicate: Option<String>,
    is_too_long: bool,
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ListedVisitor)
    }
}

struct ListedVisitor;

impl<'de> Visitor<'de> for ListedVisitor {
    type Value = Listed;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
        let mut listed = Listed::default();
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if listed.is_too_long || listed.duplicate.is_some() {
                map.next_value::<IgnoredAny>()?;
            } else if name == "__metadata__" {
                listed.format = map.next_value::<FileMetadata>()?.format;
            } else if names.insert(name.clone()) {
                let entry = map.next_value()?;
                listed.tensors.push((name, entry));
                listed.is_too_long = listed.tensors.len() > TENSORS_MAX;
            } else {
                map.next_value::<IgnoredAny>()?;
                listed.duplicate = Some(name);
            }
        }
        Ok(listed)
    }
}
