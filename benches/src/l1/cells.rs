//! Throughput: the cells of load x data x size x threads, each measured for all rivals in turn.
//!
//! The caches of a data type and a size are made once and go from load to load, always in the
//! order of [`LOADS`] and always through the same preparations, so that a cell measures the same
//! state whether or not the cells before it were wanted:
//!
//! | loads | state before |
//! |---|---|
//! | get | 80 % full, nothing was ever evicted |
//! | mixed | full, after reads-through of twice as many draws as entries from 2 x entries keys |
//! | read-through | after reads-through of as many draws as entries from 4 x entries keys |
//! | all-miss | after inserts of as many keys as entries that were never seen before |
//!
//! Keys lie in memory in the order in which they are asked for. A large cache gets other draws in
//! each round: a section that is short beside the cache would be resident from the second round
//! on. A small one gets the same section again, which is many times its size.

use std::{fmt::Write as _, time::Duration};

use fastrand::Rng;
use serde_json::{Value, json};
use tierce_benches::{
    arguments::Arguments,
    load::{Lottery, Skew, shuffled},
    results::digits,
    rounds::{median, turns},
};

use super::{
    arguments::many_entries,
    data::{Data, Numbers, Texts},
    rivals::{Contender, NAMES, contender},
    timing::{BATCH, Job, Run, Way, Work},
};

pub(super) const SEED: u64 = 7;

/// What is asked of the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Load {
    GetUniform,
    GetZipf,
    Mixed95,
    Mixed75,
    ReadThrough,
    AllMiss,
}

/// In the order in which they are measured.
pub(super) const LOADS: [Load; 6] = [
    Load::GetUniform,
    Load::GetZipf,
    Load::Mixed95,
    Load::Mixed75,
    Load::ReadThrough,
    Load::AllMiss,
];

impl Load {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GetUniform => "get-uniform",
            Self::GetZipf => "get-zipf",
            Self::Mixed95 => "mixed-95-5",
            Self::Mixed75 => "mixed-75-25",
            Self::ReadThrough => "read-through",
            Self::AllMiss => "all-miss",
        }
    }

    fn work(self) -> Work {
        match self {
            Self::GetUniform | Self::GetZipf => Work::Get,
            Self::Mixed95 => Work::Mixed(20),
            Self::Mixed75 => Work::Mixed(4),
            Self::ReadThrough => Work::ReadThrough,
            Self::AllMiss => Work::Insert,
        }
    }

    /// True for reads of what is there.
    pub(super) fn is_get(self) -> bool {
        self.work() == Work::Get
    }

    /// Where its keys come from; `None` where each is new.
    fn lottery(self, entries: usize) -> Option<Lottery> {
        match self {
            Self::GetUniform => Some(Lottery::new(Skew::Uniform, resident(entries))),
            Self::GetZipf => Some(Lottery::new(Skew::Zipf, resident(entries))),
            Self::Mixed95 | Self::Mixed75 => Some(Lottery::new(Skew::Zipf, 2 * entries)),
            Self::ReadThrough => Some(Lottery::new(Skew::Zipf, 4 * entries)),
            Self::AllMiss => None,
        }
    }
}

/// The keys that gets ask for: few enough that no shard is full.
pub(super) fn resident(entries: usize) -> usize {
    entries * 8 / 10
}

/// A cell and what it gave.
pub(super) struct Cell {
    pub(super) name: String,
    pub(super) load: Load,
    pub(super) data: &'static str,
    pub(super) entries: usize,
    pub(super) threads: usize,
    pub(super) rows: Vec<Row>,
}

/// What one rival gave in one cell.
pub(super) struct Row {
    pub(super) rival: &'static str,
    /// The faster way, where there are two.
    way: Way,
    /// Nanoseconds per operation: the run in the middle, the shortest, the longest.
    pub(super) median: f64,
    min: f64,
    max: f64,
    /// The same of the runs' means.
    pub(super) mean: f64,
    hit_ratio: f64,
    /// The share of batches during which both threads were at work, in the run in the middle.
    together: f64,
    runs: usize,
}

impl Row {
    fn new(rival: &'static str, way: Way, runs: &[Run]) -> Self {
        let middle =
            |value: fn(&Run) -> f64| median(&mut runs.iter().map(value).collect::<Vec<_>>());
        let times = || runs.iter().map(|run| run.nanoseconds);
        Self {
            rival,
            way,
            median: middle(|run| run.nanoseconds),
            min: times().fold(f64::INFINITY, f64::min),
            max: times().fold(0.0, f64::max),
            mean: middle(|run| run.mean),
            hit_ratio: middle(|run| run.hit_ratio),
            together: middle(|run| run.together),
            runs: runs.len(),
        }
    }
}

impl Cell {
    pub(super) fn row(&self, rival: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.rival == rival)
    }
}

/// How much is run in a cell.
struct Effort {
    /// Operations of a thread in a run, a multiple of the batch.
    operations: usize,
    /// Runs that need keys of their own.
    sets: usize,
    limit: Duration,
}

impl Effort {
    fn of(load: Load, entries: usize, arguments: &Arguments) -> Self {
        let small = entries < 100_000;
        let operations = match load {
            Load::AllMiss => 1 << 16,
            _ if small => 1 << 18,
            _ => 1 << 17,
        };
        let operations = if arguments.quick { operations / 16 } else { operations };
        let runs = (arguments.rounds + 1) * if load == Load::ReadThrough { 2 } else { 1 };
        let repeats = small && load != Load::AllMiss;
        Self {
            operations,
            sets: if repeats { 1 } else { runs },
            limit: Duration::from_millis(if arguments.quick { 8 } else { 60 }),
        }
    }
}

/// What the caches have been through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Resident,
    TwiceTheKeys,
    FourTimesTheKeys,
    NewKeys,
}

/// All rivals for one data type and one size.
struct Block<D: Data> {
    entries: usize,
    rivals: Vec<Box<dyn Contender<D>>>,
    stage: Stage,
    /// The first number that was never a key.
    fresh: u32,
}

impl<D: Data> Block<D> {
    fn new(names: &[&'static str], entries: usize) -> Self {
        let rivals: Vec<_> = names.iter().map(|name| contender::<D>(name, entries)).collect();
        let numbers = shuffled(resident(entries), SEED);
        for rival in &rivals {
            rival.fill(&mut numbers.iter().copied());
        }
        Self { entries, rivals, stage: Stage::Resident, fresh: 4 * entries as u32 }
    }

    /// Brings the caches into the state that the load is about.
    fn prepare(&mut self, load: Load) {
        let wanted = match load {
            Load::GetUniform | Load::GetZipf => Stage::Resident,
            Load::Mixed95 | Load::Mixed75 => Stage::TwiceTheKeys,
            Load::ReadThrough => Stage::FourTimesTheKeys,
            Load::AllMiss => Stage::NewKeys,
        };
        let entries = self.entries;
        if self.stage < Stage::TwiceTheKeys && wanted >= Stage::TwiceTheKeys {
            self.read_through(2 * entries, 2 * entries);
        }
        if self.stage < Stage::FourTimesTheKeys && wanted >= Stage::FourTimesTheKeys {
            self.read_through(4 * entries, entries);
        }
        if self.stage < Stage::NewKeys && wanted >= Stage::NewKeys {
            let numbers = self.fresh..self.fresh + entries as u32;
            self.fresh = numbers.end;
            for rival in &self.rivals {
                rival.fill(&mut numbers.clone());
            }
        }
        self.stage = self.stage.max(wanted);
    }

    fn read_through(&self, keys: usize, draws: usize) {
        let lottery = Lottery::new(Skew::Zipf, keys);
        let mut random = Rng::with_seed(SEED + keys as u64);
        let numbers: Vec<u32> = (0..draws).map(|_| lottery.draw(&mut random)).collect();
        for rival in &self.rivals {
            rival.read_through(&numbers);
        }
    }

    /// Keys of each thread for so many runs.
    fn sets(
        &mut self,
        load: Load,
        threads: usize,
        operations: usize,
        sets: usize,
    ) -> Vec<Vec<Vec<D::Key>>> {
        let lottery = load.lottery(self.entries);
        let mut random = Rng::with_seed(SEED + 100 * load as u64 + threads as u64);
        let mut number = || match &lottery {
            Some(lottery) => lottery.draw(&mut random),
            None => {
                self.fresh += 1;
                self.fresh - 1
            }
        };
        let mut keys = || (0..operations).map(|_| D::key(number())).collect();
        (0..sets).map(|_| (0..threads).map(|_| keys()).collect()).collect()
    }

    fn measure(&mut self, load: Load, threads: usize, arguments: &Arguments) -> Vec<Row> {
        self.prepare(load);
        let effort = Effort::of(load, self.entries, arguments);
        let sets = self.sets(load, threads, effort.operations, effort.sets);
        let mut entrants: Vec<(&dyn Contender<D>, Way, Vec<Run>)> = vec![];
        for rival in &self.rivals {
            let ways = if load == Load::ReadThrough { rival.ways() } else { &rival.ways()[..1] };
            entrants.extend(ways.iter().map(|way| (rival.as_ref(), *way, vec![])));
        }
        // The first round warms up. Two ways of one rival never use the same draws: the second
        // would find what the first has stored.
        for (round, index) in turns(entrants.len(), arguments.rounds + 1) {
            let (rival, way, runs) = &mut entrants[index];
            let set = &sets[(2 * round + usize::from(*way == Way::Native)) % sets.len()];
            let keys = set.iter().map(Vec::as_slice).collect();
            let run = rival.run(&Job { work: load.work(), way: *way, keys, limit: effort.limit });
            if round > 0 {
                runs.push(run);
            }
        }
        let mut rows: Vec<Row> = vec![];
        for (rival, way, runs) in &entrants {
            let row = Row::new(rival.name(), *way, runs);
            match rows.last_mut().filter(|last| last.rival == row.rival) {
                Some(last) if last.median <= row.median => {}
                Some(last) => *last = row,
                None => rows.push(row),
            }
        }
        rows
    }
}

/// The name of a cell, as `--only` sees it.
fn name_of(load: Load, data: &str, entries: usize, threads: usize) -> String {
    format!("{}/{data}/{}/{threads}t", load.name(), size_name(entries))
}

pub(super) fn size_name(entries: usize) -> String {
    match entries {
        1_000_000 => "1M".into(),
        _ => format!("{}k", entries / 1_000),
    }
}

/// Measures the cells that are wanted.
pub(super) fn measure(arguments: &Arguments) -> Vec<Cell> {
    let mut cells = vec![];
    for entries in [10_000, many_entries(arguments)] {
        cells.extend(measure_block::<Numbers>(arguments, entries));
        cells.extend(measure_block::<Texts>(arguments, entries));
    }
    cells
}

fn measure_block<D: Data>(arguments: &Arguments, entries: usize) -> Vec<Cell> {
    let wanted = |load: Load, threads| arguments.wants(&name_of(load, D::NAME, entries, threads));
    let mut block = None;
    let mut cells = vec![];
    for load in LOADS {
        for threads in [1, 2] {
            if !wanted(load, threads) {
                continue;
            }
            let block = block.get_or_insert_with(|| Block::<D>::new(&arguments.rivals, entries));
            let name = name_of(load, D::NAME, entries, threads);
            eprintln!("{name}");
            let rows = block.measure(load, threads, arguments);
            for row in rows.iter().filter(|row| load.is_get() && row.hit_ratio < 0.98) {
                eprintln!("  {} holds only {:.3} of what is read", row.rival, row.hit_ratio);
            }
            cells.push(Cell { name, load, data: D::NAME, entries, threads, rows });
        }
    }
    cells
}

/// Does the operations of one cell, by ours or by the one rival that was named.
pub(super) fn profile(arguments: &Arguments, cell: &str, operations: usize) -> Result<(), String> {
    for entries in [10_000, many_entries(arguments)] {
        for (load, threads) in LOADS.into_iter().flat_map(|load| [(load, 1), (load, 2)]) {
            if name_of(load, Numbers::NAME, entries, threads) == cell {
                profile_one::<Numbers>(arguments, load, entries, threads, operations);
                return Ok(());
            }
            if name_of(load, Texts::NAME, entries, threads) == cell {
                profile_one::<Texts>(arguments, load, entries, threads, operations);
                return Ok(());
            }
        }
    }
    Err(format!("no cell {cell:?}; one is get-uniform/u64/10k/1t"))
}

fn profile_one<D: Data>(
    arguments: &Arguments,
    load: Load,
    entries: usize,
    threads: usize,
    operations: usize,
) {
    let all = arguments.all_rivals();
    let rival = if all { NAMES[0] } else { arguments.rivals[arguments.rivals.len() - 1] };
    let mut block = Block::<D>::new(&[rival], entries);
    block.prepare(load);
    let mut left = operations;
    let mut sets = vec![];
    while left > 0 {
        let part = left.min(1 << 17).next_multiple_of(BATCH);
        if sets.is_empty() || load == Load::AllMiss {
            sets = block.sets(load, threads, part, 1);
        }
        profiled_part(block.rivals[0].as_ref(), load, &sets[0]);
        left = left.saturating_sub(part);
    }
    eprintln!("{rival}: {operations} operations of each of {threads} threads");
}

/// A function of its own, so that a profiler can be told to begin here.
#[inline(never)]
fn profiled_part<D: Data>(rival: &dyn Contender<D>, load: Load, set: &[Vec<D::Key>]) {
    let keys = set.iter().map(Vec::as_slice).collect();
    rival.run(&Job {
        work: load.work(),
        way: rival.ways()[0],
        keys,
        limit: Duration::from_hours(1),
    });
}

/// A table for each data type and size: a row for each rival, a column for each load and number
/// of threads.
pub(super) fn markdown(cells: &[Cell]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for block in cells.chunk_by(|a, b| (a.data, a.entries) == (b.data, b.entries)) {
        let what = match block[0].data {
            Numbers::NAME => "u64 -> u64",
            _ => "32 B String -> 256 B Bytes",
        };
        let _ = writeln!(text, "\n## {what}, {} entries\n", size_name(block[0].entries));
        let _ = writeln!(text, "ns per operation (times ours: above 1 the rival is slower)\n");
        let column = |cell: &Cell| format!("{} {}t", cell.load.name(), cell.threads);
        let columns: Vec<String> = block.iter().map(column).collect();
        let _ = writeln!(text, "| | {} |", columns.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(columns.len()));
        for (index, first) in block[0].rows.iter().enumerate() {
            let _ = write!(text, "| {} |", first.rival);
            for cell in block {
                let row = &cell.rows[index];
                let _ = write!(text, " {}", digits(row.median));
                if index > 0 {
                    let _ = write!(text, " ({:.2})", row.median / cell.rows[0].median);
                }
                text.push_str(" |");
            }
            text.push('\n');
        }
        let spread = |row: &Row| (row.max - row.min) / row.median;
        let mut spreads: Vec<f64> =
            block.iter().flat_map(|cell| cell.rows.iter().map(spread)).collect();
        let middle = median(&mut spreads);
        let _ = writeln!(
            text,
            "\nSpread, (max - min) / median of {} rounds: {:.0} % in the middle cell, {:.0} % in \
             nine of ten.",
            block[0].rows[0].runs,
            middle * 100.0,
            spreads[(spreads.len() - 1) * 9 / 10] * 100.0
        );
        let pairs = block.iter().filter(|cell| cell.threads == 2);
        let shares: Vec<f64> =
            pairs.flat_map(|cell| cell.rows.iter().map(|row| row.together)).collect();
        if !shares.is_empty() {
            let few = shares.iter().filter(|share| **share < 0.5).count();
            let _ = writeln!(
                text,
                "Both threads were at work in less than half of the batches in {few} of {} figures \
                 of two threads.",
                shares.len()
            );
        }
        for cell in block.iter().filter(|cell| cell.load == Load::ReadThrough) {
            let ratio = |row: &Row| {
                format!("{} {:.2} ({})", row.rival, row.hit_ratio * 100.0, row.way.name())
            };
            let ratios: Vec<String> = cell.rows.iter().map(ratio).collect();
            let _ = writeln!(text, "\nHits in {}, % (way): {}.", cell.name, ratios.join(", "));
        }
    }
    text
}

pub(super) fn json(cells: &[Cell]) -> Value {
    let row = |cell: &Cell, row: &Row| {
        let way = (cell.load == Load::ReadThrough).then(|| row.way.name());
        json!({
            "name": row.rival,
            "median": row.median,
            "min": row.min,
            "max": row.max,
            "mean": row.mean,
            "hit_ratio": row.hit_ratio,
            "together": row.together,
            "way": way,
            "runs": row.runs,
        })
    };
    let cell = |cell: &Cell| {
        let rows: Vec<Value> = cell.rows.iter().map(|each| row(cell, each)).collect();
        json!({ "name": cell.name, "rivals": rows })
    };
    cells.iter().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_measures_all_rivals_and_gets_find_what_was_stored() {
        let mut block = Block::<Texts>::new(&NAMES, 10_000);
        let arguments = Arguments::for_tests(&NAMES);
        for load in LOADS {
            let rows = block.measure(load, 2, &arguments);
            assert_eq!(rows.iter().map(|row| row.rival).collect::<Vec<_>>(), NAMES);
            for row in rows {
                assert!(row.median > 0.0 && row.min <= row.median && row.median <= row.max);
                let least = match load {
                    Load::GetUniform | Load::GetZipf => 0.98,
                    Load::AllMiss => 0.0,
                    _ => 0.5,
                };
                assert!(row.hit_ratio >= least, "{}: {}", row.rival, row.hit_ratio);
            }
        }
        for rival in &block.rivals {
            let held = rival.held();
            assert!((9_000..=16_384).contains(&held), "{} holds {held}", rival.name());
        }
    }
}
