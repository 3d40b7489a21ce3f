//! The figures that are drawn from the cells, each beside its bar.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    results::{Section, digits},
    rivals::{HIREDIS, MULTIPLEXED, OURS, SYNC},
};

/// A figure and what it should be.
pub(super) struct Bar {
    what: String,
    figure: f64,
    bar: f64,
    /// True if less is better.
    at_most: bool,
}

impl Bar {
    fn is_met(&self) -> bool {
        if self.at_most { self.figure <= self.bar } else { self.figure >= self.bar }
    }
}

/// All bars whose figures were measured.
pub(super) fn of(sections: &[Section]) -> Vec<Bar> {
    let mut bars = vec![];
    let cells = sections.iter().flat_map(|section| &section.cells);
    for cell in cells.filter(|cell| cell.name.starts_with("get")) {
        let by = |rival: &str| {
            let figure = |rival| Some(cell.row(rival)?.figure?[0]);
            Some(figure(OURS)? / figure(rival)?)
        };
        let mut add = |what: &str, figure: Option<f64>, bar, at_most| {
            if let Some(figure) = figure {
                bars.push(Bar { what: format!("{}: {what}", cell.name), figure, bar, at_most });
            }
        };
        if cell.name.starts_with("get-many/") {
            let what = "speed by that of an MGET by redis-rs on a blocking connection";
            add(what, by(SYNC).map(f64::recip), 0.95, false);
            let what = "speed by that of an MGET by redis-rs multiplexed";
            add(what, by(MULTIPLEXED).map(f64::recip), 0.95, false);
            let what = "speed by that of an MGET by hiredis";
            add(what, by(HIREDIS).map(f64::recip), 0.95, false);
        } else if cell.name.contains("1-caller") {
            let what = "latency by that of a blocking connection of redis-rs";
            add(what, by(SYNC), 1.15, true);
            let what = "latency by that of redis-rs multiplexed";
            add(what, by(MULTIPLEXED), 1.15, true);
        } else {
            let what = "operations per second by those of redis-rs multiplexed";
            add(what, by(MULTIPLEXED), 2.0, false);
            let reads = cell.row(OURS).and_then(|row| row.reads);
            add("the server's reads per operation", reads, 0.125, true);
        }
    }
    bars
}

pub(super) fn markdown(bars: &[Bar]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if !bars.is_empty() {
        let _ = writeln!(text, "\n## Bars\n\n| what | figure | bar | met |\n|---|---|---|---|");
    }
    for bar in bars {
        let sign = if bar.at_most { "<=" } else { ">=" };
        let met = if bar.is_met() { "yes" } else { "**no**" };
        let Bar { what, figure, bar, .. } = bar;
        let _ = writeln!(text, "| {what} | {} | {sign} {bar} | {met} |", digits(*figure));
    }
    text
}

pub(super) fn json(bars: &[Bar]) -> Value {
    let bar = |bar: &Bar| {
        json!({
            "what": bar.what,
            "figure": bar.figure,
            "bar": bar.bar,
            "at_most": bar.at_most,
            "met": bar.is_met(),
        })
    };
    bars.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::results::{Cell, Row},
        *,
    };

    #[test]
    fn bars_are_drawn_from_the_cells_that_are_there() {
        let rows = |ours: f64, reads: Vec<f64>| {
            vec![Row::of(OURS, vec![ours], reads), Row::of(MULTIPLEXED, vec![100.0], vec![])]
        };
        let cells = vec![
            Cell { name: "get/64-callers".into(), rows: rows(250.0, vec![0.2]) },
            Cell { name: "get/1-caller".into(), rows: rows(110.0, vec![]) },
            Cell { name: "put/1-caller".into(), rows: rows(1.0, vec![]) },
        ];
        let bars = of(&[Section { title: "T", unit: "u", cells }]);
        let shown: Vec<_> = bars.iter().map(|bar| (bar.figure, bar.is_met())).collect();
        assert_eq!(shown, [(2.5, true), (0.2, false), (1.1, true)]);
    }
}
