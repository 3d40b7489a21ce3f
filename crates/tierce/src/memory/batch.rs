//! Many look-ups at once: what each of them waits for in memory is fetched for all together.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
};

use super::{
    cache::{MemoryCache, Spread},
    read::{Found, find},
};
use crate::{prefetch::prefetch, sync::epoch};

/// Keys that are under way at a time: more than the misses of a processor that can be outstanding
/// (10 to 16 on today's), and few enough that what was fetched for the first is still there.
const GROUP: usize = 16;

impl<K: Hash + Eq, V, S: BuildHasher> MemoryCache<K, V, S> {
    /// Returns a clone of each key's value, in the order of the keys.
    ///
    /// In a cache that is larger than the processor's caches it takes about half the time of as
    /// many calls of [`get`](Self::get), because the memory of 16 keys is fetched at a time.
    pub fn get_many<Q>(&self, keys: &[&Q]) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        let mut values = Vec::with_capacity(keys.len());
        values.resize_with(keys.len(), || None);
        self.get_many_with(keys, |index, value| values[index] = Some(value.clone()));
        values
    }

    /// Shows the values that are there to `f`, with the index of their key. `f` runs with no lock
    /// held, as in [`get_with`](Self::get_with).
    pub fn get_many_with<Q>(&self, keys: &[&Q], mut f: impl FnMut(usize, &V))
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        for (turn, group) in keys.chunks(GROUP).enumerate() {
            let mut spreads = [Spread { shard: 0, hash: 0 }; GROUP];
            let pin = epoch::pin();
            for (key, spread) in group.iter().zip(&mut spreads) {
                *spread = self.spread(self.hash(*key));
                // SAFETY: as in `read`: the pin is held while the table is used.
                unsafe { &*self.root(*spread) }.prefetch(spread.hash);
            }
            for spread in &spreads[..group.len()] {
                // SAFETY: as above.
                let table = unsafe { &*self.root(*spread) };
                table.prefetch_places(spread.hash, |places, slot| {
                    prefetch(places.pointer(slot).cast_const());
                });
            }
            let mut late = [false; GROUP];
            for (index, (key, spread)) in group.iter().zip(&spreads).enumerate() {
                // SAFETY: as above.
                let table = unsafe { &*self.root(*spread) };
                let eq = |other: &K| other.borrow() == *key;
                // SAFETY: as above.
                match unsafe { find(table, *spread, eq) } {
                    Found::Yes((table, slot, place)) => {
                        if self.note_read::<true>(table, slot, place, *spread) {
                            // SAFETY: found with the pin, which is still held.
                            f(turn * GROUP + index, unsafe { place.value() });
                        } else {
                            late[index] = true;
                        }
                    }
                    Found::No => {}
                    Found::InTransit => late[index] = true,
                }
            }
            drop(pin);
            // Expired, or under way to other memory: rare, and a look-up of its own.
            for (index, key) in group.iter().enumerate().filter(|(index, _)| late[*index]) {
                self.get_with(*key, |value| f(turn * GROUP + index, value));
            }
        }
    }
}
