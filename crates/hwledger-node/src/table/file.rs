//! Tables as files whose name says the format.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use super::parquet::ParquetWriter;
use super::record::{Record, block_of};
use super::{BlockSink, CsvWriter, JsonLinesWriter, TableError};

/// Rows that are held before they are written.
const BLOCK_ROWS: usize = 1 << 14;

/// Writes rows to a file named `.parquet`, `.csv` or `.jsonl`, whole or not at all, holding few of them at a time.
/// Returns how many there were.
///
/// # Errors
///
/// The name says no format, the file cannot be written, or those of `rows`.
pub fn write_table<T: Record, E: From<TableError>>(
    path: &Path,
    rows: impl IntoIterator<Item = Result<T, E>>,
) -> Result<u64, E> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let written = (|| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !["parquet", "csv", "jsonl"].contains(&extension) {
            let what = "a table's name ends in .parquet, .csv or .jsonl";
            return Err(TableError::File(io::Error::new(io::ErrorKind::InvalidInput, what)).into());
        }
        let output = BufWriter::new(File::create(&partial).map_err(TableError::File)?);
        let fields = T::fields();
        let mut sink: Box<dyn BlockSink> = match extension {
            "parquet" => Box::new(ParquetWriter::new(output, fields)?),
            "csv" => Box::new(CsvWriter::new(output, fields)?),
            _ => Box::new(JsonLinesWriter::new(output, fields)),
        };
        let mut held = Vec::with_capacity(BLOCK_ROWS);
        let mut count = 0;
        for row in rows {
            held.push(row?);
            count += 1;
            if held.len() == BLOCK_ROWS {
                sink.write(block_of(&held))?;
                held.clear();
            }
        }
        sink.write(block_of(&held))?;
        sink.finish()?;
        std::fs::rename(&partial, path).map_err(TableError::File)?;
        Ok(count)
    })();
    if written.is_err() {
        // What is left is no table, and the first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    written
}
