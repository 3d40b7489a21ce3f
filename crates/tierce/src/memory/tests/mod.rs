//! The memory tier against plain models, at the edges of its options, and with keys, values and
//! closures that misbehave.

mod bounds;
mod callers_code;
mod calls;
mod deadlines;
mod model;
mod threads;

use std::time::Duration;

use super::{Inserted, MemoryCache, MemoryOptions, Ttl};
use crate::clock::{Clock, ManualClock};

type Numbers = MemoryCache<u64, u64>;

const OVERHEAD: u64 = Numbers::ENTRY_OVERHEAD as u64;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A cache on a manual clock in which the value is the weight.
fn weighed(options: MemoryOptions) -> (Numbers, ManualClock) {
    let (clock, hand) = Clock::manual();
    let weigher = |_: &u64, value: &u64| usize::try_from(*value).unwrap();
    let hasher = foldhash::fast::RandomState::default();
    (MemoryCache::with_parts(options, weigher, hasher, clock).unwrap(), hand)
}

/// A cache on a manual clock, bounded by entries.
fn entries(count: u64) -> (Numbers, ManualClock) {
    let (clock, hand) = Clock::manual();
    let hasher = foldhash::fast::RandomState::default();
    let options = MemoryOptions::new().max_entries(count);
    (MemoryCache::with_parts(options, |_, _| 0, hasher, clock).unwrap(), hand)
}
