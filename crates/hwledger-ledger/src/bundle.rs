//! A record as plain files, which any web server can publish and anyone can check without this program's database:
//! C2SP tlog-tiles, and beside them the public keys, the heads so far and the schemas of the events.
//!
//! | path | holds |
//! | --- | --- |
//! | `checkpoint` | the signed head that the bundle is of |
//! | `tile/<level>/<index>[.p/<width>]` | hashes of the tree, 32 bytes each |
//! | `tile/entries/<index>[.p/<width>]` | entries, each after two bytes of length, big-endian |
//! | `keys` | public keys, one per line |
//! | `checkpoints.log` | earlier heads, with a blank line after each, and what witnesses signed of them |
//! | `cosigned` | the last head that a witness signed, where there is one |
//! | `minimum-index` | the first entry from which on all bundles are there, where older data were dropped |
//! | `kept/<index>` | entries before it whose data verification needs |
//! | `schemas/<kind>.v<version>.json` | what each kind of event holds |

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::canonical::to_canonical;
use crate::checkpoint::Checkpoint;
use crate::event::{KINDS, schema_of};
use crate::hash::Hash;
use crate::merkle::{TILE_HASHES, TileName, tiles_of};
use crate::note::PublicKey;
use crate::store::StoreError;
use crate::verify::{Source, TakeEntry};
use crate::witness::Cosignatures;

/// Bytes of a full bundle of entries at most.
const ENTRIES_BYTES_MAX: u64 = TILE_HASHES * (2 + u16::MAX as u64);

/// Bundles of entries that may be missing one after the other before the rest is taken for missing too.
const MISSING_MAX: u64 = 1024;

/// Bytes of a schema at most.
const SCHEMA_BYTES_MAX: u64 = 1 << 20;

/// Files of kept entries that are looked at, at most.
const KEPT_MAX: usize = 1 << 20;

/// Bytes of the keys, the heads and the like at most.
const TEXT_BYTES_MAX: u64 = 64 << 20;

fn in_file<T>(path: &Path, result: io::Result<T>) -> Result<T, StoreError> {
    result.map_err(|source| StoreError::File { path: path.display().to_string(), source })
}

fn unsuitable(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Unsuitable { path: path.display().to_string(), what: what.into() }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let path = folder.join(name);
    let parent = path.parent().unwrap_or(folder);
    in_file(parent, fs::create_dir_all(parent))?;
    // Written beside and renamed: nobody who serves the folder ever sees half a file.
    let temporary = path.with_extension("new");
    in_file(&temporary, fs::write(&temporary, bytes))?;
    in_file(&path, fs::rename(&temporary, &path))
}

/// Writes the record up to its last signed head to `folder`, which may hold an earlier export of the same ledger.
/// Returns the head.
///
/// # Errors
///
/// Nothing is signed yet, the folder holds something else, or files cannot be written.
pub fn export(source: &impl Source, keys: &[PublicKey], folder: &Path) -> Result<Checkpoint, StoreError> {
    let heads = source.checkpoints()?;
    let Some((size, note)) = heads.last() else {
        return Err(StoreError::Inconsistent("the ledger has no signed checkpoint yet".to_owned()));
    };
    let head = Checkpoint::verify(note, keys).map_err(|error| StoreError::Inconsistent(error.to_string()))?;
    let existing = folder.join("checkpoint");
    if let Ok(earlier) = fs::read_to_string(&existing) {
        // A head of our own may be signed by a key that is not used any more.
        let is_own = heads.iter().any(|(_, note)| earlier.starts_with(note.as_str()));
        let is_same = is_own || Checkpoint::verify(&earlier, keys).is_ok_and(|earlier| earlier.origin == head.origin);
        if !is_same {
            return Err(unsuitable(&existing, "the folder holds the export of another ledger"));
        }
    } else if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(unsuitable(folder, "the folder is not empty"));
    }
    for (name, width) in tiles_of(*size) {
        let stored = source.tile(name)?.unwrap_or_default();
        let hashes = usize::try_from(width).ok().and_then(|width| stored.get(..width));
        let hashes = hashes.ok_or_else(|| StoreError::Inconsistent(format!("{} is not complete", name.path(width))))?;
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        write(folder, &name.path(width), &bytes)?;
    }
    let cosignatures = write_entries(source, *size, folder)?;
    let lines: Vec<String> = keys.iter().map(PublicKey::to_string).collect();
    write(folder, "keys", (lines.join("\n") + "\n").as_bytes())?;
    let notes: Vec<String> = heads.iter().map(|(size, note)| cosignatures.on(*size, note)).collect();
    let has_cosigned = cosignatures.sizes().rev().find_map(|size| heads.iter().position(|(signed, _)| *signed == size));
    if let Some(place) = has_cosigned {
        write(folder, "cosigned", notes[place].as_bytes())?;
    }
    write(folder, "checkpoints.log", (notes.join("\n") + "\n").as_bytes())?;
    for kind in KINDS {
        let schema = schema_of(*kind).unwrap_or_default();
        let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
        write(folder, &format!("schemas/{}.v{}.json", kind.name, kind.version), text.as_bytes())?;
    }
    // Last: whoever follows the folder finds everything that the new head needs.
    write(folder, "checkpoint", notes.last().unwrap_or(note).as_bytes())?;
    Ok(head)
}

/// Writes the entries of a record of `size` entries, in bundles that are whole or not there.
/// Returns what witnesses signed, as the entries tell.
fn write_entries(source: &impl Source, size: u64, folder: &Path) -> Result<Cosignatures, StoreError> {
    let mut cosignatures = Cosignatures::default();
    let mut bundle: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut minimum = 0;
    source.entries(&mut |index, bytes| {
        if index >= size {
            return Ok(());
        }
        if let Some(bytes) = bytes {
            cosignatures.find(bytes);
            bundle.push((index, bytes.to_owned()));
        }
        let width = index % TILE_HASHES + 1;
        if width == TILE_HASHES || index + 1 == size {
            let name = TileName { level: 0, index: index / TILE_HASHES };
            if bundle.len() as u64 == width {
                write(folder, &name.entries_path(width), &packed(&bundle)?)?;
            } else {
                minimum = (name.index + 1) * TILE_HASHES;
                for (index, bytes) in &bundle {
                    write(folder, &format!("kept/{index}"), bytes)?;
                }
                remove_entries(folder, name)?;
            }
            bundle.clear();
        }
        Ok(())
    })?;
    if minimum > 0 {
        write(folder, "minimum-index", format!("{minimum}\n").as_bytes())?;
    }
    Ok(cosignatures)
}

/// Entries one after the other, each after its length.
fn packed(entries: &[(u64, Vec<u8>)]) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    for (index, entry) in entries {
        let length = u16::try_from(entry.len());
        let length = length.map_err(|_| StoreError::Inconsistent(format!("entry {index} is too long")))?;
        bytes.extend(length.to_be_bytes());
        bytes.extend(entry);
    }
    Ok(bytes)
}

/// Removes what an earlier export holds of entries some of which were dropped since.
fn remove_entries(folder: &Path, name: TileName) -> Result<(), StoreError> {
    let whole = folder.join(name.entries_path(TILE_HASHES));
    let partial = whole.with_extension("p");
    for (result, path) in [(fs::remove_file(&whole), &whole), (fs::remove_dir_all(&partial), &partial)] {
        if result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            in_file(path, result)?;
        }
    }
    Ok(())
}

/// An exported record.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    size: u64,
    minimum: u64,
    /// Entries before the minimum that are there.
    kept: BTreeSet<u64>,
    checkpoints: Vec<(u64, String)>,
}

fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        result => in_file(path, result)?,
    };
    let mut bytes = Vec::new();
    in_file(path, file.take(bytes_max + 1).read_to_end(&mut bytes))?;
    if bytes.len() as u64 > bytes_max {
        return Err(unsuitable(path, format!("longer than the {bytes_max} bytes that it may have")));
    }
    Ok(Some(bytes))
}

fn read_text(path: &Path) -> Result<Option<String>, StoreError> {
    let bytes = read(path, TEXT_BYTES_MAX)?;
    bytes.map(|bytes| String::from_utf8(bytes).map_err(|_| unsuitable(path, "this is not UTF-8"))).transpose()
}

/// The notes of a log, each of which ends with a blank line after its signatures.
fn notes(log: &str) -> impl Iterator<Item = &str> {
    // A note itself has one blank line, before its signatures.
    let mut rest = log;
    std::iter::from_fn(move || {
        let first = rest.find("\n\n")?;
        let end = rest[first + 2..].find("\n\n").map_or(rest.len(), |second| first + 2 + second + 1);
        let (note, after) = rest.split_at(end);
        rest = after.strip_prefix('\n').unwrap_or(after);
        Some(note)
    })
}

/// The numbers of the entries that are kept in a folder, as far as any record has as many.
fn kept_in(folder: &Path) -> Result<BTreeSet<u64>, StoreError> {
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        result => in_file(folder, result)?,
    };
    let name = |file: io::Result<fs::DirEntry>| Some(file.ok()?.file_name().to_str()?.to_owned());
    Ok(files.take(KEPT_MAX).filter_map(|file| crate::checkpoint::parse_decimal(&name(file)?)).collect())
}

impl Bundle {
    /// Opens an exported record. Nothing in it is believed yet.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("checkpoint");
        let note = read_text(&path)?.ok_or_else(|| unsuitable(&path, "there is no exported ledger"))?;
        let size_of = |note: &str| {
            let parsed = crate::note::Note::parse(note).ok()?;
            Checkpoint::parse_text(parsed.unverified_text()).ok().map(|head| head.size)
        };
        let size = size_of(&note).ok_or_else(|| unsuitable(&path, "this is no checkpoint"))?;
        let log_path = folder.join("checkpoints.log");
        let mut checkpoints = Vec::new();
        for text in notes(&read_text(&log_path)?.unwrap_or_default()) {
            let size =
                size_of(text).ok_or_else(|| unsuitable(&log_path, "it holds something that is no checkpoint"))?;
            checkpoints.push((size, text.to_owned()));
        }
        if checkpoints.last().is_none_or(|(_, last)| *last != note) {
            checkpoints.push((size, note));
        }
        let minimum_path = folder.join("minimum-index");
        let minimum = match read_text(&minimum_path)? {
            None => 0,
            Some(text) => crate::checkpoint::parse_decimal(text.trim_end())
                .filter(|minimum| minimum.div_ceil(TILE_HASHES) <= size.div_ceil(TILE_HASHES))
                .ok_or_else(|| unsuitable(&minimum_path, "expected the place of an entry"))?,
        };
        let kept = if minimum > 0 { kept_in(&folder.join("kept"))? } else { BTreeSet::new() };
        Ok(Self { folder: folder.to_owned(), size, minimum, kept, checkpoints })
    }

    /// The signed head that the bundle is of.
    pub fn checkpoint(&self) -> &str {
        self.checkpoints.last().map_or("", |(_, note)| note)
    }

    /// The public keys that lie in the bundle: a convenience, and no reason to believe anything.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn keys(&self) -> Result<Vec<PublicKey>, StoreError> {
        let text = read_text(&self.folder.join("keys"))?.unwrap_or_default();
        Ok(text.lines().map(PublicKey::parse).collect::<Result<_, _>>()?)
    }

    /// Hands over an entry before the minimum: its bytes where they were kept.
    fn take_kept(&self, index: u64, take: &mut TakeEntry<'_>) -> Result<(), StoreError> {
        let path = self.folder.join("kept").join(index.to_string());
        let bytes = if self.kept.contains(&index) { read(&path, u64::from(u16::MAX))? } else { None };
        take(index, bytes.as_deref())
    }

    fn width(&self, name: TileName) -> u64 {
        let hashes = self.size / TILE_HASHES.saturating_pow(name.level);
        hashes.saturating_sub(name.index.saturating_mul(TILE_HASHES)).min(TILE_HASHES)
    }
}

impl Source for Bundle {
    fn size(&self) -> Result<u64, StoreError> {
        Ok(self.size)
    }

    fn entries(&self, take: &mut TakeEntry<'_>) -> Result<(), StoreError> {
        let mut missing = 0;
        for (name, width) in tiles_of(self.size).take_while(|(name, _)| name.level == 0) {
            if missing == MISSING_MAX {
                // The number of entries is whatever the files claim: at some point enough is missing.
                break;
            }
            missing += 1;
            let first = name.index * TILE_HASHES;
            let path = self.folder.join(name.entries_path(width));
            let Some(bytes) = read(&path, ENTRIES_BYTES_MAX)? else {
                if first < self.minimum && self.tile(name)?.is_some() {
                    missing = 0;
                    (first..first + width).try_for_each(|index| self.take_kept(index, take))?;
                }
                // Otherwise they are missing, which verification finds.
                continue;
            };
            missing = 0;
            let mut rest = bytes.as_slice();
            for index in first..first + width {
                let entry = rest.split_first_chunk::<2>().and_then(|(length, after)| {
                    let length = usize::from(u16::from_be_bytes(*length));
                    (length <= after.len()).then(|| after.split_at(length))
                });
                // What is cut off is missing.
                let Some((entry, after)) = entry else { break };
                take(index, Some(entry))?;
                rest = after;
            }
        }
        Ok(())
    }

    fn tile(&self, name: TileName) -> Result<Option<Vec<Hash>>, StoreError> {
        let width = self.width(name);
        if width == 0 {
            return Ok(None);
        }
        let bytes = read(&self.folder.join(name.path(width)), TILE_HASHES * Hash::BYTES as u64)?;
        Ok(bytes.map(|bytes| bytes.chunks(Hash::BYTES).filter_map(Hash::from_slice).collect()))
    }

    fn schema(&self, kind: &str, version: u64) -> Result<Option<Hash>, StoreError> {
        // A name from the record becomes one of a file.
        if kind.is_empty() || kind.len() > 64 || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let path = self.folder.join(format!("schemas/{kind}.v{version}.json"));
        let Some(bytes) = read(&path, SCHEMA_BYTES_MAX)? else { return Ok(None) };
        let value = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
        let canonical = value.and_then(|value| to_canonical(&value).ok());
        // What is no schema is that of nothing.
        Ok(Some(Hash::of(&canonical.unwrap_or(bytes))))
    }

    fn checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError> {
        Ok(self.checkpoints.clone())
    }
}
