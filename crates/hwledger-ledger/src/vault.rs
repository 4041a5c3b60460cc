//! Keys that can be thrown away: what is sealed under a subject's key cannot be read any more once the key is deleted,
//! and no hash, proof or export changes.
//!
//! Keys are files of their own, never part of a ledger or an export. A subject (a person, a host) is found by a keyed
//! hash of its name: names are few and short, and plain hashes of them could be guessed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload as Sealable};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::event::Sealed;
use crate::hash::Hash;
use crate::signer::{create_private_folder, read_bounded, sync_folder, write_private};

/// Bytes of a SHA-256 block, which HMAC is defined by.
const BLOCK: usize = 64;

/// Why nothing was sealed, opened or thrown away.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A key's file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is no key.
    #[error("{0} is no key")]
    Key(String),
    /// The key is gone: what it sealed was redacted.
    #[error("the key `{0}` was deleted: what it sealed cannot be read any more")]
    Redacted(String),
    /// The sealed text is not what was sealed, or was moved to another place.
    #[error("the sealed text does not belong here")]
    Altered,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

/// A folder of keys.
#[derive(Debug)]
pub struct Vault {
    folder: PathBuf,
    secret: Zeroizing<[u8; 32]>,
}

fn in_file<T>(path: &Path, result: io::Result<T>) -> Result<T, VaultError> {
    result.map_err(|source| VaultError::File { path: path.display().to_string(), source })
}

fn random<const BYTES: usize>() -> Result<Zeroizing<[u8; BYTES]>, VaultError> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| VaultError::Random(error.to_string()))?;
    Ok(bytes)
}

/// HMAC-SHA-256 (RFC 2104) with a key of 32 bytes.
fn keyed_hash(key: &[u8; 32], message: &[u8]) -> Hash {
    let mut padded = Zeroizing::new([0x36; BLOCK]);
    padded.iter_mut().zip(key).for_each(|(pad, byte)| *pad ^= byte);
    let inner = Sha256::new().chain_update(*padded).chain_update(message).finalize();
    padded.iter_mut().for_each(|pad| *pad ^= 0x36 ^ 0x5c);
    Hash(Sha256::new().chain_update(*padded).chain_update(inner).finalize().into())
}

/// Reads 32 bytes that stand in a file as hexadecimal digits.
fn read_key(path: &Path) -> Result<Option<Zeroizing<[u8; 32]>>, VaultError> {
    let text = match read_bounded(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => Zeroizing::new(in_file(path, result)?),
    };
    let key = Hash::from_hexadecimal(text.trim_end());
    key.map(|key| Some(Zeroizing::new(key.0))).ok_or_else(|| VaultError::Key(path.display().to_string()))
}

/// The key in a file, made if there is none. Two that make it at once end up with the same.
fn made_key(path: &Path) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    if let Some(key) = read_key(path)? {
        return Ok(key);
    }
    let text = Zeroizing::new(Hash(*random::<32>()?).to_string());
    match write_private(path, &text, true) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => in_file(path, result)?,
    }
    if let Some(folder) = path.parent() {
        in_file(folder, sync_folder(folder))?;
    }
    read_key(path)?.ok_or_else(|| VaultError::Key(path.display().to_string()))
}

impl Vault {
    /// The keys in `folder`, which is made if there is none.
    ///
    /// # Errors
    ///
    /// The folder cannot be used.
    pub fn open(folder: &Path) -> Result<Self, VaultError> {
        in_file(folder, create_private_folder(folder))?;
        Ok(Self { folder: folder.to_owned(), secret: made_key(&folder.join("names"))? })
    }

    /// The name of a subject's key: 32 hexadecimal digits that say nothing about the subject.
    pub fn key_of(&self, subject: &str) -> String {
        let mut name = keyed_hash(&self.secret, subject.as_bytes()).to_string();
        name.truncate(32);
        name
    }

    fn path(&self, key: &str) -> Result<PathBuf, VaultError> {
        // Names come from events: nothing but digits may reach the file system.
        let is_name = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if is_name { Ok(self.folder.join(key)) } else { Err(VaultError::Key(key.to_owned())) }
    }

    /// Seals `text` under the key of `subject`. `place` (the kind of event and the field) is bound to it: the sealed text
    /// cannot be moved elsewhere.
    ///
    /// # Errors
    ///
    /// The key cannot be made or read.
    pub fn seal(&self, subject: &str, place: &str, text: &str) -> Result<Sealed, VaultError> {
        let name = self.key_of(subject);
        let key = made_key(&self.path(&name)?)?;
        let nonce = random::<24>()?;
        let cipher = XChaCha20Poly1305::new((&*key).into());
        let payload = Sealable { msg: text.as_bytes(), aad: place.as_bytes() };
        let ciphertext = cipher.encrypt(&XNonce::from(*nonce), payload).map_err(|_| VaultError::Altered)?;
        Ok(Sealed { key: name, nonce: STANDARD.encode(*nonce), ciphertext: STANDARD.encode(ciphertext) })
    }

    /// Opens what was sealed for the same place.
    ///
    /// # Errors
    ///
    /// The key was deleted, or the text is not what was sealed there.
    pub fn open_sealed(&self, place: &str, sealed: &Sealed) -> Result<String, VaultError> {
        let key = read_key(&self.path(&sealed.key)?)?.ok_or_else(|| VaultError::Redacted(sealed.key.clone()))?;
        let nonce = STANDARD.decode(&sealed.nonce).ok().and_then(|nonce| <[u8; 24]>::try_from(nonce).ok());
        let (Some(nonce), Ok(ciphertext)) = (nonce, STANDARD.decode(&sealed.ciphertext)) else {
            return Err(VaultError::Altered);
        };
        let payload = Sealable { msg: &ciphertext, aad: place.as_bytes() };
        let text = XChaCha20Poly1305::new((&*key).into()).decrypt(&XNonce::from(nonce), payload);
        String::from_utf8(text.map_err(|_| VaultError::Altered)?).map_err(|_| VaultError::Altered)
    }

    /// Deletes a key, by its name. What it sealed cannot be read any more, by anybody. Whether there was one.
    ///
    /// # Errors
    ///
    /// The file cannot be deleted.
    pub fn shred(&self, key: &str) -> Result<bool, VaultError> {
        let path = self.path(key)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            result => {
                in_file(&path, result)?;
                in_file(&self.folder, sync_folder(&self.folder))?;
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Vault, VaultError, keyed_hash};

    #[test]
    fn the_keyed_hash_is_the_published_one() {
        // RFC 4231, test case 1, whose key of 20 bytes is padded with zeros as any key is.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(keyed_hash(&key, b"Hi There").to_string(), expected);
    }

    #[test]
    fn what_is_sealed_is_gone_with_its_key() {
        let folder = std::env::temp_dir().join(format!("hwledger-vault-{}", std::process::id()));
        let vault = Vault::open(&folder).unwrap();
        let sealed = vault.seal("host/box", "AgentEnrolled.host", "box.example").unwrap();
        let other = vault.seal("host/other", "AgentEnrolled.host", "other.example").unwrap();
        let again = Vault::open(&folder).unwrap();
        assert_eq!(again.open_sealed("AgentEnrolled.host", &sealed).unwrap(), "box.example");
        assert!(matches!(again.open_sealed("HostKeyPinned.host", &sealed), Err(VaultError::Altered)));
        assert_eq!(again.key_of("host/box"), sealed.key);
        assert!(again.shred(&sealed.key).unwrap());
        assert!(!again.shred(&sealed.key).unwrap());
        assert!(matches!(vault.open_sealed("AgentEnrolled.host", &sealed), Err(VaultError::Redacted(_))));
        assert_eq!(vault.open_sealed("AgentEnrolled.host", &other).unwrap(), "other.example");
        assert!(matches!(vault.shred("../../etc/passwd"), Err(VaultError::Key(_))));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
