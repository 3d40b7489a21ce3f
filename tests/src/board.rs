//! A board of versions in a mapped file that all processes of a test see.
//!
//! For each key: the version that its *database* holds, the highest version whose change has
//! *returned* from the cache, and the highest that other hosts must know (*settled*). A writer puts the next version into the database, changes the cache,
//! and when that returned writes the board. So a read that began when the board said `n` must
//! find version `n` or a later one, or nothing; and never one that the database did not hold yet.

use std::{
    fs::OpenOptions,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use memmap2::MmapRaw;

/// The versions of `keys` keys, and counters of the run.
#[derive(Debug)]
pub struct Board {
    map: MmapRaw,
    keys: usize,
}

/// Counters at the head of the board.
#[derive(Clone, Copy, Debug)]
pub enum Counter {
    /// Reads that found a value, which was checked.
    Checked = 0,
    /// Values that were wrong.
    Wrong = 1,
    /// Not zero: workers are to end.
    Stop = 2,
    /// Errors that a caller saw.
    Errors = 3,
    /// Changes made.
    Changes = 4,
}

const COUNTERS: usize = 16;

impl Board {
    /// Makes or opens the board at `path`.
    ///
    /// # Panics
    /// If the file cannot be made or mapped.
    #[allow(clippy::unwrap_used)]
    pub fn open(path: &Path, keys: usize) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        file.set_len(((COUNTERS + 3 * keys) * 8) as u64).unwrap();
        Self { map: MmapRaw::map_raw(&file).unwrap(), keys }
    }

    /// How many keys it has.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// A counter of the run.
    pub fn counter(&self, counter: Counter) -> &AtomicU64 {
        self.word(counter as usize)
    }

    /// The version that the key's database holds: what a loader returns.
    pub fn database(&self, key: u64) -> &AtomicU64 {
        self.word(COUNTERS + key as usize)
    }

    /// The highest version whose change has returned.
    pub fn returned(&self, key: u64) -> &AtomicU64 {
        self.word(COUNTERS + self.keys + key as usize)
    }

    /// The highest version that a host which did not write it must have heard of.
    pub fn settled(&self, key: u64) -> &AtomicU64 {
        self.word(COUNTERS + 2 * self.keys + key as usize)
    }

    /// The versions of all keys whose change has returned.
    pub fn all_returned(&self) -> Vec<u64> {
        (0..self.keys as u64).map(|key| self.returned(key).load(Ordering::Acquire)).collect()
    }

    /// Notes a read of `key` that began when [`returned`](Self::returned), or
    /// [`settled`](Self::settled), was `floor` and found `bytes`; a wrong one is counted and told.
    #[allow(clippy::print_stderr)]
    pub fn judge(&self, key: u64, floor: u64, bytes: &[u8], tale: &str) {
        self.counter(Counter::Checked).fetch_add(1, Ordering::Relaxed);
        let ceiling = self.database(key).load(Ordering::Acquire);
        let fault = match crate::value::check(key, bytes) {
            Ok(version) if version < floor => {
                Some(format!("key {key}: version {version}, though {floor} had returned"))
            }
            Ok(version) if version > ceiling => {
                Some(format!("key {key}: version {version} was never written"))
            }
            Ok(_) => None,
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            self.counter(Counter::Wrong).fetch_add(1, Ordering::Relaxed);
            eprintln!("WRONG ({tale}, process {}): {fault}", std::process::id());
        }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < COUNTERS + 3 * self.keys, "key beyond the board");
        // SAFETY:
        // 1. In bounds and aligned: the file holds COUNTERS + 3 * keys words and a mapping begins
        //    at a page.
        // 2. Shared: all processes touch these words as atomics only.
        // 3. The mapping lives as long as `self`, from which the reference borrows.
        unsafe { &*self.map.as_ptr().cast::<AtomicU64>().add(index) }
    }
}
