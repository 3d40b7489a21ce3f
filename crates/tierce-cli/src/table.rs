//! Tables of plain text: columns as wide as their widest cell, numbers to the right.

use std::io::{self, Write};

/// How the cells of a column are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table that is being filled.
pub(crate) struct Table {
    head: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(head: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        Self { head: head.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row; cells that it lacks stay empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes head, rule and rows; no line ends in blanks.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = |column: usize, head: &str| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(head.len())
        };
        let widths: Vec<usize> =
            self.head.iter().enumerate().map(|(column, (head, _))| width(column, head)).collect();
        let head = self.head.iter().map(|(head, _)| (*head).to_owned()).collect();
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect();
        for row in [&head, &rule].into_iter().chain(&self.rows) {
            self.write_row(out, row, &widths)?;
        }
        Ok(())
    }

    fn write_row(&self, out: &mut dyn Write, row: &[String], widths: &[usize]) -> io::Result<()> {
        let mut line = String::new();
        for ((cell, width), (_, align)) in row.iter().zip(widths).zip(&self.head) {
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (before, after) = match align {
                Align::Left => ("", blanks.as_str()),
                Align::Right => (blanks.as_str(), ""),
            };
            line.push_str(before);
            line.push_str(cell);
            line.push_str(after);
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table =
            Table::new([("key", Align::Left), ("n", Align::Right), ("end", Align::Left)]);
        table.row(["a".into(), "1".into(), "x".into()]);
        table.row(["long µ".into(), "1000".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let wanted = "key        n  end\n------  ----  ---\na          1  x\nlong µ  1000\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}
