//! Unpacking trees.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use hwledger_probe::machine::Machine;

/// A tree on disk, which is gone with this value.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
}

impl Drop for Tree {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Tree {
    /// Unpacks `tests/trees/NAME.tree`.
    pub(crate) fn unpack(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("hwledger-tree-{}-{count}", std::process::id()));
        let tree = Self { root };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees").join(format!("{name}.tree"));
        let text = fs::read_to_string(file).unwrap();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            if let Some((path, target)) = line.split_once(" -> ") {
                let path = tree.at(path);
                std::os::unix::fs::symlink(target, path).unwrap();
                continue;
            }
            let (path, text) = line.split_once(" =").unwrap();
            let mut text = text.trim_start().to_owned();
            while let Some(more) = lines.next_if(|line| line.starts_with('|')) {
                text += more.strip_prefix("| ").unwrap_or("");
                text.push('\n');
            }
            tree.write(path, &text);
        }
        tree
    }

    fn at(&self, path: &str) -> PathBuf {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Puts a text, or bytes after `hex:`, in the place of a file.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let bytes = match text.strip_prefix("hex:") {
            Some(digits) => (0..digits.len() / 2)
                .map(|index| u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).unwrap())
                .collect(),
            None => text.as_bytes().to_vec(),
        };
        fs::write(self.at(path), bytes).unwrap();
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine::recorded(&self.root)
    }
}
