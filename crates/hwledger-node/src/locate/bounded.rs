//! Reading small files whole, and no more than they should be.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::LocateError;

/// The largest `config.json` that is read; published ones with long lists of unquantised layers
/// reach half a megabyte.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// The largest safetensors index that is read; a trillion-parameter mixture with a scale per
/// tensor reaches 25 MB.
pub(crate) const INDEX_BYTES_MAX: u64 = 64 << 20;
/// The largest Ollama manifest that is read; real ones are below 2 kB.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// The largest Ollama parameters layer that is read; real ones are below 1 kB.
pub(crate) const PARAMETERS_BYTES_MAX: u64 = 1 << 20;

/// The content of a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, LocateError> {
    let metadata = path.metadata().map_err(LocateError::io(path))?;
    if !metadata.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(LocateError::Io { path: path.to_path_buf(), source });
    }
    let too_large = |bytes| LocateError::TooLarge { place: path.display().to_string(), bytes, limit };
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    let file = File::open(path).map_err(LocateError::io(path))?;
    let mut content = Vec::new();
    // The file may grow between the question and the reading.
    file.take(limit + 1).read_to_end(&mut content).map_err(LocateError::io(path))?;
    let bytes = content.len() as u64;
    if bytes > limit { Err(too_large(bytes)) } else { Ok(content) }
}
