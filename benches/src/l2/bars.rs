//! The figures that are drawn from the cells, each beside its bar.

use tierce_benches::{
    bars::Bar,
    results::{Cell, Section, digits},
};

use super::{
    cells::{DISK_SIZES, OVERWRITES},
    evictions::{LRU, MEAN, S3_FIFO},
    facade::{ALONE, CHECKED},
    rivals::{ARRAY, FOYER, LMDB, LMDB_WRITEMAP, OURS, OURS_MAPPED},
};

/// All that was measured, by name.
struct Figures<'a>(&'a [Section]);

impl Figures<'_> {
    /// The cell whose name begins so.
    fn cell(&self, name: &str) -> Option<&Cell> {
        let mut cells = self.0.iter().flat_map(|section| &section.cells);
        cells.find(|cell| cell.name.starts_with(name))
    }

    fn of(&self, cell: &str, rival: &str) -> Option<f64> {
        self.cell(cell)?.median(rival)
    }

    /// The fastest of those that put one by one and into files: all but ours, the array, and
    /// foyer, whose writer gathers puts.
    fn fastest_unbatched(&self, cell: &str) -> Option<(f64, &'static str)> {
        let rows = &self.cell(cell)?.rows;
        rows.iter()
            .filter(|row| ![OURS, OURS_MAPPED, OVERWRITES, ARRAY, FOYER].contains(&row.rival))
            .filter_map(|row| Some((row.median()?, row.rival)))
            .min_by(|a, b| a.0.total_cmp(&b.0))
    }
}

/// All bars whose figures were measured.
pub(super) fn of(sections: &[Section]) -> Vec<Bar> {
    let figures = Figures(sections);
    let mut bars = vec![];
    let mut add = |what: String, figure: Option<f64>, bar, at_most, note: String| {
        if let Some(figure) = figure {
            let of = if at_most { Bar::at_most } else { Bar::at_least };
            bars.push(of(what, figure, bar).note(note));
        }
    };
    let by = |cell: &str, above: &str, below: &str| {
        Some(figures.of(cell, above)? / figures.of(cell, below)?)
    };
    for (size, bar) in [("100B", 2.0), ("1KiB", 1.7), ("16KiB", 1.3)] {
        let cell = format!("get/{size}/");
        let what = format!("get of {size}, time by the array's");
        add(what, by(&cell, OURS, ARRAY), bar, true, String::new());
    }
    let lmdb = [LMDB, LMDB_WRITEMAP].map(|lmdb| by("get/100B/", lmdb, OURS));
    let lmdb = lmdb.into_iter().flatten().min_by(f64::total_cmp);
    add("get of 100B, LMDB's time by ours".into(), lmdb, 3.0, false, "the faster LMDB".into());
    for size in ["100B", "1KiB"] {
        let cell = format!("put/{size}/");
        if let Some((fastest, rival)) = figures.fastest_unbatched(&cell) {
            let ours = figures.of(&cell, OURS);
            let what = format!("put of {size}, the fastest rival's time by ours");
            add(what, ours.map(|ours| fastest / ours), 4.0, false, rival.into());
        }
        let what = format!("put of {size}, time by the array's");
        add(what, by(&cell, OURS, ARRAY), 4.0, true, String::new());
    }
    let floor = figures.of("miss/", ARRAY).map_or(String::new(), |array| {
        format!("a read of two lines of a table takes {}", digits(array))
    });
    add("get miss, ns".into(), figures.of("miss/", OURS), 60.0, true, floor);
    for size in DISK_SIZES.map(|size| size.name) {
        for (work, bar) in [("put", 2.0), ("get", 0.8)] {
            for ours in [OURS, OURS_MAPPED] {
                let figure = by(&format!("disk-{work}/{size}/"), LMDB, ours);
                let what = format!("disk {work} of {size}, LMDB nosync's time by ours");
                let note = if ours == OURS { "read by pread" } else { "read by mapping" };
                add(what, figure, bar, false, note.into());
            }
        }
    }
    for (work, bar) in [("get", 1.8), ("put", 1.4)] {
        for size in ["100B", "1KiB"] {
            let cell = format!("two-{work}/{size}/");
            let note = figures
                .of(&cell, ARRAY)
                .map_or(String::new(), |array| format!("the array's is {}", digits(array)));
            let what = format!("{work}s of {size} by two processes, throughput by that of one");
            add(what, figures.of(&cell, OURS), bar, false, note);
        }
    }
    for cell in near_hits(sections) {
        let what = format!("{cell}, over L2 by alone");
        add(what, by(&cell, CHECKED, ALONE), 1.25, true, String::new());
    }
    let space = figures.of("file-by-live/100B-10MiB", OURS);
    add("file bytes per live byte, 100 B to 10 MiB".into(), space, 1.06, true, String::new());
    let mean = |rival: &str| figures.of(MEAN, rival);
    let s3 = S3_FIFO.into_iter().filter_map(|name| Some((mean(name)?, name)));
    if let Some((best, name)) = s3.max_by(|a, b| a.0.total_cmp(&b.0)) {
        let what = "points of hit ratio below S3-FIFO's, mean".into();
        add(what, mean(OURS).map(|ours| best - ours), 1.0, true, name.into());
    }
    let above = mean(OURS).zip(mean(LRU)).map(|(ours, lru)| ours - lru);
    add("points of hit ratio above LRU's, mean".into(), above, 0.0, false, String::new());
    let opening = figures.of("open-after-kill/", OURS);
    add("open after kill -9, ms".into(), opening, 100.0, true, String::new());
    bars
}

/// The names of the cells of hits in L1.
fn near_hits(sections: &[Section]) -> Vec<String> {
    let names = sections.iter().flat_map(|section| &section.cells).map(|cell| cell.name.clone());
    names.filter(|name| name.starts_with("near-hit/")).collect()
}

#[cfg(test)]
mod tests {
    use tierce_benches::results::Row;

    use super::*;

    #[test]
    fn bars_are_drawn_from_the_cells_that_are_there() {
        let rows =
            [(OURS, 500.0), (OVERWRITES, 10.0), (ARRAY, 200.0), (FOYER, 20.0), (LMDB, 900.0)];
        let rows = rows.map(|(rival, figure)| Row::of(rival, vec![figure])).into();
        let cells = vec![Cell { name: "put/1KiB/25k".into(), rows }];
        let bars = of(&[Section { title: "T", unit: "ns", cells }]);
        let shown: Vec<_> = bars.iter().map(|bar| (bar.figure(), bar.is_met())).collect();
        assert_eq!(shown, [(1.8, false), (2.5, true)]);
        assert_eq!(bars[0].json()["note"], LMDB);
    }
}
