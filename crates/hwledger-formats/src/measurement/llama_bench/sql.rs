//! `llama-bench -o sql`: `INSERT INTO llama_bench (a, b) VALUES ('1', '2');`, whatever the table's name.

use super::COLUMNS_MAX;
use crate::measurement::RECORDS_MAX;
use crate::measurement::error::MeasurementError;
use crate::measurement::record::{Object, Record, TEXT_MAX, Value};
use crate::measurement::run::MeasuredRun;

/// A place in the text that keeps count of lines.
struct Scanner<'a> {
    rest: &'a str,
    line: u64,
}

impl Scanner<'_> {
    /// Moves behind the next `needle`, whatever its case; whether there is one.
    fn skip_past(&mut self, needle: &str) -> bool {
        let found = self
            .rest
            .as_bytes()
            .windows(needle.len())
            .position(|window| window.eq_ignore_ascii_case(needle.as_bytes()));
        match found {
            None => false,
            // What was found is ASCII, so its end is the boundary of a letter.
            Some(at) => {
                self.advance(at + needle.len());
                true
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.line += passed.matches('\n').count() as u64;
        self.rest = rest;
    }

    fn take(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.advance(letter.len_utf8());
        Some(letter)
    }

    /// The entries up to the closing bracket. A quoted entry may hold anything, its own
    /// quotation marks doubled.
    fn entries(&mut self) -> Result<Vec<String>, MeasurementError> {
        let begin = self.line;
        let mut entries = Vec::new();
        let mut entry = String::new();
        let mut is_quoted = false;
        while let Some(letter) = self.take() {
            match letter {
                '\'' if is_quoted && self.rest.starts_with('\'') => {
                    self.take();
                    entry.push('\'');
                }
                '\'' => is_quoted = !is_quoted,
                ',' if !is_quoted => entries.push(std::mem::take(&mut entry)),
                ')' if !is_quoted => {
                    entries.push(entry);
                    return Ok(entries.into_iter().map(|entry| entry.trim().to_owned()).collect());
                }
                letter if entry.len() < TEXT_MAX => entry.push(letter),
                _ => {}
            }
            if entries.len() > COLUMNS_MAX {
                return Err(MeasurementError::TooMany { line: begin, what: "columns", limit: COLUMNS_MAX });
            }
        }
        Err(MeasurementError::Quotation { line: begin })
    }
}

/// Reads every `INSERT`.
pub(in crate::measurement) fn read_sql(text: &str) -> Result<Vec<MeasuredRun>, MeasurementError> {
    let mut scanner = Scanner { rest: text, line: 1 };
    let mut runs = Vec::new();
    while scanner.skip_past("INSERT INTO") {
        let line = scanner.line;
        if !scanner.skip_past("(") {
            return Err(MeasurementError::Quotation { line });
        }
        let columns = scanner.entries()?;
        if !(scanner.skip_past("VALUES") && scanner.skip_past("(")) {
            return Err(MeasurementError::Quotation { line });
        }
        let values = scanner.entries()?;
        if columns.len() != values.len() {
            return Err(MeasurementError::Cells { line, found: values.len(), expected: columns.len() });
        }
        if runs.len() >= RECORDS_MAX {
            return Err(MeasurementError::TooMany { line, what: "records", limit: RECORDS_MAX });
        }
        let values: Object = columns.into_iter().zip(values.into_iter().map(Value::Text)).collect();
        runs.push(super::run(&Record { values: &values, line, number: runs.len() as u64 + 1 })?);
    }
    if runs.is_empty() {
        return Err(MeasurementError::Nothing("`INSERT INTO` statement"));
    }
    Ok(runs)
}
