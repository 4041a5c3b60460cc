//! A GGUF file's header: metadata and tensor table. Tensor data is never read.

use std::collections::HashSet;
use std::io::Read;

use hwledger_core::{ElementType, units::round_up};

use super::error::{GgufError, GgufErrorKind, Place};
use super::metadata::{Metadata, read_key, read_value};
use super::source::Source;
use super::tensor_type::element_type;

/// The format's default for `general.alignment`.
const ALIGNMENT_DEFAULT: u64 = 32;
/// Most metadata entries; files hold some fifty.
const ENTRIES_MAX: u64 = 65_536;
/// Most tensors; the largest known files hold some six thousand.
const TENSORS_MAX: u64 = 131_072;
/// Longest tensor name; ggml keeps 63 bytes.
const NAME_BYTES_MAX: u64 = 255;
/// ggml's `GGML_MAX_DIMS`.
const DIMENSIONS_MAX: u32 = 4;
/// Bytes of the shortest tensor description: name length, dimensions, type, offset.
const TENSOR_BYTES_MIN: u64 = 8 + 4 + 4 + 8;
/// Bytes of the shortest metadata entry: key length, type, one byte.
const ENTRY_BYTES_MIN: u64 = 8 + 4 + 1;

/// One tensor's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: Box<str>,
    /// Its extents, the contiguous one first; missing ones are 1.
    pub dimensions: [u64; 4],
    /// How many extents the file states.
    pub rank: u8,
    /// Its element type.
    pub element_type: ElementType,
    /// Where its data starts, from the start of the file's tensor data.
    pub offset: u64,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().fold(1, |product, &extent| product.saturating_mul(extent))
    }

    /// Bytes of its data.
    pub fn bytes(&self) -> u64 {
        let rows = self.dimensions[1..].iter().fold(1_u64, |product, &extent| product.saturating_mul(extent));
        self.element_type.row_bytes(self.dimensions[0]).saturating_mul(rows)
    }
}

/// The header of one file, or of several that were merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Version of the format.
    pub version: u32,
    /// Grid of the tensors' offsets.
    pub alignment: u64,
    /// Key-value metadata.
    pub metadata: Metadata,
    /// Tensors in the order of the file.
    pub tensors: Vec<TensorInfo>,
    /// Where tensor data starts: the header's length rounded up to the alignment.
    pub data_offset: u64,
}

impl Header {
    /// Bytes of all tensors, without padding.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.bytes()))
    }

    /// Bytes of the data section: every tensor padded to the alignment.
    pub fn padded_data_bytes(&self) -> u64 {
        self.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(round_up(tensor.bytes(), self.alignment)))
    }

    /// The architecture's name, `general.architecture`.
    pub fn architecture(&self) -> Option<&str> {
        self.metadata.text("general.architecture")
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| &*tensor.name == name)
    }
}

/// Reads a header from the start of a file.
///
/// The source is read in order and no further than the header, so it may be a
/// file, a growing download or a reader that fetches ranges. `file_size`, where
/// known, bounds every count and length and proves that all tensor data is there.
///
/// Memory stays below some 30 MiB whatever the bytes say.
pub fn read_header(mut source: impl Read, file_size: Option<u64>) -> Result<Header, GgufError> {
    Parser {
        source: Source::new(&mut source, file_size),
        place: Place::Preamble,
        file_size,
        alignment: ALIGNMENT_DEFAULT,
    }
    .run()
}

/// The fixed fields at the start of a file.
pub(super) struct Preamble {
    version: u32,
    tensor_count: u64,
    pub(super) entry_count: u64,
}

/// Reads the fixed fields; the counts are such as the file can hold.
pub(super) fn read_preamble(source: &mut Source<'_>) -> Result<Preamble, GgufErrorKind> {
    let version = read_version(source)?;
    let tensor_count = source.u64()?;
    let entry_count = source.u64()?;
    check_count(source, "the number of tensors", tensor_count, TENSORS_MAX, TENSOR_BYTES_MIN)?;
    check_count(source, "the number of metadata entries", entry_count, ENTRIES_MAX, ENTRY_BYTES_MIN)?;
    Ok(Preamble { version, tensor_count, entry_count })
}

/// Fails unless `found` things of `each` bytes or more can follow, at `most`.
pub(super) fn check_count(
    source: &Source<'_>,
    what: &'static str,
    found: u64,
    most: u64,
    each: u64,
) -> Result<(), GgufErrorKind> {
    let limit = most.min(source.remaining() / each);
    if found > limit { Err(GgufErrorKind::TooMany { what, found, limit }) } else { Ok(()) }
}

fn read_version(source: &mut Source<'_>) -> Result<u32, GgufErrorKind> {
    match &source.array::<4>()? {
        b"GGUF" => {}
        // Stored as little-endian integers, so the letters appear reversed.
        b"tjgg" => return Err(GgufErrorKind::Ancestor("ggjt")),
        b"fmgg" => return Err(GgufErrorKind::Ancestor("ggmf")),
        b"lmgg" => return Err(GgufErrorKind::Ancestor("ggml")),
        b"algg" => return Err(GgufErrorKind::Ancestor("ggla")),
        other => return Err(GgufErrorKind::Magic(*other)),
    }
    match source.u32()? {
        version @ (2 | 3) => Ok(version),
        // A small number with its bytes swapped.
        version if version != 0 && version.trailing_zeros() >= 16 => Err(GgufErrorKind::BigEndian),
        version => Err(GgufErrorKind::Version(version)),
    }
}

struct Parser<'a> {
    source: Source<'a>,
    place: Place,
    file_size: Option<u64>,
    alignment: u64,
}

impl Parser<'_> {
    fn run(mut self) -> Result<Header, GgufError> {
        let header = self.header();
        header.map_err(|kind| GgufError { offset: self.source.offset(), place: self.place, kind })
    }

    fn header(&mut self) -> Result<Header, GgufErrorKind> {
        let Preamble { version, tensor_count, entry_count } = read_preamble(&mut self.source)?;
        let metadata = self.metadata(entry_count)?;
        self.place = Place::Key("general.alignment".to_owned());
        if metadata.get("general.alignment").is_some() {
            self.alignment = metadata.unsigned("general.alignment").unwrap_or(0);
        }
        if !self.alignment.is_power_of_two() || self.alignment > 1 << 30 {
            return Err(GgufErrorKind::Alignment(self.alignment));
        }
        let tensors = self.tensors(tensor_count)?;
        let header_bytes = self.source.offset();
        let data_offset = if tensors.is_empty() { header_bytes } else { round_up(header_bytes, self.alignment) };
        self.check_data(&tensors, data_offset)?;
        Ok(Header { version, alignment: self.alignment, metadata, tensors, data_offset })
    }

    fn metadata(&mut self, count: u64) -> Result<Metadata, GgufErrorKind> {
        let mut metadata = Metadata::default();
        let mut kept = 0;
        for index in 0..count {
            self.place = Place::Entry(index);
            let key = read_key(&mut self.source)?;
            self.place = Place::Key(key.clone());
            let value = read_value(&mut self.source, &key, &mut kept)?;
            metadata.insert(key, value)?;
        }
        Ok(metadata)
    }

    fn tensors(&mut self, count: u64) -> Result<Vec<TensorInfo>, GgufErrorKind> {
        let mut tensors: Vec<TensorInfo> = Vec::new();
        for index in 0..count {
            self.place = Place::TensorIndex(index);
            let length = self.source.u64()?;
            let name = self.source.text("the length of a tensor name", length, NAME_BYTES_MAX)?;
            let tensor = self.tensor(name.into_boxed_str());
            if tensor.is_err() {
                return tensor.map(|_| tensors);
            }
            tensors.extend(tensor);
        }
        let mut names = HashSet::with_capacity(tensors.len());
        for tensor in &tensors {
            if !names.insert(&*tensor.name) {
                self.place = Place::Tensor(tensor.name.to_string());
                return Err(GgufErrorKind::DuplicateTensor);
            }
        }
        Ok(tensors)
    }

    fn tensor(&mut self, name: Box<str>) -> Result<TensorInfo, GgufErrorKind> {
        let result = self.tensor_body();
        match result {
            Ok((dimensions, rank, element_type, offset)) => {
                Ok(TensorInfo { name, dimensions, rank, element_type, offset })
            }
            Err(kind) => {
                self.place = Place::Tensor(name.into());
                Err(kind)
            }
        }
    }

    fn tensor_body(&mut self) -> Result<([u64; 4], u8, ElementType, u64), GgufErrorKind> {
        let rank = self.source.u32()?;
        if rank > DIMENSIONS_MAX {
            return Err(GgufErrorKind::TooMany {
                what: "the number of dimensions",
                found: rank.into(),
                limit: DIMENSIONS_MAX.into(),
            });
        }
        let mut dimensions = [1; 4];
        for (index, extent) in dimensions.iter_mut().enumerate().take(rank as usize) {
            *extent = self.source.u64()?;
            if *extent == 0 {
                return Err(GgufErrorKind::ZeroDimension(index));
            }
        }
        let element_type = element_type(self.source.u32()?)?;
        let offset = self.source.u64()?;
        let elements = dimensions.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
        if elements.and_then(|elements| i64::try_from(elements.checked_mul(8)?).ok()).is_none() {
            return Err(GgufErrorKind::Overflow);
        }
        if !dimensions[0].is_multiple_of(element_type.block().0) {
            return Err(GgufErrorKind::PartialBlock { columns: dimensions[0], element_type });
        }
        if !offset.is_multiple_of(self.alignment) {
            return Err(GgufErrorKind::Misaligned { found: offset, alignment: self.alignment });
        }
        Ok((dimensions, u8::try_from(rank).unwrap_or(4), element_type, offset))
    }

    /// No two tensors share bytes and, where the size is known, all data lies within the file.
    fn check_data(&mut self, tensors: &[TensorInfo], data_offset: u64) -> Result<(), GgufErrorKind> {
        let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
        by_offset.sort_by_key(|tensor| tensor.offset);
        let mut previous: Option<(&TensorInfo, u64)> = None;
        for tensor in by_offset {
            self.place = Place::Tensor(tensor.name.to_string());
            let end = tensor.offset.checked_add(tensor.bytes()).ok_or(GgufErrorKind::Overflow)?;
            if let Some((other, other_end)) = previous
                && tensor.offset < other_end
            {
                return Err(GgufErrorKind::Overlap(other.name.to_string()));
            }
            let end_in_file = data_offset.checked_add(end).ok_or(GgufErrorKind::Overflow)?;
            if let Some(size) = self.file_size
                && end_in_file > size
            {
                return Err(GgufErrorKind::BeyondFile { end: end_in_file, size });
            }
            previous = Some((tensor, end));
        }
        Ok(())
    }
}
