//! The figures that are drawn from the cells, each beside its bar.

use tierce_benches::{bars::Bar, results::Section};

use super::rivals::{HIREDIS, MULTIPLEXED, OURS, SYNC};

/// All bars whose figures were measured.
pub(super) fn of(sections: &[Section]) -> Vec<Bar> {
    let mut bars = vec![];
    let cells = sections.iter().flat_map(|section| &section.cells);
    for cell in cells.filter(|cell| cell.name.starts_with("get")) {
        let by = |rival: &str| Some(cell.median(OURS)? / cell.median(rival)?);
        let mut add = |what: &str, figure: Option<f64>, bar, at_most| {
            if let Some(figure) = figure {
                let of = if at_most { Bar::at_most } else { Bar::at_least };
                bars.push(of(format!("{}: {what}", cell.name), figure, bar));
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
            let reads = cell.row(OURS).and_then(|row| row.aside);
            add("the server's reads per operation", reads, 0.125, true);
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use tierce_benches::results::{Cell, Row};

    use super::*;

    #[test]
    fn bars_are_drawn_from_the_cells_that_are_there() {
        let rows = |ours: f64, reads: Option<f64>| {
            let ours = Row { aside: reads, ..Row::of(OURS, vec![ours]) };
            vec![ours, Row::of(MULTIPLEXED, vec![100.0])]
        };
        let cells = vec![
            Cell { name: "get/64-callers".into(), rows: rows(250.0, Some(0.2)) },
            Cell { name: "get/1-caller".into(), rows: rows(110.0, None) },
            Cell { name: "put/1-caller".into(), rows: rows(1.0, None) },
        ];
        let bars = of(&[Section { title: "T", unit: "u", cells }]);
        let shown: Vec<_> = bars.iter().map(|bar| (bar.figure(), bar.is_met())).collect();
        assert_eq!(shown, [(2.5, true), (0.2, false), (1.1, true)]);
    }
}
