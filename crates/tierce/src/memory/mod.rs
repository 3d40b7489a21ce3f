//! L1: a bounded concurrent cache in the memory of this process, complete by itself.
//!
//! | file | holds |
//! |---|---|
//! | `options` | what can be set, and how bounds are divided among shards |
//! | `cache` | [`MemoryCache`]: the calls, hashing, the choice of a shard, what runs outside locks |
//! | `shard` | one shard: index, slab, bounds, statistics |
//! | `wheel` | which entry expires next |
//! | `dropped` | entries on their way out, dropped once the lock is free |
//!
//! Locks: a call holds at most one shard's lock at a time and takes nothing inside it.

mod cache;
mod dropped;
#[cfg(test)]
mod expiry;
#[cfg(test)]
#[allow(unreachable_pub)]
mod hasher;
mod options;
mod shard;
mod wheel;

#[cfg(test)]
mod tests;

pub use cache::{Inserted, MemoryCache, Ttl};
pub use options::MemoryOptions;
pub use shard::MemoryStatistics;
