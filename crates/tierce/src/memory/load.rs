//! Reading through: one load for all who miss the same key at the same time.
//!
//! A hit is a [`get`](MemoryCache::get). Who misses takes the shard's lock, looks once more, and
//! either **leads** a load or **joins** the one under way. The lock is free again before the
//! loader runs or anybody waits. Loads stand in a list ([`Loads`](super::loads::Loads)) beside the
//! index, so only misses pay.
//!
//! Locks: the list is under the shard's lock, an outcome under one of its own that is never taken
//! inside. A child forked meanwhile does not have the leaders, nor their frames: it forgets all
//! loads of its parent before it looks at a key of the list.

use std::{
    borrow::Borrow,
    convert::Infallible,
    error::Error as StdError,
    hash::{BuildHasher, Hash},
    mem,
    time::{Duration, Instant},
};

use super::{
    cache::{MemoryCache, Spread},
    departures::{Departures, drop_contained},
    loads::{Entered, Outcome},
    options::Ttl,
    shared::Shared,
    statistics::RemovalCause,
};
use crate::{
    clock::Millis,
    error::{Error, ErrorKind, Result},
};

impl<K: Hash + Eq, V: Clone, S: BuildHasher> MemoryCache<K, V, S> {
    /// Returns a clone of the key's value; on a miss calls `load`, once for all callers that wait
    /// for the key, and stores what it returns with the default time to live.
    ///
    /// `load` runs with no lock held and may call the cache, for other keys also this function.
    /// What it returns is given to all who wait, even where it is not stored: because it is too
    /// heavy, its time to live is zero, or the key changed meanwhile: since it was inserted,
    /// removed or computed, or the cache was cleared or sifted by [`retain`](Self::retain). Who
    /// comes after such a change does not join the load that began before it.
    ///
    /// If `load` panics, the panic goes on to its caller, and one of those who wait loads instead.
    ///
    /// Waits as long as the load takes that another thread began: a loader that hangs holds the
    /// callers of its key, and two loaders that wait for each other's key do so for ever. Where
    /// that may happen use [`try_get_or_insert_within`](Self::try_get_or_insert_within).
    ///
    /// ```
    /// use tierce::{MemoryCache, MemoryOptions};
    ///
    /// let squares = MemoryCache::new(MemoryOptions::new().max_entries(100))?;
    /// assert_eq!(squares.get_or_insert_with(12, || 12 * 12), 144);
    /// assert_eq!(squares.get_or_insert_with(12, || unreachable!("it is there")), 144);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Panics
    /// If `load` calls this for the key that it loads: it would wait for itself.
    #[inline]
    pub fn get_or_insert_with(&self, key: K, load: impl FnOnce() -> V) -> V {
        let hash = self.hash(&key);
        match self.get_hashed(hash, |other| *other == key, V::clone) {
            Some(value) => value,
            None => self.load_anyway(hash, key, load),
        }
    }

    /// As [`get_or_insert_with`](Self::get_or_insert_with), by a borrowed form of the key, which
    /// is made into an owned one on a miss only.
    ///
    /// ```
    /// use tierce::{MemoryCache, MemoryOptions};
    ///
    /// let lengths = MemoryCache::<String, usize>::new(MemoryOptions::new().max_entries(100))?;
    /// let name = "a name that is borrowed";
    /// assert_eq!(lengths.get_or_insert_with_by_ref(name, || name.len()), 23);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Panics
    /// As [`get_or_insert_with`](Self::get_or_insert_with).
    #[inline]
    pub fn get_or_insert_with_by_ref<Q>(&self, key: &Q, load: impl FnOnce() -> V) -> V
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.hash(key);
        match self.get_hashed(hash, |other| other.borrow() == key, V::clone) {
            Some(value) => value,
            None => self.load_anyway(hash, key.to_owned(), load),
        }
    }

    /// As [`get_or_insert_with`](Self::get_or_insert_with), with a loader that may fail. A failure
    /// is stored nowhere: its caller gets it, and one of those who wait loads instead.
    ///
    /// ```
    /// use std::num::ParseIntError;
    /// use tierce::{ErrorKind, MemoryCache, MemoryOptions};
    ///
    /// let cache = MemoryCache::<&str, u32>::new(MemoryOptions::new().max_entries(100))?;
    /// let failed = cache.try_get_or_insert_with("a", || "x".parse::<u32>()).unwrap_err();
    /// assert_eq!(failed.kind(), ErrorKind::Loader);
    /// assert!(failed.cause::<ParseIntError>().is_some());
    /// assert_eq!(cache.try_get_or_insert_with("a", || "7".parse::<u32>())?, 7);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Loader`] with the loader's error as its [`cause`](Error::cause), and
    /// [`ErrorKind::Reentrant`] if `load` asks for the key that it loads. No other kinds.
    #[inline]
    pub fn try_get_or_insert_with<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let hash = self.hash(&key);
        match self.get_hashed(hash, |other| *other == key, V::clone) {
            Some(value) => Ok(value),
            None => {
                let load = || load().map(|value| (value, Ttl::Default));
                self.load_missing(hash, key, None, load).map_err(Failed::into_error)
            }
        }
    }

    /// As [`try_get_or_insert_with`](Self::try_get_or_insert_with), waiting for a load that another
    /// thread began at most for `wait`, and with a loader that says how long its value may live.
    ///
    /// Who waited in vain has the next caller of the key load anew, so that a loader that hangs
    /// holds nobody for longer than `wait`. A call that loads itself takes as long as its loader.
    ///
    /// ```
    /// use std::{convert::Infallible, time::Duration};
    /// use tierce::{MemoryCache, MemoryOptions, Ttl};
    ///
    /// let cache = MemoryCache::new(MemoryOptions::new().max_entries(100))?;
    /// let wait = Duration::from_millis(200);
    /// let load = || Ok::<_, Infallible>(("sunny", Ttl::For(Duration::from_secs(60))));
    /// assert_eq!(cache.try_get_or_insert_within("weather", wait, load)?, "sunny");
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`try_get_or_insert_with`](Self::try_get_or_insert_with), and
    /// [`ErrorKind::Timeout`]. No other kinds.
    #[inline]
    pub fn try_get_or_insert_within<E>(
        &self,
        key: K,
        wait: Duration,
        load: impl FnOnce() -> Result<(V, Ttl), E>,
    ) -> Result<V>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let hash = self.hash(&key);
        match self.get_hashed(hash, |other| *other == key, V::clone) {
            Some(value) => Ok(value),
            None => self.load_missing(hash, key, Some(wait), load).map_err(Failed::into_error),
        }
    }

    fn load_anyway(&self, hash: u64, key: K, load: impl FnOnce() -> V) -> V {
        let load = || Ok::<_, Infallible>((load(), Ttl::Default));
        match self.load_missing(hash, key, None, load) {
            Ok(value) => value,
            Err(Failed::Loader(never)) => match never {},
            Err(Failed::Reentrant) => panic!("{REENTRANT}"),
            Err(Failed::Timeout(_)) => unreachable!("no deadline was set"),
        }
    }

    /// Leads or joins a load of a key that was not there a moment ago.
    fn load_missing<E>(
        &self,
        hash: u64,
        key: K,
        wait: Option<Duration>,
        load: impl FnOnce() -> Result<(V, Ttl), E>,
    ) -> Result<V, Failed<E>> {
        let spread = self.spread(hash);
        let mut deadline = None;
        let ticket = loop {
            // SAFETY: the load that this may begin has ended when `key` is moved or dropped: the
            // loop ends at once where it began one, `leading` ends it in its drop, which comes
            // before that of `key`, and `land` ends it before it moves the key.
            match unsafe { self.enter(spread, &key) } {
                Entered::Lead(ticket) => break ticket,
                Entered::Reentrant => return Err(Failed::Reentrant),
                Entered::Found => {
                    // It may have left again.
                    if let Some(value) = self.get_hashed(hash, |other| *other == key, V::clone) {
                        return Ok(value);
                    }
                }
                Entered::Join(ticket, meeting) => {
                    // A wait too long to express has no end, which is what was asked for.
                    if let (Some(wait), None) = (wait, deadline) {
                        deadline = Instant::now().checked_add(wait);
                    }
                    match (meeting.wait(deadline), wait) {
                        (Outcome::Loaded(value), _) => {
                            let own = V::clone(&value);
                            drop_contained(value, &self.exit.panics);
                            return Ok(own);
                        }
                        (Outcome::Pending, Some(wait)) => {
                            self.lock(spread.shard).writer.loads.abandon(ticket);
                            return Err(Failed::Timeout(wait));
                        }
                        // Its leader failed: the next one leads.
                        _ => {}
                    }
                }
            }
        };
        let leading = Leading { cache: self, shard: spread.shard, ticket };
        let (value, ttl) = load().map_err(Failed::Loader)?;
        let kept = value.clone();
        let weight = self.weigh(&key, &kept);
        let life = self.resolve(ttl);

        let mut departures = Departures::new(&self.exit);
        let mut locked = self.lock(spread.shard);
        mem::forget(leading);
        let ended = locked.writer.loads.end(ticket);
        locked.collect(&mut departures);
        if ended.may_store {
            locked.void_loads(spread.hash);
            let now = self.now_for(life, &locked);
            locked.free_some(now, &mut departures);
            let hash = spread.hash;
            self.put(&mut locked, hash, key, kept, weight, life, now, None, &mut departures);
        } else {
            departures.push(key, kept);
        }
        drop(locked);
        let Some(meeting) = ended.meeting else { return Ok(value) };
        let shared = match Shared::try_new(value) {
            Ok(shared) => shared,
            Err(value) => {
                // Memory is short: who waits loads for itself.
                meeting.end(Outcome::Failed);
                return Ok(value);
            }
        };
        meeting.end(Outcome::Loaded(shared.clone()));
        let own = V::clone(&shared);
        drop_contained(shared, &self.exit.panics);
        Ok(own)
    }

    /// Looks for the key once more, now that it can be decided who loads.
    ///
    /// # Safety
    /// A load that this begins must end ([`Loads::end`](super::loads::Loads::end)) before `key` moves or is dropped.
    unsafe fn enter(&self, spread: Spread, key: &K) -> Entered<V> {
        let mut departures = Departures::new(&self.exit);
        let mut locked = self.lock(spread.shard);
        if let Some(hit) = locked.find(spread.hash, |other| other == key) {
            let deadline = locked.deadline(hit.slot);
            if deadline == Millis::NEVER || deadline > self.clock.coarse() {
                return Entered::Found;
            }
            locked.take_hit(hit, spread.hash, RemovalCause::Expired, &mut departures);
            locked.collect(&mut departures);
        }
        // SAFETY: the caller's word.
        unsafe { locked.writer.loads.enter(spread.hash, key) }
    }
}

const REENTRANT: &str = "the loader of a key asked for the same key: that would wait for itself";

/// Why there is no value.
enum Failed<E> {
    Loader(E),
    Reentrant,
    Timeout(Duration),
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> Failed<E> {
    fn into_error(self) -> Error {
        match self {
            Self::Loader(error) => {
                Error::new(ErrorKind::Loader, "the loader failed").caused_by(error)
            }
            Self::Reentrant => Error::new(ErrorKind::Reentrant, REENTRANT),
            Self::Timeout(wait) => Error::new(
                ErrorKind::Timeout,
                format!("the load that another thread began took longer than {wait:?}"),
            ),
        }
    }
}

/// The duty to end a load; dropped where the loader fails or something of the caller's panics.
struct Leading<'a, K, V, S> {
    cache: &'a MemoryCache<K, V, S>,
    shard: usize,
    ticket: u64,
}

impl<K, V, S> Drop for Leading<'_, K, V, S> {
    fn drop(&mut self) {
        let ended = self.cache.lock(self.shard).writer.loads.end(self.ticket);
        if let Some(meeting) = ended.meeting {
            meeting.end(Outcome::Failed);
        }
    }
}

#[cfg(test)]
impl<K, V, S> MemoryCache<K, V, S> {
    /// How many loads are under way, and how many callers have joined them.
    pub(super) fn loads(&self) -> (usize, usize) {
        let of_shard = |shard: usize| self.lock(shard).writer.loads.counts();
        let sum = |sum: (usize, usize), more: (usize, usize)| (sum.0 + more.0, sum.1 + more.1);
        (0..self.writers.len()).map(of_shard).fold((0, 0), sum)
    }
}
