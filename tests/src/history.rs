//! Who changed what and when, and what a read may therefore find: on the host that changed a key
//! nothing older than the last change that returned, on others nothing that was replaced longer ago
//! than the staleness bound.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Changes of some keys, each by one thread of one host.
#[derive(Debug)]
pub struct History {
    keys: Vec<Key>,
    bound: Duration,
    wrong: AtomicU64,
    checked: AtomicU64,
}

#[derive(Debug, Default)]
struct Key {
    /// The latest version that the source has.
    source: AtomicU64,
    /// Versions whose change returned, and when; the latest last.
    returned: Mutex<Vec<(u64, Instant)>>,
}

impl History {
    /// So many keys; other hosts see changes within `bound`.
    pub fn new(keys: usize, bound: Duration) -> Self {
        Self {
            keys: (0..keys).map(|_| Key::default()).collect(),
            bound,
            wrong: AtomicU64::new(0),
            checked: AtomicU64::new(0),
        }
    }

    /// A new version for the source to have, from before the change is made.
    pub fn next(&self, key: usize) -> u64 {
        self.keys[key].source.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// What a loader finds.
    pub fn source(&self, key: usize) -> u64 {
        self.keys[key].source.load(Ordering::Acquire)
    }

    /// The change to this version returned.
    #[allow(clippy::unwrap_used)]
    pub fn returned(&self, key: usize, version: u64) {
        let mut returned = self.keys[key].returned.lock().unwrap();
        let now = Instant::now();
        // Of those that are longer ago than the bound the latest alone counts.
        let old = returned.iter().rposition(|(_, when)| *when + self.bound * 2 < now);
        returned.drain(..old.unwrap_or(0));
        returned.push((version, now));
    }

    /// The least version that a read may find that begins now; `own` on the host that changes it.
    #[allow(clippy::unwrap_used)]
    pub fn floor(&self, key: usize, own: bool) -> u64 {
        let now = Instant::now();
        let returned = self.keys[key].returned.lock().unwrap();
        let counts = |when: Instant| own || when + self.bound <= now;
        returned.iter().rev().find(|(_, when)| counts(*when)).map_or(0, |(version, _)| *version)
    }

    /// Judges what a read found that began at this floor.
    #[allow(clippy::print_stderr)]
    pub fn judge(&self, key: usize, floor: u64, found: Result<u64, String>, tale: &str) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let problem = match found {
            Ok(version) if version < floor => format!("version {version}, not {floor} or later"),
            Ok(version) if version > self.source(key) => {
                format!("version {version} was never made")
            }
            Ok(_) => return,
            Err(problem) => problem,
        };
        if self.wrong.fetch_add(1, Ordering::Relaxed) < 10 {
            eprintln!("wrong: key {key}, {tale}: {problem}");
        }
    }

    /// Reads that found something, and those that found something wrong.
    pub fn checked_and_wrong(&self) -> (u64, u64) {
        (self.checked.load(Ordering::Relaxed), self.wrong.load(Ordering::Relaxed))
    }
}
