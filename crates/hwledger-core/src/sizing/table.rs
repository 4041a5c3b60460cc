//! Reading the data files: columns found by the header line, so that later columns disturb nothing.

/// A table of tab-separated text; lines that begin with `#` are comments.
#[derive(Debug)]
pub(super) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

/// One row of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    table: &'a Table,
    fields: &'a [&'static str],
}

impl Table {
    /// Takes the text apart.
    pub(super) fn read(text: &'static str) -> Self {
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let split = |line: &'static str| line.split('\t').collect::<Vec<_>>();
        let header = lines.next().map(split).unwrap_or_default();
        Self { header, rows: lines.map(split).collect() }
    }

    /// Its rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|fields| Row { table: self, fields })
    }
}

impl Row<'_> {
    /// The text of a column; empty where the row has none.
    pub(super) fn text(&self, column: &str) -> &'static str {
        let index = self.table.header.iter().position(|&title| title == column);
        debug_assert!(index.is_some(), "no column `{column}`");
        index.and_then(|index| self.fields.get(index).copied()).unwrap_or_default()
    }

    /// The text of a column, where there is any.
    pub(super) fn filled(&self, column: &str) -> Option<String> {
        Some(self.text(column)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// A column's value, where it is filled and means one.
    pub(super) fn value<T: std::str::FromStr>(&self, column: &str) -> Option<T> {
        self.text(column).parse().ok()
    }

    /// A number that every row has. The tests read every row of every data file.
    pub(super) fn number(&self, column: &str) -> f64 {
        self.value(column).expect("the data files are part of the program, and tests read every row")
    }
}
