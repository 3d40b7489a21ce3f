//! The ratios and means that are drawn from the cells, each beside its bar.
//!
//! A ratio is the rival's time by ours: 2 means twice our time. In a geometric mean each load has
//! the same weight; gets of uniform and of skewed draws are one load, with half of it each.

use std::fmt::Write as _;

use tierce_benches::bars::Bar;

use super::{
    cells::{Cell, Row},
    data::{Data, Numbers},
    latency, many, memory,
    rivals::NAMES,
};

type Pick = fn(&Row) -> f64;

/// The rival's time by that of `ours`, where both took part.
fn ratio(cell: &Cell, ours: &str, rival: &str, pick: Pick) -> Option<f64> {
    Some(pick(cell.row(rival)?) / pick(cell.row(ours)?))
}

/// Geometric mean with the weights that the head of this file tells.
fn mean(cells: &[Cell], ours: &str, rival: &str, pick: Pick) -> Option<f64> {
    let (mut sum, mut weights) = (0.0, 0.0);
    for cell in cells {
        let weight = if cell.load.is_get() { 0.5 } else { 1.0 };
        sum += weight * ratio(cell, ours, rival, pick)?.ln();
        weights += weight;
    }
    (weights > 0.0).then(|| (sum / weights).exp())
}

/// The cell in which the rival is best.
fn worst<'a>(cells: &'a [Cell], ours: &str, rival: &str) -> Option<(f64, &'a str)> {
    let all =
        cells.iter().filter_map(|cell| Some((ratio(cell, ours, rival, by_median)?, &*cell.name)));
    all.min_by(|a, b| a.0.total_cmp(&b.0))
}

fn by_median(row: &Row) -> f64 {
    row.median
}

fn by_mean(row: &Row) -> f64 {
    row.mean
}

/// The gets of numbers alone.
fn number_gets(cells: &[Cell]) -> Vec<&Cell> {
    cells.iter().filter(|cell| cell.load.is_get() && cell.data == Numbers::NAME).collect()
}

fn number_get_mean(cells: &[Cell], ours: &str, rival: &str) -> Option<f64> {
    let cells = number_gets(cells);
    let logs: Option<Vec<f64>> =
        cells.iter().map(|cell| Some(ratio(cell, ours, rival, by_median)?.ln())).collect();
    let logs = logs.filter(|logs| !logs.is_empty())?;
    Some((logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

/// All bars whose figures were measured.
pub(super) fn of(
    cells: &[Cell],
    memory: &[memory::Row],
    latency: &[latency::Row],
    many: &[many::Row],
) -> Vec<Bar> {
    let ours = NAMES[0];
    let mut bars = vec![];
    let mut add = |what: &str, figure: Option<f64>, bar, stretch, at_most, note: String| {
        if let Some(figure) = figure {
            let of = if at_most { Bar::at_most } else { Bar::at_least };
            let bar = of(what.to_owned(), figure, bar).note(note);
            bars.push(match stretch {
                Some(stretch) => bar.stretch(stretch),
                None => bar,
            });
        }
    };
    let over = format!("{} cells", cells.len());
    let quick = mean(cells, ours, "quick_cache", by_median);
    add("throughput by quick_cache's, mean", quick, 1.5, Some(2.0), false, over.clone());
    if let Some((figure, cell)) = worst(cells, ours, "quick_cache") {
        let what = "throughput by quick_cache's, worst cell";
        add(what, Some(figure), 0.95, None, false, cell.into());
    }
    let gets = number_get_mean(cells, ours, "quick_cache");
    let number = format!("{} cells", number_gets(cells).len());
    add("gets of u64 by quick_cache's, mean", gets, 2.0, Some(2.8), false, number);
    let moka = mean(cells, ours, "moka", by_median);
    add("throughput by moka's, mean", moka, 6.0, Some(10.0), false, over.clone());
    let moka = mean(cells, ours, "moka+weight+ttl", by_median);
    add("throughput by moka+weight+ttl's, mean", moka, 6.0, Some(10.0), false, over);
    if let Some(row) = memory.iter().find(|row| row.rival == ours) {
        let of = |rival: &str, part: fn(&memory::Row) -> f64| {
            let row = memory.iter().find(|row| row.rival == rival);
            row.map_or(String::new(), |row| format!("{rival} {:.1}", part(row)))
        };
        let full = |row: &memory::Row| row.full.resident.max(row.full.allocated);
        let later =
            |row: &memory::Row| row.after_turnover.resident.max(row.after_turnover.allocated);
        let what = "bytes per entry, full, the larger figure";
        add(what, Some(full(row)), 32.0, Some(24.0), true, of("quick_cache", full));
        let what = "bytes per entry after 3x turnover, the larger figure";
        add(what, Some(later(row)), 40.0, None, true, of("quick_cache", later));
    }
    for (data, skew) in
        [("u64", "uniform"), ("u64", "zipf-0.99"), ("text", "uniform"), ("text", "zipf-0.99")]
    {
        let find = |way: &str| {
            let row = |row: &&many::Row| row.data == data && row.skew == skew && row.way == way;
            many.iter().find(row).map(|row| row.median)
        };
        if let (Some(gets), Some(many)) = (find(many::GETS), find(many::GET_MANY)) {
            let what = format!("get_many of 100 keys by 100 gets, {data}, {skew}");
            add(&what, Some(gets / many), 2.0, Some(3.0), false, String::new());
        }
    }
    for table in ["full", "growing"] {
        let find = |rival: &str| {
            let row = |row: &&latency::Row| row.table == table && row.rival == rival;
            latency.iter().find(row).map(latency::Row::p9999)
        };
        if let (Some(figure), Some(quick)) = (find(ours), find("quick_cache")) {
            let what = format!("p99.99 of insert, {table}, ns");
            let note = format!("the bar is quick_cache's {quick:.0}");
            add(&what, Some(figure), quick, None, true, note);
        }
    }
    bars
}

/// Our rows beside each rival.
pub(super) fn means(cells: &[Cell]) -> String {
    let mut text = String::new();
    if cells.is_empty() || cells[0].rows.len() < 2 {
        return text;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n## Times by ours, geometric means over {} cells\n\n\
         Above 1 the rival is slower. Mean (by means of batches instead of medians); gets of u64; \
         worst cell of ours; cells lost.\n",
        cells.len()
    );
    let rivals = cells[0].rows.iter().map(|row| row.rival);
    let (ours, others): (Vec<_>, Vec<_>) = rivals.partition(|name| name.starts_with("tierce"));
    let _ = writeln!(text, "| | {} |", ours.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(ours.len()));
    for rival in others {
        let _ = write!(text, "| {rival} |");
        for ours in &ours {
            let figures = (
                mean(cells, ours, rival, by_median),
                mean(cells, ours, rival, by_mean),
                worst(cells, ours, rival),
            );
            let (Some(median), Some(means), Some((worst, cell))) = figures else { continue };
            let gets = number_get_mean(cells, ours, rival)
                .map_or(String::new(), |gets| format!("; gets {gets:.2}"));
            let lost =
                |cell: &&Cell| ratio(cell, ours, rival, by_median).is_some_and(|ratio| ratio < 1.0);
            let lost = cells.iter().filter(lost).count();
            let _ = write!(text, " {median:.2} ({means:.2}){gets}; {worst:.2} {cell}; {lost} |");
        }
        text.push('\n');
    }
    text
}
