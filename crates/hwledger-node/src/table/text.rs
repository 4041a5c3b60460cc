//! Tables as text: CSV and JSON lines.

use std::io::Write;

use super::{Block, BlockSink, Field, TableError, Values};

/// Writes CSV as RFC 4180 describes it, with line feeds: a head, then a line per row; an absent
/// value is an empty field.
#[derive(Debug)]
pub struct CsvWriter<W: Write> {
    output: W,
    fields: Vec<Field>,
    line: Vec<u8>,
}

impl<W: Write> CsvWriter<W> {
    /// Starts a table: writes its head.
    ///
    /// # Errors
    ///
    /// Where `output` refuses it.
    pub fn new(mut output: W, fields: Vec<Field>) -> Result<Self, TableError> {
        let mut line = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                line.push(b',');
            }
            quote(&mut line, &field.name);
        }
        line.push(b'\n');
        output.write_all(&line)?;
        Ok(Self { output, fields, line })
    }
}

impl<W: Write> BlockSink for CsvWriter<W> {
    fn write(&mut self, block: Block) -> Result<(), TableError> {
        block.check(&self.fields)?;
        for row in 0..block.rows() {
            self.line.clear();
            for (index, values) in block.columns.iter().enumerate() {
                if index > 0 {
                    self.line.push(b',');
                }
                match values {
                    Values::Text(values) => quote(&mut self.line, values[row].as_deref().unwrap_or_default()),
                    _ => write_scalar(&mut self.line, values, row, "")?,
                }
            }
            self.line.push(b'\n');
            self.output.write_all(&self.line)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), TableError> {
        Ok(self.output.flush()?)
    }
}

/// Writes a JSON object per row; an absent value is `null`.
#[derive(Debug)]
pub struct JsonLinesWriter<W: Write> {
    output: W,
    fields: Vec<Field>,
    keys: Vec<Vec<u8>>,
    line: Vec<u8>,
}

impl<W: Write> JsonLinesWriter<W> {
    /// Starts a table.
    pub fn new(output: W, fields: Vec<Field>) -> Self {
        let key = |(index, field): (usize, &Field)| {
            let mut key = if index == 0 { b"{".to_vec() } else { b",".to_vec() };
            escape(&mut key, &field.name);
            key.push(b':');
            key
        };
        let keys = fields.iter().enumerate().map(key).collect();
        Self { output, fields, keys, line: Vec::new() }
    }
}

impl<W: Write> BlockSink for JsonLinesWriter<W> {
    fn write(&mut self, block: Block) -> Result<(), TableError> {
        block.check(&self.fields)?;
        for row in 0..block.rows() {
            self.line.clear();
            for (values, key) in block.columns.iter().zip(&self.keys) {
                self.line.extend_from_slice(key);
                match values {
                    Values::Text(values) => match &values[row] {
                        Some(text) => escape(&mut self.line, text),
                        None => self.line.extend_from_slice(b"null"),
                    },
                    _ => write_scalar(&mut self.line, values, row, "null")?,
                }
            }
            self.line.extend_from_slice(b"}\n");
            self.output.write_all(&self.line)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), TableError> {
        Ok(self.output.flush()?)
    }
}

/// Everything that is no text; what is no finite number is absent.
fn write_scalar(line: &mut Vec<u8>, values: &Values, row: usize, absent: &str) -> Result<(), TableError> {
    match values {
        Values::Integer(values) if values[row].is_some() => write!(line, "{}", values[row].unwrap_or_default())?,
        Values::Real(values) => match values[row].filter(|value| value.is_finite()) {
            Some(value) => write!(line, "{value}")?,
            None => line.extend_from_slice(absent.as_bytes()),
        },
        Values::Single(values) => match values[row].filter(|value| value.is_finite()) {
            Some(value) => write!(line, "{value}")?,
            None => line.extend_from_slice(absent.as_bytes()),
        },
        Values::Flag(values) if values[row].is_some() => write!(line, "{}", values[row].unwrap_or_default())?,
        _ => line.extend_from_slice(absent.as_bytes()),
    }
    Ok(())
}

/// A CSV field, in quotes where it must be.
fn quote(line: &mut Vec<u8>, text: &str) {
    if !text.contains([',', '"', '\n', '\r']) {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    line.push(b'"');
    line.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    line.push(b'"');
}

/// A JSON string.
fn escape(line: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(line, text).expect("memory does not refuse writes, and text is always JSON");
}

#[cfg(test)]
mod tests {
    use super::super::{Cell, Kind};
    use super::*;

    fn written(make: impl FnOnce(&mut Vec<u8>, Vec<Field>, Block)) -> String {
        let fields = vec![
            Field::required("name", Kind::Text),
            Field::optional("count", Kind::Integer),
            Field::optional("rate", Kind::Real),
            Field::optional("is_fast", Kind::Flag),
        ];
        let mut block = Block::with_capacity(&fields, 2);
        let rows = [
            [Cell::Text("a, \"b\"".into()), Cell::Integer(-3), Cell::Real(0.1), Cell::Flag(true)],
            [Cell::Text("plain".into()), Cell::Absent, Cell::Real(f64::INFINITY), Cell::Absent],
        ];
        for row in rows {
            for (column, cell) in block.columns.iter_mut().zip(row) {
                column.push(cell);
            }
        }
        let mut output = Vec::new();
        make(&mut output, fields, block);
        String::from_utf8(output).expect("text is UTF-8")
    }

    #[test]
    fn csv_quotes_what_it_must_and_leaves_absent_values_empty() {
        let text = written(|output, fields, block| {
            let mut writer = CsvWriter::new(output, fields).expect("memory");
            writer.write(block).expect("memory");
            Box::new(writer).finish().expect("memory");
        });
        assert_eq!(text, "name,count,rate,is_fast\n\"a, \"\"b\"\"\",-3,0.1,true\nplain,,,\n");
    }

    #[test]
    fn json_lines_are_json() {
        let text = written(|output, fields, block| {
            let mut writer = JsonLinesWriter::new(output, fields);
            writer.write(block).expect("memory");
            Box::new(writer).finish().expect("memory");
        });
        let rows: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
        assert_eq!(rows[0], serde_json::json!({"name": "a, \"b\"", "count": -3, "rate": 0.1, "is_fast": true}));
        assert_eq!(rows[1], serde_json::json!({"name": "plain", "count": null, "rate": null, "is_fast": null}));
    }

    #[test]
    fn a_required_value_must_be_there() {
        let fields = vec![Field::required("name", Kind::Text)];
        let mut block = Block::with_capacity(&fields, 1);
        block.columns[0].push(Cell::Absent);
        let error = block.check(&fields).expect_err("the name is absent").to_string();
        assert_eq!(error, "column `name`: row 1 has no value, which it must have");
    }
}
