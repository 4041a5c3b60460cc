//! Folders that go with their test, and a ledger in one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use hwledger_ledger::event::{AgentLost, Count, Draft};
use hwledger_ledger::store::{Ledger, LedgerPlaces};

/// A folder of its own for a test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hwledger-ledger-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn places(&self) -> LedgerPlaces {
        LedgerPlaces { ledger: self.0.join("ledger"), signer: self.0.join("signer") }
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::create(&self.places(), "example.com/test", None).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A small event, another one for every number.
pub(crate) fn draft(number: u64) -> Draft {
    let agent = format!("agent-{}", number % 7);
    Draft::new("test", &format!("agent/{agent}"), AgentLost { agent, last_seen_at_ns: Count(number) })
}

/// Everything in `from` again in `to`.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
