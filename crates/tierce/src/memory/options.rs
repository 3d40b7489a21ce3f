//! Options of the memory tier, their rules, and how the bounds are divided among shards.

use std::{
    num::NonZeroUsize,
    thread,
    time::{Duration, Instant},
};

use crate::{
    clock::Millis,
    error::{Error, ErrorKind, Result},
    policy::PolicyKind,
};

/// More shards than this only cost memory: it is far above the cores of any machine.
const MAX_SHARDS: usize = 1 << 16;

/// A shard of fewer entries would make its share of the bound, and with it the order of eviction,
/// visibly uneven.
const MIN_ENTRIES_PER_DEFAULT_SHARD: u64 = 512;

/// The same for byte bounds: 512 small entries. Not for larger ones: a lock that all threads share
/// costs a cache of some hundred kilobytes half its speed.
const MIN_BYTES_PER_DEFAULT_SHARD: u64 = 32 << 10;

/// Shards per core: with four, two threads that run at once meet in one shard rarely enough.
const DEFAULT_SHARDS_PER_CORE: usize = 4;

/// How long an entry lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ttl {
    /// As long as [`MemoryOptions::ttl`] says.
    #[default]
    Default,
    /// Until it is evicted or removed, or idle for too long.
    Never,
    /// This long, rounded up to a millisecond. Zero does not store the entry, and removes that
    /// which the key had; what ends in more than some 139 years never expires.
    For(Duration),
    /// Until this instant. One that has passed is as a time of zero.
    Until(Instant),
}

/// What a [`MemoryCache`](crate::MemoryCache) is made with.
///
/// Setters only store; [`MemoryCache::new`](crate::MemoryCache::new) checks. At least one bound
/// must be given.
///
/// ```
/// use tierce::{MemoryCache, MemoryOptions};
///
/// let cache = MemoryCache::<u64, u64>::new(MemoryOptions::new().max_entries(1_000))?;
/// assert!(MemoryCache::<u64, u64>::new(MemoryOptions::new()).is_err());
/// # drop(cache);
/// # Ok::<(), tierce::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MemoryOptions {
    pub(super) bounds: Bounds,
    pub(super) shards: Option<usize>,
    pub(super) ttl: Option<Duration>,
    pub(super) ttl_jitter: f64,
    pub(super) time_to_idle: Option<Duration>,
    pub(super) largest_share: u64,
    pub(super) policy: PolicyKind,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryOptions {
    /// Options without a bound; give one.
    pub const fn new() -> Self {
        Self {
            bounds: Bounds { entries: None, bytes: None },
            shards: None,
            ttl: None,
            ttl_jitter: 0.0,
            time_to_idle: None,
            largest_share: 64,
            policy: PolicyKind::Adaptive,
        }
    }

    /// Bounds the number of entries. Default: no such bound. 0 keeps nothing.
    ///
    /// A shard holds at most 2^27 - 64 entries, 134 million, whatever is set here.
    pub const fn max_entries(mut self, entries: u64) -> Self {
        self.bounds.entries = Some(entries);
        self
    }

    /// Bounds the sum of the weights of all entries, in bytes. Default: no such bound. 0 keeps
    /// nothing.
    ///
    /// An entry weighs what the weigher says, plus
    /// [`ENTRY_OVERHEAD`](crate::MemoryCache::ENTRY_OVERHEAD).
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.bounds.bytes = Some(bytes);
        self
    }

    /// What [`max_bytes`](Self::max_bytes) set.
    pub(crate) fn byte_bound(&self) -> Option<u64> {
        self.bounds.bytes
    }

    /// Sets the number of shards, each with its own lock and an equal part of the bounds. A power
    /// of two up to 65,536, not above `max_entries`, nor above `largest_share` where a byte bound
    /// is set (an entry lives in one shard).
    ///
    /// Default: four per core, but no more than leaves each shard 512 entries and 32 KiB. So a
    /// cache below 1,024 entries has one shard and evicts in the exact order of its policy.
    pub const fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Sets the time to live of entries that are inserted with
    /// [`Ttl::Default`](crate::Ttl::Default). Above zero. Default: they never expire.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Shortens every time to live by a random part of up to this share of it, so that entries
    /// that came together do not expire, and are not loaded anew, together. 0 to 1. Default: 0.
    pub const fn ttl_jitter(mut self, share: f64) -> Self {
        self.ttl_jitter = share;
        self
    }

    /// Sets how long an entry lives that is neither read nor replaced. Above zero. Default: for
    /// ever. Costs 8 bytes an entry and a look at the clock in each read; seeing that an entry is
    /// there ([`contains`](crate::MemoryCache::contains), [`peek`](crate::MemoryCache::peek)) is
    /// no use of it.
    pub const fn time_to_idle(mut self, idle: Duration) -> Self {
        self.time_to_idle = Some(idle);
        self
    }

    /// Refuses entries that weigh more than one `share`-th of `max_bytes`, so that one large
    /// value does not push out all others. At least 1, which refuses only what is above the whole
    /// bound. Default: 64. No effect without a byte bound.
    pub const fn largest_share(mut self, share: u64) -> Self {
        self.largest_share = share;
        self
    }

    /// Sets how the entry that makes room is chosen. Default:
    /// [`PolicyKind::Adaptive`].
    pub const fn policy(mut self, policy: PolicyKind) -> Self {
        self.policy = policy;
        self
    }

    /// True if a default time to live was set.
    pub(crate) const fn has_ttl(&self) -> bool {
        self.ttl.is_some()
    }

    /// The jitter in parts of 2^16.
    pub(super) fn jitter_parts(&self) -> u32 {
        (self.ttl_jitter * 65_536.0) as u32
    }

    /// Checks everything and returns the number of shards.
    pub(super) fn check(&self) -> Result<usize> {
        self.bounds.check()?;
        if self.largest_share == 0 {
            return Err(wrong("memory.largest_share = 0: must be at least 1".into()));
        }
        if self.ttl == Some(Duration::ZERO) {
            return Err(wrong("memory.ttl = 0s: must be above zero".into()));
        }
        if !(0.0..=1.0).contains(&self.ttl_jitter) {
            let jitter = self.ttl_jitter;
            return Err(wrong(format!("memory.ttl_jitter = {jitter}: must be from 0 to 1")));
        }
        if self.time_to_idle == Some(Duration::ZERO) {
            return Err(wrong("memory.time_to_idle = 0s: must be above zero".into()));
        }
        let Some(shards) = self.shards else {
            let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
            return Ok(self.default_shards(cores));
        };
        if !shards.is_power_of_two() {
            return Err(wrong(format!("memory.shards = {shards}: must be a power of two")));
        }
        if shards > MAX_SHARDS {
            return Err(wrong(format!("memory.shards = {shards}: must not be above {MAX_SHARDS}")));
        }
        if let Some(entries) = self.bounds.entries
            && shards as u64 > entries.max(1)
        {
            return Err(wrong(format!(
                "memory.shards = {shards}: must not be above memory.max_entries = {entries}"
            )));
        }
        if self.bounds.bytes.is_some() && shards as u64 > self.largest_share {
            return Err(wrong(format!(
                "memory.shards = {shards}: must not be above memory.largest_share = {}, as an \
                 entry lives in one shard",
                self.largest_share
            )));
        }
        Ok(shards)
    }

    fn default_shards(&self, cores: usize) -> usize {
        let mut most = (cores.saturating_mul(DEFAULT_SHARDS_PER_CORE))
            .checked_next_power_of_two()
            .map_or(MAX_SHARDS, |shards| shards.min(MAX_SHARDS)) as u64;
        if let Some(entries) = self.bounds.entries {
            most = most.min(entries / MIN_ENTRIES_PER_DEFAULT_SHARD);
        }
        if let Some(bytes) = self.bounds.bytes {
            most = most.min(bytes / MIN_BYTES_PER_DEFAULT_SHARD).min(self.largest_share);
        }
        // The largest power of two that is not above `most`; at most MAX_SHARDS, so it fits.
        1 << most.max(1).ilog2()
    }
}

/// How long an entry lives, in milliseconds: rounded up, so that what is not zero is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life(pub(super) u64);

impl Life {
    pub(super) const OVER: Self = Self(0);
    pub(super) const ENDLESS: Self = Self(u64::MAX);

    #[inline]
    pub(super) fn of(span: Duration) -> Self {
        Self(Millis(0).after(span).0)
    }
}

/// Bounds of a whole cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) entries: Option<u64>,
    pub(super) bytes: Option<u64>,
}

/// Bounds of one shard; "none" is the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShardBounds {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// The weight above which an entry is refused.
    pub(super) largest_bytes: u64,
}

impl Bounds {
    pub(super) fn check(&self) -> Result<()> {
        if self.entries.is_none() && self.bytes.is_none() {
            return Err(wrong(
                "memory.max_entries and memory.max_bytes are both unset: at least one bound must \
                 be given"
                    .into(),
            ));
        }
        Ok(())
    }

    /// The part of shard `index` of `shards`; the parts add up to the whole.
    pub(super) fn of_shard(&self, index: usize, shards: usize, largest_share: u64) -> ShardBounds {
        let (index, shards) = (index as u64, shards as u64);
        let part = |whole: u64| whole / shards + u64::from(index < whole % shards);
        let bytes = self.bytes.map_or(u64::MAX, part);
        let largest_bytes = self.bytes.map_or(u64::MAX, |whole| whole / largest_share).min(bytes);
        ShardBounds { entries: self.entries.map_or(u64::MAX, part), bytes, largest_bytes }
    }
}

/// The error where not even empty shards find room.
pub(super) fn no_memory(shards: usize) -> Error {
    Error::new(ErrorKind::Config, format!("memory.shards = {shards}: memory is too short for them"))
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_caches_get_one_shard_and_large_ones_four_per_core() {
        let shards = |options: MemoryOptions| options.default_shards(3);
        assert_eq!(shards(MemoryOptions::new().max_entries(0)), 1);
        assert_eq!(shards(MemoryOptions::new().max_entries(1_023)), 1);
        assert_eq!(shards(MemoryOptions::new().max_entries(4_096)), 8);
        assert_eq!(shards(MemoryOptions::new().max_entries(u64::MAX)), 16);
        assert_eq!(shards(MemoryOptions::new().max_bytes(1 << 16)), 2);
        assert_eq!(shards(MemoryOptions::new().max_bytes(u64::MAX).largest_share(1)), 1);
        assert_eq!(shards(MemoryOptions::new().max_bytes(u64::MAX).largest_share(5)), 4);
        assert_eq!(shards(MemoryOptions::new().max_bytes(u64::MAX).max_entries(2_000)), 2);
        assert_eq!(MemoryOptions::new().max_entries(u64::MAX).default_shards(usize::MAX), 1 << 16);
    }

    #[test]
    fn shares_of_the_shards_add_up_to_the_bounds() {
        for whole in [0, 1, 7, 8, 9, 1_000_003, u64::MAX] {
            let bounds = Bounds { entries: Some(whole), bytes: Some(whole) };
            let shares: Vec<_> = (0..8).map(|index| bounds.of_shard(index, 8, 64)).collect();
            assert_eq!(shares.iter().map(|share| share.entries).sum::<u64>(), whole);
            assert_eq!(shares.iter().map(|share| share.bytes).sum::<u64>(), whole);
            assert!(shares.iter().all(|share| share.largest_bytes == whole / 64));
        }
    }

    #[test]
    fn wrong_options_name_the_option_the_value_and_the_rule() {
        let bounded = || MemoryOptions::new().max_entries(100);
        for (options, words) in [
            (MemoryOptions::new(), "memory.max_entries and memory.max_bytes"),
            (bounded().shards(3), "memory.shards = 3: must be a power of two"),
            (bounded().shards(0), "memory.shards = 0: must be a power of two"),
            (bounded().shards(128), "not be above memory.max_entries = 100"),
            (bounded().max_entries(u64::MAX).shards(1 << 17), "not be above 65536"),
            (MemoryOptions::new().max_bytes(9).shards(128), "memory.largest_share = 64"),
            (bounded().ttl(Duration::ZERO), "memory.ttl = 0s"),
            (bounded().time_to_idle(Duration::ZERO), "memory.time_to_idle = 0s"),
            (bounded().ttl_jitter(1.5), "memory.ttl_jitter = 1.5: must be from 0 to 1"),
            (bounded().ttl_jitter(f64::NAN), "memory.ttl_jitter = NaN"),
            (bounded().largest_share(0), "memory.largest_share = 0"),
        ] {
            let error = options.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
