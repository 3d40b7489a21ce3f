//! Look-ups: no lock, no locked instruction, nothing stored but the pin and a count that stops at
//! its cap.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
    hint::select_unpredictable,
    sync::atomic::{AtomicU8, Ordering},
};

use super::{
    cache::{MemoryCache, Spread},
    departures::Departures,
    index::Home,
    place::Place,
    shard::Index,
    slab::Segments,
    statistics::RemovalCause,
};
use crate::{
    clock::{Clock, Millis, Span},
    policy::{MOST_READS, Slot},
    sync::{
        epoch::{self, Brief, Pin},
        tally::Own,
    },
};

/// In [`MemoryCache::near`]: which deadlines are near depends on the time, which is the system's.
pub(super) const ASK_THE_CLOCK: Span = Span(0);

impl<K: Hash + Eq, V, S: BuildHasher> MemoryCache<K, V, S> {
    /// Returns a clone of the key's value. Where cloning is not cheap, hold an `Arc` or use
    /// [`get_with`](Self::get_with).
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        self.get_with(key, V::clone)
    }

    /// Shows the key's value to `f` and returns what it returns. `f` runs with no lock held and
    /// may call the cache; as long as it runs, what leaves any cache of the process is not freed.
    #[inline]
    pub fn get_with<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get_hashed(self.hash(key), move |other| other.borrow() == key, f)
    }

    /// Returns a clone of the key's value without telling the policy of the read.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        let eq = move |other: &K| other.borrow() == key;
        self.read::<false, _>(self.hash(key), eq, V::clone)
    }

    /// True if the cache holds the key. The policy is not told.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let eq = move |other: &K| other.borrow() == key;
        self.read::<false, _>(self.hash(key), eq, |_| ()).is_some()
    }

    /// As [`get_with`](Self::get_with) for who counts reads, the short way alone: with the tally of
    /// this thread; `Err` with `f`, which was not called, where that way does not lead on, or the
    /// countdown of this thread is over. Then [`get_on`](Self::get_on) reads.
    #[inline(always)]
    pub(crate) fn get_counted<Q, R, F>(&self, key: &Q, f: F) -> Result<Option<(R, Own)>, F>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        F: FnOnce(&V) -> R,
    {
        let eq = move |other: &K| other.borrow() == key;
        self.read_short::<true, R, F>(self.hash(key), eq, epoch::counted_brief, f)
    }

    /// As [`get_with`](Self::get_with), the whole way at once.
    #[inline]
    pub(crate) fn get_on<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.read_on::<true, R>(self.hash(key), move |other| other.borrow() == key, f)
    }
}

impl<K, V, S> MemoryCache<K, V, S> {
    /// Finds an entry by its [`hash`](Self::hash) and a comparison of the caller's own, shows its
    /// value to `f` and returns what that returns. `eq` is asked only about keys whose hash has
    /// the same 32 bits of those that the index keeps.
    #[inline]
    pub fn get_hashed<R>(
        &self,
        hash: u64,
        eq: impl Fn(&K) -> bool + Copy,
        f: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        self.read::<true, R>(hash, eq, f)
    }

    #[inline]
    fn read<const HIT: bool, R>(
        &self,
        hash: u64,
        eq: impl Fn(&K) -> bool + Copy,
        f: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        match self.read_short::<HIT, R, _>(hash, eq, epoch::brief, f) {
            Ok(found) => found.map(|(found, _)| found),
            Err(f) => self.read_on::<HIT, R>(hash, eq, f),
        }
    }

    /// The short way: the key is in its home bucket, or nowhere. Everything else is
    /// [`read_on`](Self::read_on)'s, which begins anew: so few values live here at a time that
    /// all of them stay in registers. `f` comes back where it was not called.
    #[inline(always)]
    fn read_short<const HIT: bool, R, F: FnOnce(&V) -> R>(
        &self,
        hash: u64,
        eq: impl Fn(&K) -> bool + Copy,
        pin: impl FnOnce() -> Option<Brief>,
        f: F,
    ) -> Result<Option<(R, Own)>, F> {
        // First, for it may be a call: few values have to outlive it.
        let near = self.near();
        let spread = self.spread(hash);
        let Some(pin) = pin() else { return Err(f) };
        // SAFETY: a root names a table that is freed only when no pin is left that could have
        // seen it, and the pin above is held through the search.
        let table = unsafe { &*self.root(spread) };
        // SAFETY: as above; the slab's segments go with its tables.
        let places = unsafe { table.places().as_ref() };
        // SAFETY: the index names the slot while the pin is held.
        match table.search_home(spread.hash, |slot| unsafe { candidate(places, slot, spread, eq) })
        {
            Home::Found(place) if place.span() > near => {
                if HIT {
                    count_read(place, pin.nobody());
                }
                // SAFETY: found with the pin, which is still held.
                Ok(Some((f(unsafe { place.value() }), pin.own())))
            }
            Home::Absent => Ok(None),
            _ => Err(f),
        }
    }

    /// Entries whose deadlines are in this span or before it are not read the short way.
    #[inline(always)]
    pub(super) fn near(&self) -> Span {
        match Span(self.near.load(Ordering::Relaxed)) {
            ASK_THE_CLOCK => Clock::near_by_system(),
            near => near,
        }
    }

    /// The whole way, for keys that are not in their home bucket, entries whose time is nearly
    /// over, shards that are changing, and policies that want to be told of reads.
    #[inline(never)]
    fn read_on<const HIT: bool, R>(
        &self,
        hash: u64,
        eq: impl Fn(&K) -> bool + Copy,
        f: impl FnOnce(&V) -> R,
    ) -> Option<R> {
        let spread = self.spread(hash);
        let (pin, entry) = self.search_on(spread, epoch::pin(), eq)?;
        let (table, slot, place) = entry;
        if !self.note_read::<HIT>(table, slot, place, spread, &pin) {
            drop(pin);
            self.expired(spread, slot);
            return None;
        }
        // SAFETY: found with the pin, which is still held.
        Some(f(unsafe { place.value() }))
    }

    /// Searches on for a key that is not in its home bucket, or whose shard is changing.
    ///
    /// What is found may be used as long as the pin that is returned with it.
    fn search_on<'a>(
        &'a self,
        spread: Spread,
        mut pin: Pin,
        eq: impl Fn(&K) -> bool + Copy,
    ) -> Option<(Pin, Entry<'a, K, V>)> {
        loop {
            // SAFETY: as in `read`.
            let first = unsafe { &*self.root(spread) };
            // SAFETY: as in `read`.
            match unsafe { find(first, spread, eq) } {
                Found::Yes(entry) => return Some((pin, entry)),
                Found::No => return None,
                Found::InTransit => {
                    // Where this thread has another pin, the shard waits for it, and gives up.
                    drop(pin);
                    drop(self.writers[spread.shard].lock());
                    pin = epoch::pin();
                }
            }
        }
    }

    /// True if the entry's time is over.
    #[inline]
    pub(super) fn is_past(&self, entry: Entry<'_, K, V>) -> bool {
        let (table, slot, place) = entry;
        if place.span() != Span::NEVER && self.clock.is_past(place.deadline()) {
            return true;
        }
        let Some(idle) = self.time_to_idle else { return false };
        // SAFETY: the slot was found in this table with a pin that is still held.
        match unsafe { table.places().as_ref().used_at(slot) } {
            Some(used_at) => {
                let used_at = used_at.load(Ordering::Relaxed);
                self.clock.is_past(Millis(used_at.saturating_add(idle)))
            }
            None => false,
        }
    }

    /// Counts or tells a read and notes when it was; false if the entry's time is over.
    pub(super) fn note_read<const HIT: bool>(
        &self,
        table: &Index<K, V>,
        slot: Slot,
        place: &Place<K, V>,
        spread: Spread,
        pin: &Pin,
    ) -> bool {
        if self.is_past((table, slot, place)) {
            return false;
        }
        if HIT && self.tells_reads {
            self.tell_read(spread, slot);
        } else if HIT {
            count_read(place, pin.nobody());
        }
        if HIT && self.time_to_idle.is_some() {
            // SAFETY: the slot was found in this table with a pin that is still held.
            if let Some(used_at) = unsafe { table.places().as_ref().used_at(slot) } {
                let now = self.clock.coarse().0;
                // Only forward: a reader that is late must not take another's use back.
                if used_at.load(Ordering::Relaxed) < now {
                    used_at.fetch_max(now, Ordering::Relaxed);
                }
            }
        }
        true
    }

    /// Tells a policy that keeps exact order.
    #[cold]
    #[inline(never)]
    fn tell_read(&self, spread: Spread, slot: Slot) {
        let mut locked = self.lock(spread.shard);
        // It may have left since it was found.
        if locked.is_named(slot, spread.hash) {
            locked.hit(slot);
        }
    }

    /// Frees an expired entry that a read came across, unless somebody was faster.
    #[cold]
    #[inline(never)]
    fn expired(&self, spread: Spread, slot: Slot) {
        let mut departures = Departures::new(&self.exit);
        let mut locked = self.lock(spread.shard);
        locked.collect(&mut departures);
        if locked.is_named(slot, spread.hash) && locked.deadline(slot) <= self.clock.coarse() {
            locked.take(slot, RemovalCause::Expired, &mut departures);
        }
    }
}

/// Counts a read for the policy. Two at once may count as one, and the line of an entry that was
/// read often is not written at all. Without a branch: whether it was read often is what nobody can
/// guess where some were and some were not, so what is not to be counted is stored to `nobody`.
#[inline(always)]
pub(super) fn count_read<K, V>(place: &Place<K, V>, nobody: &AtomicU8) {
    let reads = place.reads.load(Ordering::Relaxed);
    let counter = select_unpredictable(reads < MOST_READS, &place.reads, nobody);
    counter.store(reads.wrapping_add(1), Ordering::Relaxed);
}

/// An entry, and the table that named it.
pub(super) type Entry<'a, K, V> = (&'a Index<K, V>, Slot, &'a Place<K, V>);

/// The place of a slot that the index names, if its key is the one that `eq` knows.
///
/// # Safety
/// A pin is held since before the index named the slot, and for as long as the place is used.
#[inline(always)]
pub(super) unsafe fn candidate<K, V>(
    places: &Segments<K, V>,
    slot: Slot,
    spread: Spread,
    eq: impl Fn(&K) -> bool,
) -> Option<&Place<K, V>> {
    // SAFETY: by the caller's word: it is live, or retired since.
    let place = unsafe { places.place(slot) };
    // SAFETY: as above.
    unsafe { is_of(place, spread, eq) }.then_some(place)
}

/// True if a place has the key that `eq` knows.
///
/// # Safety
/// As [`candidate`], of which this is the second half.
#[inline(always)]
pub(super) unsafe fn is_of<K, V>(
    place: &Place<K, V>,
    spread: Spread,
    eq: impl Fn(&K) -> bool,
) -> bool {
    // SAFETY: live or retired, by the caller's word.
    place.hash() == spread.hash && eq(unsafe { place.key() })
}

/// What a search came to.
pub(super) enum Found<'a, K, V> {
    Yes(Entry<'a, K, V>),
    No,
    /// The shard moves its entries: to be asked again when its lock was free.
    InTransit,
}

/// Searches a shard from its first table on.
///
/// # Safety
/// A pin is held since before `first` was loaded from the shard's root, and for as long as what is
/// returned is used.
#[inline]
pub(super) unsafe fn find<'a, K, V>(
    first: &'a Index<K, V>,
    spread: Spread,
    eq: impl Fn(&K) -> bool + Copy,
) -> Found<'a, K, V> {
    let hash = spread.hash;
    let mut table = first.current(hash);
    loop {
        // SAFETY: the slab's segments go with its tables, which the pin keeps.
        let places = unsafe { table.places().as_ref() };
        let found = table.search(hash, |slot| {
            // SAFETY: the index names the slot while the pin is held.
            unsafe { candidate(places, slot, spread, eq) }.map(|place| (slot, place))
        });
        if let Some((slot, place)) = found {
            return Found::Yes((table, slot, place));
        }
        // Its home may have moved on during the search.
        match table.successor_of(hash) {
            Some(next) => table = next,
            None if table.is_in_transit() => return Found::InTransit,
            None => return Found::No,
        }
    }
}
