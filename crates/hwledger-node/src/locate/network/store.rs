//! What was fetched, kept on disk for a while.
//!
//! One file of facts (`KEY.json`) per address and one file per fetched piece (`KEY-OFFSET`), written
//! beside their place and renamed into it, readable by their owner only. The store is a
//! convenience: what cannot be written or read back is fetched again.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::locate::bounded;

const FACTS_BYTES_MAX: u64 = 1 << 20;
/// Beyond this the oldest files are deleted.
const STORE_BYTES_MAX: u64 = 2 << 30;
/// Temporary files older than this were left by a process that died.
const ABANDONED: Duration = Duration::from_hours(1);

/// What is known of a fetched file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The address without its query, for people who look into the store.
    pub(crate) address: String,
    /// The version, where the server said.
    pub(crate) tag: Option<String>,
    /// Size of the whole file, where known.
    pub(crate) total: Option<u64>,
    /// Seconds since 1970 when the server was last asked.
    pub(crate) fetched_at: u64,
    /// Offset and length of each stored piece, in order and without gaps.
    pub(crate) pieces: Vec<(u64, u64)>,
}

impl Facts {
    /// How long ago the server was last asked; a clock that went backwards says "long ago".
    pub(crate) fn age(&self) -> Duration {
        seconds_now().checked_sub(self.fetched_at).map_or(Duration::MAX, Duration::from_secs)
    }

    /// Whether two answers are about the same version of the file.
    pub(crate) fn is_same_version(&self, tag: Option<&str>, total: Option<u64>) -> bool {
        let agree = |a: Option<&str>, b: Option<&str>| a.is_none() || b.is_none() || a == b;
        agree(self.tag.as_deref(), tag) && (self.total.is_none() || total.is_none() || self.total == total)
    }
}

pub(crate) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A directory of fetched files.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn path(&self, address: &Address, ending: &str) -> PathBuf {
        self.directory.join(format!("{:032x}{ending}", fingerprint(address.full().as_bytes())))
    }

    /// What is known of the file at `address`.
    pub(crate) fn facts(&self, address: &Address) -> Option<Facts> {
        let content = bounded::read(&self.path(address, ".json"), FACTS_BYTES_MAX).ok()?;
        let facts: Facts = serde_json::from_slice(&content).ok()?;
        (facts.address == address.to_string()).then_some(facts)
    }

    /// The stored piece at `offset`, if it still is as long as it was.
    pub(crate) fn piece(&self, address: &Address, offset: u64, length: u64) -> Option<Vec<u8>> {
        let content = bounded::read(&self.path(address, &format!("-{offset}")), length).ok()?;
        (content.len() as u64 == length).then_some(content)
    }

    /// Stores a piece and the facts that name it.
    pub(crate) fn keep(&self, address: &Address, facts: &Facts, offset: u64, piece: &[u8]) {
        // The piece comes first: facts never name what is not there.
        if self.write(&self.path(address, &format!("-{offset}")), piece).is_ok() {
            self.keep_facts(address, facts);
        }
    }

    /// Stores facts alone, as after asking whether they still hold.
    pub(crate) fn keep_facts(&self, address: &Address, facts: &Facts) {
        if let Ok(content) = serde_json::to_vec(facts) {
            // A full or read-only disk costs a second fetch, nothing else.
            let _ = self.write(&self.path(address, ".json"), &content);
        }
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        create_private_directory(&self.directory)?;
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!("{}-{unique}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&temporary).and_then(|mut file| {
            file.write_all(content)?;
            drop(file);
            fs::rename(&temporary, path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Deletes the oldest files once the store has grown beyond its bound.
    pub(crate) fn prune(&self) {
        self.prune_to(STORE_BYTES_MAX);
    }

    fn prune_to(&self, bytes_max: u64) {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
            let path = entry.path();
            let is_temporary = path.extension().is_some_and(|extension| extension == "tmp");
            if is_temporary && modified.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(path);
            } else if metadata.is_file() && !is_temporary {
                files.push((modified, metadata.len(), path));
            }
        }
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        if total <= bytes_max {
            return;
        }
        files.sort();
        for (_, bytes, path) in files {
            // Half is freed at once, so that this is not done at every write.
            if total <= bytes_max / 2 {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total = total.saturating_sub(bytes);
            }
        }
    }
}

fn create_private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// FNV-1a over 128 bits, for file names: no secret depends on it, and facts repeat the address.
///
/// Source: Fowler, Noll, Vo, "The FNV Non-Cryptographic Hash Algorithm" (IETF draft), 128-bit
/// offset basis and prime.
fn fingerprint(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::tests::Scratch;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn facts(address: &Address) -> Facts {
        let pieces = vec![(0, 3)];
        Facts { address: address.to_string(), tag: None, total: Some(9), fetched_at: seconds_now(), pieces }
    }

    #[test]
    fn pieces_and_facts_come_back() {
        let scratch = Scratch::new();
        let store = Store::new(scratch.path().join("a/b"));
        let (one, two) = (address("http://a/x?signature=secret"), address("http://a/x?signature=other"));
        store.keep(&one, &facts(&one), 0, b"abc");
        assert_eq!(store.facts(&one), Some(facts(&one)));
        assert_eq!(store.piece(&one, 0, 3).as_deref(), Some(b"abc".as_slice()));
        assert_eq!(store.piece(&one, 0, 4), None);
        assert_eq!(store.piece(&one, 3, 3), None);
        assert_eq!(store.facts(&two), None);
        for entry in fs::read_dir(scratch.path().join("a/b")).unwrap() {
            let path = entry.unwrap().path();
            assert!(!String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("secret"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_the_store() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new();
        let store = Store::new(scratch.path().join("store"));
        let one = address("http://a/x");
        store.keep(&one, &facts(&one), 0, b"abc");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&scratch.path().join("store")), 0o700);
        for entry in fs::read_dir(scratch.path().join("store")).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
    }

    #[test]
    fn a_damaged_store_is_as_good_as_empty() {
        let scratch = Scratch::new();
        let store = Store::new(scratch.path().to_path_buf());
        let one = address("http://a/x");
        for damage in ["", "{", "[]", r#"{"address":"http://b/y"}"#] {
            fs::write(store.path(&one, ".json"), damage).unwrap();
            assert_eq!(store.facts(&one), None, "{damage}");
        }
    }

    #[test]
    fn the_oldest_files_go_first() {
        let scratch = Scratch::new();
        let store = Store::new(scratch.path().to_path_buf());
        for (seconds, name) in [(3, "new"), (1, "old"), (2, "middle")] {
            let path = scratch.write(name, "1234567890");
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        }
        store.prune_to(30);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3);
        store.prune_to(29);
        let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["new"]);
    }

    #[test]
    fn fingerprints_are_those_of_the_published_algorithm() {
        assert_eq!(fingerprint(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fingerprint(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
