//! Folders by the base directory specification, below the home where the environment names none.

use std::ffi::OsString;
use std::path::PathBuf;

/// The folder that `name` (`XDG_DATA_HOME`, ...) names, or else the one so far below the home.
pub(crate) fn base(name: &str, below_home: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The specification has relative paths ignored.
    path(name)
        .filter(|path| path.is_absolute())
        .or_else(|| path("HOME").or_else(|| path("USERPROFILE")).map(|home| home.join(below_home)))
}
