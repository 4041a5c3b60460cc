//! Files under a folder that stands for the root of a machine.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::machine::collect::Missing;

/// Longest file that is read, unless a caller says otherwise.
const BYTES_MAX: u64 = 256 << 10;
/// Names of a folder that are looked at.
const NAMES_MAX: usize = 4096;

/// The folder that stands for `/`.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The first bytes of a file.
    pub(crate) fn bytes(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, Missing> {
        let mut bytes = Vec::new();
        File::open(self.at(path))
            .and_then(|file| file.take(bytes_max).read_to_end(&mut bytes))
            .map_err(|error| missing(&error))?;
        Ok(bytes)
    }

    /// A text file. What is not UTF-8 in it is replaced.
    pub(crate) fn text(&self, path: &str) -> Result<String, Missing> {
        Ok(String::from_utf8_lossy(&self.bytes(path, BYTES_MAX)?).into_owned())
    }

    /// The text of a file with one line, without the spaces around it; none where it is empty.
    pub(crate) fn word(&self, path: &str) -> Option<String> {
        self.text(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// A file that holds one number.
    pub(crate) fn number(&self, path: &str) -> Result<f64, Missing> {
        let text = self.text(path)?;
        let word = text.trim();
        word.parse().map_err(|_| Missing::Failed(format!("`{}` is not a number", shortened(word))))
    }

    /// The names in a folder, in order; none where there is no such folder.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.at(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.take(NAMES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_by_cached_key(|name| {
            (name.trim_end_matches(|letter: char| letter.is_ascii_digit()).to_owned(), number_at_end(name))
        });
        names
    }

    /// Where a link points, as it is written.
    pub(crate) fn link(&self, path: &str) -> Option<String> {
        fs::read_link(self.at(path)).ok()?.into_os_string().into_string().ok()
    }

    /// Whether there is such a file or folder.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// Why a file that is there cannot be read; none where it can, or is not there.
    pub(crate) fn refusal(&self, path: &str) -> Option<String> {
        match self.bytes(path, 1) {
            Err(Missing::Failed(reason)) => Some(reason),
            Ok(_) | Err(Missing::Absent(_)) => None,
        }
    }
}

/// `card10` comes after `card9`.
fn number_at_end(name: &str) -> Option<u64> {
    let digits = name.len() - name.trim_end_matches(|letter: char| letter.is_ascii_digit()).len();
    name[name.len() - digits..].parse().ok()
}

/// The start of a text, for messages.
fn shortened(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(40).collect()
}

fn missing(error: &std::io::Error) -> Missing {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Missing::absent("there is no such file"),
        // What drivers answer for a sensor that the hardware lacks: EOPNOTSUPP, ENODATA, ENODEV, ENXIO.
        ErrorKind::Unsupported => Missing::absent("the driver does not support it"),
        _ if matches!(error.raw_os_error(), Some(6 | 19 | 61)) => Missing::absent("the driver has no such data"),
        ErrorKind::PermissionDenied => Missing::Failed("permission denied".to_owned()),
        _ => Missing::Failed(error.to_string()),
    }
}
