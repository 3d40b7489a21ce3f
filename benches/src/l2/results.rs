//! What was measured: cells of rows, as tables to read and as JSON to compare.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tierce_benches::rounds::median;

/// One load, or one question.
pub(super) struct Cell {
    /// What, size of values, number of entries.
    pub(super) name: String,
    /// Ours first.
    pub(super) rows: Vec<Row>,
}

/// What one rival took.
pub(super) struct Row {
    pub(super) rival: &'static str,
    /// The middle of its runs, the smallest and the largest of them.
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) runs: usize,
    /// A second figure of the same runs, where there is one.
    pub(super) aside: Option<f64>,
    /// What must be said of it.
    pub(super) note: String,
}

impl Row {
    /// The middle of some runs, of which there must be one.
    pub(super) fn of(rival: &'static str, mut runs: Vec<f64>) -> Self {
        let median = median(&mut runs);
        let (min, max) = (runs[0], runs[runs.len() - 1]);
        Self { rival, median, min, max, runs: runs.len(), aside: None, note: String::new() }
    }
}

impl Cell {
    /// The row of a rival that took part.
    pub(super) fn row(&self, rival: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.rival == rival)
    }
}

/// The median of a rival in the cell whose name begins so.
pub(super) fn figure(cells: &[Cell], name: &str, rival: &str) -> Option<f64> {
    let cell = cells.iter().find(|cell| cell.name.starts_with(name))?;
    cell.row(rival).map(|row| row.median)
}

/// A number with as many digits as it deserves.
pub(super) fn digits(number: f64) -> String {
    let size = number.abs();
    let digits = if size < 10.0 {
        2
    } else if size < 100.0 {
        1
    } else {
        0
    };
    format!("{number:.digits$}")
}

/// A section: cells with one unit, under one title.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) cells: Vec<Cell>,
}

impl Section {
    /// One table: a line for each cell, a column for each rival.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        if self.cells.is_empty() {
            return text;
        }
        let mut rivals: Vec<&str> = vec![];
        for row in self.cells.iter().flat_map(|cell| &cell.rows) {
            if !rivals.contains(&row.rival) {
                rivals.push(row.rival);
            }
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "\n## {}\n\n{}: median (min..max) of rounds; × = by the first column's.\n\n| | {} |",
            self.title,
            self.unit,
            rivals.join(" | ")
        );
        let _ = writeln!(text, "|---|{}", "---|".repeat(rivals.len()));
        for cell in &self.cells {
            let _ = write!(text, "| {} |", cell.name);
            for rival in &rivals {
                let Some(row) = cell.row(rival) else {
                    text += " |";
                    continue;
                };
                let Row { median, min, max, .. } = row;
                let _ = write!(text, " {} ({}..{})", digits(*median), digits(*min), digits(*max));
                if row.rival != cell.rows[0].rival {
                    let _ = write!(text, " ×{:.2}", median / cell.rows[0].median);
                }
                if !row.note.is_empty() {
                    let _ = write!(text, "; {}", row.note);
                }
                text += " |";
            }
            text.push('\n');
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "name": row.rival,
                "median": row.median,
                "min": row.min,
                "max": row.max,
                "runs": row.runs,
                "aside": row.aside,
                "note": row.note,
            })
        };
        let cell = |cell: &Cell| json!({ "name": cell.name, "rows": cell.rows.iter().map(row).collect::<Value>() });
        json!({
            "title": self.title,
            "unit": self.unit,
            "cells": self.cells.iter().map(cell).collect::<Value>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_column_for_each_rival_and_a_gap_where_one_was_not() {
        let of = |rival, figure| Row::of(rival, vec![figure, 2.0 * figure, figure]);
        let section = Section {
            title: "T",
            unit: "ns",
            cells: vec![
                Cell { name: "a".into(), rows: vec![of("x", 100.0), of("y", 150.0)] },
                Cell { name: "b".into(), rows: vec![of("y", 3.0)] },
            ],
        };
        let text = section.markdown();
        assert!(text.contains("| a | 100 (100..200) | 150 (150..300) ×1.50 |"), "{text}");
        assert!(text.contains("| b | | 3.00 (3.00..6.00) |"), "{text}");
        assert_eq!(figure(&section.cells, "a", "y"), Some(150.0));
        assert_eq!(section.json()["cells"][1]["rows"][0]["runs"], 3);
    }
}
