//! The traces as they are played: keys for real caches, numbers for simulated ones. Beside the
//! recorded ones there are drawn ones, by Zipf's law: not what anybody's requests are, but what
//! caches are mostly measured by.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use foldhash::fast::FixedState;
use tierce_trace::Trace;

use super::simulated::Key;
use crate::load::Lottery;

/// Exponents of Zipf's law: many tails, the one of YCSB, few.
const EXPONENTS: [f64; 4] = [0.7, 0.9, 0.99, 1.1];

/// The keys and the requests of a drawn trace.
const DRAWN: (usize, usize) = (40_000, 1_000_000);

/// Any seed will do; it must only stay.
const SEED: u64 = 9;

/// A capacity in tenths of a percent of a trace's unique keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u32);

impl Share {
    /// All that are measured.
    pub const ALL: [Self; 6] = [Self(5), Self(25), Self(50), Self(125), Self(250), Self(500)];

    /// True for the small capacities that the goals of the memory tier speak of.
    pub fn is_small(self) -> bool {
        self.0 <= 125
    }

    /// In percent.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10.0
    }
}

/// One trace.
pub struct Workload {
    /// The name of its file, without endings.
    pub name: String,
    /// What is asked for, in order.
    pub keys: Vec<u64>,
    /// The same, with the keys numbered in the order in which they first appear.
    pub numbers: Vec<Key>,
    /// How many keys there are.
    pub unique: usize,
    /// False if nobody ever asked for this: it was drawn.
    pub recorded: bool,
}

impl Workload {
    /// Numbers the keys of a row of requests.
    pub fn new(name: impl Into<String>, keys: Vec<u64>) -> Self {
        let mut seen = HashMap::with_hasher(FixedState::default());
        let number = |key: &u64| {
            let next = seen.len() as Key;
            *seen.entry(*key).or_insert(next)
        };
        let numbers = keys.iter().map(number).collect();
        Self { name: name.into(), keys, numbers, unique: seen.len(), recorded: true }
    }

    /// The drawn ones.
    pub fn drawn() -> Vec<Self> {
        let (keys, requests) = DRAWN;
        let draw = |exponent| {
            let mut random = fastrand::Rng::with_seed(SEED);
            let lottery = Lottery::zipf(exponent, keys);
            let keys = (0..requests).map(|_| lottery.draw(&mut random).into()).collect();
            Self { recorded: false, ..Self::new(format!("zipf-{exponent}"), keys) }
        };
        EXPONENTS.map(draw).into()
    }

    /// Reads a trace.
    ///
    /// # Errors
    /// If it cannot be read; the text names the file and the reason.
    pub fn read(path: &Path) -> Result<Self, String> {
        let trace = Trace::read(path, None)?;
        let keys = trace.requests.into_iter().map(|request| request.key).collect();
        Ok(Self::new(name_of(path), keys))
    }

    /// The entries of a cache of this share: to the nearest, at least one.
    pub fn capacity(&self, share: Share) -> usize {
        ((self.unique * share.0 as usize + 500) / 1_000).max(1)
    }
}

/// The name of a trace: its file's, without endings.
pub fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// The traces of this source tree by name: the small ones, and the large ones if wanted.
///
/// # Errors
/// If a folder cannot be read.
pub fn traces(large: bool) -> Result<Vec<PathBuf>, String> {
    let folders: &[&str] =
        if large { &["../tests/traces", "traces"] } else { &["../tests/traces"] };
    let mut paths = Vec::new();
    for folder in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let fail = |error| format!("{} cannot be read: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path.to_string_lossy().ends_with(".trc.zst") {
                paths.push(path);
            }
        }
    }
    paths.sort_by_key(|path| name_of(path));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_in_order_of_appearance() {
        let workload = Workload::new("a", vec![9, 3, 9, u64::MAX, 3]);
        assert_eq!((workload.numbers, workload.unique), (vec![0, 1, 0, 2, 1], 3));
    }

    #[test]
    fn capacities_are_rounded_to_the_nearest_and_never_zero() {
        let workload = Workload::new("a", (0..1_011).collect());
        let capacities = Share::ALL.map(|share| workload.capacity(share));
        assert_eq!(capacities, [5, 25, 51, 126, 253, 506]);
        assert_eq!(Workload::new("b", vec![1]).capacity(Share(5)), 1);
    }

    #[test]
    fn what_is_drawn_says_so_and_is_skewed_as_it_says() {
        let drawn = Workload::drawn();
        let names: Vec<&str> = drawn.iter().map(|workload| &*workload.name).collect();
        assert_eq!(names, ["zipf-0.7", "zipf-0.9", "zipf-0.99", "zipf-1.1"]);
        assert!(
            drawn.iter().all(|workload| !workload.recorded && workload.keys.len() == 1_000_000)
        );
        assert!(drawn.is_sorted_by_key(|workload| std::cmp::Reverse(workload.unique)));
        assert!((38_000..=40_000).contains(&drawn[0].unique), "{}", drawn[0].unique);
    }

    #[test]
    fn all_traces_are_there() {
        let names = |large| traces(large).unwrap().iter().map(|path| name_of(path)).collect();
        let (small, all): (Vec<String>, Vec<String>) = (names(false), names(true));
        assert_eq!((small.len(), all.len()), (8, 13));
        assert!(small.iter().all(|name| all.contains(name)));
        let workload = Workload::read(&traces(false).unwrap()[1]).unwrap();
        assert_eq!((workload.name.as_str(), workload.keys.len()), ("lirs-cpp", 9_047));
        assert_eq!(workload.unique, 1_223);
    }
}
