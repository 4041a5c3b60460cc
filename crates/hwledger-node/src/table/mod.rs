//! Tables of many rows, column by column: what sweeps write and measurements are kept in.
//!
//! A [`Block`] holds some thousand rows; a table is a stream of blocks with the same [`Field`]s, so
//! that its memory does not grow with its length. Blocks are written as Parquet ([`parquet`]), CSV
//! or JSON lines ([`CsvWriter`], [`JsonLinesWriter`]) and read back from Parquet. Rows with a Rust type of their own are
//! declared once, with [`records`](crate::table::record).

mod error;
pub mod file;
pub mod parquet;
pub mod record;
mod text;

pub use error::TableError;
pub use text::{CsvWriter, JsonLinesWriter};

use std::borrow::Cow;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Whole numbers of 64 bits with a sign.
    Integer,
    /// Numbers of 64 bits.
    Real,
    /// Numbers of 32 bits.
    Single,
    /// Yes or no.
    Flag,
}

impl Kind {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "a whole number",
            Self::Real | Self::Single => "a number",
            Self::Flag => "true or false",
        }
    }
}

/// A column's name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub kind: Kind,
    /// Whether every row has a value.
    pub is_required: bool,
}

impl Field {
    /// A column in which values may be absent.
    pub fn optional(name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        Self { name: name.into(), kind, is_required: false }
    }

    /// A column with a value in every row.
    pub fn required(name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        Self { name: name.into(), kind, is_required: true }
    }
}

/// Text of a cell: a word of ours, or one that somebody typed.
pub type Text = Cow<'static, str>;

/// The values of one column; `None` is "not known".
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the kind of the same name")]
pub enum Values {
    Text(Vec<Option<Text>>),
    Integer(Vec<Option<i64>>),
    Real(Vec<Option<f64>>),
    Single(Vec<Option<f32>>),
    Flag(Vec<Option<bool>>),
}

impl Values {
    /// No values yet, room for `rows`.
    pub fn with_capacity(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Text => Self::Text(Vec::with_capacity(rows)),
            Kind::Integer => Self::Integer(Vec::with_capacity(rows)),
            Kind::Real => Self::Real(Vec::with_capacity(rows)),
            Kind::Single => Self::Single(Vec::with_capacity(rows)),
            Kind::Flag => Self::Flag(Vec::with_capacity(rows)),
        }
    }

    /// What it holds.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Integer(_) => Kind::Integer,
            Self::Real(_) => Kind::Real,
            Self::Single(_) => Kind::Single,
            Self::Flag(_) => Kind::Flag,
        }
    }

    /// How many values, absent ones included.
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Integer(values) => values.len(),
            Self::Real(values) => values.len(),
            Self::Single(values) => values.len(),
            Self::Flag(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the value of `row` is absent; a row beyond the end has none.
    pub fn is_absent(&self, row: usize) -> bool {
        match self {
            Self::Text(values) => values.get(row).is_none_or(Option::is_none),
            Self::Integer(values) => values.get(row).is_none_or(Option::is_none),
            Self::Real(values) => values.get(row).is_none_or(Option::is_none),
            Self::Single(values) => values.get(row).is_none_or(Option::is_none),
            Self::Flag(values) => values.get(row).is_none_or(Option::is_none),
        }
    }

    /// Appends a value: an absent one if its kind is another, which only a bug of ours makes so.
    pub fn push(&mut self, cell: Cell) {
        debug_assert!(cell.kind().is_none_or(|kind| kind == self.kind()), "{cell:?} in a column of {:?}", self.kind());
        match self {
            Self::Text(values) => values.push(if let Cell::Text(value) = cell { Some(value) } else { None }),
            Self::Integer(values) => values.push(if let Cell::Integer(value) = cell { Some(value) } else { None }),
            Self::Real(values) => values.push(if let Cell::Real(value) = cell { Some(value) } else { None }),
            Self::Single(values) => values.push(if let Cell::Single(value) = cell { Some(value) } else { None }),
            Self::Flag(values) => values.push(if let Cell::Flag(value) = cell { Some(value) } else { None }),
        }
    }
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the kind of the same name")]
pub enum Cell {
    /// Not known.
    Absent,
    Text(Text),
    Integer(i64),
    Real(f64),
    Single(f32),
    Flag(bool),
}

impl Cell {
    const fn kind(&self) -> Option<Kind> {
        match self {
            Self::Absent => None,
            Self::Text(_) => Some(Kind::Text),
            Self::Integer(_) => Some(Kind::Integer),
            Self::Real(_) => Some(Kind::Real),
            Self::Single(_) => Some(Kind::Single),
            Self::Flag(_) => Some(Kind::Flag),
        }
    }

    /// A count; one beyond what the column holds is its largest number.
    pub fn count(value: Option<u64>) -> Self {
        value.map_or(Self::Absent, |value| Self::Integer(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    /// A number; what is no number (NaN) is not known.
    pub fn real(value: Option<f64>) -> Self {
        value.filter(|value| !value.is_nan()).map_or(Self::Absent, Self::Real)
    }

    /// A text.
    pub fn text(value: Option<impl Into<Text>>) -> Self {
        value.map_or(Self::Absent, |value| Self::Text(value.into()))
    }
}

/// Some rows of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// One entry per field, all of the same length.
    pub columns: Vec<Values>,
}

impl Block {
    /// No rows yet, room for `rows`.
    pub fn with_capacity(fields: &[Field], rows: usize) -> Self {
        Self { columns: fields.iter().map(|field| Values::with_capacity(field.kind, rows)).collect() }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Values::len)
    }

    /// The cell of a row, copied.
    pub fn cell(&self, column: usize, row: usize) -> Cell {
        match &self.columns[column] {
            Values::Text(values) => values[row].clone().map_or(Cell::Absent, Cell::Text),
            Values::Integer(values) => values[row].map_or(Cell::Absent, Cell::Integer),
            Values::Real(values) => values[row].map_or(Cell::Absent, Cell::Real),
            Values::Single(values) => values[row].map_or(Cell::Absent, Cell::Single),
            Values::Flag(values) => values[row].map_or(Cell::Absent, Cell::Flag),
        }
    }

    /// Whether it has the columns of `fields`, all of one length, none absent where that is not allowed.
    ///
    /// # Errors
    ///
    /// The first column that differs.
    pub fn check(&self, fields: &[Field]) -> Result<(), TableError> {
        let shape = |field: &str, what: String| Err(TableError::Shape { column: field.to_owned(), what });
        if self.columns.len() != fields.len() {
            return shape("", format!("{} columns where the table has {}", self.columns.len(), fields.len()));
        }
        for (field, values) in fields.iter().zip(&self.columns) {
            if values.kind() != field.kind {
                return shape(
                    &field.name,
                    format!("{} where the table has {}", values.kind().name(), field.kind.name()),
                );
            }
            if values.len() != self.rows() {
                return shape(&field.name, format!("{} rows where others have {}", values.len(), self.rows()));
            }
            if field.is_required
                && let Some(row) = (0..values.len()).find(|&row| values.is_absent(row))
            {
                return shape(&field.name, format!("row {} has no value, which it must have", row + 1));
            }
        }
        Ok(())
    }
}

/// Whatever blocks can be written to.
pub trait BlockSink {
    /// Writes some rows after those written before.
    ///
    /// # Errors
    ///
    /// Where the table does not take the rows or its file refuses them.
    fn write(&mut self, block: Block) -> Result<(), TableError>;

    /// Writes what is still held back, and the end of the table.
    ///
    /// # Errors
    ///
    /// Where the file refuses it.
    fn finish(self: Box<Self>) -> Result<(), TableError>;
}
