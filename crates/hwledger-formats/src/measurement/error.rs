//! What is wrong with a file of measurements.

/// Why a file gives no measurements. Every variant says where, and [`hint`](Self::hint) what to do.
#[derive(Debug, thiserror::Error)]
pub enum MeasurementError {
    /// It is larger than any real one.
    #[error("the file has {bytes} bytes, more than {}", super::FILE_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It is not UTF-8.
    #[error("line {line} is not UTF-8 text")]
    NotText {
        /// The first such line.
        line: u64,
    },
    /// Nothing in it says what wrote it.
    #[error("nothing in the file says which program wrote it")]
    UnknownFormat,
    /// It is not JSON where JSON is expected.
    #[error("line {line} is not valid JSON")]
    Json {
        /// The line.
        line: u64,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A record is something else than an object.
    #[error("record {record} at line {line} is not an object")]
    NotAnObject {
        /// The line.
        line: u64,
        /// The record, counted from one.
        record: u64,
    },
    /// A value means nothing.
    #[error("record {record} at line {line}: `{key}` cannot be `{found}`")]
    Value {
        /// The line.
        line: u64,
        /// The record, counted from one.
        record: u64,
        /// The key.
        key: String,
        /// What is there, cut short.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// A key that the format always has is missing.
    #[error("record {record} at line {line} has no `{key}`")]
    Missing {
        /// The line.
        line: u64,
        /// The record, counted from one.
        record: u64,
        /// The key.
        key: &'static str,
    },
    /// A row has more or fewer cells than its header.
    #[error("line {line} has {found} cells, its header {expected}")]
    Cells {
        /// The line.
        line: u64,
        /// Cells of the row.
        found: usize,
        /// Cells of the header.
        expected: usize,
    },
    /// A quoted text has no end.
    #[error("the quotation that begins at line {line} has no end")]
    Quotation {
        /// The line.
        line: u64,
    },
    /// More of something than any real file has.
    #[error("line {line}: more than {limit} {what}")]
    TooMany {
        /// The line.
        line: u64,
        /// What there is too much of.
        what: &'static str,
        /// How much is believed.
        limit: usize,
    },
    /// The format was named, and nothing of it is there.
    #[error("the file holds no {0}")]
    Nothing(&'static str),
}

impl MeasurementError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::TooLarge { .. } => "measure in several files, or leave out per-request details".to_owned(),
            Self::NotText { .. } => "save the output as UTF-8 (PowerShell's `>` writes UTF-16)".to_owned(),
            Self::UnknownFormat | Self::Nothing(_) => {
                let names: Vec<_> = super::Format::ALL.iter().map(|format| format.name()).collect();
                format!("name the format: one of {}", names.join(", "))
            }
            Self::Json { .. } | Self::Quotation { .. } | Self::Cells { .. } => {
                "the output may be cut short or mixed with other text".to_owned()
            }
            Self::NotAnObject { .. } => "each record is one JSON object".to_owned(),
            Self::Value { expected, .. } => format!("expected {expected}"),
            Self::Missing { key, .. } => format!("records of this format have the key `{key}`"),
            Self::TooMany { .. } => "split the file".to_owned(),
        }
    }
}
