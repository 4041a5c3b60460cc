//! Where to look, taken from the environment in one place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where and how models are looked for; nothing else of the environment is read.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LocateOptions {
    /// The user's home directory, for `~` and for the tools' default folders.
    pub home: Option<PathBuf>,
}

impl LocateOptions {
    /// The options that the process environment gives.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// The options that a set of environment variables gives.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self { home: path("HOME").or_else(|| path("USERPROFILE")) }
    }

    /// `path` with a leading `~` replaced by the home directory.
    pub(crate) fn expand(&self, path: &str) -> PathBuf {
        let rest =
            path.strip_prefix('~').and_then(|rest| rest.strip_prefix(['/', '\\']).or(rest.is_empty().then_some("")));
        match (rest, &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => Path::new(path).to_path_buf(),
        }
    }
}
