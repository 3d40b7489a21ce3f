//! Who is compared, and as what.

use foyer_memory::{FifoConfig, LfuConfig, LruConfig, S3FifoConfig, SieveConfig};
use tierce::{MemoryOptions, PolicyKind};

use super::{
    peers,
    simulated::{Arc, Fifo, Lirs, Lru, Newcomer, Opt, S3Fifo, Sieve, TinyLfu, hits},
    workload::Workload,
};

/// What a contestant is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A cache of this project.
    Ours,
    /// One of those that ours is to beat: the best of them is the measure of a cell.
    Rival,
    /// Shown beside them: a policy that no library of this field offers, or a configuration that
    /// holds more than its capacity.
    Aside,
    /// A cache of this project where another thread disturbs it: shown, and no measure of anything,
    /// as it differs from run to run.
    Disturbed,
    /// What nobody can exceed.
    Bound,
}

impl Role {
    /// True if it reads or writes a cache of this project. What such a cache evicts depends a
    /// little on whether other threads of the process read one meanwhile.
    pub fn is_of_ours(self) -> bool {
        matches!(self, Self::Ours | Self::Disturbed)
    }
}

/// The hits of a trace in a cache of some capacity.
pub type Play = fn(&Workload, usize) -> u64;

/// A cache or a policy in one configuration.
pub struct Contestant {
    /// The name in reports.
    pub name: &'static str,
    /// What it is compared as.
    pub role: Role,
    /// Plays a trace.
    pub play: Play,
}

/// All of them, in the order of reports.
pub fn all() -> Vec<Contestant> {
    let mut all = Vec::new();
    let mut add = |name, role, play: Play| all.push(Contestant { name, role, play });

    add("tierce", Role::Ours, |w, c| peers::tierce(MemoryOptions::new(), &w.keys, c));
    if PolicyKind::default() != PolicyKind::Lru {
        add("tierce LRU", Role::Ours, |w, c| {
            peers::tierce(MemoryOptions::new().policy(PolicyKind::Lru), &w.keys, c)
        });
    }

    add("tierce, beside a reader", Role::Disturbed, |w, c| peers::beside_a_reader(&w.keys, c));

    add("quick_cache", Role::Rival, |w, c| peers::quick_cache(&w.keys, c));
    add("quick_cache unsync", Role::Rival, |w, c| peers::quick_cache_unsync(&w.keys, c));
    add("moka", Role::Rival, |w, c| peers::moka(&w.keys, c, true));
    add("foyer FIFO", Role::Rival, |w, c| peers::foyer(FifoConfig::default(), &w.keys, c));
    add("foyer LRU", Role::Rival, |w, c| peers::foyer(LruConfig::default(), &w.keys, c));
    add("foyer LFU", Role::Rival, |w, c| peers::foyer(LfuConfig::default(), &w.keys, c));
    add("foyer S3-FIFO", Role::Rival, |w, c| peers::foyer(S3FifoConfig::default(), &w.keys, c));
    add("foyer SIEVE", Role::Rival, |w, c| peers::foyer(SieveConfig, &w.keys, c));

    add("LRU", Role::Rival, |w, c| hits(Lru::new(w.unique, c), &w.numbers));
    add("S3-FIFO, 1 hit", Role::Rival, |w, c| hits(S3Fifo::new(w.unique, c, 1), &w.numbers));
    add("S3-FIFO, 2 hits", Role::Rival, |w, c| hits(S3Fifo::new(w.unique, c, 2), &w.numbers));
    add("SIEVE", Role::Rival, |w, c| hits(Sieve::new(w.unique, c), &w.numbers));
    add("W-TinyLFU 1 %", Role::Rival, |w, c| hits(TinyLfu::new(w.unique, c, 1), &w.numbers));
    add("W-TinyLFU 10 %", Role::Rival, |w, c| hits(TinyLfu::new(w.unique, c, 10), &w.numbers));

    add("FIFO", Role::Aside, |w, c| hits(Fifo::new(w.unique, c), &w.numbers));
    add("ARC", Role::Aside, |w, c| hits(Arc::new(w.unique, c), &w.numbers));
    add("LIRS", Role::Aside, |w, c| hits(Lirs::new(w.unique, c), &w.numbers));
    add("moka, unsettled", Role::Aside, |w, c| peers::moka(&w.keys, c, false));
    add("OPT", Role::Bound, |w, c| {
        hits(Opt::new(w.unique, c, &w.numbers, Newcomer::MayPass), &w.numbers)
    });
    all
}
