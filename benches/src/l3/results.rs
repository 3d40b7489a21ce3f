//! What was measured: cells of rows, as tables to read and as JSON to compare.

use std::fmt::Write as _;

use serde_json::{Value, json};
use tierce_benches::rounds::median;

/// One load.
pub(super) struct Cell {
    /// Verb, size of values, callers, way to the server.
    pub(super) name: String,
    /// Ours first.
    pub(super) rows: Vec<Row>,
}

/// What one rival did.
pub(super) struct Row {
    pub(super) rival: &'static str,
    /// The middle of its runs, the smallest and the largest of them; none if it took no part.
    pub(super) figure: Option<[f64; 3]>,
    pub(super) runs: usize,
    /// The server's reads for each operation, the middle of the same runs.
    pub(super) reads: Option<f64>,
    /// Why it took no part.
    pub(super) note: String,
}

impl Row {
    /// The middle of some runs, of which there must be one.
    pub(super) fn of(rival: &'static str, mut runs: Vec<f64>, mut reads: Vec<f64>) -> Self {
        let middle = median(&mut runs);
        let figure = Some([middle, runs[0], runs[runs.len() - 1]]);
        let reads = (!reads.is_empty()).then(|| median(&mut reads));
        Self { rival, figure, runs: runs.len(), reads, note: String::new() }
    }

    pub(super) fn absent(rival: &'static str, note: String) -> Self {
        Self { rival, figure: None, runs: 0, reads: None, note }
    }
}

impl Cell {
    /// The row of a rival that took part.
    pub(super) fn row(&self, rival: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.rival == rival && row.figure.is_some())
    }
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
    /// One table for each cell: a line for each rival, losses included.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        if self.cells.is_empty() {
            return text;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n## {}\n\nFigures: {}.", self.title, self.unit);
        for cell in &self.cells {
            let _ = writeln!(
                text,
                "\n### {}\n\n| | median | min..max | ours by this | server's reads per operation |\n\
                 |---|---|---|---|---|",
                cell.name
            );
            let ours = cell.rows.first().and_then(|row| row.figure).map(|figure| figure[0]);
            for row in &cell.rows {
                let Some([middle, min, max]) = row.figure else {
                    let _ = writeln!(text, "| {} | - | {} | | |", row.rival, row.note);
                    continue;
                };
                let ratio = ours.map_or(String::new(), |ours| digits(ours / middle));
                let reads = row.reads.map_or(String::new(), |reads| format!("{reads:.3}"));
                let _ = writeln!(
                    text,
                    "| {} | {} | {}..{} | {ratio} | {reads} |",
                    row.rival,
                    digits(middle),
                    digits(min),
                    digits(max)
                );
            }
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "name": row.rival,
                "median": row.figure.map(|figure| figure[0]),
                "min": row.figure.map(|figure| figure[1]),
                "max": row.figure.map(|figure| figure[2]),
                "runs": row.runs,
                "server_reads_per_operation": row.reads,
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
    fn a_table_shows_losses_and_who_was_absent() {
        let rows = vec![
            Row::of("ours", vec![3.0, 1.0, 2.0], vec![0.5]),
            Row::of("theirs", vec![4.0], vec![]),
            Row::absent("gone", "why".into()),
        ];
        let cells = vec![Cell { name: "get".into(), rows }];
        let text = Section { title: "T", unit: "u", cells }.markdown();
        assert!(text.contains("| ours | 2.00 | 1.00..3.00 | 1.00 | 0.500 |"), "{text}");
        assert!(text.contains("| theirs | 4.00 | 4.00..4.00 | 0.50 |  |"), "{text}");
        assert!(text.contains("| gone | - | why |"), "{text}");
    }
}
