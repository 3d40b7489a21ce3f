//! What puts in and takes out.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
    sync::atomic::Ordering,
    time::Instant,
};

use super::{
    cache::MemoryCache,
    departures::Departures,
    options::{Life, Ttl},
    read::ASK_THE_CLOCK,
    shard::{Hit, Locked, NewEntry},
    statistics::RemovalCause,
};
use crate::{
    clock::{Millis, Span},
    simulated,
    sync::epoch::{self, Pin},
};

/// What became of an insert. Unless it was declined, the key's earlier value is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inserted {
    /// The entry is in the cache.
    Stored,
    /// `decide` said no; nothing changed.
    Declined,
    /// The entry is too heavy, the bound leaves no room for any, memory is short, or readers that
    /// stay where they are hold up more than should pile up; it was not stored.
    Refused,
    /// The time to live is zero or over; it was not stored.
    Expired,
}

/// What [`MemoryCache::compute`] is to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Computed<V> {
    /// Store this value, with this time to live.
    Store(V, Ttl),
    /// Remove the key.
    Remove,
    /// Leave everything as it is.
    Keep,
}

impl<K: Hash + Eq, V, S: BuildHasher> MemoryCache<K, V, S> {
    /// Stores a value with the default time to live, in place of the key's earlier one.
    #[inline(always)]
    pub fn insert(&self, key: K, value: V) -> Inserted {
        self.insert_if(key, value, Ttl::Default, |_| true)
    }

    /// Stores a value that lives for `ttl`, in place of the key's earlier one.
    #[inline(always)]
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Ttl) -> Inserted {
        self.insert_if(key, value, ttl, |_| true)
    }

    /// Stores a value if `decide` says so, having seen the value that the key has now (an expired
    /// one is `None`). Decision and insert are one step for all other calls of this key.
    ///
    /// `decide` runs exactly once, also for an entry that will be refused, under the shard's lock:
    /// it must be short and must not call the cache.
    #[inline(always)]
    pub fn insert_if(
        &self,
        key: K,
        value: V,
        ttl: Ttl,
        decide: impl FnOnce(Option<&V>) -> bool,
    ) -> Inserted {
        self.insert_for(key, value, self.resolve(ttl), decide)
    }

    fn insert_for(
        &self,
        key: K,
        value: V,
        life: Life,
        decide: impl FnOnce(Option<&V>) -> bool,
    ) -> Inserted {
        simulated::point();
        let weight = self.weigh(&key, &value);
        let hash = self.hash(&key);
        let spread = self.spread(hash);
        // Before the lock, which others wait for.
        let mut now = Millis(0);
        if life != Life::ENDLESS {
            now = self.clock.coarse();
        }

        let mut departures = Departures::new(&self.exit);
        let mut locked = self.lock(spread.shard);
        locked.fetch(spread.hash);
        locked.collect_or_wait(&mut departures);
        let found = locked.find(spread.hash, |other| *other == key);
        if life == Life::ENDLESS && locked.has_deadlines() {
            now = self.clock.coarse();
        }
        let hash = spread.hash;
        // After `decide` none of the caller's code runs until the lock is free.
        if let Some(hit) = found
            && locked.deadline_of(hit) > now
        {
            if !decide(Some(locked.value(hit))) {
                departures.push(key, value);
                return Inserted::Declined;
            }
            locked.void_loads(hash);
            // What `hit` names is not among them.
            locked.free_some(now, &mut departures);
            let live = Some(hit);
            return self.put_here(
                &mut locked,
                hash,
                key,
                value,
                weight,
                life,
                now,
                live,
                &mut departures,
            );
        }
        if !decide(None) {
            departures.push(key, value);
            return Inserted::Declined;
        }
        locked.void_loads(hash);
        if let Some(hit) = found {
            locked.take_hit(hit, hash, RemovalCause::Expired, &mut departures);
        }
        // Before anything is evicted: the expired should make room, not the living.
        locked.free_some(now, &mut departures);
        self.put_here(&mut locked, hash, key, value, weight, life, now, None, &mut departures)
    }

    /// Stores, removes or keeps what `decide` says, having seen the value that the key has now (an
    /// expired one is `None`). Decision and change are one step for all other calls of this key.
    ///
    /// Returns `None` unless something was to be stored. `decide` runs under the shard's lock: it
    /// must be short and must not call the cache; if it panics, nothing changes. The same goes for
    /// the weigher here, as it needs the value.
    ///
    /// ```
    /// use tierce::{Computed, MemoryCache, MemoryOptions, Ttl};
    ///
    /// let hits = MemoryCache::new(MemoryOptions::new().max_entries(100))?;
    /// for _ in 0..3 {
    ///     hits.compute("page", |count| Computed::Store(count.unwrap_or(&0) + 1, Ttl::Default));
    /// }
    /// assert_eq!(hits.get("page"), Some(3));
    /// hits.compute("page", |_| Computed::Remove);
    /// assert_eq!(hits.get("page"), None);
    /// # Ok::<(), tierce::Error>(())
    /// ```
    pub fn compute(
        &self,
        key: K,
        decide: impl FnOnce(Option<&V>) -> Computed<V>,
    ) -> Option<Inserted> {
        let spread = self.spread(self.hash(&key));
        let mut departures = Departures::new(&self.exit);
        // Before the lock, so that a weigher that panics does not have it dropped under the lock.
        let mut pending = None;
        let mut locked = self.lock(spread.shard);
        locked.collect_or_wait(&mut departures);
        let found = locked.find(spread.hash, |other| *other == key);
        let mut now = Millis(0);
        if locked.has_deadlines() {
            now = self.clock.coarse();
        }
        let live = found.filter(|hit| locked.deadline_of(*hit) > now);
        let decided = decide(live.map(|hit| locked.value(hit)));
        let (value, life) = match decided {
            Computed::Keep => return None,
            Computed::Remove => {
                locked.void_loads(spread.hash);
                if let Some(hit) = found {
                    let cause =
                        if live.is_some() { RemovalCause::Removed } else { RemovalCause::Expired };
                    locked.take_hit(hit, spread.hash, cause, &mut departures);
                }
                return None;
            }
            Computed::Store(value, ttl) => (value, self.resolve(ttl)),
        };
        let weight = self.weigh(&key, pending.insert(value));
        let value = pending.take()?;
        locked.void_loads(spread.hash);
        if let (Some(hit), None) = (found, live) {
            locked.take_hit(hit, spread.hash, RemovalCause::Expired, &mut departures);
        }
        let now = self.now_for(life, &locked);
        locked.free_some(now, &mut departures);
        // It may have expired since it was looked at.
        let live = live.filter(|hit| locked.is_named(hit.slot, spread.hash));
        let hash = spread.hash;
        Some(self.put(&mut locked, hash, key, value, weight, life, now, live, &mut departures))
    }

    #[allow(clippy::too_many_arguments)]
    #[inline(never)]
    pub(super) fn put<'a>(
        &'a self,
        locked: &mut Locked<'_, K, V>,
        hash: u32,
        key: K,
        value: V,
        weight: Option<u64>,
        life: Life,
        now: Millis,
        live: Option<Hit<K, V>>,
        departures: &mut Departures<'a, K, V>,
    ) -> Inserted {
        self.put_here(locked, hash, key, value, weight, life, now, live, departures)
    }

    /// [`put`](Self::put), in the midst of its caller.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    fn put_here<'a>(
        &'a self,
        locked: &mut Locked<'_, K, V>,
        hash: u32,
        key: K,
        value: V,
        weight: Option<u64>,
        life: Life,
        now: Millis,
        live: Option<Hit<K, V>>,
        departures: &mut Departures<'a, K, V>,
    ) -> Inserted {
        let refusal = match weight {
            _ if life == Life::OVER => Some(Inserted::Expired),
            Some(weight) if locked.admits(weight) => None,
            _ => Some(Inserted::Refused),
        };
        let (Some(weight), None) = (weight, refusal) else {
            if let Some(hit) = live {
                locked.take_hit(hit, hash, RemovalCause::Removed, departures);
            }
            departures.push(key, value);
            return locked.turn_away(refusal.unwrap_or(Inserted::Refused));
        };
        let mut deadline = Millis::NEVER;
        if life != Life::ENDLESS {
            if self.near.load(Ordering::Relaxed) == Span::LAST.0 && !self.clock.is_manual() {
                // A reader who does not see this yet takes any deadline for a near one.
                self.near.store(ASK_THE_CLOCK.0, Ordering::Relaxed);
            }
            deadline = self.jittered(now, life, hash);
        }
        let entry = NewEntry { hash, deadline, weight, key, value };
        match locked.store(entry, live, now, departures) {
            Ok(_) => Inserted::Stored,
            Err(entry) => {
                departures.push(entry.key, entry.value);
                locked.turn_away(Inserted::Refused)
            }
        }
    }

    /// Removes the key and returns its value, unless that has expired. Where a clone is not wanted
    /// [`invalidate`](Self::invalidate) does without.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.remove_if(key, |_| true)
    }

    /// Removes the key and returns its value if `decide` says so. `decide` runs under the shard's
    /// lock, and only if there is a value: it must be short and must not call the cache. The clone
    /// that is returned is made with no lock held.
    pub fn remove_if<Q>(&self, key: &Q, decide: impl FnOnce(&V) -> bool) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        // Keeps the value where it is until it is cloned.
        let mut pin = None;
        let value = self.remove_locked(key, || (), decide, Some(&mut pin))?;
        // SAFETY: live until after the pin was taken, which is still held.
        let value = unsafe { (*value).clone() };
        drop(pin);
        Some(value)
    }

    /// Removes the key; true if it had a value that had not expired. That value is not cloned.
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_after(key, || ())
    }

    /// Runs `under_lock` under the lock of the key's shard, then removes the key if it is there;
    /// true if it had a value that had not expired. No insert of the key comes between the two,
    /// and no read that begins after this returned finds the value. `under_lock` must be short and
    /// must not call the cache; if it panics, the key stays.
    pub fn remove_after<Q>(&self, key: &Q, under_lock: impl FnOnce()) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        simulated::point();
        self.remove_locked(key, under_lock, |_| true, None).is_some()
    }

    /// As [`remove_after`](Self::remove_after), but the key stays where `decide` says no of its
    /// value; it runs under the lock too.
    pub(crate) fn remove_if_after<Q>(
        &self,
        key: &Q,
        under_lock: impl FnOnce(),
        decide: impl FnOnce(&V) -> bool,
    ) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.remove_locked(key, under_lock, decide, None).is_some()
    }

    /// Removes, and says where the value was: it stays there for as long as the pin is held that
    /// is put into `keep`.
    fn remove_locked<Q>(
        &self,
        key: &Q,
        first: impl FnOnce(),
        decide: impl FnOnce(&V) -> bool,
        keep: Option<&mut Option<Pin>>,
    ) -> Option<*const V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let spread = self.spread(self.hash(key));
        let mut departures = Departures::new(&self.exit);
        let mut locked = self.lock(spread.shard);
        first();
        locked.void_loads(spread.hash);
        let hit = locked.find(spread.hash, |other| other.borrow() == key)?;
        let deadline = locked.deadline_of(hit);
        let removed = if deadline != Millis::NEVER && deadline <= self.clock.coarse() {
            locked.take_hit(hit, spread.hash, RemovalCause::Expired, &mut departures);
            None
        } else {
            let value = locked.value(hit);
            if !decide(value) {
                return None;
            }
            let value = std::ptr::from_ref(value);
            if let Some(pin) = keep {
                *pin = Some(epoch::pin());
            }
            locked.take_hit(hit, spread.hash, RemovalCause::Removed, &mut departures);
            Some(value)
        };
        locked.collect(&mut departures);
        removed
    }

    /// The weight of an entry, `None` for one that must not be kept.
    #[inline]
    pub(super) fn weigh(&self, key: &K, value: &V) -> Option<u64> {
        let own = self.weigher.as_ref().map_or(0, |weigher| weigher(key, value));
        (own != usize::MAX).then(|| (own as u64).saturating_add(Self::ENTRY_OVERHEAD as u64))
    }

    /// The time to live that is meant.
    #[inline]
    pub(super) fn resolve(&self, ttl: Ttl) -> Life {
        match ttl {
            Ttl::Default => self.default_life,
            Ttl::Never => Life::ENDLESS,
            Ttl::For(span) => Life::of(span),
            Ttl::Until(instant) => Life::of(instant.saturating_duration_since(Instant::now())),
        }
    }

    /// Now, if anything depends on it.
    #[inline]
    pub(super) fn now_for(&self, life: Life, locked: &Locked<'_, K, V>) -> Millis {
        if life != Life::ENDLESS || locked.has_deadlines() {
            self.clock.coarse()
        } else {
            Millis(0)
        }
    }

    /// The deadline of an entry with this life, shortened by up to the jitter.
    #[inline]
    fn jittered(&self, now: Millis, life: Life, hash: u32) -> Millis {
        let deadline = Millis(now.0.saturating_add(life.0));
        if self.ttl_jitter == 0 || deadline == Millis::NEVER {
            return deadline;
        }
        // Differs from key to key and from insert to insert.
        let mixed = (u64::from(hash) ^ now.0.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let most = (u128::from(deadline.0 - now.0) * u128::from(self.ttl_jitter)) >> 16;
        let less = (most * u128::from(mixed >> 32)) >> 32;
        Millis(deadline.0 - less as u64)
    }
}
