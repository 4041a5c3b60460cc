//! Who signs checkpoints, and the rule that it never signs two histories.
//!
//! Before a signature leaves this module, the head that it is for has been written down durably, in a folder that is
//! apart from the ledger's, so that a ledger restored from a backup, or copied and continued twice, finds a head there
//! that it cannot continue, and is refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::Hash;
use crate::note::{NoteError, PublicKey, SecretKey};

/// Bytes of a key file or of the last head at most.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// Keys that sign at once at most: the old and the new one of a change, with room.
const KEYS_MAX: usize = 8;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A file of the signer cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A key cannot be read.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: String,
        /// Why.
        source: NoteError,
    },
    /// The head that was signed last cannot be read.
    #[error("{path}: {source}")]
    Head {
        /// The file.
        path: String,
        /// Why.
        source: CheckpointError,
    },
    /// The folder has a signer already.
    #[error("{0} holds a key already")]
    Exists(String),
    /// The signer is of another ledger.
    #[error("the signer in {path} is of `{found}`, the ledger is `{expected}`")]
    Origin {
        /// The signer's folder.
        path: String,
        /// The ledger.
        expected: String,
        /// The signer's.
        found: String,
    },
    /// No change of the key is under way.
    #[error("the signer in {0} has one key: no rotation is under way")]
    NotRotating(String),
    /// The ledger is shorter than what was signed.
    #[error(
        "the ledger has {have} entries, and a head of {signed} was signed: it was rolled back or restored from a backup"
    )]
    RolledBack {
        /// Entries of the ledger.
        have: u64,
        /// Entries of the head that was signed last.
        signed: u64,
    },
    /// The ledger is another one from some entry on.
    #[error("the ledger's first {signed} entries are not those that were signed: it is another history")]
    Forked {
        /// Entries of the head that was signed last.
        signed: u64,
    },
    /// The ledger cannot say what its root was.
    #[error("the ledger cannot be read: {0}")]
    Ledger(String),
}

/// Keys and the last head that they signed.
#[derive(Debug)]
pub struct Signer {
    folder: PathBuf,
    origin: String,
    keys: Vec<SecretKey>,
}

fn replace(path: &Path, text: &str) -> Result<(), SignError> {
    replace_private(path, text).or_else(|(path, source)| in_file(&path, Err(source)))
}

fn in_file<T>(path: &Path, result: io::Result<T>) -> Result<T, SignError> {
    result.map_err(|source| SignError::File { path: path.display().to_string(), source })
}

/// Creates a file that only its owner can read and writes it durably. A new one is there when it is whole, or not at all.
pub(crate) fn write_private(path: &Path, text: &str, is_new: bool) -> io::Result<()> {
    if is_new {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("new-{}-{number}", std::process::id()));
        let linked = write_private(&temporary, text, false).and_then(|()| fs::hard_link(&temporary, path));
        return fs::remove_file(&temporary).and(linked);
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Puts a file that only its owner can read in its place durably: whoever looks finds the old one or the new one. An error
/// comes with the path that it is of.
pub(crate) fn replace_private(path: &Path, text: &str) -> Result<(), (PathBuf, io::Error)> {
    let temporary = path.with_extension("new");
    write_private(&temporary, text, false).map_err(|source| (temporary.clone(), source))?;
    fs::rename(&temporary, path).map_err(|source| (path.to_owned(), source))?;
    let folder = path.parent().unwrap_or(path);
    sync_folder(folder).map_err(|source| (folder.to_owned(), source))
}

pub(crate) fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Makes a rename or a new file in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Other systems cannot open a folder, and order renames themselves.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Creates a folder that only its owner can enter, durably.
pub(crate) fn create_private_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(folder)?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => sync_folder(Path::new(".")),
    }
}

/// The keys in a signer's folder, the first of which has signed longest.
fn read_keys(folder: &Path, origin: &str) -> Result<Vec<SecretKey>, SignError> {
    let path = folder.join("key");
    let text = zeroize::Zeroizing::new(in_file(&path, read_bounded(&path))?);
    let mut keys = Vec::new();
    for line in text.lines().take(KEYS_MAX) {
        let key = SecretKey::parse(line);
        keys.push(key.map_err(|source| SignError::Key { path: path.display().to_string(), source })?);
    }
    let found = keys.first().map(|key| key.public().name().to_owned()).unwrap_or_default();
    if found != origin {
        let path = folder.display().to_string();
        return Err(SignError::Origin { path, expected: origin.to_owned(), found });
    }
    Ok(keys)
}

/// Puts other keys in the place of those in a signer's folder, durably: whoever looks finds all of these or all of those.
fn replace_keys(folder: &Path, keys: &[&SecretKey]) -> Result<(), SignError> {
    let mut text = zeroize::Zeroizing::new(String::new());
    for key in keys {
        text.push_str(&key.to_text());
    }
    replace(&folder.join("key"), &text)
}

impl Signer {
    /// Makes a key for a new ledger and keeps it in `folder`.
    ///
    /// # Errors
    ///
    /// The folder holds a key already or cannot be written, or the name cannot stand in a checkpoint.
    pub fn create(folder: &Path, origin: &str) -> Result<Self, SignError> {
        let path = folder.join("key");
        let key_error = |source| SignError::Key { path: path.display().to_string(), source };
        let key = SecretKey::generate(origin).map_err(key_error)?;
        in_file(folder, create_private_folder(folder))?;
        match write_private(&path, &key.to_text(), true) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(SignError::Exists(folder.display().to_string()));
            }
            result => in_file(&path, result)?,
        }
        in_file(folder, sync_folder(folder))?;
        Ok(Self { folder: folder.to_owned(), origin: origin.to_owned(), keys: vec![key] })
    }

    /// The same, or the key that an interrupted creation of the same ledger left: one that has signed nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Signer::create`].
    pub(crate) fn create_or_continue(folder: &Path, origin: &str) -> Result<Self, SignError> {
        let exists = match Self::create(folder, origin) {
            Err(exists @ SignError::Exists(_)) => exists,
            result => return result,
        };
        let signer = Self::open(folder, origin)?;
        if signer.last_signed()?.is_none() { Ok(signer) } else { Err(exists) }
    }

    /// The signer of `origin` in `folder`.
    ///
    /// # Errors
    ///
    /// Its files cannot be read or are of another ledger.
    pub fn open(folder: &Path, origin: &str) -> Result<Self, SignError> {
        let keys = read_keys(folder, origin)?;
        Ok(Self { folder: folder.to_owned(), origin: origin.to_owned(), keys })
    }

    /// The public halves as of opening, the first of which has signed longest.
    pub fn public(&self) -> Vec<PublicKey> {
        self.keys.iter().map(SecretKey::public).collect()
    }

    fn head_path(&self) -> PathBuf {
        self.folder.join("last-signed")
    }

    /// The head that was signed last; none before the first.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn last_signed(&self) -> Result<Option<Checkpoint>, SignError> {
        let path = self.head_path();
        let text = match read_bounded(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => in_file(&path, result)?,
        };
        let head = Checkpoint::parse_text(&text);
        head.map(Some).map_err(|source| SignError::Head { path: path.display().to_string(), source })
    }

    /// Waits until no other process signs, and keeps others from it while the answer lives. What is to be signed must be
    /// read after this: two processes that sign at once must see each other's heads.
    ///
    /// # Errors
    ///
    /// The lock's file cannot be used, or the keys cannot be read.
    pub fn lock(&self) -> Result<LockedSigner<'_>, SignError> {
        let path = self.folder.join("lock");
        let file = in_file(&path, OpenOptions::new().create(true).truncate(false).write(true).open(&path))?;
        in_file(&path, file.lock())?;
        LockedSigner::new(self, file)
    }

    /// The same without waiting; none while another process signs.
    ///
    /// # Errors
    ///
    /// The lock's file cannot be used, or the keys cannot be read.
    pub fn try_lock(&self) -> Result<Option<LockedSigner<'_>>, SignError> {
        let path = self.folder.join("lock");
        let file = in_file(&path, OpenOptions::new().create(true).truncate(false).write(true).open(&path))?;
        match file.try_lock() {
            Ok(()) => LockedSigner::new(self, file).map(Some),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => Err(SignError::File { path: path.display().to_string(), source }),
        }
    }
}

/// A signer while no other process signs. The lock goes with the file.
#[derive(Debug)]
pub struct LockedSigner<'a> {
    signer: &'a Signer,
    /// As they are now: another process may have changed them since the signer was opened.
    keys: Vec<SecretKey>,
    _file: File,
}

impl<'a> LockedSigner<'a> {
    fn new(signer: &'a Signer, file: File) -> Result<Self, SignError> {
        let keys = read_keys(&signer.folder, &signer.origin)?;
        Ok(Self { signer, keys, _file: file })
    }

    /// The public halves of the keys that sign now.
    pub fn public(&self) -> Vec<PublicKey> {
        self.keys.iter().map(SecretKey::public).collect()
    }

    /// Makes a second key, after which both sign, or goes on with one that was made before. Returns the old one and the
    /// new one. No process signs with one of them alone from here on.
    ///
    /// # Errors
    ///
    /// The system has no random bytes, or the key's file cannot be replaced.
    pub fn begin_rotation(&mut self) -> Result<(PublicKey, PublicKey), SignError> {
        let Signer { folder, origin, .. } = self.signer;
        if self.keys.len() == 1 {
            let path = folder.join("key");
            let key = SecretKey::generate(origin);
            let key = key.map_err(|source| SignError::Key { path: path.display().to_string(), source })?;
            replace_keys(folder, &[&self.keys[0], &key])?;
            self.keys.push(key);
        }
        self.rotation()
    }

    /// The old and the new key while both sign.
    ///
    /// # Errors
    ///
    /// One key signs alone.
    pub fn rotation(&self) -> Result<(PublicKey, PublicKey), SignError> {
        match self.keys.as_slice() {
            [old, .., new] => Ok((old.public(), new.public())),
            _ => Err(SignError::NotRotating(self.signer.folder.display().to_string())),
        }
    }

    /// Lets the new key sign alone. The old one is kept nowhere: whoever needs to learn the new one from the ledger must
    /// find a head there that both have signed.
    ///
    /// # Errors
    ///
    /// No rotation is under way, or the key's file cannot be replaced.
    pub fn finish_rotation(&mut self) -> Result<PublicKey, SignError> {
        let (_, new) = self.rotation()?;
        let key = self.keys.pop().into_iter().collect::<Vec<_>>();
        replace_keys(&self.signer.folder, &key.iter().collect::<Vec<_>>())?;
        self.keys = key;
        Ok(new)
    }

    /// Checks that a ledger of `size` entries, whose root at earlier sizes `root_at` tells, continues what was signed.
    ///
    /// # Errors
    ///
    /// It does not, or cannot be read.
    pub fn check<E: std::fmt::Display>(
        &self,
        size: u64,
        root_at: impl FnOnce(u64) -> Result<Hash, E>,
    ) -> Result<(), SignError> {
        let Some(last) = self.signer.last_signed()? else { return Ok(()) };
        if size < last.size {
            return Err(SignError::RolledBack { have: size, signed: last.size });
        }
        let root = root_at(last.size).map_err(|error| SignError::Ledger(error.to_string()))?;
        if root == last.root { Ok(()) } else { Err(SignError::Forked { signed: last.size }) }
    }

    /// Signs the head of a ledger, if it continues what was signed before. `root_at` tells its root at earlier sizes.
    ///
    /// # Errors
    ///
    /// It does not, or the head cannot be written down before.
    pub fn sign<E: std::fmt::Display>(
        &self,
        size: u64,
        root: Hash,
        root_at: impl FnOnce(u64) -> Result<Hash, E>,
    ) -> Result<String, SignError> {
        self.check(size, root_at)?;
        let head = Checkpoint { origin: self.signer.origin.clone(), size, root };
        replace(&self.signer.head_path(), &head.to_string())?;
        Ok(head.sign(&self.keys.iter().collect::<Vec<_>>()))
    }
}
