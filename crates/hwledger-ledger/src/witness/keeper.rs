//! A witness: who remembers the last head of each ledger that it knows, and signs another only where that continues it.
//!
//! The rules are those of `add-checkpoint` of C2SP tlog-witness. What was seen is written down durably before a signature
//! leaves, under a lock, so that no two requests are judged by the same past.
//!
//! | file in the witness's folder | holds |
//! | --- | --- |
//! | `key` | its secret key, for its owner only |
//! | `lock` | nothing; it is held while a request is judged |
//! | `ledgers/<SHA-256 of a ledger's name>/keys` | the keys that sign that ledger's heads, one per line |
//! | `…/last-seen` | the last head that was accepted, as it was signed |
//! | `…/refused-<hash>` | heads signed by the ledger that contradict it: evidence |

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::Hash;
use crate::merkle::{ProofError, verify_consistency};
use crate::note::{Note, NoteError, PublicKey, SecretKey};
use crate::proof_file::{ConsistencyFile, ProofFileError};
use crate::signer::{create_private_folder, read_bounded, replace_private, sync_folder, write_private};

/// Keys of one ledger at most.
const KEYS_MAX: usize = 16;

/// Why a witness signs nothing.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A file of the witness cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A key in a file cannot be read.
    #[error("{path}: {source}")]
    Key {
        /// The file.
        path: String,
        /// Why.
        source: NoteError,
    },
    /// What was seen last cannot be read: nothing can be compared with it.
    #[error("{path}: {source}")]
    Head {
        /// The file.
        path: String,
        /// Why.
        source: CheckpointError,
    },
    /// The folder has a witness already.
    #[error("{0} holds a key already")]
    Exists(String),
    /// No key of this ledger was ever given.
    #[error("no key of the ledger `{0}` is known here")]
    UnknownLedger(String),
    /// More keys of one ledger than there can be.
    #[error("of the ledger `{0}` there are {KEYS_MAX} keys already")]
    TooManyKeys(String),
    /// The request is none.
    #[error(transparent)]
    Request(#[from] ProofFileError),
    /// The head is malformed or not signed by a key of its ledger.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The proof is for more entries than the head has.
    #[error("the proof begins at {old} entries, and the checkpoint has {size}")]
    Backwards {
        /// Where the proof begins.
        old: u64,
        /// Entries of the head.
        size: u64,
    },
    /// The request does not begin at what was seen last.
    #[error(
        "the last checkpoint of `{origin}` that was seen here has {known} entries; this begins at {old} and ends at {size}"
    )]
    Known {
        /// The ledger.
        origin: String,
        /// Entries of the head that was seen last.
        known: u64,
        /// Where the request begins.
        old: u64,
        /// Entries of its head.
        size: u64,
    },
    /// The ledger has signed two histories.
    #[error("`{origin}` has signed two different histories of {size} entries: {evidence} and what was seen before it")]
    Fork {
        /// The ledger.
        origin: String,
        /// Entries of both.
        size: u64,
        /// Where the second one is kept.
        evidence: String,
    },
    /// The proof does not lead from what was seen to the head.
    #[error("the checkpoint of {size} entries is not shown to continue the one of {known} that was seen: {source}")]
    Proof {
        /// Entries of the head that was seen last.
        known: u64,
        /// Entries of this one.
        size: u64,
        /// Why.
        source: ProofError,
    },
}

impl WitnessError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownLedger(_) => "give the key of the ledger with `--key`, from a place that you trust".to_owned(),
            Self::Known { known, size, .. } if known < size => {
                format!("ask the ledger for `hwledger ledger consistency --size {known}`")
            }
            Self::Known { .. } => "an older checkpoint is not signed again: ask for the last one".to_owned(),
            Self::Fork { .. } => "keep both, and show them to whoever relies on this ledger".to_owned(),
            Self::Proof { .. } => "if the ledger gives no better proof, its history is another one".to_owned(),
            _ => return None,
        })
    }
}

/// A witness with its key and its memory.
#[derive(Debug)]
pub struct Witness {
    folder: PathBuf,
    key: SecretKey,
}

/// A head that was accepted, and is remembered durably; not signed yet.
#[derive(Debug)]
pub struct Accepted<'a> {
    key: &'a SecretKey,
    note: String,
    text: String,
    head: Checkpoint,
    before: Option<u64>,
}

fn in_file<T>(path: &Path, result: io::Result<T>) -> Result<T, WitnessError> {
    result.map_err(|source| WitnessError::File { path: path.display().to_string(), source })
}

/// What a file holds; none where there is none.
fn read(path: &Path) -> Result<Option<String>, WitnessError> {
    match read_bounded(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => in_file(path, result).map(Some),
    }
}

fn replace(path: &Path, text: &str) -> Result<(), WitnessError> {
    replace_private(path, text).or_else(|(path, source)| in_file(&path, Err(source)))
}

impl Witness {
    /// Makes a witness of this name, a URL without scheme, with a key of its own.
    ///
    /// # Errors
    ///
    /// The folder holds one already or cannot be written, or the name cannot stand in a note.
    pub fn create(folder: &Path, name: &str) -> Result<Self, WitnessError> {
        let path = folder.join("key");
        let key = SecretKey::generate(name);
        let key = key.map_err(|source| WitnessError::Key { path: path.display().to_string(), source })?;
        in_file(folder, create_private_folder(folder))?;
        match write_private(&path, &key.to_text(), true) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(WitnessError::Exists(folder.display().to_string()));
            }
            result => in_file(&path, result)?,
        }
        in_file(folder, sync_folder(folder))?;
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// The witness in `folder`.
    ///
    /// # Errors
    ///
    /// There is none, or its key cannot be read.
    pub fn open(folder: &Path) -> Result<Self, WitnessError> {
        let path = folder.join("key");
        let text = zeroize::Zeroizing::new(in_file(&path, read_bounded(&path))?);
        let key = SecretKey::parse(text.trim_end_matches('\n'));
        let key = key.map_err(|source| WitnessError::Key { path: path.display().to_string(), source })?;
        Ok(Self { folder: folder.to_owned(), key })
    }

    /// Its public key.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    fn ledger(&self, origin: &str) -> PathBuf {
        self.folder.join("ledgers").join(Hash::of(origin.as_bytes()).to_string())
    }

    /// Waits until no other request is judged.
    fn lock(&self) -> Result<File, WitnessError> {
        let path = self.folder.join("lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let file = in_file(&path, options.open(&path))?;
        in_file(&path, file.lock())?;
        Ok(file)
    }

    /// The keys of a ledger that are known; none before the first.
    fn keys(&self, origin: &str) -> Result<Vec<PublicKey>, WitnessError> {
        let path = self.ledger(origin).join("keys");
        let keys = read(&path)?.unwrap_or_default();
        let keys = keys.lines().map(PublicKey::parse).collect::<Result<Vec<_>, _>>();
        keys.map_err(|source| WitnessError::Key { path: path.display().to_string(), source })
    }

    /// Believes from now on what this key signs of the ledger that it names, beside what other keys of it sign.
    ///
    /// # Errors
    ///
    /// The witness's folder cannot be written, or the ledger has too many keys.
    pub fn follow(&self, key: &PublicKey) -> Result<(), WitnessError> {
        let _turn = self.lock()?;
        let mut keys = self.keys(key.name())?;
        if keys.contains(key) {
            return Ok(());
        }
        if keys.len() == KEYS_MAX {
            return Err(WitnessError::TooManyKeys(key.name().to_owned()));
        }
        keys.push(key.clone());
        let ledgers = self.folder.join("ledgers");
        in_file(&ledgers, create_private_folder(&ledgers))?;
        let folder = self.ledger(key.name());
        in_file(&folder, create_private_folder(&folder))?;
        let lines: Vec<String> = keys.iter().map(|key| format!("{key}\n")).collect();
        replace(&folder.join("keys"), &lines.concat())
    }

    /// The last head of a ledger that was accepted; none before the first.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn last_seen(&self, origin: &str) -> Result<Option<Checkpoint>, WitnessError> {
        let path = self.ledger(origin).join("last-seen");
        let Some(note) = read(&path)? else { return Ok(None) };
        let head = Note::parse(&note).map_err(CheckpointError::from);
        let head = head.and_then(|note| Checkpoint::parse_text(note.unverified_text()));
        head.map(Some).map_err(|source| WitnessError::Head { path: path.display().to_string(), source })
    }

    /// Judges a request: the body of `add-checkpoint`, or a signed head alone, which stands for one without a proof. When
    /// this returns, the head is remembered durably, and nothing that contradicts it will be accepted any more.
    ///
    /// # Errors
    ///
    /// The head is not signed by a known key of its ledger, does not continue what was seen, or cannot be written down.
    pub fn accept(&self, request: &str) -> Result<Accepted<'_>, WitnessError> {
        let asked = if request.starts_with("old ") { Some(ConsistencyFile::parse(request)?) } else { None };
        let note = asked.as_ref().map_or(request, |asked| &asked.checkpoint);
        let parsed = Note::parse(note).map_err(CheckpointError::from)?;
        let text = parsed.unverified_text();
        let origin = Checkpoint::parse_text(text)?.origin;
        let _turn = self.lock()?;
        let keys = self.keys(&origin)?;
        if keys.is_empty() {
            return Err(WitnessError::UnknownLedger(origin));
        }
        let head = Checkpoint::verify(note, &keys)?;
        let before = self.last_seen(&origin)?;
        let known = before.as_ref().map_or(0, |before| before.size);
        let root = before.map_or_else(Hash::of_empty_tree, |before| before.root);
        let size = head.size;
        // A head alone begins at nothing, or at itself where it is the one that was seen.
        let old = asked.as_ref().map_or(if size == known { size } else { 0 }, |asked| asked.old_size);
        if old > size {
            return Err(WitnessError::Backwards { old, size });
        }
        if size == known && root != head.root {
            let evidence = self.keep_evidence(&origin, note)?;
            return Err(WitnessError::Fork { origin, size, evidence });
        }
        if old != known {
            return Err(WitnessError::Known { origin, known, old, size });
        }
        let hashes = asked.as_ref().map_or(&[][..], |asked| &asked.hashes);
        if let Err(source) = verify_consistency(known, size, &root, &head.root, hashes) {
            self.keep_evidence(&origin, request)?;
            return Err(WitnessError::Proof { known, size, source });
        }
        replace(&self.ledger(&origin).join("last-seen"), note)?;
        let before = (known > 0).then_some(known);
        Ok(Accepted { key: &self.key, note: note.to_owned(), text: text.to_owned(), head, before })
    }

    /// Keeps what a ledger has signed and what contradicts it, durably, and says where.
    fn keep_evidence(&self, origin: &str, text: &str) -> Result<String, WitnessError> {
        let path = self.ledger(origin).join(format!("refused-{}", &Hash::of(text.as_bytes()).to_string()[..16]));
        replace(&path, text)?;
        Ok(path.display().to_string())
    }
}

impl Accepted<'_> {
    /// The head that was accepted.
    pub fn head(&self) -> &Checkpoint {
        &self.head
    }

    /// Entries of the head that was seen before; none where this is the first.
    pub fn before(&self) -> Option<u64> {
        self.before
    }

    /// The note with the witness's signature of now (seconds since 1970) below the others.
    pub fn sign(&self, seconds: u64) -> String {
        let line = super::cosign(self.key, &self.text, seconds);
        super::with_cosignatures(&self.note, &[line])
    }
}
