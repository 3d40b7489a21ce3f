//! What processes tell a test while a rollout moves their caches: a file of numbers that all map.

use std::{
    fs::OpenOptions,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use memmap2::MmapRaw;

/// A number of one process.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// Operations so far.
    Operations,
    /// Operations that gave an error.
    Failed,
    /// Reads that found something old or wrong.
    Stale,
    /// 1: the cache is on the new side, or split. 2: on the old one alone.
    State,
    /// When that was seen to change, as [`now`](crate::loads::now) tells it.
    ChangedAt,
}

const PLACES: usize = Place::ChangedAt as usize + 1;

/// The numbers of some processes.
#[derive(Debug)]
pub struct Moves {
    map: MmapRaw,
    processes: usize,
}

impl Moves {
    /// The file at `path`, made where it is missing.
    ///
    /// # Panics
    /// Where it cannot be made.
    #[allow(clippy::unwrap_used)]
    pub fn open(path: &Path, processes: usize) -> Self {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.set_len(((1 + processes * PLACES) * 8) as u64).unwrap();
        Self { map: MmapRaw::map_raw(&file).unwrap(), processes }
    }

    /// A number of a process.
    ///
    /// # Panics
    /// For a process that is not there.
    pub fn at(&self, process: usize, place: Place) -> &AtomicU64 {
        assert!(process < self.processes, "process {process}");
        self.word(1 + process * PLACES + place as usize)
    }

    /// The sum over all processes.
    pub fn sum(&self, place: Place) -> u64 {
        (0..self.processes).map(|process| self.at(process, place).load(Ordering::SeqCst)).sum()
    }

    /// True until [`end`](Self::end).
    pub fn is_going_on(&self) -> bool {
        self.word(0).load(Ordering::Relaxed) == 0
    }

    /// Ends all processes.
    pub fn end(&self) {
        self.word(0).store(1, Ordering::SeqCst);
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY:
        // 1. In bounds: the file has a word for each place of each process, and one before them.
        // 2. Aligned: the mapping begins at a page.
        // 3. Initialised and shared: every value of the bytes is a number, and all processes that
        //    have the file go by atomics alone.
        unsafe { &*self.map.as_mut_ptr().cast::<AtomicU64>().add(at) }
    }
}
