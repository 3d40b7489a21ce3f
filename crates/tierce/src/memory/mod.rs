//! L1: a bounded concurrent cache in the memory of this process, complete by itself.
//!
//! ```text
//!   readers:  pin ─> root ─> table ─> bucket ─> place ─> value      no lock
//!   writers:  lock ─> writer { slab, policy, expiry, limbo } ─> index, root
//!             unlock ─> departures: listener, drops, a step of the epoch
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `options`, `builder` | what can be set, and how bounds are divided among shards |
//! | `cache` | [`MemoryCache`]: what it consists of, its bounds, counts and inspection |
//! | `read`, `batch` | look-ups, which take no lock |
//! | `write` | what puts in and takes out |
//! | `load`, `loads` | one load for all who miss the same key; which are under way |
//! | `walk` | all entries: `iter`, `retain` |
//! | `index`, `slab` | from a hash to a slot, from a slot to an entry; read without a lock |
//! | `bucket` | one line of the index |
//! | `slot`, `place` | how places are named; one of them |
//! | `shard` | what writers do under a shard's lock |
//! | `shared` | what several threads own together |
//! | `limbo` | entries that left and that readers may still look at |
//! | `expiry` | which entry expires next |
//! | `hasher` | the hash of a key, unless the caller brings another |
//! | `departures` | entries on their way out, dropped once the lock is free |
//! | `work` | in tests: what calls look at |
//!
//! Readers hold a pin ([`epoch`](crate::sync::epoch)) and no lock; what they look at is an atomic
//! or does not change. Writers of a shard exclude each other by its lock. A call holds at most one
//! shard's lock at a time and takes no other lock inside it; only
//! [`set_capacity`](MemoryCache::set_capacity) holds a lock of its own around them. Who may touch
//! what, why a key that stays is never missed, and what the cache of several tiers leans on stands
//! in ARCHITECTURE.md ("L1: reads without a lock"); the files prove their own part.
#![allow(unsafe_code)]

use std::{
    alloc::{Layout, alloc},
    ptr::NonNull,
};

mod batch;
mod bucket;
mod builder;
mod cache;
mod departures;
mod expiry;
mod hasher;
mod index;
mod limbo;
mod load;
mod loads;
mod options;
mod place;
mod read;
mod shard;
mod shared;
mod slab;
mod slot;
mod statistics;
mod walk;
mod write;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod work;

pub use builder::MemoryBuilder;
pub use cache::MemoryCache;
pub use hasher::{KeyHasher, RandomState};
pub use options::{MemoryOptions, Ttl};
pub use statistics::{MemoryStatistics, RemovalCause};
pub use walk::Iter;
pub use write::{Computed, Inserted};

/// A box of `value`, or nothing where memory is short.
fn try_box<T>(value: T) -> Option<Box<T>> {
    let layout = Layout::new::<T>();
    assert!(layout.size() > 0, "nothing to allocate");
    // SAFETY: the layout is not of size zero, as just checked.
    let place = NonNull::new(unsafe { alloc(layout) }.cast::<T>())?;
    // SAFETY:
    // 1. Valid for writes and aligned: allocated above with the layout of `T`.
    // 2. A box may own it: it was allocated by the global allocator with that layout, and is
    //    initialised.
    Some(unsafe {
        place.write(value);
        Box::from_raw(place.as_ptr())
    })
}
