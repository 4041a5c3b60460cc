//! Aligned columns of text.

/// Rows of cells: the first column to the left, the others to the right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    /// Appends a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as lines, each with `indent` before it.
    pub(crate) fn lines(&self, indent: &str) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.rows
            .iter()
            .map(|row| {
                let cells: Vec<String> = row
                    .iter()
                    .enumerate()
                    .map(|(column, cell)| match column {
                        0 => format!("{cell:<width$}", width = widths[column]),
                        _ => format!("{cell:>width$}", width = widths[column]),
                    })
                    .collect();
                format!("{indent}{}", cells.join("  ")).trim_end().to_owned()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["device", "total"]);
        table.row(vec!["host".to_owned(), "1 GiB".to_owned()]);
        table.row(vec!["RTX 3090".to_owned(), "12 GiB".to_owned()]);
        assert_eq!(table.lines("  "), ["  device     total", "  host       1 GiB", "  RTX 3090  12 GiB"]);
    }
}
