//! `llama-bench -o csv`.

use super::{COLUMNS_MAX, LINE_BYTES_MAX};
use crate::measurement::RECORDS_MAX;
use crate::measurement::error::MeasurementError;
use crate::measurement::record::{Object, Record, TEXT_MAX, Value};
use crate::measurement::run::MeasuredRun;

/// Reads a header line and the rows below it; further header lines begin anew.
pub(in crate::measurement) fn read_csv(text: &str) -> Result<Vec<MeasuredRun>, MeasurementError> {
    let mut header: Vec<String> = Vec::new();
    let mut runs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index as u64 + 1;
        if line.trim().is_empty() {
            continue;
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(MeasurementError::TooMany { line: number, what: "bytes of one line", limit: LINE_BYTES_MAX });
        }
        let cells = cells(line, number)?;
        if cells.iter().any(|cell| cell == "avg_ts") {
            header = cells;
            continue;
        }
        if header.is_empty() {
            continue;
        }
        if cells.len() != header.len() {
            return Err(MeasurementError::Cells { line: number, found: cells.len(), expected: header.len() });
        }
        if runs.len() >= RECORDS_MAX {
            return Err(MeasurementError::TooMany { line: number, what: "records", limit: RECORDS_MAX });
        }
        let values: Object = header.iter().cloned().zip(cells.into_iter().map(Value::Text)).collect();
        runs.push(super::run(&Record { values: &values, line: number, number: runs.len() as u64 + 1 })?);
    }
    if header.is_empty() {
        return Err(MeasurementError::Nothing("header line with `avg_ts`"));
    }
    Ok(runs)
}

/// The cells of one line; quotation marks inside a quoted cell are doubled.
fn cells(line: &str, number: u64) -> Result<Vec<String>, MeasurementError> {
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut is_quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            letter if cell.len() < TEXT_MAX => cell.push(letter),
            _ => {}
        }
        if cells.len() > COLUMNS_MAX {
            return Err(MeasurementError::TooMany { line: number, what: "columns", limit: COLUMNS_MAX });
        }
    }
    if is_quoted {
        return Err(MeasurementError::Quotation { line: number });
    }
    cells.push(cell);
    Ok(cells)
}
