//! What can be wrong with a table.

/// Why a table cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file refuses.
    #[error("the table's file cannot be used")]
    File(#[from] std::io::Error),
    /// The Parquet library refuses.
    #[error("the Parquet file cannot be used")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The Parquet library gives up.
    #[error("the Parquet file is damaged")]
    Damaged,
    /// Rows and columns do not go together.
    #[error("column `{column}`: {what}")]
    Shape {
        /// The column, or nothing.
        column: String,
        /// What is wrong.
        what: String,
    },
    /// A required column is missing.
    #[error("the table has no column `{0}`")]
    Missing(&'static str),
    /// A value that its column does not hold.
    #[error("record {record}: `{column}` is not {expected}")]
    Value {
        /// The record, from 1.
        record: usize,
        /// The column.
        column: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl TableError {
    /// Whether whoever read the output has had enough of it.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::File(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}
