//! [`Cache`]: one value through all tiers, and the rules that keep the tiers in step.
//!
//! | file | answers |
//! |---|---|
//! | `builder.rs` | how a cache is set up |
//! | `advice.rs` | which options are allowed and yet unwise |
//! | `diagnose.rs` | what a cache would find where it is to run |
//! | `plan.rs` | which tiers are in force, in one atomic word |
//! | `freshness.rs` | how long values are fresh, then stale |
//! | `near.rs` | what an entry of L1 is |
//! | `lower.rs` | L2 and L3 as the cache holds them: opened or not, breaker, ledger, meter |
//! | `remote.rs` | when L3 may be asked |
//! | `marks.rs` | what was known of a key's changes, and what that says of what is found |
//! | `read.rs` | how a value is found and brought up |
//! | `filing.rs` | what is on its way into the tiers, and how L1 and L2 take it |
//! | `read_options.rs` | what a read accepts |
//! | `load_options.rs` | what a load is to do |
//! | `many.rs` | the same for many keys at once |
//! | `behind/` | what is set behind L3, and when it is sent |
//! | `change.rs` | how `set`, `delete` and `clear` reach every tier, and in which order |
//! | `tags.rs` | what is changed by its tags |
//! | `prefix.rs` | what is changed by what its key begins with |
//! | `touch.rs` | another time to live for what is there |
//! | `update.rs` | changes that depend on what is there |
//! | `decide.rs` | what such a change is decided on, and by which tier |
//! | `load.rs` | `get_or_load`: who loads, who waits, who gets something stale |
//! | `lead.rs` | how a load goes |
//! | `loaded.rs` | what of a loaded value is kept, and how it gets into the tiers |
//! | `unkept.rs` | what becomes of a key whose load says to keep nothing |
//! | `fleet.rs` | which host loads |
//! | `load_many.rs` | the same for many keys and one loader |
//! | `loading.rs` | loaders that may run in the background, and what only they can do |
//! | `asynchronous.rs` | the same and more for tasks |
//! | `events.rs` | what happens, told to listeners |
//! | `bulkhead.rs` | how many loads of one kind run at once |
//! | `loader.rs` | loaders that may run on threads of the cache |
//! | `coherence.rs` | how the changes of other hosts are followed |
//! | `own_changes.rs` | which news is of this process's own changes |
//! | `gate.rs` | who is turned away, and what an operator may do to all entries and connections |
//! | `split.rs` | who is on which of two tierings |
//! | `retier.rs` | how tiers enter and leave a running cache |
//! | `report.rs` | statistics |
//! | `survey.rs` | what keys are asked for, and how long entries are of use, while somebody wants to know |
//!
//! Locks, in the order in which they may be held together: `changes` (read by every change,
//! written by `retier` and `close`), then a lock inside one tier. Loaders and codecs run with
//! none of them held. A value that a change replaces is dropped under `changes` alone: its `Drop`
//! may read and change the cache, but not `retier` or `close` it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    clock::Clock,
    codec::Codec,
    error::{Error, ErrorKind, Result},
    invalidation::{OwnTags, StampTable},
    load::{Crew, Failures, Flights, LoadContext},
    memory::MemoryCache,
    metrics::Metrics,
    sync::SharedLock,
    tier::WritePolicy,
    tiering::Tiering,
};

mod advice;
mod answer;
mod asynchronous;
mod behind;
mod builder;
mod bulkhead;
mod change;
#[cfg(feature = "redis")]
mod coherence;
#[cfg(not(feature = "redis"))]
#[path = "coherence_absent.rs"]
mod coherence;
mod decide;
mod diagnose;
mod events;
mod filing;
mod fleet;
mod freshness;
mod gate;
mod lead;
mod load;
mod load_many;
mod load_options;
mod loaded;
mod loader;
mod loading;
mod lower;
mod many;
mod marks;
mod near;
#[cfg(feature = "redis")]
mod own_changes;
mod plan;
mod prefix;
mod read;
mod read_options;
mod remote;
mod report;
mod retier;
#[cfg(all(test, feature = "tracing"))]
mod span_tests;
mod split;
mod survey;
mod tags;
#[cfg(test)]
mod tests;
mod touch;
mod unkept;
mod update;

pub use advice::Advice;
pub use answer::{Answer, Loaded, Origin};
pub use builder::Builder;
pub(crate) use bulkhead::Bulkhead;
pub use change::SetOptions;
pub use decide::Version;
pub use events::Event;
pub use freshness::Freshness;
pub use gate::{GateState, Shedding};
pub use load_options::LoadOptions;
pub use loader::Loader;
pub use loading::Loading;
pub use read_options::ReadOptions;
pub use split::Split;
pub use update::Countable;

use asynchronous::Tasks;
use behind::Behind;
use coherence::Coherence;
use events::Events;
use fleet::Fleet;
use freshness::{Jitter, Rules};
use gate::Gate;
use load::Landing;
use loader::failed;
use lower::Lowers;
use near::Near;
use plan::PlanWord;
use split::Sides;

/// The longest key, in bytes. Longer ones are refused by `set` and never found by `get`.
pub const MAX_KEY_BYTES: usize = 64 << 10;

/// A key as L1 holds it.
type Key = Box<[u8]>;

/// A tiered cache of values of type `V` under keys of bytes.
///
/// Cheap to clone; clones are the same cache. Every call may be made from any thread.
///
/// A read never fails because a tier does: what a tier could not answer in time is a miss there,
/// counted in [`stats`](Self::stats) and visible in the health document.
///
/// A value is cloned on every hit (`Bytes` and `Arc` are what is meant), with no lock held. `Drop`
/// of a value may use the cache, but neither `retier` nor `close` it.
///
/// ```
/// use tierce::{Bytes, Cache};
///
/// let cache = Cache::builder().build()?;
/// cache.set("user:7", Bytes::from("Ada"))?;
/// assert_eq!(cache.get("user:7").as_deref(), Some(&b"Ada"[..]));
/// cache.delete("user:7")?;
/// assert_eq!(cache.get("user:7"), None);
/// # Ok::<(), tierce::Error>(())
/// ```
pub struct Cache<V = Bytes> {
    inner: Arc<Inner<V>>,
}

/// What the clones of a cache share.
struct Inner<V> {
    service: String,
    metrics_enabled: bool,
    rules: Rules,
    jitter: Jitter,
    load_wait: Duration,
    codec: Arc<dyn Codec<V>>,
    memory: MemoryCache<Key, Near<V>>,
    lowers: Lowers,
    plan: PlanWord,
    sides: Sides,
    gate: Gate,
    /// Read by every change for its length, written to change the plan: so no change straddles a
    /// change of tiering.
    changes: SharedLock,
    stamps: StampTable,
    tags: OwnTags,
    /// By what the prefixes of keys end, as this cache was built.
    delimiter: Option<u8>,
    /// Which values reach L3.
    writes: WritePolicy,
    behind: Behind,
    /// How many [`Cache`]s there are of it.
    handles: AtomicUsize,
    /// What the last of them does when it is dropped.
    on_last: fn(&Self),
    coherence: Coherence,
    flights: Flights<Landing<V>>,
    failures: Failures,
    fleet: Fleet,
    crew: Crew,
    tasks: Tasks,
    events: Events,
    metrics: Metrics,
    clock: Clock,
    /// For threads that go on when a call has returned, but not when the cache is gone.
    me: Weak<Self>,
}

impl Cache<Bytes> {
    /// Starts setting up a cache; [`Builder::build`] ends it.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// The value of `key` from the fastest tier that has it, copied into the tiers above on the
    /// way; `None` where no tier has it or can tell.
    ///
    /// An L1 hit costs a hash and two lines of memory and, above L2, two loads from shared memory.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<V> {
        self.inner.get(key.as_ref())
    }

    /// As [`get`](Self::get), with the tier that had the value and its age.
    pub fn get_entry(&self, key: impl AsRef<[u8]>) -> Option<Answer<V>> {
        self.inner.get_entry(key.as_ref(), &ReadOptions::default())
    }

    /// As [`get_entry`](Self::get_entry), for callers that accept stale values, or only young ones.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tierce::{Bytes, Cache, ReadOptions};
    ///
    /// let cache = Cache::builder().build()?;
    /// cache.set("a", Bytes::from("1"))?;
    /// let young = ReadOptions::new().max_age(Duration::from_secs(5));
    /// assert!(cache.get_with("a", &young).is_some());
    /// # Ok::<(), tierce::Error>(())
    /// ```
    pub fn get_with(&self, key: impl AsRef<[u8]>, options: &ReadOptions) -> Option<Answer<V>> {
        self.inner.get_entry(key.as_ref(), options)
    }

    /// The values of `keys`, in their order: each as [`get`](Self::get) would return it.
    ///
    /// L1 is asked for all of them together, and what L1 and L2 lack is fetched from L3 in one
    /// round trip, or in as few as the size of the values allows (a reply is bounded by
    /// [`RedisOptions::max_value_bytes`](crate::RedisOptions::max_value_bytes)). The values are not
    /// those of one moment. A key may be given more than once.
    ///
    /// ```
    /// use tierce::{Bytes, Cache};
    ///
    /// let cache = Cache::builder().build()?;
    /// cache.set("user:7", Bytes::from("Ada"))?;
    /// let found = cache.get_many(&["user:7", "user:8"]);
    /// assert_eq!(found, [Some(Bytes::from("Ada")), None]);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Option<V>> {
        let answers = self.get_many_entries(keys).into_iter();
        answers.map(|answer| answer.map(|answer| answer.value)).collect()
    }

    /// As [`get_many`](Self::get_many), with the tiers that had the values.
    pub fn get_many_entries<K: AsRef<[u8]>>(&self, keys: &[K]) -> Vec<Option<Answer<V>>> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        self.inner.get_many(&keys, &ReadOptions::default())
    }

    /// What a value weighs, as its codec says.
    pub(crate) fn weight_of(&self, value: &V) -> usize {
        self.inner.codec.weight(value)
    }

    /// These options where nothing lives longer than `most`.
    pub(crate) fn capped(&self, freshness: Freshness, most: Duration) -> Freshness {
        freshness.capped(most, &self.inner.rules)
    }

    /// As [`get_many`](Self::get_many), with options.
    pub(crate) fn values_of<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        options: &ReadOptions,
    ) -> Vec<Option<V>> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let answers = self.inner.get_many(&keys, options).into_iter();
        answers.map(|answer| answer.map(|answer| answer.value)).collect()
    }

    /// The value of `key` if L1 has it: never waits for another tier and counts no miss.
    ///
    /// For bindings that must release a lock of theirs before anything slow.
    pub fn get_near(&self, key: impl AsRef<[u8]>) -> Option<V> {
        self.inner.get_near(key.as_ref())
    }

    /// Puts `value` under `key` into all tiers, with the default time to live.
    ///
    /// When it returns, no read in any process of this host returns an older value. A tier that
    /// cannot take the change is not asked for this key again until it could.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] for a key above [`MAX_KEY_BYTES`], [`ErrorKind::Codec`] for a value
    /// without a byte form where the tiering needs one, [`ErrorKind::Closed`]. The list is
    /// complete; in each case the cache is as it was.
    pub fn set(&self, key: impl AsRef<[u8]>, value: V) -> Result<()> {
        self.inner.set(key.as_ref(), value, &SetOptions::default())
    }

    /// As [`set`](Self::set), with options.
    ///
    /// # Errors
    /// As [`set`](Self::set); [`ErrorKind::Config`] for options out of their range.
    pub fn set_with(&self, key: impl AsRef<[u8]>, value: V, options: &SetOptions) -> Result<()> {
        self.inner.set(key.as_ref(), value, options)
    }

    /// Removes `key` from all tiers. A load under way does not bring it back.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] only.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.inner.delete(key.as_ref())
    }

    /// Removes these keys from all tiers, each as [`delete`](Self::delete) does.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] only.
    pub fn delete_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<()> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        self.inner.delete_many(&keys)
    }

    /// Ends the time to live of what `key` has, in all tiers: from now on it is stale. It is served
    /// where its stale window allows, and replaced by the next load; where it has none it is gone. A
    /// load under way does not make the key fresh: it began before.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] only.
    pub fn expire(&self, key: impl AsRef<[u8]>) -> Result<()> {
        self.inner.expire(key.as_ref())
    }

    /// Removes all entries of this cache from all tiers, for all processes and hosts.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] only.
    pub fn clear(&self) -> Result<()> {
        self.inner.clear()
    }

    /// The value of `key`; on a miss calls `load`, once for all callers in this process and, where
    /// L2 is in force, on this host.
    ///
    /// `load` gets the key and returns a value, or a [`Loaded`] with a time to live of its own.
    /// It runs on this thread, with no lock held, and may use the cache for other keys. If the
    /// key is set or deleted meanwhile, its result goes to those who wait for it and is not kept.
    ///
    /// # Errors
    /// [`ErrorKind::Loader`] with the loader's error as cause, for all who waited;
    /// [`ErrorKind::LoaderPanicked`] for those who waited for a load that panicked (the thread
    /// that led it sees the panic); [`ErrorKind::Timeout`] after [`Builder::load_wait`] of waiting
    /// for another thread's load; [`ErrorKind::Reentrant`] where `load` asks for its own key;
    /// [`ErrorKind::Absent`] where the loader says that there is no value;
    /// [`ErrorKind::Closed`]; [`ErrorKind::TooLarge`] for the key; [`ErrorKind::Codec`] for a loaded
    /// value without a byte form where the tiering needs one.
    pub fn get_or_load<K, L, E, F>(&self, key: K, load: F) -> Result<V>
    where
        K: AsRef<[u8]>,
        F: FnOnce(&[u8]) -> Result<L, E>,
        L: Into<Loaded<V>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let load =
            |context: &LoadContext<'_, V>| load(context.key()).map(Into::into).map_err(failed);
        self.inner.get_or_load_value(key.as_ref(), load)?.ok_or_else(absent)
    }

    /// As [`get_or_load`](Self::get_or_load), with options, and with word of where the value came
    /// from.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load); [`ErrorKind::Config`] for options out of their range or
    /// more than 128 tags, also the loader's.
    pub fn get_or_load_with<K, L, E, F>(
        &self,
        key: K,
        options: &LoadOptions,
        load: F,
    ) -> Result<Answer<V>>
    where
        K: AsRef<[u8]>,
        F: FnOnce(&[u8]) -> Result<L, E>,
        L: Into<Loaded<V>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let load =
            |context: &LoadContext<'_, V>| load(context.key()).map(Into::into).map_err(failed);
        self.inner.get_or_load(key.as_ref(), options, load)?.present().ok_or_else(absent)
    }

    /// As [`get_or_load_with`](Self::get_or_load_with), for keys that may have no value: `None`
    /// where the loader says so ([`Loaded::absent`]), now or within
    /// [`negative_ttl`](Freshness::negative_ttl).
    ///
    /// ```
    /// use std::{collections::HashMap, io, time::Duration};
    /// use tierce::{Bytes, Cache, Freshness, LoadOptions};
    ///
    /// let cache = Cache::builder().build()?;
    /// let table = HashMap::from([("user:7", Bytes::from("Ada"))]);
    /// let options =
    ///     LoadOptions::new().freshness(Freshness::new().negative_ttl(Duration::from_secs(5)));
    /// let find = |key| {
    ///     cache.get_or_load_optional(key, &options, |_| io::Result::Ok(table.get(key).cloned()))
    /// };
    /// assert_eq!(find("user:7")?.value.as_deref(), Some(&b"Ada"[..]));
    /// assert_eq!(find("user:8")?.value, None);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load), but for [`ErrorKind::Absent`].
    pub fn get_or_load_optional<K, L, E, F>(
        &self,
        key: K,
        options: &LoadOptions,
        load: F,
    ) -> Result<Answer<Option<V>>>
    where
        K: AsRef<[u8]>,
        F: FnOnce(&[u8]) -> Result<L, E>,
        L: Into<Loaded<V>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let load =
            |context: &LoadContext<'_, V>| load(context.key()).map(Into::into).map_err(failed);
        self.inner.get_or_load(key.as_ref(), options, load)
    }

    /// The values of `keys`, in their order; calls `load` once for all that are missing.
    ///
    /// `load` gets the missing keys and returns as many answers, in their order: values, or `None`
    /// (or [`Loaded`]s) where there is none. Keys that other callers load already are not asked for:
    /// this call waits for those loads after its own. Where one of them is given up, `load` is
    /// called again.
    ///
    /// ```
    /// use tierce::{Bytes, Cache};
    ///
    /// let cache = Cache::builder().build()?;
    /// cache.set("user:7", Bytes::from("Ada"))?;
    /// let found = cache.get_or_load_many(&["user:7", "user:8", "user:9"], |missing| {
    ///     assert_eq!(missing, [b"user:8", b"user:9"]);
    ///     std::io::Result::Ok(vec![Some(Bytes::from("Bob")), None])
    /// })?;
    /// assert_eq!(found, [Some(Bytes::from("Ada")), Some(Bytes::from("Bob")), None]);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first that a key had; as [`get_or_load`](Self::get_or_load), but for
    /// [`ErrorKind::Absent`].
    pub fn get_or_load_many<K, L, E, F>(&self, keys: &[K], load: F) -> Result<Vec<Option<V>>>
    where
        K: AsRef<[u8]>,
        F: FnMut(&[&[u8]]) -> Result<Vec<L>, E>,
        L: Into<Loaded<V>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answers = self.get_or_load_many_entries(keys, &LoadOptions::default(), load);
        answers.into_iter().map(|answer| answer.map(|answer| answer.value)).collect()
    }

    /// As [`get_or_load_many`](Self::get_or_load_many), with options, and an answer of its own for
    /// each key.
    pub fn get_or_load_many_entries<K, L, E, F>(
        &self,
        keys: &[K],
        options: &LoadOptions,
        mut load: F,
    ) -> Vec<Result<Answer<Option<V>>>>
    where
        K: AsRef<[u8]>,
        F: FnMut(&[&[u8]]) -> Result<Vec<L>, E>,
        L: Into<Loaded<V>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        self.inner.get_or_load_many(&keys, options, &mut |missing| {
            let loaded = load(missing).map_err(failed)?;
            Ok(loaded.into_iter().map(Into::into).collect())
        })
    }

    /// Calls `load` whatever the tiers have, and puts what it returns in the place of that. Joins a
    /// load that another caller began after this one. Where L3 does not take it, this is a change that L3
    /// did not take: nobody of the host asks L3 for the key until it was removed there.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load). Nothing stale is served where the load fails.
    pub fn refresh<K, L, E, F>(&self, key: K, load: F) -> Result<V>
    where
        K: AsRef<[u8]>,
        F: FnOnce(&LoadContext<'_, V>) -> Result<L, E>,
        L: Into<Loaded<V>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let load = |context: &LoadContext<'_, V>| load(context).map(Into::into).map_err(failed);
        let answer = self.inner.refresh(key.as_ref(), &LoadOptions::default(), load)?;
        answer.value.ok_or_else(absent)
    }

    /// The tiers in force.
    pub fn tiering(&self) -> Tiering {
        self.inner.plan.load().tiering()
    }

    /// Puts other tiers in force, under load.
    ///
    /// Reads under way end on the tiers they began with; changes under way are waited for, so
    /// the call takes up to the longest write deadline. Keys that changed while a tier was out are
    /// removed from it before it is asked for them again. A cache that gains L2 starts with what
    /// the store holds and an empty view of L1: other processes may have changed what L1 has. So it
    /// is with one that gains L3 and follows other hosts.
    ///
    /// What is changed while L3 is out reaches it and other hosts only once L3 is back, key by key, some
    /// twelve seconds after that (writes of before that nobody answered may land until then); this host
    /// is not served the old values meanwhile. Have all hosts leave L3 where that matters.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where a tier has bad options, [`ErrorKind::Unsupported`] where this build
    /// lacks it, [`ErrorKind::Closed`]; the tiers
    /// stay as they were. A tier that cannot be opened is no error: it shows in
    /// the health document.
    pub fn retier(&self, tiering: Tiering) -> Result<()> {
        self.inner.retier(tiering)
    }

    /// How many entries L1 holds.
    pub fn len(&self) -> usize {
        self.inner.memory.len()
    }

    /// True if L1 holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counters and latencies since the cache was built.
    pub fn stats(&self) -> crate::metrics::Stats {
        self.inner.stats()
    }

    /// What the connection to L3 did, or `None` where L3 was never in use.
    #[cfg(feature = "redis")]
    pub fn redis_statistics(&self) -> Option<crate::tier::RedisStatistics> {
        self.inner.lowers.redis.opened().map(|redis| redis.statistics())
    }

    /// What all processes of the host did with L2's store, or `None` where it was never opened.
    #[cfg(feature = "shared")]
    pub fn store_statistics(&self) -> Option<crate::store::StoreStatistics> {
        self.inner.lowers.shared.opened().map(|shared| shared.statistics())
    }

    /// The statistics as Prometheus text; `None` where metrics are switched off
    /// ([`Builder::metrics_enabled`]).
    pub fn metrics_text(&self) -> Option<String> {
        self.inner.metrics_enabled.then(|| self.stats().to_prometheus(&self.inner.service))
    }

    /// Has L2 lose a key's record, as if there were no room for it.
    #[cfg(feature = "sim")]
    pub(crate) fn lose_shared(&self, key: &[u8]) {
        if let Some(shared) = self.inner.lowers.shared.opened() {
            shared.lose(key);
        }
    }

    /// Gives back threads, connections and memory. Reads miss from now on and changes fail with
    /// [`ErrorKind::Closed`]; loads under way end and are not kept. Closing twice is fine.
    pub fn close(&self) {
        self.inner.close();
    }
}

/// The error of a call that wants a value where the loader says that there is none.
fn absent() -> Error {
    Error::new(ErrorKind::Absent, "the loader says that the key has no value")
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        self.inner.handles.fetch_add(1, Ordering::Relaxed);
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<V> Drop for Cache<V> {
    fn drop(&mut self) {
        if self.inner.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            (self.inner.on_last)(&self.inner);
        }
    }
}

impl<V> std::fmt::Debug for Cache<V> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plan = self.inner.plan.load();
        out.debug_struct("Cache")
            .field("service", &self.inner.service)
            .field("tiering", &plan.tiering())
            .field("open", &plan.is_open())
            .finish_non_exhaustive()
    }
}
