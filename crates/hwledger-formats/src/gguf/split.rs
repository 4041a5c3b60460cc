//! Models split over several files: `name-00001-of-00003.gguf`.

use std::collections::HashSet;

use super::Header;

/// Most parts; the name's pattern has five digits.
const PARTS_MAX: u64 = 99_999;

/// Which part of a split model a file is, by its metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Its position, from 0.
    pub index: u64,
    /// Number of parts.
    pub count: u64,
    /// Tensors in all parts together, where the file says.
    pub tensors: Option<u64>,
}

/// The name of one part, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartName {
    /// What stands before `-00001-of-00003.gguf`, directories included.
    pub prefix: String,
    /// Its position, from 0.
    pub index: u64,
    /// Number of parts.
    pub count: u64,
}

impl PartName {
    /// Takes a file name apart; none if it does not follow llama.cpp's pattern.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".gguf")?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let five_digits = |text: &str| {
            (text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| text.parse::<u64>().ok())
                .flatten()
        };
        let (number, count) = (five_digits(number)?, five_digits(count)?);
        (1..=count).contains(&number).then(|| Self { prefix: prefix.to_owned(), index: number - 1, count })
    }

    /// The name of the part at `index` of the same model.
    pub fn part(&self, index: u64) -> String {
        format!("{}-{:05}-of-{:05}.gguf", self.prefix, index + 1, self.count)
    }

    /// The names of all parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = String> {
        (0..self.count).map(|index| self.part(index))
    }
}

/// Parts that do not make one model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// No part at all.
    #[error("a split model has at least one part")]
    Nothing,
    /// A file that is no part.
    #[error("file {position} is no part of a split model: it has no `split.no` and `split.count`")]
    NoPart {
        /// Its position among those given, from 1.
        position: usize,
    },
    /// An impossible statement.
    #[error("file {position} says that it is part {number} of {count}")]
    Impossible {
        /// Its position among those given, from 1.
        position: usize,
        /// The part's number, from 1.
        number: u64,
        /// The stated number of parts.
        count: u64,
    },
    /// Parts of splits of different length.
    #[error("file {position} belongs to a split into {found} parts, the first file to one into {expected}")]
    Mixed {
        /// Its position among those given, from 1.
        position: usize,
        /// Its number of parts.
        found: u64,
        /// The first file's number of parts.
        expected: u64,
    },
    /// The same part twice.
    #[error("part {number} of {count} is given twice")]
    Twice {
        /// The part's number, from 1.
        number: u64,
        /// The number of parts.
        count: u64,
    },
    /// Parts that are not there.
    #[error("parts {} of {count} are missing", list(missing))]
    Missing {
        /// Their numbers, from 1; the first few.
        missing: Vec<u64>,
        /// The number of parts.
        count: u64,
    },
    /// A tensor in two parts.
    #[error("tensor `{0}` occurs in two parts")]
    DuplicateTensor(String),
    /// Another number of tensors than stated.
    #[error("the parts hold {found} tensors, but `split.tensors.count` says {expected}")]
    TensorCount {
        /// Tensors in all parts.
        found: u64,
        /// The stated number.
        expected: u64,
    },
}

fn list(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

impl Header {
    /// Which part of a split model this is; none for a whole model.
    pub fn split(&self) -> Option<Split> {
        let count = self.metadata.unsigned("split.count").filter(|&count| count > 0)?;
        let index = self.metadata.unsigned("split.no")?;
        Some(Split { index, count, tensors: self.metadata.unsigned("split.tensors.count") })
    }
}

/// Merges the headers of all parts of a split model, in any order.
///
/// Metadata is that of the first part, as llama.cpp takes it. Tensor offsets stay those within each part.
pub fn merge_parts(parts: Vec<Header>) -> Result<Header, SplitError> {
    let first = parts.first().and_then(Header::split);
    let count = match (parts.len(), first) {
        (0, _) => return Err(SplitError::Nothing),
        // A whole model in one file may say that it is part 1 of 1, or nothing.
        (1, None) => return parts.into_iter().next().ok_or(SplitError::Nothing),
        (_, split) => split.ok_or(SplitError::NoPart { position: 1 })?.count,
    };
    let ordered = order(parts, count)?;
    let mut parts = ordered.into_iter();
    let mut merged = parts.next().ok_or(SplitError::Nothing)?;
    for part in parts {
        merged.tensors.extend(part.tensors);
    }
    let mut names = HashSet::with_capacity(merged.tensors.len());
    for tensor in &merged.tensors {
        if !names.insert(&*tensor.name) {
            return Err(SplitError::DuplicateTensor(tensor.name.to_string()));
        }
    }
    let found = merged.tensors.len() as u64;
    match merged.split().and_then(|split| split.tensors) {
        Some(expected) if expected != found => Err(SplitError::TensorCount { found, expected }),
        _ => Ok(merged),
    }
}

/// The parts in order, each exactly once.
fn order(parts: Vec<Header>, count: u64) -> Result<Vec<Header>, SplitError> {
    let mut numbered = Vec::with_capacity(parts.len());
    for (position, part) in (1..).zip(parts) {
        let split = part.split().ok_or(SplitError::NoPart { position })?;
        if split.count != count {
            return Err(SplitError::Mixed { position, found: split.count, expected: count });
        }
        if split.index >= count || count > PARTS_MAX {
            return Err(SplitError::Impossible { position, number: split.index.saturating_add(1), count });
        }
        numbered.push((split.index, part));
    }
    numbered.sort_by_key(|(index, _)| *index);
    if let Some(pair) = numbered.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(SplitError::Twice { number: pair[0].0 + 1, count });
    }
    let present: HashSet<u64> = numbered.iter().map(|(index, _)| *index).collect();
    let missing: Vec<u64> =
        (0..count).filter(|index| !present.contains(index)).map(|index| index + 1).take(8).collect();
    if !missing.is_empty() {
        return Err(SplitError::Missing { missing, count });
    }
    Ok(numbered.into_iter().map(|(_, part)| part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::read_header;
    use crate::gguf::test_writer::Writer;

    fn part(index: u32, count: u32, tensors: &[&str]) -> Header {
        let mut writer = Writer::new("llama");
        writer.number("split.no", index).number("split.count", count).number("split.tensors.count", 3);
        for name in tensors {
            writer.tensor(name, 0, &[64]);
        }
        read_header(&writer.bytes()[..], None).unwrap()
    }

    #[test]
    fn parts_in_any_order_make_one_header() {
        let merged = merge_parts(vec![part(1, 3, &["b"]), part(0, 3, &["a"]), part(2, 3, &["c"])]).unwrap();
        let names: Vec<_> = merged.tensors.iter().map(|tensor| &*tensor.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!((merged.split().unwrap().index, merged.tensor_bytes()), (0, 3 * 256));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = merge_parts(vec![part(1, 3, &["b"])]).unwrap_err();
        assert_eq!(error.to_string(), "parts 1, 3 of 3 are missing");
        let error = merge_parts(vec![part(0, 2, &["a"]), part(0, 2, &["b"])]).unwrap_err();
        assert_eq!(error, SplitError::Twice { number: 1, count: 2 });
        let error = merge_parts(vec![part(0, 2, &["a"]), part(1, 3, &["b"])]).unwrap_err();
        assert_eq!(error, SplitError::Mixed { position: 2, found: 3, expected: 2 });
        let error = merge_parts(vec![part(0, 2, &["a"]), part(1, 2, &["a"])]).unwrap_err();
        assert_eq!(error, SplitError::DuplicateTensor("a".to_owned()));
        let error = merge_parts(vec![part(0, 2, &["a"]), part(1, 2, &["b"])]).unwrap_err();
        assert_eq!(error, SplitError::TensorCount { found: 2, expected: 3 });
        let error = merge_parts(vec![part(7, 2, &["a"]), part(1, 2, &["b"])]).unwrap_err();
        assert_eq!(error, SplitError::Impossible { position: 1, number: 8, count: 2 });
        assert_eq!(merge_parts(Vec::new()), Err(SplitError::Nothing));
    }

    #[test]
    fn names_follow_the_pattern() {
        let name = PartName::parse("dir/big-00002-of-00003.gguf").unwrap();
        assert_eq!((name.prefix.as_str(), name.index, name.count), ("dir/big", 1, 3));
        assert_eq!(name.parts().last().unwrap(), "dir/big-00003-of-00003.gguf");
        for other in ["big.gguf", "big-00004-of-00003.gguf", "big-00000-of-00003.gguf", "big-2-of-3.gguf", "-of-.gguf"]
        {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
    }
}
