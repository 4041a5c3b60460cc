//! The file that pairs of predictions and measurements are kept in.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use hwledger_core::calibration::Sample;
use serde::{Deserialize, Serialize};

use super::table;
use crate::directories::base;
use crate::locate::{LocateError, bounded};
use crate::table::TableError;

/// The store's schema.
const SCHEMA: &str = "hwledger.calibration/1";
/// Which formulas predicted.
const FORMULA: &str = env!("CARGO_PKG_VERSION");
/// Largest store that is read.
pub(super) const STORE_BYTES_MAX: u64 = 128 << 20;

/// Pairs, and the version whose formulas predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Store {
    schema: String,
    formula: String,
    /// The pairs.
    pub samples: Vec<Sample>,
}

impl Default for Store {
    fn default() -> Self {
        Self { schema: SCHEMA.to_owned(), formula: FORMULA.to_owned(), samples: Vec::new() }
    }
}

/// What is wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nobody said where it is, and there is no home directory.
    #[error("there is no place for the calibration store")]
    NoPlace,
    /// It cannot be opened.
    #[error(transparent)]
    Read(#[from] LocateError),
    /// It is not one.
    #[error("`{}` is not a calibration store", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// It is of another kind or a later version.
    #[error("`{}` has the schema `{found}`, not `{SCHEMA}`", .path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema, cut short.
        found: String,
    },
    /// It is named as a table and is none, or one of something else.
    #[error("`{}` is not a table of calibration pairs", .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TableError,
    },
    /// It cannot be written.
    #[error("`{}` cannot be written", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl StoreError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoPlace => Some("name one with `--store PATH`".to_owned()),
            Self::Content { .. } | Self::Schema { .. } | Self::Table { .. } => {
                Some("move it away and calibrate again, or name another with `--store PATH`".to_owned())
            }
            Self::Read(error) => error.hint(),
            Self::Write { .. } => None,
        }
    }
}

impl Store {
    /// A store of pairs that this version predicted.
    pub fn of(samples: Vec<Sample>) -> Self {
        Self { samples, ..Self::default() }
    }

    /// The user's own store: `calibration.json` in `hwledger` of the data directory.
    pub fn default_path() -> Option<PathBuf> {
        Self::path_from(|name| std::env::var_os(name))
    }

    /// The same for a set of environment variables.
    pub(super) fn path_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let data = base("XDG_DATA_HOME", ".local/share", variable)?;
        Some(data.join("hwledger").join("calibration.json"))
    }

    /// Whether another version's formulas predicted.
    pub fn is_stale(&self) -> bool {
        self.formula != FORMULA && !self.samples.is_empty()
    }

    /// The store at `path`, a Parquet table where the name ends in `.parquet`, JSON otherwise; none
    /// where there is no file.
    ///
    /// # Errors
    ///
    /// The file cannot be read or is no store.
    pub fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            _ => {}
        }
        if table::is_table(path) {
            let (mut samples, formula) = table::read(path)?;
            samples.retain(Sample::is_sound);
            let formula = formula.unwrap_or_else(|| FORMULA.to_owned());
            return Ok(Some(Self { formula, samples, ..Self::default() }));
        }
        let content = bounded::read(path, STORE_BYTES_MAX)?;
        let wrong = |source| StoreError::Content { path: path.to_owned(), source };
        let head: Head = serde_json::from_slice(&content).map_err(wrong)?;
        if head.schema != SCHEMA {
            let found = head.schema.chars().take(60).collect();
            return Err(StoreError::Schema { path: path.to_owned(), found });
        }
        let mut store: Self = serde_json::from_slice(&content).map_err(wrong)?;
        store.samples.retain(Sample::is_sound);
        Ok(Some(store))
    }

    /// Writes the store beside its place and moves it there, readable by its owner only: an
    /// interrupted write leaves the old store whole.
    ///
    /// # Errors
    ///
    /// The folder or the file cannot be written.
    pub fn write(&mut self, path: &Path) -> Result<(), StoreError> {
        FORMULA.clone_into(&mut self.formula);
        self.replace(path).map_err(|source| StoreError::Write { path: path.to_owned(), source })
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        create_private_directory(folder)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!(".calibration-{}-{number}.tmp", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&temporary).and_then(|mut file| {
            if table::is_table(path) {
                table::write(file.try_clone()?, &self.samples, &self.formula).map_err(io::Error::other)?;
            } else {
                file.write_all(&serde_json::to_vec(self)?)?;
                file.write_all(b"\n")?;
            }
            file.sync_all()?;
            drop(file);
            fs::rename(&temporary, path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// What is read first, so that a store of a later version is told from one that is broken.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

fn create_private_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}
