//! Gets, puts and misses of one process: the loads, and how the stores are brought into the state
//! that a load is about.

use std::time::Duration;

use fastrand::Rng;
use tempfile::TempDir;
use tierce::Medium;
use tierce_benches::{
    arguments::Arguments,
    load::shuffled,
    results::{Cell, Row},
    rounds::{median, turns},
};

use super::{
    data::{ABSENT, Numbers, SEED, Value},
    folder::Ground,
    rivals::{
        FOYER, Fault, LMDB, LMDB_WRITEMAP, NAMES, OURS, OURS_MAPPED, Ours, Rival, Setup, open,
    },
    timing::{Pace, Run},
};

/// Values of one size.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) name: &'static str,
    pub(super) value_bytes: usize,
    /// Resident entries of a full run.
    pub(super) entries: usize,
}

/// The sizes on a memory file system.
pub(super) const SIZES: [Size; 4] = [
    Size { name: "100B", value_bytes: 100, entries: 1_000_000 },
    Size { name: "1KiB", value_bytes: 1 << 10, entries: 500_000 },
    Size { name: "16KiB", value_bytes: 16 << 10, entries: 20_000 },
    Size { name: "1MiB", value_bytes: 1 << 20, entries: 300 },
];

/// The sizes on a disk.
pub(super) const DISK_SIZES: [Size; 4] = [
    Size { name: "100B", value_bytes: 100, entries: 500_000 },
    Size { name: "1KiB", value_bytes: 1 << 10, entries: 100_000 },
    Size { name: "16KiB", value_bytes: 16 << 10, entries: 20_000 },
    Size { name: "1MiB", value_bytes: 1 << 20, entries: 300 },
];

/// Our row in the cells of puts that does what the rivals do: it overwrites keys that are there.
pub(super) const OVERWRITES: &str = "tierce, overwrites";

/// Fewer hits than this share of the gets of resident keys, and the figures mean nothing.
const FEWEST_HITS: f64 = 0.99;

/// What a cell does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Get,
    Put,
    Miss,
}

impl Work {
    /// The name in those of cells.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Miss => "miss",
        }
    }

    /// The time on the clock of one run.
    pub(super) fn limit(self, arguments: &Arguments) -> Duration {
        let full = Duration::from_millis(if self == Self::Put { 400 } else { 150 });
        if arguments.quick { full / 10 } else { full }
    }
}

/// A rival with the files it works on, which outlive it.
pub(super) struct Stand {
    pub(super) name: &'static str,
    rival: Box<dyn Rival>,
    numbers: Numbers,
    pub(super) folder: TempDir,
}

/// Where the stores of a group of cells lie, and who takes part.
pub(super) struct Group<'a> {
    /// What the names of the cells begin with.
    prefix: &'static str,
    ground: Ground,
    medium: Medium,
    pub(super) size: Size,
    pub(super) entries: usize,
    arguments: &'a Arguments,
}

/// Measures the cells on the memory file system.
///
/// # Errors
/// If a rival cannot be set up; the text says which.
pub(super) fn on_memory(arguments: &Arguments) -> Result<Vec<Cell>, String> {
    let mut cells = vec![];
    let takes_part: Vec<&str> = NAMES.into_iter().filter(|name| *name != OURS_MAPPED).collect();
    for size in SIZES {
        let group = Group::on_memory(size, arguments.amount(size.entries), arguments);
        cells.extend(group.measure(&takes_part)?);
    }
    Ok(cells)
}

/// Measures the cells on a disk: ours, read by `pread` and by mapping, and LMDB.
///
/// # Errors
/// As [`on_memory`].
pub(super) fn on_disk(arguments: &Arguments) -> Result<Vec<Cell>, String> {
    let mut cells = vec![];
    for size in DISK_SIZES {
        let group = Group {
            prefix: "disk-",
            ground: Ground::Disk,
            medium: Medium::Disk,
            size,
            entries: arguments.amount(size.entries),
            arguments,
        };
        cells.extend(group.measure(&[OURS, OURS_MAPPED, LMDB, LMDB_WRITEMAP])?);
    }
    Ok(cells)
}

fn is_ours(name: &str) -> bool {
    [OURS, OURS_MAPPED].contains(&name)
}

/// A count as it stands in the names of cells.
pub(super) fn count_name(count: usize) -> String {
    match count {
        1_000_000.. if count.is_multiple_of(1_000_000) => format!("{}M", count / 1_000_000),
        1_000.. if count.is_multiple_of(1_000) => format!("{}k", count / 1_000),
        _ => count.to_string(),
    }
}

impl<'a> Group<'a> {
    /// Stores on the memory file system.
    pub(super) fn on_memory(size: Size, entries: usize, arguments: &'a Arguments) -> Self {
        let (ground, medium) = (Ground::Memory, Medium::Auto);
        Self { prefix: "", ground, medium, size, entries, arguments }
    }

    fn measure(&self, takes_part: &[&str]) -> Result<Vec<Cell>, String> {
        let name = |work: Work| {
            let Self { prefix, size, entries, .. } = self;
            format!("{prefix}{}/{}/{}", work.name(), size.name, count_name(*entries))
        };
        let works = [Work::Get, Work::Miss, Work::Put].into_iter();
        let works = works.filter(|work| *work != Work::Miss || self.size.value_bytes == 100);
        let works: Vec<Work> = works.filter(|work| self.arguments.wants(&name(*work))).collect();
        if works.is_empty() {
            return Ok(vec![]);
        }
        let mut stands = vec![];
        for rival in self.arguments.rivals.iter().filter(|name| takes_part.contains(name)) {
            eprintln!("{}{}: {rival} is filled", self.prefix, self.size.name);
            stands.push(self.resident(rival).map_err(|error| format!("{rival}: {error}"))?);
        }
        let mut cells = vec![];
        for work in works {
            let name = name(work);
            eprintln!("{name}");
            if work == Work::Put {
                // The stores that held all make room for others that are full.
                let ours: Vec<&str> =
                    stands.extract_if(.., |stand| is_ours(stand.name)).map(|s| s.name).collect();
                for (place, name) in ours.into_iter().chain([OVERWRITES]).enumerate() {
                    let stand = self.full(name).map_err(|error| format!("{name}: {error}"))?;
                    stands.insert(place, stand);
                }
            }
            let rows = self.compete(work, &mut stands);
            cells.push(Cell { name, rows });
        }
        Ok(cells)
    }

    fn setup<'f>(&self, folder: &'f TempDir) -> Setup<'f> {
        Setup {
            folder: folder.path(),
            entries: self.entries,
            value_bytes: self.size.value_bytes,
            medium: self.medium,
            mapped_reads: false,
        }
    }

    fn uniform(&self) -> Numbers {
        Numbers::uniform(self.entries, 0)
    }

    /// A store that holds all entries.
    pub(super) fn resident(&self, name: &'static str) -> Result<Stand, Fault> {
        let folder = self.ground.folder()?;
        let mut rival = open(name, &self.setup(&folder))?;
        let bytes = self.size.value_bytes;
        let numbers = shuffled(self.entries, SEED);
        rival
            .fill(&mut numbers.into_iter().map(|number| (number, bytes)), &mut Value::up_to(bytes));
        Ok(Stand { name, rival, numbers: self.uniform(), folder })
    }

    /// A store of ours that evicts something for whatever is put.
    pub(super) fn full(&self, name: &'static str) -> Result<Stand, Fault> {
        let folder = self.ground.folder()?;
        let mapped_reads = name == OURS_MAPPED;
        let mut rival = Ours::tight(&Setup { mapped_reads, ..self.setup(&folder) })?;
        let bytes = self.size.value_bytes;
        let mut values = Value::up_to(bytes);
        let all = self.entries as u32;
        let numbers = if name == OVERWRITES {
            rival.fill(
                &mut shuffled(self.entries, SEED).into_iter().map(|n| (n, bytes)),
                &mut values,
            );
            self.uniform()
        } else {
            let prefill = all + all / 2;
            rival.fill(&mut (0..prefill).map(|number| (number, bytes)), &mut values);
            assert!(rival.store.statistics().evicted_size > 0, "the store is full");
            Numbers::Fresh { next: prefill }
        };
        Ok(Stand { name, rival: Box::new(rival), numbers, folder })
    }

    /// One run to warm up, then rounds in turn.
    fn compete(&self, work: Work, stands: &mut [Stand]) -> Vec<Row> {
        let pace = Pace::of(self.size.value_bytes, work.limit(self.arguments));
        let mut values = Value::up_to(self.size.value_bytes);
        let mut runs: Vec<Vec<Run>> = stands.iter().map(|_| vec![]).collect();
        for stand in &mut *stands {
            let _ = self.run(work, stand, pace, &mut values);
        }
        for (_, index) in turns(stands.len(), self.arguments.rounds) {
            runs[index].push(self.run(work, &mut stands[index], pace, &mut values));
        }
        let row = |(stand, runs): (&Stand, Vec<Run>)| {
            let figures = |pick: fn(&Run) -> f64| runs.iter().map(pick).collect::<Vec<f64>>();
            let (medians, means) = (figures(|run| run.median), figures(|run| run.mean));
            let (figure, mut aside) =
                if work == Work::Put { (means, medians) } else { (medians, means) };
            let mut row = Row::of(stand.name, figure);
            row.aside = Some(median(&mut aside));
            let hits = median(&mut figures(|run| run.hits));
            if work != Work::Miss && hits < 1.0 {
                let what = if work == Work::Put { "stored" } else { "hits" };
                row.note = format!("{:.2} % {what}", 100.0 * hits);
            }
            row
        };
        stands.iter().zip(runs).map(row).collect()
    }

    fn run(&self, work: Work, stand: &mut Stand, pace: Pace, values: &mut Value) -> Run {
        let bytes = self.size.value_bytes;
        let settle = |rival: &mut Box<dyn Rival>| rival.settle();
        let Stand { name, rival, numbers, .. } = stand;
        let run = match work {
            Work::Get => pace.run(
                numbers,
                rival,
                |rival, request| {
                    let seen = rival.get(request);
                    seen.inspect(|seen| assert!(seen.is(request.number, bytes), "{name}: {seen:?}"))
                        .is_some()
                },
                |_| {},
            ),
            Work::Miss => {
                let mut absent = Numbers::Absent { random: Rng::with_seed(SEED), from: ABSENT };
                let get = |rival: &mut Box<dyn Rival>, request: &_| rival.get(request).is_none();
                pace.run(&mut absent, rival, get, |_| {})
            }
            Work::Put => pace.run(
                numbers,
                rival,
                |rival, request| rival.put(request, values.of(request.number, bytes)),
                settle,
            ),
        };
        // What foyer's writer falls behind with, it drops.
        assert!(run.hits >= FEWEST_HITS || *name == FOYER, "{name}, {work:?}: {run:?}");
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_named_in_short() {
        let names = [1_000_000, 500_000, 20_000, 300, 1_500_000].map(count_name);
        assert_eq!(names, ["1M", "500k", "20k", "300", "1500k"]);
    }
}
