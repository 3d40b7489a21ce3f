//! The memory tier against plain models, at the edges of its options, and with keys, values and
//! closures that misbehave.

mod alone;
mod bounds;
mod callers_code;
mod calls;
mod deadlines;
mod flood;
mod held_up;
mod load;
mod model;
mod threads;
mod walks;

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Inserted, MemoryCache, MemoryOptions, Ttl};
use crate::{
    clock::{Clock, ManualClock},
    policy::PolicyKind,
};

type Numbers = MemoryCache<u64, u64>;

const OVERHEAD: u64 = Numbers::ENTRY_OVERHEAD as u64;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A cache on a manual clock in which the value is the weight.
fn weighed(options: MemoryOptions) -> (Numbers, ManualClock) {
    let (clock, hand) = Clock::manual();
    let options = options.policy(PolicyKind::Lru);
    let weigher = |_: &u64, value: &u64| usize::try_from(*value).unwrap();
    let hasher = crate::RandomState::default();
    (
        MemoryCache::builder(options).weigher(weigher).hasher(hasher).clock(clock).build().unwrap(),
        hand,
    )
}

/// A cache on a manual clock, bounded by entries.
fn entries(count: u64) -> (Numbers, ManualClock) {
    let (clock, hand) = Clock::manual();
    let hasher = crate::RandomState::default();
    let options = MemoryOptions::new().max_entries(count).policy(PolicyKind::Lru);
    (
        MemoryCache::builder(options)
            .weigher(|_, _| 0)
            .hasher(hasher)
            .clock(clock)
            .build()
            .unwrap(),
        hand,
    )
}

/// Waits until what left is freed: other tests of this process read caches as well, and may be
/// kept from going on in the middle of it.
fn settle<K, V>(cache: &MemoryCache<K, V>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while cache.reclaim() > 0 {
        assert!(Instant::now() < deadline, "a reader stays where it is");
        thread::sleep(millis(1));
    }
}
