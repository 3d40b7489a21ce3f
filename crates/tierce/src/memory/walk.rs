//! All entries: iterating and sifting, without stopping anybody.
//!
//! Buckets are in the order of hashes, also while an index grows. So a walk is a hash that moves
//! on from zero: wherever the walk stands, entries before it were seen and entries after it will
//! be, in whatever table they are by then.

use std::{
    hash::{BuildHasher, Hash},
    ptr,
    sync::atomic::Ordering,
};

use super::{
    cache::MemoryCache, departures::Departures, place::Place, shard::Index,
    statistics::RemovalCause,
};
use crate::{policy::Slot, sync::epoch};

/// Where a walk stands.
#[derive(Clone, Copy, Default)]
struct Stand {
    shard: usize,
    /// The least hash of the shard that was not seen yet; 2^32 at its end.
    hash: u64,
}

/// Entries of a [`MemoryCache`], cloned; see [`MemoryCache::iter`].
pub struct Iter<'a, K, V, S> {
    cache: &'a MemoryCache<K, V, S>,
    stand: Stand,
    /// Entries of the bucket that was reached last.
    ahead: Vec<(K, V)>,
    found: Vec<Slot>,
}

/// What became of a step of a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    /// The shard moves its entries; the walk goes on when its lock was free.
    Wait,
    End,
}

impl<K, V, S> MemoryCache<K, V, S> {
    /// Shows the entries of the next home bucket to `each`; `found` is room for them.
    fn walk(
        &self,
        stand: &mut Stand,
        found: &mut Vec<Slot>,
        mut each: impl FnMut(&Index<K, V>, Slot, &Place<K, V>),
    ) -> Step {
        if stand.shard == self.roots.len() {
            return Step::End;
        }
        let _pin = epoch::pin();
        // SAFETY: as in `read`: the pin is held while the table is used.
        let first = unsafe { &*self.roots[stand.shard].load(Ordering::Acquire) };
        if first.is_in_transit() {
            return Step::Wait;
        }
        let from = stand.hash as u32;
        let (mut table, mut end) = (first, u64::from(u32::MAX) + 1);
        loop {
            let home = table.home(from);
            // No further than a home goes in any of the tables on the way: those of the next hash
            // may not have moved yet.
            end = end.min(table.end_of_home(home));
            if let Some(next) = table.successor_of(from) {
                table = next;
                continue;
            }
            // SAFETY: the slab's segments go with its tables, which the pin keeps.
            let places = unsafe { table.places().as_ref() };
            found.clear();
            table.of_home(home, |slot| {
                // SAFETY: the index named the slot while the pin was held.
                let hash = unsafe { places.place(slot) }.hash();
                // In a bucket lie entries of other homes as well; they are seen there.
                if (u64::from(from)..end).contains(&hash.into()) {
                    found.push(slot);
                }
            });
            // The home may have moved on meanwhile, and some of its entries were not seen then.
            match table.successor_of(from) {
                Some(next) => table = next,
                None => break,
            }
        }
        // Only now, for it may change the table.
        for slot in found.drain(..) {
            // SAFETY: as above: the pin is still held.
            each(table, slot, unsafe { table.places().as_ref().place(slot) });
        }
        stand.hash = end;
        if stand.hash > u64::from(u32::MAX) {
            *stand = Stand { shard: stand.shard + 1, hash: 0 };
        }
        Step::More
    }

    /// Waits until a shard's entries have moved, or until it gives that up: it does where it waits
    /// for a pin of this thread.
    fn wait_for(&self, stand: Stand) {
        drop(self.writers[stand.shard].lock());
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> MemoryCache<K, V, S> {
    /// Returns clones of all entries that have not expired, in no order. The policy is not told.
    ///
    /// Weakly consistent: an entry that is there from beginning to end is seen once; one that
    /// comes, goes or is replaced meanwhile may be seen or not. Holds no lock, and no pin between
    /// two entries; clones the entries of one bucket, up to a dozen, at a time.
    pub fn iter(&self) -> Iter<'_, K, V, S>
    where
        K: Clone,
        V: Clone,
    {
        Iter { cache: self, stand: Stand::default(), ahead: Vec::new(), found: Vec::new() }
    }

    /// Keeps the entries for which `keep` says so, and removes the others. Weakly consistent, as
    /// [`iter`](Self::iter). `keep` runs with no lock held and may call the cache; an entry that
    /// was replaced after `keep` saw it stays. What a load under way will return is not stored, as
    /// `keep` cannot judge it.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        for shard in 0..self.roots.len() {
            self.lock(shard).writer.loads.void_all();
        }
        let mut stand = Stand::default();
        let (mut unwanted, mut found) = (Vec::new(), Vec::new());
        loop {
            // Holds on to what was judged until it is taken out.
            let pin = epoch::pin();
            let shard = stand.shard;
            let step = self.walk(&mut stand, &mut found, |table, slot, place| {
                // SAFETY: `walk` found it with its pin, which is held meanwhile.
                let (key, value) = unsafe { (place.key(), place.value()) };
                if !self.is_past((table, slot, place)) && !keep(key, value) {
                    unwanted.push((slot, ptr::from_ref(place), place.hash()));
                }
            });
            if !unwanted.is_empty() {
                let mut departures = Departures::new(&self.exit);
                let mut locked = self.lock(shard);
                locked.collect(&mut departures);
                for (slot, place, hash) in unwanted.drain(..) {
                    if locked.is_here(slot, place, hash) {
                        locked.take(slot, RemovalCause::Removed, &mut departures);
                    }
                }
            }
            drop(pin);
            match step {
                Step::More => {}
                Step::Wait => self.wait_for(stand),
                Step::End => return,
            }
        }
    }
}

impl<K, V, S> Iterator for Iter<'_, K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        while self.ahead.is_empty() {
            let Self { cache, stand, ahead, found } = self;
            let step = cache.walk(stand, found, |table, slot, place| {
                if !cache.is_past((table, slot, place)) {
                    // SAFETY: `walk` found it with its pin, which is held meanwhile.
                    let (key, value) = unsafe { (place.key(), place.value()) };
                    ahead.push((key.clone(), value.clone()));
                }
            });
            match step {
                Step::More => {}
                Step::Wait => cache.wait_for(*stand),
                Step::End => return None,
            }
        }
        self.ahead.pop()
    }
}
