//! Tables as files whose name says the format.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use super::parquet::ParquetWriter;
use super::record::{Record, block_of};
use super::{BlockSink, CsvWriter, Field, JsonLinesWriter, TableError};

/// Bytes that are held before they reach the file.
const BUFFER_BYTES: usize = 1 << 20;

/// Rows that are held before they are written.
const BLOCK_ROWS: usize = 1 << 14;

/// What a file's name says that it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Parquet,
    Csv,
    JsonLines,
}

impl Format {
    /// By the name's ending, in whatever case.
    fn of(path: &Path) -> Result<Self, TableError> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("parquet") => Ok(Self::Parquet),
            Some("csv") => Ok(Self::Csv),
            Some("jsonl" | "ndjson") => Ok(Self::JsonLines),
            _ => {
                let what = "a table's name ends in .parquet, .csv or .jsonl";
                Err(TableError::File(io::Error::new(io::ErrorKind::InvalidInput, what)))
            }
        }
    }
}

/// Writes a table of these columns to a file whose name says the format. It has its name only once `write` has finished
/// it, so that half a table never has it.
///
/// # Errors
///
/// The name says no format, the file cannot be written, or those of `write`.
pub fn write_whole<T, E: From<TableError>>(
    path: &Path,
    fields: Vec<Field>,
    write: impl FnOnce(Box<dyn BlockSink>) -> Result<T, E>,
) -> Result<T, E> {
    let format = Format::of(path)?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let written = (|| {
        let output = BufWriter::with_capacity(BUFFER_BYTES, File::create(&partial).map_err(TableError::File)?);
        let sink: Box<dyn BlockSink> = match format {
            Format::Parquet => Box::new(ParquetWriter::new(output, fields)?),
            Format::Csv => Box::new(CsvWriter::new(output, fields)?),
            Format::JsonLines => Box::new(JsonLinesWriter::new(output, fields)),
        };
        let answer = write(sink)?;
        std::fs::rename(&partial, path).map_err(TableError::File)?;
        Ok(answer)
    })();
    if written.is_err() {
        // What is left is no table, and the first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

/// Writes rows to such a file, holding few of them at a time. Returns how many there were.
///
/// # Errors
///
/// Those of [`write_whole`], or of `rows`.
pub fn write_table<T: Record, E: From<TableError>>(
    path: &Path,
    rows: impl IntoIterator<Item = Result<T, E>>,
) -> Result<u64, E> {
    write_whole(path, T::fields(), |mut sink| {
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
        Ok(count)
    })
}
