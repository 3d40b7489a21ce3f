//! What was measured: cells of rows, as tables to read and as JSON to compare.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::rounds::median;

/// Cells with one unit, under one title.
pub struct Section {
    /// Over the table.
    pub title: &'static str,
    /// Of all figures.
    pub unit: &'static str,
    /// One for each load.
    pub cells: Vec<Cell>,
}

/// One load, or one question.
pub struct Cell {
    /// What is done, then what tells it from the others: sizes, numbers, callers.
    pub name: String,
    /// Ours first.
    pub rows: Vec<Row>,
}

/// What one rival did.
pub struct Row {
    /// Its name.
    pub rival: &'static str,
    /// None if it took no part; the note says why.
    pub figure: Option<Figure>,
    /// A second figure of the same runs, where there is one.
    pub aside: Option<f64>,
    /// What must be said of it.
    pub note: String,
}

/// What is made of some runs.
#[derive(Clone, Copy)]
pub struct Figure {
    /// The run in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many.
    pub runs: usize,
}

impl Row {
    /// The middle of some runs, of which there must be one.
    pub fn of(rival: &'static str, mut runs: Vec<f64>) -> Self {
        let median = median(&mut runs);
        let figure = Figure { median, min: runs[0], max: runs[runs.len() - 1], runs: runs.len() };
        Self { rival, figure: Some(figure), aside: None, note: String::new() }
    }

    /// One that took no part, and why.
    pub fn absent(rival: &'static str, note: String) -> Self {
        Self { rival, figure: None, aside: None, note }
    }

    /// The run in the middle, if it took part.
    pub fn median(&self) -> Option<f64> {
        self.figure.map(|figure| figure.median)
    }

    fn json(&self) -> Value {
        let Self { rival, figure, aside, note } = self;
        json!({
            "name": rival,
            "median": figure.map(|figure| figure.median),
            "min": figure.map(|figure| figure.min),
            "max": figure.map(|figure| figure.max),
            "runs": figure.map_or(0, |figure| figure.runs),
            "aside": aside,
            "note": note,
        })
    }
}

impl Cell {
    /// The row of a rival.
    pub fn row(&self, rival: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.rival == rival)
    }

    /// The middle run of a rival that took part.
    pub fn median(&self, rival: &str) -> Option<f64> {
        self.row(rival)?.median()
    }

    fn json(&self) -> Value {
        let rows: Value = self.rows.iter().map(Row::json).collect();
        json!({ "name": self.name, "rows": rows })
    }
}

impl Section {
    /// One table: a line for each cell, a column for each rival.
    pub fn table(&self) -> String {
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
                match row.figure {
                    Some(Figure { median, min, max, .. }) => {
                        let [median, min, max] = [median, min, max].map(digits);
                        let _ = write!(text, " {median} ({min}..{max})");
                    }
                    None => text += " -",
                }
                let first = &cell.rows[0];
                if let (Some(median), Some(by)) = (row.median(), first.median())
                    && row.rival != first.rival
                {
                    let _ = write!(text, " ×{:.2}", median / by);
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

    /// A table for each cell: a line for each rival, losses included; `aside` is what the second
    /// figures are.
    pub fn tables(&self, aside: &str) -> String {
        let mut text = String::new();
        if self.cells.is_empty() {
            return text;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n## {}\n\nFigures: {}.", self.title, self.unit);
        for cell in &self.cells {
            let _ = writeln!(
                text,
                "\n### {}\n\n| | median | min..max | ours by this | {aside} |\n\
                 |---|---|---|---|---|",
                cell.name
            );
            let ours = cell.rows.first().and_then(Row::median);
            for row in &cell.rows {
                let Some(Figure { median, min, max, .. }) = row.figure else {
                    let _ = writeln!(text, "| {} | - | {} | | |", row.rival, row.note);
                    continue;
                };
                let ratio = ours.map_or(String::new(), |ours| digits(ours / median));
                let aside = row.aside.map_or(String::new(), |aside| format!("{aside:.3}"));
                let [median, min, max] = [median, min, max].map(digits);
                let _ = writeln!(
                    text,
                    "| {} | {median} | {min}..{max} | {ratio} | {aside} |",
                    row.rival
                );
            }
        }
        text
    }

    /// All of it.
    pub fn json(&self) -> Value {
        let cells: Value = self.cells.iter().map(Cell::json).collect();
        json!({ "title": self.title, "unit": self.unit, "cells": cells })
    }
}

/// A number with as many digits as it deserves.
pub fn digits(number: f64) -> String {
    // What would be rounded up to 10 or 100 is shown as these are.
    let digits = match number.abs() {
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_or_all_before_the_point() {
        let numbers = [0.0, -1.234, 9.994, 9.996, 99.94, 99.96, 1234.4];
        let shown = ["0.00", "-1.23", "9.99", "10.0", "99.9", "100", "1234"];
        assert_eq!(numbers.map(digits), shown);
    }

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
        let text = section.table();
        assert!(text.contains("| a | 100 (100..200) | 150 (150..300) ×1.50 |"), "{text}");
        assert!(text.contains("| b | | 3.00 (3.00..6.00) |"), "{text}");
        assert_eq!(section.cells[0].median("y"), Some(150.0));
        assert_eq!(section.json()["cells"][1]["rows"][0]["runs"], 3);
    }

    #[test]
    fn tables_show_losses_and_who_was_absent() {
        let mut ours = Row::of("ours", vec![3.0, 1.0, 2.0]);
        ours.aside = Some(0.5);
        let rows = vec![ours, Row::of("theirs", vec![4.0]), Row::absent("gone", "why".into())];
        let cells = vec![Cell { name: "get".into(), rows }];
        let section = Section { title: "T", unit: "u", cells };
        let text = section.tables("asides");
        assert!(text.contains("ours by this | asides |"), "{text}");
        assert!(text.contains("| ours | 2.00 | 1.00..3.00 | 1.00 | 0.500 |"), "{text}");
        assert!(text.contains("| theirs | 4.00 | 4.00..4.00 | 0.50 |  |"), "{text}");
        assert!(text.contains("| gone | - | why |"), "{text}");
        assert_eq!(section.cells[0].median("gone"), None);
        assert!(section.json()["cells"][0]["rows"][2]["median"].is_null());
    }
}
