//! [`MemoryCache`]: its calls, the choice of a shard, and everything that runs outside the locks.
//!
//! A call hashes and weighs first, then takes the lock of one shard, and drops what left the shard
//! after the lock is free (locals are declared in that order: what is dropped last comes first).
//! Under the lock only these pieces of the caller's code run: `Eq` of keys, `Clone` of a value
//! that is returned, and the closures given to [`get_with`](MemoryCache::get_with),
//! [`get_hashed`](MemoryCache::get_hashed), [`remove_if`](MemoryCache::remove_if),
//! [`insert_if`](MemoryCache::insert_if) and [`remove_after`](MemoryCache::remove_after). Each
//! runs before the shard is changed, so a panic in one leaves the shard as it was.

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use crossbeam_utils::CachePadded;

use super::{
    dropped::{Dropped, drop_contained},
    options::{Bounds, MemoryOptions},
    shard::{Cause, Entry, MemoryStatistics, Shard},
};
use crate::{
    clock::{Clock, Millis},
    error::Result,
    sync::Mutex,
};

/// Wheel steps under one hold of a shard's lock in [`MemoryCache::expire`]: some 10 us, so that
/// readers of the shard are not kept waiting.
const EXPIRE_STEPS_PER_LOCK: usize = 256;

/// How long an entry lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ttl {
    /// As long as [`MemoryOptions::ttl`] says.
    #[default]
    Default,
    /// Until it is evicted or removed.
    Never,
    /// This long, rounded up to a millisecond. Zero does not store the entry, and removes that
    /// which the key had; what overflows the clock never expires.
    For(Duration),
}

/// What became of an insert. Unless it was declined, the key's earlier value is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inserted {
    /// The entry is in the cache.
    Stored,
    /// `decide` said no; nothing changed.
    Declined,
    /// The entry is too heavy, the bound leaves no room for any, or memory is short; it was not
    /// stored.
    Refused,
    /// The time to live is zero; it was not stored.
    Expired,
}

/// A shard on cache lines of its own, so that the locks of two do not share one.
type Padded<K, V> = CachePadded<Mutex<Shard<K, V>>>;

type Weigher<K, V> = Box<dyn Fn(&K, &V) -> usize + Send + Sync>;

/// A bounded, concurrent cache in the memory of this process.
///
/// Entries are divided by hash among shards, each with its lock, its part of the bounds and its
/// own order of eviction. The bounds hold at every moment. An expired entry is never returned, and
/// its memory is freed by later inserts, a few at a time, or by [`expire`](Self::expire); there is
/// no thread. A call costs O(1), apart from what it evicts and from [`clear`](Self::clear),
/// [`set_capacity`](Self::set_capacity) and the counting calls.
///
/// # The caller's code
/// Hashing, weighing and dropping keys and values happen with no lock held. `Eq` of keys, `Clone`
/// of a value that is returned and the closures that calls take run under the lock of the key's
/// shard: they must be short and **must not call the cache**, or they wait for themselves for ever.
/// A panic in any of them leaves the cache whole. A `Drop` that panics is contained and counted.
///
/// # Weight
/// An entry weighs what the weigher says plus [`ENTRY_OVERHEAD`](Self::ENTRY_OVERHEAD).
///
/// ```
/// use std::time::Duration;
/// use tierce::{MemoryCache, MemoryOptions, Ttl};
///
/// let options = MemoryOptions::new().max_bytes(16 << 20).ttl(Duration::from_secs(60));
/// let cache = MemoryCache::with_weigher(options, |key: &String, value: &String| {
///     key.capacity() + value.capacity()
/// })?;
/// cache.insert("user:7".to_owned(), "Ada".to_owned());
/// cache.insert_with_ttl("motd".to_owned(), "hello".to_owned(), Ttl::Never);
/// assert_eq!(cache.get("user:7").as_deref(), Some("Ada"));
/// assert_eq!(cache.get_with("motd", |text| text.len()), Some(5));
/// assert_eq!(cache.remove("user:7").as_deref(), Some("Ada"));
/// # Ok::<(), tierce::Error>(())
/// ```
pub struct MemoryCache<K, V, S = foldhash::fast::RandomState> {
    shards: Box<[Padded<K, V>]>,
    hasher: S,
    weigher: Option<Weigher<K, V>>,
    clock: Clock,
    default_ttl: Ttl,
    largest_share: u64,
    bounds: Mutex<Bounds>,
    /// Held through a change of the bounds, so that two changes do not mix. Taken before a
    /// shard's lock.
    resizing: Mutex<()>,
    /// The shard where the next `expire` begins, so that none is left out.
    expire_from: AtomicUsize,
    drop_panics: AtomicU64,
}

impl<K: Hash + Eq, V> MemoryCache<K, V> {
    /// Makes a cache with a random hash seed of its own. Entries weigh their overhead only.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if no bound is given or an option breaks
    /// its rule; the message names it. No other kinds.
    pub fn new(options: MemoryOptions) -> Result<Self> {
        Self::build(options, None, foldhash::fast::RandomState::default(), Clock::system())
    }

    /// As [`new`](Self::new), with a weigher: the bytes that a key and its value own outside of
    /// themselves, on the heap. `usize::MAX` means "do not keep this".
    ///
    /// The weigher runs with no lock held, before anything is changed: if it panics, the panic
    /// goes on to the caller of the insert and the cache is as before.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_weigher(
        options: MemoryOptions,
        weigher: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
    ) -> Result<Self> {
        let hasher = foldhash::fast::RandomState::default();
        Self::build(options, Some(Box::new(weigher)), hasher, Clock::system())
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> MemoryCache<K, V, S> {
    /// As [`with_weigher`](MemoryCache::with_weigher), with a hasher and a clock.
    ///
    /// Who can choose keys can choose colliding ones, unless the hasher has a random seed.
    ///
    /// # Errors
    /// As [`new`](MemoryCache::new).
    pub fn with_parts(
        options: MemoryOptions,
        weigher: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
        hasher: S,
        clock: Clock,
    ) -> Result<Self> {
        Self::build(options, Some(Box::new(weigher)), hasher, clock)
    }

    fn build(
        options: MemoryOptions,
        weigher: Option<Weigher<K, V>>,
        hasher: S,
        clock: Clock,
    ) -> Result<Self> {
        let count = options.check()?;
        let MemoryOptions { bounds, ttl, largest_share, policy, .. } = options;
        let shard = |index| Shard::new(bounds.of_shard(index, count, largest_share), policy);
        Ok(Self {
            shards: (0..count).map(|index| CachePadded::new(Mutex::new(shard(index)))).collect(),
            hasher,
            weigher,
            clock,
            default_ttl: ttl.map_or(Ttl::Never, Ttl::For),
            largest_share,
            bounds: Mutex::new(bounds),
            resizing: Mutex::new(()),
            expire_from: AtomicUsize::new(0),
            drop_panics: AtomicU64::new(0),
        })
    }

    /// The hash of a key, as [`get_hashed`](Self::get_hashed) wants it.
    #[inline]
    pub fn hash<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + ?Sized,
    {
        self.hasher.hash_one(key)
    }

    /// Returns a clone of the key's value. The clone is made under the shard's lock: where it is
    /// not cheap, hold an `Arc` or use [`get_with`](Self::get_with).
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.get_with(key, V::clone)
    }

    /// Shows the key's value to `f` and returns what it returns. `f` runs under the shard's lock:
    /// it must be short and must not call the cache.
    #[inline]
    pub fn get_with<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get_hashed(self.hash(key), |other| other.borrow() == key, f)
    }

    /// Returns a clone of the key's value without telling the policy of the read.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        let eq = |other: &K| other.borrow() == key;
        self.read::<false, _>(self.hash(key), eq, V::clone)
    }

    /// True if the cache holds the key. The policy is not told.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let eq = |other: &K| other.borrow() == key;
        self.read::<false, _>(self.hash(key), eq, |_| ()).is_some()
    }

    /// Stores a value with the default time to live, in place of the key's earlier one.
    pub fn insert(&self, key: K, value: V) -> Inserted {
        self.insert_if(key, value, Ttl::Default, |_| true)
    }

    /// Stores a value that lives for `ttl`, in place of the key's earlier one.
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Ttl) -> Inserted {
        self.insert_if(key, value, ttl, |_| true)
    }

    /// Stores a value if `decide` says so, having seen the value that the key has now (an expired
    /// one is `None`). Decision and insert are one step for all other calls of this key.
    ///
    /// `decide` runs exactly once, also for an entry that will be refused, under the shard's lock:
    /// it must be short and must not call the cache.
    pub fn insert_if(
        &self,
        key: K,
        value: V,
        ttl: Ttl,
        decide: impl FnOnce(Option<&V>) -> bool,
    ) -> Inserted {
        let weight = self.weigh(&key, &value);
        let hash = self.hash(&key);
        let ttl = if ttl == Ttl::Default { self.default_ttl } else { ttl };

        let mut dropped = Dropped::new(&self.drop_panics);
        let mut shard = self.shard(hash).lock();
        let found = shard.find(hash, |other| *other == key);
        let mut now = Millis(0);
        if ttl != Ttl::Never || shard.has_deadlines() {
            now = self.clock.coarse();
        }
        let live = found.filter(|slot| shard.entry(*slot).deadline > now);
        if !decide(live.map(|slot| &shard.entry(slot).value)) {
            dropped.push(key, value);
            return Inserted::Declined;
        }

        // From here on none of the caller's code runs until the lock is free.
        if let Some(slot) = found
            && live.is_none()
        {
            let entry = shard.take(slot, Cause::Expired);
            dropped.push(entry.key, entry.value);
        }
        // Before anything is evicted: the expired should make room, not the living.
        shard.free_some(now, &mut dropped);
        let refusal = match weight {
            _ if ttl == Ttl::For(Duration::ZERO) => Some(Inserted::Expired),
            Some(weight) if shard.admits(weight) => None,
            _ => Some(Inserted::Refused),
        };
        let (Some(weight), None) = (weight, refusal) else {
            if let Some(slot) = live {
                let entry = shard.take(slot, Cause::Removed);
                dropped.push(entry.key, entry.value);
            }
            dropped.push(key, value);
            return shard.turn_away(refusal.unwrap_or(Inserted::Refused));
        };
        let deadline = match ttl {
            Ttl::For(span) => now.after(span),
            Ttl::Never | Ttl::Default => Millis::NEVER,
        };
        let entry = Entry { hash, deadline, weight, key, value };
        let stored = shard.store(entry, live, now, &mut dropped);
        match stored {
            Ok(()) => Inserted::Stored,
            Err(entry) => {
                dropped.push(entry.key, entry.value);
                shard.turn_away(Inserted::Refused)
            }
        }
    }

    /// Removes the key and returns its value, unless that has expired.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_if(key, |_| true)
    }

    /// Removes the key and returns its value if `decide` says so. `decide` runs under the shard's
    /// lock, and only if there is a value: it must be short and must not call the cache.
    pub fn remove_if<Q>(&self, key: &Q, decide: impl FnOnce(&V) -> bool) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_locked(key, || (), decide)
    }

    /// Runs `under_lock` under the lock of the key's shard, then removes the key if it is there,
    /// and returns its value. No insert or read of the key comes between the two. `under_lock`
    /// must be short and must not call the cache; if it panics, the key stays.
    pub fn remove_after<Q>(&self, key: &Q, under_lock: impl FnOnce()) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_locked(key, under_lock, |_| true)
    }

    fn remove_locked<Q>(
        &self,
        key: &Q,
        first: impl FnOnce(),
        decide: impl FnOnce(&V) -> bool,
    ) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let entry = {
            let mut shard = self.shard(hash).lock();
            first();
            let slot = shard.find(hash, |other| other.borrow() == key)?;
            let entry = shard.entry(slot);
            if self.is_past(entry.deadline) {
                Err(shard.take(slot, Cause::Expired))
            } else if decide(&entry.value) {
                Ok(shard.take(slot, Cause::Removed))
            } else {
                return None;
            }
        };
        match entry {
            Ok(entry) => {
                drop_contained(entry.key, &self.drop_panics);
                Some(entry.value)
            }
            Err(expired) => {
                self.drop_entry(expired);
                None
            }
        }
    }

    /// Finds an entry by its [`hash`](Self::hash) and a comparison of the caller's own, shows its
    /// value to `f` and returns what that returns. `eq` is asked about keys of that hash only.
    /// Both run under the shard's lock: they must be short and must not call the cache.
    #[inline]
    pub fn get_hashed<R>(
        &self,
        hash: u64,
        eq: impl FnMut(&K) -> bool,
        f: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        self.read::<true, R>(hash, eq, f)
    }

    #[inline]
    fn read<const HIT: bool, R>(
        &self,
        hash: u64,
        eq: impl FnMut(&K) -> bool,
        f: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let mut shard = self.shard(hash).lock();
        let slot = shard.find(hash, eq)?;
        if self.is_past(shard.entry(slot).deadline) {
            let entry = shard.take(slot, Cause::Expired);
            drop(shard);
            self.drop_entry(entry);
            return None;
        }
        if HIT {
            shard.hit(slot);
        }
        Some(f(&shard.entry(slot).value))
    }

    /// Frees up to `max` expired entries now and returns how many it freed. Fewer than `max` means
    /// that no other entry had expired when the call began.
    ///
    /// Nobody has to call this: inserts free expired entries as well. It holds one shard's lock at
    /// a time, for short spans.
    pub fn expire(&self, max: usize) -> usize {
        let from = self.expire_from.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.coarse();
        let mut freed = 0;
        for index in 0..self.shards.len() {
            let shard = &self.shards[from.wrapping_add(index) % self.shards.len()];
            let mut unfinished = true;
            while unfinished && freed < max {
                let mut steps = EXPIRE_STEPS_PER_LOCK;
                let most = EXPIRE_STEPS_PER_LOCK.min(max - freed);
                let mut dropped = Dropped::new(&self.drop_panics);
                let count = shard.lock().free_expired(now, most, &mut steps, &mut dropped);
                freed += count;
                unfinished = count == most || steps == 0;
            }
        }
        freed
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Mutex<Shard<K, V>> {
        // The index inside a shard uses the low and the top bits. Multiplying spreads those of a
        // weak hasher (2^64 divided by the golden ratio; Knuth, volume 3, section 6.4).
        let spread = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        &self.shards[spread as usize & (self.shards.len() - 1)]
    }

    /// True if this deadline has passed. Reads the clock only if there is a deadline.
    #[inline]
    fn is_past(&self, deadline: Millis) -> bool {
        deadline != Millis::NEVER && deadline <= self.clock.coarse()
    }

    /// The weight of an entry, `None` for one that must not be kept.
    fn weigh(&self, key: &K, value: &V) -> Option<u64> {
        let own = self.weigher.as_ref().map_or(0, |weigher| weigher(key, value));
        (own != usize::MAX).then(|| (own as u64).saturating_add(Self::ENTRY_OVERHEAD as u64))
    }

    fn drop_entry(&self, entry: Entry<K, V>) {
        drop_contained(entry.key, &self.drop_panics);
        drop_contained(entry.value, &self.drop_panics);
    }
}

impl<K, V, S> MemoryCache<K, V, S> {
    /// The bytes that an entry takes beside what its weigher counts: the key and value themselves,
    /// and this cache's index, links and marks.
    ///
    /// Counted per entry that is in the cache. Each shard also keeps up to a fourth of this in
    /// reserve, and a few hundred bytes (6 KiB once an entry has a time to live).
    pub const ENTRY_OVERHEAD: usize = Shard::<K, V>::ENTRY_OVERHEAD;

    /// Removes everything and gives the memory back. Shard by shard: an insert that runs at the
    /// same time may survive, one that has returned does not.
    pub fn clear(&self) {
        for shard in &self.shards {
            let old = shard.lock().clear();
            for (key, value) in old.into_entries() {
                drop_contained(key, &self.drop_panics);
                drop_contained(value, &self.drop_panics);
            }
        }
    }

    /// The number of entries, expired ones that were not freed yet included. Takes the lock of
    /// each shard in turn.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().len() == 0)
    }

    /// The sum of the weights of all entries, in bytes. Takes the lock of each shard in turn.
    pub fn weight(&self) -> u64 {
        let sum = self.shards.iter().map(|shard| shard.lock().weight()).sum::<u128>();
        u64::try_from(sum).unwrap_or(u64::MAX)
    }

    /// The bound on entries.
    pub fn max_entries(&self) -> Option<u64> {
        self.bounds.lock().entries
    }

    /// The bound on the sum of weights, in bytes.
    pub fn max_bytes(&self) -> Option<u64> {
        self.bounds.lock().bytes
    }

    /// Changes the bounds; what no longer fits is evicted before this returns, and memory is given
    /// back. The number of shards stays: keep `entries` well above it, for a shard whose part is 0
    /// keeps nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if both are `None`; nothing changes then.
    pub fn set_capacity(&self, entries: Option<u64>, bytes: Option<u64>) -> Result<()> {
        let bounds = Bounds { entries, bytes };
        bounds.check()?;
        let mut dropped = Dropped::new(&self.drop_panics);
        let _resizing = self.resizing.lock();
        *self.bounds.lock() = bounds;
        for (index, shard) in self.shards.iter().enumerate() {
            let part = bounds.of_shard(index, self.shards.len(), self.largest_share);
            shard.lock().resize(part, &mut dropped);
        }
        Ok(())
    }

    /// How entries left, and how many were not let in, since the cache was made. Takes the lock of
    /// each shard in turn.
    pub fn statistics(&self) -> MemoryStatistics {
        let mut sum = MemoryStatistics {
            drop_panics: self.drop_panics.load(Ordering::Relaxed),
            ..MemoryStatistics::default()
        };
        for shard in &self.shards {
            sum.add(&shard.lock().statistics);
        }
        sum
    }

    /// Asserts every invariant of every shard. For tests; takes time in proportion to the cache.
    ///
    /// # Panics
    /// If one does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        for shard in &self.shards {
            shard.lock().validate();
        }
    }
}

#[cfg(test)]
impl<K, V, S> MemoryCache<K, V, S> {
    /// Sets all counts of all shards.
    pub(super) fn preset_statistics(&self, count: u64) {
        for shard in &self.shards {
            shard.lock().statistics = MemoryStatistics {
                size: count,
                bytes: count,
                expired: count,
                replaced: count,
                removed: count,
                refused: count,
                drop_panics: 0,
            };
        }
    }
}

impl<K, V, S> Drop for MemoryCache<K, V, S> {
    fn drop(&mut self) {
        // Entry by entry, so that a `Drop` that panics is contained here as everywhere.
        self.clear();
    }
}

impl<K, V, S> fmt::Debug for MemoryCache<K, V, S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bounds { entries, bytes } = *self.bounds.lock();
        out.debug_struct("MemoryCache")
            .field("max_entries", &entries)
            .field("max_bytes", &bytes)
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}
