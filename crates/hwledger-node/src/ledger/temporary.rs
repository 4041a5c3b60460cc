//! A ledger of a test.

use std::path::PathBuf;

use hwledger_ledger::store::{self, LedgerPlaces};

use super::{Ledger, LedgerOptions};

/// A folder for one ledger, which goes with its test.
pub(crate) struct Temporary(pub(crate) PathBuf);

impl Temporary {
    /// An empty one; no two tests have the same name.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hwledger-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn folder(&self) -> PathBuf {
        self.0.join("ledger")
    }

    fn signer(&self) -> PathBuf {
        self.0.join("signer")
    }

    pub(crate) fn options(&self) -> LedgerOptions {
        LedgerOptions { ledger: Some(self.folder()), signer: Some(self.signer()) }
    }

    pub(crate) fn places(&self) -> LedgerPlaces {
        LedgerPlaces { ledger: self.folder(), signer: self.signer() }
    }

    /// Begins a ledger there.
    pub(crate) fn create(&self) -> Ledger {
        store::Ledger::create(&self.places(), "example.com/test", None).unwrap().into()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
