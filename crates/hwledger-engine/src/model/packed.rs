//! Repacked weights kept on disk, so that the next start maps them instead of making them again.
//!
//! A file is named by what it was made of and by the layout, is written under another name and renamed when it
//! is whole, and is never written again.
//!
//! Layout, little-endian: the magic, the key (32 bytes), the number of entries; per entry the length and text of
//! the tensor's name, the name of its form, rows, columns, copies, offset and bytes; then, from 4 MiB on, the
//! tensors, each at a multiple of 4096.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hwledger_kernels::{LAYOUT_VERSION, PackedFormat, PackedWeight, Region, Shape};
use sha2::{Digest, Sha256};

use super::tensors::{ModelFile, Tensors};

/// First bytes of a file.
const MAGIC: &[u8; 8] = b"HWLPACK1";
/// Tensors start at multiples of this.
const GRID: u64 = 4096;
/// Stretches of each file that the key is made of, beside its header, length and time.
const SAMPLES: u64 = 64;
/// Bytes of each.
const SAMPLE_BYTES: u64 = 16 << 10;
/// Bytes before the first tensor: room for the table of any model, of which a sparse file stores what is used.
const TABLE_BYTES: usize = 4 << 20;

/// Tensors are written in stretches of this, at multiples of it: the system then holds the file in huge pages, which
/// one token's products read by a quarter faster (Linux 6.18, ext4).
const STRETCH_BYTES: usize = 2 << 20;

/// What a packed file is made of.
pub(super) type Key = [u8; 32];

/// One tensor of a file.
#[derive(Clone, Debug)]
struct Entry {
    name: String,
    form: String,
    shape: Shape,
    offset: u64,
    bytes: u64,
}

/// Where repacked weights come from and go to.
#[derive(Debug)]
#[expect(private_interfaces, reason = "only this file looks into a mapped file")]
pub(super) enum PackedStore {
    /// Nowhere: they stay in memory.
    None,
    /// A file that is whole.
    Mapped { region: Region, entries: HashMap<String, Entry> },
    /// A file that is being made.
    Writing(Box<Writing>),
}

#[derive(Debug)]
pub(super) struct Writing {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    key: Key,
    entries: Vec<Entry>,
    /// Where what comes next is written.
    end: u64,
    /// The last bytes before it, which are not yet in the file.
    pending: Vec<u8>,
}

/// The key of a model's packed file: the layout, and of each of its files the length, the time of its last change
/// and some of its content.
fn key(files: &[&ModelFile]) -> io::Result<Key> {
    let mut hash = Sha256::new();
    hash.update(LAYOUT_VERSION.to_le_bytes());
    for file in files {
        let size = file.size()?;
        hash.update(size.to_le_bytes());
        let changed = file.changed_nanoseconds().ok_or(io::ErrorKind::Unsupported)?;
        hash.update(changed.to_le_bytes());
        let mut buffer = Vec::new();
        for sample in 0..SAMPLES {
            let offset = size.saturating_sub(SAMPLE_BYTES) / (SAMPLES - 1) * sample;
            buffer.clear();
            file.reader(offset)?.take(SAMPLE_BYTES).read_to_end(&mut buffer)?;
            hash.update(&buffer);
        }
    }
    Ok(hash.finalize().into())
}

impl PackedStore {
    /// Opens the packed file of a model in a directory, or starts to make it. Without a directory, or where it
    /// cannot be used, weights stay in memory.
    pub(super) fn open(directory: Option<&Path>, tensors: &Tensors) -> Self {
        let (Some(directory), Tensors::Gguf(tensors)) = (directory, tensors) else { return Self::None };
        let files: Vec<&ModelFile> = tensors.files().collect();
        let Ok(key) = key(&files) else { return Self::None };
        // Half of the hash names the file; all of it is in it.
        let name = u128::from_be_bytes(std::array::from_fn(|index| key[index]));
        let path = directory.join(format!("{name:032x}.packed"));
        match read(&path, &key) {
            Ok((region, entries)) => Self::Mapped { region, entries },
            Err(_) => {
                Writing::start(directory, path, key).map_or(Self::None, |writing| Self::Writing(Box::new(writing)))
            }
        }
    }

    /// A matrix that the file holds.
    pub(super) fn find(&self, name: &str, format: PackedFormat, shape: Shape) -> Option<PackedWeight> {
        let Self::Mapped { region, entries } = self else { return None };
        let entry = entries.get(name).filter(|entry| entry.form == format.to_string() && entry.shape == shape)?;
        let region = region.part(usize::try_from(entry.offset).ok()?, usize::try_from(entry.bytes).ok()?)?;
        PackedWeight::from_region(format, shape, region)
    }

    /// Takes note of a matrix that was made. A file that cannot be written is given up: it only saves time.
    pub(super) fn add(&mut self, name: &str, weight: &PackedWeight) {
        if let Self::Writing(writing) = self
            && writing.add(name, weight).is_err()
        {
            fs::remove_file(&writing.partial).ok();
            *self = Self::None;
        }
    }

    /// Puts the file in its place.
    pub(super) fn finish(self) {
        if let Self::Writing(writing) = self {
            let partial = writing.partial.clone();
            if writing.finish().is_err() {
                fs::remove_file(partial).ok();
            }
        }
    }
}

impl Writing {
    fn start(directory: &Path, path: PathBuf, key: Key) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let partial = path.with_extension(format!("partial-{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&partial)?;
        file.seek(SeekFrom::Start(TABLE_BYTES as u64))?;
        Ok(Self { file, partial, path, key, entries: Vec::new(), end: TABLE_BYTES as u64, pending: Vec::new() })
    }

    fn add(&mut self, name: &str, weight: &PackedWeight) -> io::Result<()> {
        let bytes = weight.bytes();
        let offset = self.end.next_multiple_of(GRID);
        let gap = usize::try_from(offset - self.end).map_err(|_| invalid())?;
        self.append(&vec![0; gap])?;
        self.append(bytes)?;
        self.entries.push(Entry {
            name: name.to_owned(),
            form: weight.format.to_string(),
            shape: weight.shape,
            offset,
            bytes: bytes.len() as u64,
        });
        Ok(())
    }

    /// Writes bytes at the end, a whole stretch at a time.
    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.end += bytes.len() as u64;
        while self.pending.len() + bytes.len() >= STRETCH_BYTES {
            let (now, later) = bytes.split_at(STRETCH_BYTES - self.pending.len());
            self.pending.extend_from_slice(now);
            self.file.write_all(&self.pending)?;
            self.pending.clear();
            bytes = later;
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        let mut table = Vec::new();
        table.extend(MAGIC);
        table.extend(self.key);
        table.extend((self.entries.len() as u64).to_le_bytes());
        for entry in &self.entries {
            for text in [&entry.name, &entry.form] {
                table.extend((text.len() as u64).to_le_bytes());
                table.extend(text.as_bytes());
            }
            let Shape { rows, columns, copies } = entry.shape;
            for number in [rows as u64, columns as u64, copies as u64, entry.offset, entry.bytes] {
                table.extend(number.to_le_bytes());
            }
        }
        if table.len() > TABLE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.file.write_all(&self.pending)?;
        // Up to the grid, so that a file that was cut short is always seen.
        self.file.set_len(self.end.next_multiple_of(GRID))?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&table)?;
        self.file.sync_all()?;
        fs::rename(&self.partial, &self.path)
    }
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// Maps a packed file and reads its table; fails if it is not the one of the key.
fn read(path: &Path, key: &Key) -> io::Result<(Region, HashMap<String, Entry>)> {
    let region = Region::map_unchanging(&File::open(path)?)?;
    let table = region.bytes().get(..TABLE_BYTES).ok_or_else(invalid)?;
    let mut table = Table { rest: table };
    if table.take(MAGIC.len())? != MAGIC || table.take(key.len())? != key {
        return Err(invalid());
    }
    let mut entries = HashMap::new();
    for _ in 0..table.number()? {
        let entry = Entry {
            name: table.text()?,
            form: table.text()?,
            shape: Shape { rows: table.size()?, columns: table.size()?, copies: table.size()? },
            offset: table.number()?,
            bytes: table.number()?,
        };
        let end = entry.offset.checked_add(entry.bytes).ok_or_else(invalid)?;
        if end > region.len() as u64 {
            return Err(invalid());
        }
        entries.insert(entry.name.clone(), entry);
    }
    Ok((region, entries))
}

/// What is left to read of a table.
struct Table<'a> {
    rest: &'a [u8],
}

impl<'a> Table<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(invalid)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| invalid())?))
    }

    fn size(&mut self) -> io::Result<usize> {
        usize::try_from(self.number()?).map_err(|_| invalid())
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.size()?;
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hwledger_core::ElementType;
    use hwledger_kernels::Pool;

    fn weight(seed: u8) -> PackedWeight {
        let pool = Pool::new(1).unwrap();
        let bytes: Vec<u8> = (0..17 * 64 * 2).map(|index: usize| seed ^ index.to_le_bytes()[0] & 0x3f).collect();
        PackedWeight::pack(ElementType::F16, Shape::matrix(17, 64), &bytes, &pool).unwrap()
    }

    fn written(directory: &Path) -> PathBuf {
        let path = directory.join("model.packed");
        let writing = Writing::start(directory, path.clone(), [7; 32]).unwrap();
        let mut store = PackedStore::Writing(Box::new(writing));
        store.add("first", &weight(0));
        store.add("second", &weight(1));
        assert!(!path.exists());
        store.finish();
        path
    }

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("hwledger-packed-{}-{name}", std::process::id()));
        fs::remove_dir_all(&directory).ok();
        directory
    }

    #[test]
    fn what_was_written_is_mapped() {
        let directory = directory("round-trip");
        let path = written(&directory);
        let (region, entries) = read(&path, &[7; 32]).unwrap();
        let store = PackedStore::Mapped { region, entries };
        for (name, seed) in [("first", 0), ("second", 1)] {
            let found = store.find(name, PackedFormat::F16, Shape::matrix(17, 64)).unwrap();
            assert_eq!(found.bytes(), weight(seed).bytes());
        }
        assert!(store.find("first", PackedFormat::BF16, Shape::matrix(17, 64)).is_none());
        assert!(store.find("first", PackedFormat::F16, Shape::matrix(16, 64)).is_none());
        assert!(store.find("third", PackedFormat::F16, Shape::matrix(17, 64)).is_none());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn broken_files_are_refused() {
        let directory = directory("broken");
        let path = written(&directory);
        assert!(read(&path, &[8; 32]).is_err());
        let whole = fs::read(&path).unwrap();
        let changed = path.with_extension("changed");
        for at in (0..200).chain([TABLE_BYTES - 1]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x80;
            fs::write(&changed, &bytes).unwrap();
            // An error or other names and shapes, which nobody asks for; never a panic.
            if let Ok((region, entries)) = read(&changed, &[7; 32]) {
                let store = PackedStore::Mapped { region, entries };
                store.find("first", PackedFormat::F16, Shape::matrix(17, 64));
            }
        }
        for length in [0, 10, TABLE_BYTES - 1, TABLE_BYTES, whole.len() - 1] {
            fs::write(&changed, &whole[..length]).unwrap();
            assert!(read(&changed, &[7; 32]).is_err(), "{length}");
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
