//! Data that events refer to by their SHA-256, kept beside the ledger in `blobs/<two digits>/<hash>`.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use hwledger_ledger::hash::Hash;

use super::RecordError;

/// Bytes of one blob at most.
pub const BLOB_BYTES_MAX: u64 = 16 << 20;

fn path_of(ledger: &Path, hash: Hash) -> PathBuf {
    let name = hash.to_string();
    ledger.join("blobs").join(&name[..2]).join(name)
}

/// Keeps bytes durably and returns their hash. Keeping the same bytes again changes nothing.
pub(crate) fn keep(ledger: &Path, bytes: &[u8]) -> Result<Hash, RecordError> {
    let hash = Hash::of(bytes);
    let path = path_of(ledger, hash);
    let in_file = |source| RecordError::File { path: path.clone(), source };
    if path.is_file() {
        return Ok(hash);
    }
    let folder = path.parent().unwrap_or(ledger);
    fs::create_dir_all(folder).map_err(in_file)?;
    let temporary = path.with_extension(std::process::id().to_string());
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    })();
    written.map_err(in_file)?;
    Ok(hash)
}

/// The bytes with this hash, which entry `entry` refers to.
pub(super) fn fetch(ledger: &Path, hash: Hash, entry: u64) -> Result<Vec<u8>, RecordError> {
    let path = path_of(ledger, hash);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(BLOB_BYTES_MAX + 1).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RecordError::NoBlob { hash, entry }),
        Err(source) => return Err(RecordError::File { path, source }),
        Ok(_) => {}
    }
    if Hash::of(&bytes) == hash { Ok(bytes) } else { Err(RecordError::Blob { path, entry }) }
}

/// Every blob of a ledger with its bytes. What else lies among them is left alone.
///
/// # Errors
///
/// A folder cannot be read; which one comes with the reason.
pub(crate) fn list(ledger: &Path) -> Result<Vec<(Hash, u64)>, (PathBuf, io::Error)> {
    let read = |folder: &Path| match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => {
            entries.and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(|error| (folder.to_owned(), error))
        }
    };
    let mut found = Vec::new();
    for folder in read(&ledger.join("blobs"))? {
        if !folder.path().is_dir() {
            continue;
        }
        for file in read(&folder.path())? {
            let name = file.file_name();
            let Some(hash) = name.to_str().and_then(Hash::from_hexadecimal) else { continue };
            let known = file.metadata().map_err(|error| (file.path(), error))?;
            if known.is_file() && file.path() == path_of(ledger, hash) {
                found.push((hash, known.len()));
            }
        }
    }
    Ok(found)
}

/// Deletes blobs; those that are not there are deleted already.
///
/// # Errors
///
/// One cannot be deleted; which one comes with the reason.
pub(crate) fn delete(ledger: &Path, hashes: &[Hash]) -> Result<(), (PathBuf, io::Error)> {
    for hash in hashes {
        let path = path_of(ledger, *hash);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err((path, error)),
            _ => {}
        }
    }
    Ok(())
}

/// Bytes of a blob; none where it is not there.
pub(crate) fn bytes_of(ledger: &Path, hash: Hash) -> Option<u64> {
    fs::metadata(path_of(ledger, hash)).ok().filter(fs::Metadata::is_file).map(|file| file.len())
}
