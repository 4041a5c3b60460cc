//! Rows with a Rust type of their own.

use super::{Block, Cell, Field, Kind, TableError, Text, Values};

/// A type that a column can hold.
pub trait Value: Sized {
    /// The column's kind.
    const KIND: Kind;

    /// As a cell.
    fn to_cell(&self) -> Cell;

    /// From a cell of that kind; `None` where it is absent.
    fn from_cell(cell: Cell) -> Option<Self>;

    /// From JSON.
    fn from_json(value: &serde_json::Value) -> Option<Self>;
}

macro_rules! values {
    ($($type:ty = $kind:ident, $to:expr, $json:expr;)*) => {
        $(impl Value for $type {
            const KIND: Kind = Kind::$kind;

            fn to_cell(&self) -> Cell {
                Cell::$kind($to(self))
            }

            fn from_cell(cell: Cell) -> Option<Self> {
                match cell {
                    Cell::$kind(value) => Some(value.into()),
                    _ => None,
                }
            }

            fn from_json(value: &serde_json::Value) -> Option<Self> {
                $json(value)
            }
        })*
    };
}

values! {
    String = Text, |text: &String| Text::Owned(text.clone()), |value: &serde_json::Value| value.as_str().map(str::to_owned);
    i64 = Integer, |value: &i64| *value, serde_json::Value::as_i64;
    f64 = Real, |value: &f64| *value, serde_json::Value::as_f64;
    f32 = Single, |value: &f32| *value, single;
    bool = Flag, |value: &bool| *value, serde_json::Value::as_bool;
}

#[expect(clippy::cast_possible_truncation, reason = "the column holds 32 bits; nearest is what is meant")]
fn single(value: &serde_json::Value) -> Option<f32> {
    value.as_f64().map(|value| value as f32)
}

/// A row type whose fields are the columns of a table.
pub trait Record: Sized {
    /// The columns, in order.
    fn fields() -> Vec<Field>;

    /// Appends the row to a block of these columns.
    fn push_to(&self, block: &mut Block);

    /// A row of a block; `columns` says where each field's column is, if it is there.
    ///
    /// # Errors
    ///
    /// Where a required value is missing.
    fn from_row(block: &Block, columns: &[Option<usize>], row: usize) -> Result<Self, TableError>;

    /// A row from a JSON object, with the keys that it has and the type has not; `number` names it in errors.
    ///
    /// # Errors
    ///
    /// Where a required value is missing or a value has another type.
    fn from_json(
        object: &serde_json::Map<String, serde_json::Value>,
        number: usize,
    ) -> Result<(Self, Vec<String>), TableError>;
}

/// Rows as a block.
pub fn block_of<R: Record>(rows: &[R]) -> Block {
    let mut block = Block::with_capacity(&R::fields(), rows.len());
    for row in rows {
        row.push_to(&mut block);
    }
    block
}

/// All rows of a Parquet file, and the columns that it has and the type has not.
///
/// # Errors
///
/// Where the file cannot be read, lacks a required column, or holds another kind in one.
pub fn read_parquet<R: Record>(file: std::fs::File) -> Result<(Vec<R>, Vec<String>), TableError> {
    let mut reader = super::parquet::ParquetReader::new(file)?;
    let fields = R::fields();
    let mut columns = Vec::with_capacity(fields.len());
    for own in &fields {
        let at = reader.fields().iter().position(|field| field.name == own.name);
        if let Some(found) = at.map(|at| &reader.fields()[at]).filter(|found| found.kind != own.kind) {
            let what = format!("{} where {} is expected", found.kind.name(), own.kind.name());
            return Err(TableError::Shape { column: own.name.to_string(), what });
        }
        columns.push(at);
    }
    let is_unknown = |field: &&Field| fields.iter().all(|own| own.name != field.name);
    let unknown = reader.fields().iter().filter(is_unknown).map(|field| field.name.to_string()).collect();
    let mut rows = Vec::new();
    while let Some(block) = reader.next_block()? {
        for row in 0..block.rows() {
            rows.push(R::from_row(&block, &columns, row)?);
        }
    }
    Ok((rows, unknown))
}

/// The cell at a place, absent where the column is.
#[doc(hidden)]
pub fn cell(block: &Block, column: Option<usize>, row: usize) -> Cell {
    column.map_or(Cell::Absent, |column| block.cell(column, row))
}

/// Appends a cell to column `at`.
#[doc(hidden)]
pub fn push(columns: &mut [Values], at: usize, cell: Cell) {
    columns[at].push(cell);
}

/// A JSON value as a cell's type.
///
/// # Errors
///
/// Where it is of another type.
#[doc(hidden)]
pub fn json_value<V: Value>(
    object: &serde_json::Map<String, serde_json::Value>,
    key: &str,
    number: usize,
) -> Result<Option<V>, TableError> {
    match object.get(key).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => V::from_json(value).map(Some).ok_or_else(|| TableError::Value {
            record: number,
            column: key.to_owned(),
            expected: V::KIND.name(),
        }),
    }
}

/// Declares a row type: required fields, then optional ones, each a column of the same name.
macro_rules! record {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            required { $($(#[$required_note:meta])* $required:ident: $required_type:ty,)* }
            optional { $($(#[$note:meta])* $field:ident: $type:ty,)* }
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        $vis struct $name {
            $($(#[$required_note])* pub $required: $required_type,)*
            $($(#[$note])* pub $field: Option<$type>,)*
        }

        impl $crate::table::record::Record for $name {
            fn fields() -> Vec<$crate::table::Field> {
                use $crate::table::record::Value;
                vec![
                    $($crate::table::Field::required(stringify!($required), <$required_type>::KIND),)*
                    $($crate::table::Field::optional(stringify!($field), <$type>::KIND),)*
                ]
            }

            fn push_to(&self, block: &mut $crate::table::Block) {
                use $crate::table::record::{Value, push};
                let mut at = 0..;
                let mut next = |cell| push(&mut block.columns, at.next().expect("the range has no end"), cell);
                $(next(self.$required.to_cell());)*
                $(next(self.$field.as_ref().map_or($crate::table::Cell::Absent, Value::to_cell));)*
            }

            fn from_row(
                block: &$crate::table::Block,
                columns: &[Option<usize>],
                row: usize,
            ) -> Result<Self, $crate::table::TableError> {
                use $crate::table::record::{Value, cell};
                let mut columns = columns.iter().copied();
                Ok(Self {
                    $($required: <$required_type>::from_cell(cell(block, columns.next().flatten(), row))
                        .ok_or($crate::table::TableError::Missing(stringify!($required)))?,)*
                    $($field: <$type>::from_cell(cell(block, columns.next().flatten(), row)),)*
                })
            }

            fn from_json(
                object: &serde_json::Map<String, serde_json::Value>,
                number: usize,
            ) -> Result<(Self, Vec<String>), $crate::table::TableError> {
                use $crate::table::record::json_value;
                let known = [$(stringify!($required),)* $(stringify!($field),)*];
                let mut unknown: Vec<String> =
                    object.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
                unknown.sort_unstable();
                let record = Self {
                    $($required: json_value::<$required_type>(object, stringify!($required), number)?
                        .ok_or($crate::table::TableError::Missing(stringify!($required)))?,)*
                    $($field: json_value::<$type>(object, stringify!($field), number)?,)*
                };
                Ok((record, unknown))
            }
        }
    };
}

pub(crate) use record;
