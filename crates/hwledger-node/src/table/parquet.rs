//! Tables as Parquet files.
//!
//! **Source**: the Apache Parquet format. Columns are flat; values are PLAIN or dictionary encoded
//! and compressed by Snappy, which every reader knows. Whole numbers are INT64, text is a UTF-8
//! `BYTE_ARRAY`, absent values are nulls.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::{Block, BlockSink, Field, Kind, TableError, Text, Values};

/// Rows of one row group: what is held in memory before it is written, and what a reader must
/// hold at least.
const GROUP_ROWS: usize = 1 << 16;

/// Most rows that are read together.
const GROUP_ROWS_MAX: i64 = 1 << 24;

/// Writes blocks to a Parquet file.
#[derive(Debug)]
pub struct ParquetWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    fields: Vec<Field>,
    pending: Vec<Block>,
    rows: usize,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Starts a file.
    ///
    /// # Errors
    ///
    /// Where `output` refuses its first bytes, or two columns have one name.
    pub fn new(output: W, fields: Vec<Field>) -> Result<Self, TableError> {
        if let Some(twice) = (1..fields.len()).find(|&at| fields[..at].iter().any(|own| own.name == fields[at].name)) {
            let column = fields[twice].name.to_string();
            return Err(TableError::Shape { column, what: "there are two of this name".to_owned() });
        }
        let columns = fields.iter().map(column_type).collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("table").with_fields(columns).build()?;
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("hwledger ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk);
        for field in &fields {
            // Figures rarely repeat: a dictionary would be built and thrown away.
            let repeats = !matches!(field.kind, Kind::Real | Kind::Single);
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name.as_ref()), repeats);
        }
        let file = SerializedFileWriter::new(output, Arc::new(schema), Arc::new(properties.build()))?;
        Ok(Self { file, fields, pending: Vec::new(), rows: 0 })
    }

    fn write_group(&mut self) -> Result<(), TableError> {
        let pending = std::mem::take(&mut self.pending);
        self.rows = 0;
        let mut group = self.file.next_row_group()?;
        for (index, field) in self.fields.iter().enumerate() {
            let Some(mut column) = group.next_column()? else { break };
            for block in &pending {
                write_values(column.untyped(), &block.columns[index], field.is_required)?;
            }
            column.close()?;
        }
        group.close()?;
        Ok(())
    }
}

impl<W: Write + Send> BlockSink for ParquetWriter<W> {
    fn write(&mut self, block: Block) -> Result<(), TableError> {
        block.check(&self.fields)?;
        self.rows += block.rows();
        self.pending.push(block);
        if self.rows >= GROUP_ROWS { self.write_group() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<(), TableError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.file.close()?;
        Ok(())
    }
}

fn column_type(field: &Field) -> Result<TypePtr, TableError> {
    let physical = match field.kind {
        Kind::Text => Physical::BYTE_ARRAY,
        Kind::Integer => Physical::INT64,
        Kind::Real => Physical::DOUBLE,
        Kind::Single => Physical::FLOAT,
        Kind::Flag => Physical::BOOLEAN,
    };
    let repetition = if field.is_required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let logical = (field.kind == Kind::Text).then_some(LogicalType::String);
    let column = Type::primitive_type_builder(&field.name, physical).with_repetition(repetition);
    Ok(Arc::new(column.with_logical_type(logical).build()?))
}

fn write_values(column: &mut ColumnWriter<'_>, values: &Values, is_required: bool) -> Result<(), TableError> {
    match (column, values) {
        (ColumnWriter::ByteArrayColumnWriter(column), Values::Text(values)) => {
            // Neighbours are often alike; equal ones share their bytes.
            let mut last: Option<(&str, ByteArray)> = None;
            let mut present = Vec::with_capacity(values.len());
            for text in values.iter().flatten() {
                let array = match &last {
                    Some((known, array)) if *known == text.as_ref() => array.clone(),
                    _ => ByteArray::from(text.as_ref()),
                };
                last = Some((text.as_ref(), array.clone()));
                present.push(array);
            }
            write_present(column, &present, values, is_required)
        }
        (ColumnWriter::Int64ColumnWriter(column), Values::Integer(values)) => {
            write_present(column, &values.iter().copied().flatten().collect::<Vec<_>>(), values, is_required)
        }
        (ColumnWriter::DoubleColumnWriter(column), Values::Real(values)) => {
            write_present(column, &values.iter().copied().flatten().collect::<Vec<_>>(), values, is_required)
        }
        (ColumnWriter::FloatColumnWriter(column), Values::Single(values)) => {
            write_present(column, &values.iter().copied().flatten().collect::<Vec<_>>(), values, is_required)
        }
        (ColumnWriter::BoolColumnWriter(column), Values::Flag(values)) => {
            write_present(column, &values.iter().copied().flatten().collect::<Vec<_>>(), values, is_required)
        }
        _ => Err(TableError::Shape { column: String::new(), what: "a block of another table".to_owned() }),
    }
}

/// Values that are there, and for every row whether it has one.
fn write_present<T: DataType, Any>(
    column: &mut ColumnWriterImpl<'_, T>,
    present: &[T::T],
    all: &[Option<Any>],
    is_required: bool,
) -> Result<(), TableError> {
    if is_required {
        column.write_batch(present, None, None)?;
    } else {
        let levels: Vec<i16> = all.iter().map(|value| i16::from(value.is_some())).collect();
        column.write_batch(present, Some(&levels), None)?;
    }
    Ok(())
}

/// Reads a Parquet file of flat columns, one row group at a time.
pub struct ParquetReader {
    file: SerializedFileReader<File>,
    fields: Vec<Field>,
    next: usize,
}

impl std::fmt::Debug for ParquetReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ParquetReader")
            .field("fields", &self.fields)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl ParquetReader {
    /// Reads the file's schema.
    ///
    /// # Errors
    ///
    /// Where it is no Parquet file, or one with columns that tables do not hold.
    pub fn new(file: File) -> Result<Self, TableError> {
        guarded(|| Self::open(file))
    }

    fn open(file: File) -> Result<Self, TableError> {
        let file = SerializedFileReader::new(file)?;
        let schema = file.metadata().file_metadata().schema_descr_ptr();
        let fields = schema.root_schema().get_fields().iter().map(|column| field(column)).collect::<Result<_, _>>()?;
        Ok(Self { file, fields, next: 0 })
    }

    /// The columns.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The rows of the next row group; `None` at the end.
    ///
    /// # Errors
    ///
    /// Where the file does not hold what its schema says.
    pub fn next_block(&mut self) -> Result<Option<Block>, TableError> {
        guarded(|| self.read_group())
    }

    fn read_group(&mut self) -> Result<Option<Block>, TableError> {
        if self.next >= self.file.num_row_groups() {
            return Ok(None);
        }
        let group = self.file.get_row_group(self.next)?;
        self.next += 1;
        let rows = group.metadata().num_rows();
        let rows = usize::try_from(rows).ok().filter(|_| rows <= GROUP_ROWS_MAX).ok_or_else(|| {
            let what = format!("{rows} rows in one group, where at most {GROUP_ROWS_MAX} are read");
            TableError::Shape { column: String::new(), what }
        })?;
        let columns = (0..self.fields.len())
            .map(|index| read_column(group.as_ref(), index, &self.fields[index], rows))
            .collect::<Result<Vec<_>, _>>()?;
        let block = Block { columns };
        block.check(&self.fields)?;
        Ok(Some(block))
    }
}

/// Runs a part of the Parquet library that panics on some damaged files (version 60: metadata,
/// bit-packed runs, dictionary indices), and makes that an error.
fn guarded<T>(read: impl FnOnce() -> Result<T, TableError>) -> Result<T, TableError> {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    // What was half read is dropped with the error.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    std::panic::set_hook(told);
    outcome.unwrap_or(Err(TableError::Damaged))
}

fn field(column: &Type) -> Result<Field, TableError> {
    let refuse = |what: &str| Err(TableError::Shape { column: column.name().to_owned(), what: what.to_owned() });
    if !column.is_primitive() {
        return refuse("it holds other columns, which tables do not");
    }
    let info = column.get_basic_info();
    let is_text = info.logical_type_ref().is_some_and(|own| matches!(own, LogicalType::String | LogicalType::Enum))
        || matches!(info.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM);
    let is_plain = info.logical_type_ref().is_none_or(|own| matches!(own, LogicalType::Integer { .. }));
    let kind = match column.get_physical_type() {
        Physical::BYTE_ARRAY if is_text => Kind::Text,
        Physical::INT32 | Physical::INT64 if is_plain => Kind::Integer,
        Physical::DOUBLE => Kind::Real,
        Physical::FLOAT => Kind::Single,
        Physical::BOOLEAN => Kind::Flag,
        _ => return refuse("it has a type that tables do not hold"),
    };
    let is_required = match info.repetition() {
        Repetition::REQUIRED => true,
        Repetition::OPTIONAL => false,
        Repetition::REPEATED => return refuse("it repeats, which columns of tables do not"),
    };
    Ok(Field { name: column.name().to_owned().into(), kind, is_required })
}

fn read_column(group: &dyn RowGroupReader, index: usize, field: &Field, rows: usize) -> Result<Values, TableError> {
    let wrong =
        || TableError::Shape { column: field.name.to_string(), what: "it is not of the schema's type".to_owned() };
    let values = match (group.get_column_reader(index)?, field.kind) {
        (ColumnReader::ByteArrayColumnReader(reader), Kind::Text) => {
            Values::Text(read_values(reader, rows, field, |bytes: ByteArray| {
                bytes.as_utf8().map(|text| Text::Owned(text.to_owned())).map_err(TableError::from)
            })?)
        }
        (ColumnReader::Int64ColumnReader(reader), Kind::Integer) => {
            Values::Integer(read_values(reader, rows, field, Ok)?)
        }
        (ColumnReader::Int32ColumnReader(reader), Kind::Integer) => {
            Values::Integer(read_values(reader, rows, field, |value| Ok(i64::from(value)))?)
        }
        (ColumnReader::DoubleColumnReader(reader), Kind::Real) => Values::Real(read_values(reader, rows, field, Ok)?),
        (ColumnReader::FloatColumnReader(reader), Kind::Single) => {
            Values::Single(read_values(reader, rows, field, Ok)?)
        }
        (ColumnReader::BoolColumnReader(reader), Kind::Flag) => Values::Flag(read_values(reader, rows, field, Ok)?),
        _ => return Err(wrong()),
    };
    Ok(values)
}

/// A column's values with its absent ones in their places.
fn read_values<T: DataType, Out>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    field: &Field,
    convert: impl Fn(T::T) -> Result<Out, TableError>,
) -> Result<Vec<Option<Out>>, TableError> {
    let (mut levels, mut present) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let room = (!field.is_required).then_some(&mut levels);
        let (records, _, _) = reader.read_records(rows - read, room, None, &mut present)?;
        if records == 0 {
            break;
        }
        read += records;
    }
    let mut present = present.into_iter();
    if field.is_required {
        return present.map(|value| convert(value).map(Some)).collect();
    }
    levels.iter().map(|&level| if level == 0 { None } else { present.next() }.map(&convert).transpose()).collect()
}
