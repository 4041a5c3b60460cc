//! Any JSON lines or CSV as rows of named cells: what sweeps write, and what others do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde_json::Value;

/// Most bytes of a table.
const BYTES_MAX: u64 = 1 << 30;

/// Columns that a message names.
const NAMED_MAX: usize = 12;

/// Rows of named cells. Objects within objects are columns named with points (`speed.ttft_ms.value`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    rows: Vec<BTreeMap<String, Cell>>,
}

/// What a row holds.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Number(f64),
    Text(String),
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Reading failed.
    #[error("the table cannot be read")]
    Read(#[source] std::io::Error),
    /// More than can be held.
    #[error("the table is longer than 1 GiB")]
    TooLong,
    /// A line is no JSON object.
    #[error("line {line} is no JSON object")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// Why.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// A quoted field never ends.
    #[error("the quoted field that begins on line {line} never ends")]
    Quote {
        /// Where it begins, from 1.
        line: usize,
    },
    /// There are no rows.
    #[error("the table has no rows")]
    Empty,
    /// No column by that name.
    #[error("the table has no column `{name}`")]
    NoColumn {
        /// The name.
        name: String,
        /// The columns with numbers.
        numeric: Vec<String>,
    },
    /// A column holds no number.
    #[error("the column `{name}` holds no number")]
    NotNumeric {
        /// The name.
        name: String,
        /// The columns with numbers.
        numeric: Vec<String>,
    },
    /// No row has both numbers.
    #[error("no row has a number in both `{x}` and `{y}`")]
    NoPair {
        /// One column.
        x: String,
        /// The other.
        y: String,
    },
}

impl TableError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoColumn { numeric, .. } | Self::NotNumeric { numeric, .. } if numeric.is_empty() => {
                "no column of the table holds numbers".to_owned()
            }
            Self::NoColumn { numeric, .. } | Self::NotNumeric { numeric, .. } => {
                let shown: Vec<String> = numeric.iter().take(NAMED_MAX).map(|name| format!("`{name}`")).collect();
                let more = numeric.len().saturating_sub(NAMED_MAX);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("columns with numbers: {}{more}", shown.join(", "))
            }
            Self::NoPair { .. } => "take two columns that the same rows fill".to_owned(),
            _ => "one JSON object per line, or CSV whose first line names the columns".to_owned(),
        }
    }
}

impl Table {
    /// Reads JSON lines where the first character is `{`, else CSV with a line of names.
    pub fn read(input: impl Read) -> Result<Self, TableError> {
        let mut text = String::new();
        let read = input.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(TableError::Read)?;
        if read as u64 > BYTES_MAX {
            return Err(TableError::TooLong);
        }
        let text = text.trim_start_matches('\u{feff}');
        let table = if text.trim_start().starts_with('{') { Self::of_json(text)? } else { Self::of_csv(text)? };
        if table.rows.is_empty() { Err(TableError::Empty) } else { Ok(table) }
    }

    fn of_json(text: &str) -> Result<Self, TableError> {
        let mut rows = Vec::new();
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let value: Value =
                serde_json::from_str(text).map_err(|source| TableError::Line { line, source: Some(source) })?;
            if !value.is_object() {
                return Err(TableError::Line { line, source: None });
            }
            let mut row = BTreeMap::new();
            flatten("", &value, &mut row);
            rows.push(row);
        }
        Ok(Self { rows })
    }

    fn of_csv(text: &str) -> Result<Self, TableError> {
        let mut lines = csv(text)?.into_iter();
        let names = lines.next().unwrap_or_default();
        let rows = lines
            .map(|fields| {
                let cells = names.iter().zip(fields).filter(|(_, field)| !field.trim().is_empty());
                cells.map(|(name, field)| (name.trim().to_owned(), cell(field))).collect()
            })
            .collect();
        Ok(Self { rows })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The columns that hold a number in some row.
    pub fn numeric(&self) -> Vec<String> {
        let cells = self.rows.iter().flatten();
        let numeric: BTreeSet<&String> =
            cells.filter(|(_, cell)| matches!(cell, Cell::Number(_))).map(|(name, _)| name).collect();
        numeric.into_iter().cloned().collect()
    }

    /// The column that `name` names: itself, or the value of an estimate.
    pub(super) fn column(&self, name: &str) -> Result<String, TableError> {
        let value = format!("{name}.value");
        let has = |name: &str| self.rows.iter().any(|row| row.contains_key(name));
        match [name, &value].into_iter().find(|name| has(name)) {
            Some(found) => Ok(found.to_owned()),
            None => Err(TableError::NoColumn { name: name.to_owned(), numeric: self.numeric() }),
        }
    }

    /// The numbers of a column, row by row.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<Option<f64>>, TableError> {
        let column = self.column(name)?;
        let number = |row: &BTreeMap<String, Cell>| match row.get(&column) {
            Some(Cell::Number(number)) => Some(*number),
            _ => None,
        };
        let numbers: Vec<Option<f64>> = self.rows.iter().map(number).collect();
        if numbers.iter().all(Option::is_none) {
            return Err(TableError::NotNumeric { name: name.to_owned(), numeric: self.numeric() });
        }
        Ok(numbers)
    }

    /// The cells of a column as text, row by row.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<Option<String>>, TableError> {
        let column = self.column(name)?;
        let text = |row: &BTreeMap<String, Cell>| {
            row.get(&column).map(|cell| match cell {
                Cell::Number(number) => number.to_string(),
                Cell::Text(text) => text.clone(),
            })
        };
        Ok(self.rows.iter().map(text).collect())
    }
}

/// A value's leaves, named by the keys that lead to them. The parser bounds how deep they lie.
fn flatten(name: &str, value: &Value, row: &mut BTreeMap<String, Cell>) {
    let within = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(map) => {
            // Sorted, so that of two leaves with one name the same one stays whatever the order of the file.
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            for (key, value) in sorted {
                flatten(&within(key), value, row);
            }
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| flatten(&within(&index.to_string()), value, row));
        }
        Value::Number(number) => {
            if let Some(number) = number.as_f64().filter(|number| number.is_finite()) {
                row.insert(name.to_owned(), Cell::Number(number));
            }
        }
        Value::String(text) => {
            row.insert(name.to_owned(), Cell::Text(text.clone()));
        }
        Value::Bool(claim) => {
            row.insert(name.to_owned(), Cell::Text(claim.to_string()));
        }
        Value::Null => {}
    }
}

fn cell(field: String) -> Cell {
    match field.trim().parse::<f64>().ok().filter(|number| number.is_finite()) {
        Some(number) => Cell::Number(number),
        None => Cell::Text(field),
    }
}

/// Fields of comma-separated values; fields in double quotes may hold commas, line ends and doubled quotes.
fn csv(text: &str) -> Result<Vec<Vec<String>>, TableError> {
    let mut lines = Vec::new();
    let (mut fields, mut field) = (Vec::new(), String::new());
    let (mut line, mut quoted_since) = (1, None);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        line += usize::from(character == '\n');
        match (character, quoted_since) {
            ('"', Some(_)) if characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            ('"', Some(_)) => quoted_since = None,
            ('"', None) if field.is_empty() => quoted_since = Some(line),
            (',', None) => fields.push(std::mem::take(&mut field)),
            ('\n', None) => {
                fields.push(std::mem::take(&mut field));
                lines.push(std::mem::take(&mut fields));
            }
            ('\r', None) => {}
            _ => field.push(character),
        }
    }
    if let Some(line) = quoted_since {
        return Err(TableError::Quote { line });
    }
    if !field.is_empty() || !fields.is_empty() {
        fields.push(field);
        lines.push(fields);
    }
    lines.retain(|fields: &Vec<String>| fields.iter().any(|field| !field.trim().is_empty()));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Table, String> {
        Table::read(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn json_lines_and_csv_are_told_apart() {
        let json = read("{\"a\": 1, \"b\": {\"value\": 2.5, \"low\": 2}}\n\n{\"a\": 3, \"c\": \"x\"}\n").unwrap();
        assert_eq!(json.numeric(), ["a", "b.low", "b.value"]);
        assert_eq!(json.numbers("b").unwrap(), [Some(2.5), None]);
        let csv = read("a,name\r\n1,\"x, \"\"y\"\"\"\r\n,z\r\n").unwrap();
        assert_eq!(csv.numbers("a").unwrap(), [Some(1.0), None]);
        assert_eq!(csv.texts("name").unwrap(), [Some("x, \"y\"".to_owned()), Some("z".to_owned())]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert_eq!(read(""), Err("the table has no rows".to_owned()));
        assert_eq!(read("a,b\n"), Err("the table has no rows".to_owned()));
        assert_eq!(read("{\"a\": 1}\nnope\n"), Err("line 2 is no JSON object".to_owned()));
        assert_eq!(read("a,b\n1,\"2\n"), Err("the quoted field that begins on line 2 never ends".to_owned()));
        let table = read("a,b\n1,x\n").unwrap();
        assert_eq!(table.numbers("c").unwrap_err().hint(), "columns with numbers: `a`");
        assert_eq!(table.numbers("b").unwrap_err().to_string(), "the column `b` holds no number");
    }
}
