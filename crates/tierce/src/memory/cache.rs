//! [`MemoryCache`]: what it consists of, its bounds, counts and inspection.

use std::{
    array::from_fn,
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    ptr,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
    thread,
};

use crossbeam_utils::CachePadded;

use super::{
    builder::MemoryBuilder,
    departures::{Departures, Exit, drop_contained},
    hasher::{RandomState, fold},
    options::{Bounds, Life, MemoryOptions},
    read::ASK_THE_CLOCK,
    shard::{HOT_LINES, Index, LINE, Locked, Root, Writer, dissolve},
    statistics::MemoryStatistics,
};
use crate::{
    clock::{Clock, Millis, Span},
    error::Result,
    policy::PolicyView,
    prefetch::prefetch_all_to_write,
    sync::{Mutex, epoch},
};

/// Steps in the tree of deadlines under one hold of a shard's lock in [`MemoryCache::expire`]:
/// some 10 us, so that writers of the shard are not kept waiting.
const EXPIRE_STEPS_PER_LOCK: usize = 64;

/// How often [`MemoryCache::reclaim`] looks whether readers are gone: three times are enough if
/// none is in the way.
const RECLAIM_TRIES: usize = 100;

pub(super) type Weigher<K, V> = Box<dyn Fn(&K, &V) -> usize + Send + Sync>;

/// What writers lock, on cache lines of its own.
type PaddedWriter<K, V> = CachePadded<Mutex<Writer<K, V>>>;

/// A bounded, concurrent cache in the memory of this process.
///
/// A read takes no lock and writes nothing that other readers wait for: it costs about 10 ns for
/// a small key, with any number of threads. Entries are divided by hash among shards, each with a
/// lock for those who write, its part of the bounds and its own order of eviction. The bounds hold
/// at every moment. An expired entry is never returned, and its memory is freed by later inserts,
/// a few at a time, or by [`expire`](Self::expire); there is no thread. A call costs O(1), apart
/// from what it evicts and from [`clear`](Self::clear), [`set_capacity`](Self::set_capacity) and
/// the calls that count or walk.
///
/// # When values are dropped
/// A value that was replaced, removed or evicted is dropped when no thread can be looking at it
/// any more. That is at once while only one thread of the process uses caches and there is no
/// listener; otherwise some writes later, with up to an eighth of a shard's entries waiting, or of
/// its bytes. What waits is not counted in the bounds; [`reclaim`](Self::reclaim) drops it now. While a
/// reader stays in a closure, more waits; above 4,096 entries and as many as there are, or 16 MiB
/// and the bound, inserts are refused.
///
/// # The caller's code
/// Hashing, weighing (but in `compute`), dropping and the listener happen with no lock held, and so
/// do the closures and clones of reads. `Eq` of keys in writes and the closures of
/// [`insert_if`](Self::insert_if), [`compute`](Self::compute), [`remove_if`](Self::remove_if) and
/// [`remove_after`](Self::remove_after) run under the lock of the key's shard: they must be short
/// and **must not call the cache**, or they wait for themselves for ever. A panic in any of them
/// leaves the cache whole. A `Drop` or listener that panics is contained and counted.
///
/// # Weight
/// An entry weighs what the weigher says when it is put in plus
/// [`ENTRY_OVERHEAD`](Self::ENTRY_OVERHEAD).
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
pub struct MemoryCache<K, V, S = RandomState> {
    /// What readers begin with; changes only when an index grows.
    pub(super) roots: Box<[Root<K, V>]>,
    /// The number of shards, a power of two, less one.
    shard_mask: usize,
    pub(super) writers: Box<[PaddedWriter<K, V>]>,
    pub(super) hasher: S,
    pub(super) weigher: Option<Weigher<K, V>>,
    pub(super) clock: Clock,
    pub(super) default_life: Life,
    /// By how much of itself a time to live is shortened at most, in parts of 2^16.
    pub(super) ttl_jitter: u32,
    /// How long an entry lives that nobody reads, in milliseconds.
    pub(super) time_to_idle: Option<u64>,
    /// Entries whose deadlines are in this [`Span`] or before it are not read the short way:
    /// [`Span::LAST`] while there are no deadlines or the clock is a manual one, [`Span::NEVER`] where all entries must be read
    /// the long way, or [`ASK_THE_CLOCK`]. Set before the first deadline comes in.
    pub(super) near: AtomicU32,
    /// The policy wants to be told of every read, under the lock.
    pub(super) tells_reads: bool,
    pub(super) exit: Exit<K, V>,
    largest_share: u64,
    bounds: Mutex<Bounds>,
    /// Held through a change of the bounds, so that two changes do not mix. Taken before a
    /// shard's lock.
    resizing: Mutex<()>,
    /// The shard where the next `expire` begins, so that none is left out.
    expire_from: AtomicUsize,
}

// SAFETY: the cache owns its entries, which may be dropped by the thread that has the cache; the
// closures and the clock are `Send` by their bounds.
unsafe impl<K: Send, V: Send, S: Send> Send for MemoryCache<K, V, S> {}
// SAFETY: entries are changed under a lock; readers share them between threads (`Sync`), and any
// thread may be the one that drops them (`Send`).
unsafe impl<K: Send + Sync, V: Send + Sync, S: Sync> Sync for MemoryCache<K, V, S> {}

/// Where a hash leads.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    pub(super) shard: usize,
    /// What the shard knows of the hash.
    pub(super) hash: u32,
}

impl<K: Hash + Eq, V> MemoryCache<K, V> {
    /// Makes a cache with a random hash seed of its own. Entries weigh their overhead only.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if no bound is given or an option breaks
    /// its rule; the message names it. No other kinds.
    pub fn new(options: MemoryOptions) -> Result<Self> {
        Self::builder(options).build()
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
        Self::builder(options).weigher(weigher).build()
    }

    /// As [`new`](Self::new), with a weigher, listener, hasher or clock.
    pub fn builder(options: MemoryOptions) -> MemoryBuilder<K, V> {
        MemoryBuilder::new(options)
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> MemoryCache<K, V, S> {
    pub(super) fn build(parts: MemoryBuilder<K, V, S>) -> Result<Self> {
        let MemoryBuilder { options, weigher, listener, heard, hasher, clock } = parts;
        let count = options.check()?;
        let time_to_idle = options.time_to_idle.map(|idle| Millis(0).after(idle).0);
        let mut roots = Vec::with_capacity(count);
        let mut writers = Vec::with_capacity(count);
        for index in 0..count {
            let bounds = options.bounds.of_shard(index, count, options.largest_share);
            let Some((writer, table)) = Writer::new(bounds, options.policy, time_to_idle) else {
                return Err(super::options::no_memory(count));
            };
            writers.push(CachePadded::new(Mutex::new(writer)));
            roots.push(Root::new(table.as_ptr()));
        }
        let only_counts_reads = !options.policy.wants_hits() && time_to_idle.is_none();
        let near = match options.ttl {
            _ if !only_counts_reads => Span::NEVER,
            Some(_) if !clock.is_manual() => ASK_THE_CLOCK,
            _ => Span::LAST,
        };
        Ok(Self {
            shard_mask: count - 1,
            roots: roots.into(),
            writers: writers.into(),
            hasher,
            weigher,
            clock,
            default_life: options.ttl.map_or(Life::ENDLESS, Life::of),
            ttl_jitter: options.jitter_parts(),
            time_to_idle,
            near: AtomicU32::new(near.0),
            tells_reads: options.policy.wants_hits(),
            exit: Exit { listener, heard, panics: Default::default() },
            largest_share: options.largest_share,
            bounds: Mutex::new(options.bounds),
            resizing: Mutex::new(()),
            expire_from: AtomicUsize::new(0),
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
}

impl<K, V, S> MemoryCache<K, V, S> {
    /// The bytes that an entry takes beside what its weigher counts: the key and value themselves,
    /// and this cache's index, header and marks.
    ///
    /// Counted per entry that is in the cache. A cache also keeps up to a fourth of this in
    /// reserve, and some kilobytes for each shard. A time to idle adds 8 bytes an entry, and exact
    /// LRU 2.
    pub const ENTRY_OVERHEAD: usize = Writer::<K, V>::ENTRY_OVERHEAD;

    /// Where a hash leads.
    #[inline]
    pub(super) fn spread(&self, hash: u64) -> Spread {
        let folded = fold(hash);
        Spread { shard: (folded >> 48) as usize & self.shard_mask, hash: folded as u32 }
    }

    /// The table that a reader begins with. A pin must be held while it is used.
    #[inline]
    pub(super) fn root(&self, spread: Spread) -> *const Index<K, V> {
        debug_assert!(spread.shard < self.roots.len());
        // SAFETY: the number of shards is a power of two, and `spread` masks with one less.
        unsafe { self.roots.get_unchecked(spread.shard) }.load(Ordering::Acquire)
    }

    /// Takes the lock of a shard.
    #[inline(always)]
    pub(super) fn lock(&self, shard: usize) -> Locked<'_, K, V> {
        assert!(shard <= self.shard_mask, "there is no shard {shard}");
        // SAFETY: both have one more element than the mask, which was just compared.
        let (root, writer) =
            unsafe { (self.roots.get_unchecked(shard), self.writers.get_unchecked(shard)) };
        if !epoch::is_sole() {
            // All at once, also the first: what another processor changed last travels for as long
            // as some hundred instructions take.
            let first = ptr::from_ref(&**writer).cast::<u8>();
            prefetch_all_to_write::<HOT_LINES>(from_fn(|line| first.wrapping_add(line * LINE)));
        }
        Locked { root, writer: writer.lock() }
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
        for index in 0..self.roots.len() {
            let shard = from.wrapping_add(index) % self.roots.len();
            let mut unfinished = true;
            while unfinished && freed < max {
                let mut steps = EXPIRE_STEPS_PER_LOCK;
                let most = EXPIRE_STEPS_PER_LOCK.min(max - freed);
                let mut departures = Departures::new(&self.exit);
                let mut locked = self.lock(shard);
                locked.collect(&mut departures);
                let count = locked.free_expired(now, most, &mut steps, &mut departures);
                freed += count;
                unfinished = count == most || steps == 0;
            }
        }
        freed
    }

    /// Removes everything and gives the memory back. Shard by shard: an insert that runs at the
    /// same time may survive, one that has returned does not.
    pub fn clear(&self) {
        for shard in 0..self.roots.len() {
            let mut departures = Departures::new(&self.exit);
            let mut locked = self.lock(shard);
            locked.collect(&mut departures);
            locked.clear(&mut departures);
        }
        // Who clears wants the memory now, and may never write again.
        self.reclaim();
    }

    /// The number of entries, expired ones that were not freed yet included. Takes the lock of
    /// each shard in turn.
    pub fn len(&self) -> usize {
        self.writers.iter().map(|writer| writer.lock().len() as usize).sum()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.writers.iter().all(|writer| writer.lock().len() == 0)
    }

    /// The sum of the weights of all entries, in bytes. Takes the lock of each shard in turn.
    pub fn weight(&self) -> u64 {
        let sum = self.writers.iter().map(|writer| writer.lock().weight()).sum::<u128>();
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
    /// To give memory back a shard moves its entries together; reads of that shard wait meanwhile,
    /// for about 50 ns an entry. Within the closure of a read memory is not given back.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if both are `None`; nothing changes then.
    pub fn set_capacity(&self, entries: Option<u64>, bytes: Option<u64>) -> Result<()> {
        let bounds = Bounds { entries, bytes };
        bounds.check()?;
        {
            // Before the locks: a listener or `Drop` may call this as well.
            let mut departures = Departures::new(&self.exit);
            let _resizing = self.resizing.lock();
            *self.bounds.lock() = bounds;
            for shard in 0..self.roots.len() {
                let part = bounds.of_shard(shard, self.roots.len(), self.largest_share);
                let mut locked = self.lock(shard);
                locked.collect(&mut departures);
                locked.resize(part, &mut departures);
            }
        }
        for shard in 0..self.roots.len() {
            let mut departures = Departures::untold(&self.exit);
            self.lock(shard).compact(&mut departures);
        }
        Ok(())
    }

    /// How entries left, and how many were not let in, since the cache was made. Takes the lock of
    /// each shard in turn.
    pub fn statistics(&self) -> MemoryStatistics {
        let mut sum = MemoryStatistics {
            drop_panics: self.exit.panics.load(Ordering::Relaxed),
            ..MemoryStatistics::default()
        };
        for writer in &self.writers {
            sum.add(&writer.lock().statistics);
        }
        sum
    }

    /// What the policy of each shard says of itself.
    pub fn policy(&self) -> Vec<PolicyView> {
        self.writers.iter().map(|writer| writer.lock().view()).collect()
    }

    /// How many entries left whose memory is not free yet, because a thread may be looking at them.
    pub fn retired(&self) -> usize {
        self.writers.iter().map(|writer| writer.lock().retired()).sum()
    }

    /// Frees what left the cache now, as far as no thread is looking at it, and returns how many
    /// entries are still held. Nobody has to call this: writes free what left before.
    ///
    /// Costs some tens of microseconds where other threads run. Within the closure of a read it
    /// frees nothing that left since.
    pub fn reclaim(&self) -> usize {
        for _ in 0..RECLAIM_TRIES {
            let mut left = 0;
            for shard in 0..self.roots.len() {
                let mut departures = Departures::untold(&self.exit);
                left += self.lock(shard).collect_all(&mut departures);
            }
            if left == 0 || epoch::is_pinned() {
                return left;
            }
            if !epoch::try_advance() {
                thread::yield_now();
            }
        }
        self.retired()
    }

    /// Asserts every invariant of every shard. For tests; takes time in proportion to the cache.
    ///
    /// # Panics
    /// If one does not hold.
    #[doc(hidden)]
    pub fn validate(&self) {
        for shard in 0..self.roots.len() {
            self.lock(shard).validate();
        }
    }
}

#[cfg(test)]
impl<K, V, S> MemoryCache<K, V, S> {
    /// Sets all counts of all shards.
    pub(super) fn preset_statistics(&self, count: u64) {
        for writer in &self.writers {
            writer.lock().statistics = MemoryStatistics {
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
        let panics = &self.exit.panics;
        for (root, writer) in self.roots.iter_mut().zip(&mut self.writers) {
            // SAFETY: `&mut self`: no reader is left, and both go with this cache.
            unsafe {
                // Entry by entry, so that a `Drop` that panics is contained here as everywhere.
                dissolve(root, writer.get_mut(), |key, value| {
                    drop_contained(key, panics);
                    drop_contained(value, panics);
                });
            }
        }
    }
}

impl<K, V, S> fmt::Debug for MemoryCache<K, V, S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bounds { entries, bytes } = *self.bounds.lock();
        out.debug_struct("MemoryCache")
            .field("max_entries", &entries)
            .field("max_bytes", &bytes)
            .field("shards", &self.roots.len())
            .finish_non_exhaustive()
    }
}
